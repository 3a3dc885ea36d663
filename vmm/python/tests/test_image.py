"""Memory images."""

import struct
import time
from pathlib import Path

import pytest

import crosswalk_mmu as mmu

REGISTERS = {"cr0": 0x80010011, "cr3": 0x1000, "cr4": 0x620, "efer": 0xD00}


def open_raw(path, size=0x6000):
    return mmu.Image(path, format="raw", ram=[f"0:{size:#x}@0"])


def test_an_image_shows_its_memory(raw_image):
    image = open_raw(raw_image)
    assert (image.format, image.byte_count, image.cpu_count) == ("raw", 0x6000, 0)
    assert image.read(0x5000, 5) == b"hello"
    assert repr(image).startswith("<Image ") and "raw" in repr(image)
    with pytest.raises(mmu.OutsideMemoryError):
        image.read(0x5FFF, 2)
    with pytest.raises(ValueError, match="at most"):
        image.read(0, 1 << 40)


def test_an_image_is_walked(raw_image):
    image = open_raw(raw_image)
    walk = image.walk(0x1002, **REGISTERS)
    assert (walk.physical, walk.mode) == (0x5002, "4level")
    assert image.read(walk.physical, 3) == b"llo"
    assert image.walk(0x1002, **REGISTERS, access="write", ring=3).fault.error_code == 7
    assert image.registers(**REGISTERS)["mode"] == "4level"
    # The functions take an image, too.
    assert mmu.walk(image, cr3=0x1000, va=0x1002).physical == 0x5002


def test_everything_that_is_mapped_is_found(raw_image):
    mappings = open_raw(raw_image).mappings(**REGISTERS)
    assert list(mappings) == [
        {
            "va": 0x1000,
            "length": 0x1000,
            "frame": 0x5000,
            "page_size": 0x1000,
            "writable": False,
            "user": True,
            "executable": True,
            "accessed": True,
            "dirty": False,
            "global_": False,
        }
    ]
    assert mappings.problems == {"reserved": 0, "repeated": 0, "unreadable": 0}


def self_mapped(tmp_path):
    """512 entries that all lead to their own table: 512^4 pages."""
    path = tmp_path / "self.raw"
    path.write_bytes(struct.pack("<Q", 0x1003) * 1024)
    return open_raw(path, 0x2000)


def test_tables_that_lead_to_themselves_end(tmp_path):
    mappings = self_mapped(tmp_path).mappings(**REGISTERS)
    pages = sum(found["length"] // 4096 for found in mappings)
    assert pages > 512 and mappings.problems["repeated"] > 512


def wait_until(is_so):
    """Gives up after a minute."""
    end = time.monotonic() + 60
    while not is_so() and time.monotonic() < end:
        time.sleep(0.01)
    return is_so()


def test_an_image_is_read_while_python_does_other_things(tmp_path):
    """Nothing is taken, and so what is found waits in a queue, or is counted."""
    memory = bytearray(0x5000)
    for table in (0x1000, 0x2000, 0x3000):  # 512^3 times the table at 0x4000, which is empty
        memory[table : table + 0x1000] = struct.pack("<Q", table + 0x1003) * 512
    path = tmp_path / "memory.raw"
    path.write_bytes(memory)
    mappings = open_raw(path, 0x5000).mappings(**REGISTERS)
    assert wait_until(lambda: mappings.problems["repeated"] > 512)
    assert list(mappings) == []


def scans():
    """The number of threads that read an image."""
    count = 0
    for thread in Path("/proc/self/task").iterdir():
        try:
            count += (thread / "comm").read_text() == "crosswalk-scan\n"
        except (FileNotFoundError, ProcessLookupError):
            pass  # It has ended meanwhile.
    return count


def test_a_scan_that_nobody_follows_ends(tmp_path):
    assert wait_until(lambda: scans() == 0)
    mappings = self_mapped(tmp_path).mappings(pages=True, **REGISTERS)
    assert next(mappings)["page_size"] == 4096
    assert scans() == 1
    del mappings
    assert wait_until(lambda: scans() == 0)


def test_problems_are_counted(tmp_path):
    memory = bytearray(0x3000)
    # To a table, to one outside the image, and one with a reserved bit.
    struct.pack_into("<QQQ", memory, 0x1000, 0x2003, 0x900003, 0x2083)
    path = tmp_path / "memory.raw"
    path.write_bytes(memory)
    mappings = open_raw(path, 0x3000).mappings(**REGISTERS)
    assert list(mappings) == []
    assert mappings.problems == {"reserved": 1, "repeated": 0, "unreadable": 512}


@pytest.mark.parametrize(
    "text, error, words",
    [
        (b"", mmu.ImageError, None),
        (b"\x7fELF" + b"\xff" * 100, mmu.ImageError, "damaged|ELF|expected"),
        (b"EMiL" + b"\xff" * 100, mmu.ImageError, None),
        (b"PAGEDU64" + b"\xff" * 9000, mmu.ImageError, None),
        (b"KDUMP   " + b"\xff" * 9000, mmu.ImageError, None),
        (b"AVML" + b"\xff" * 100, mmu.ImageError, None),
    ],
)
def test_damaged_images_raise(tmp_path, text, error, words):
    path = tmp_path / "damaged"
    path.write_bytes(text)
    with pytest.raises(error, match=words):
        mmu.Image(path).mappings()


def test_wrong_arguments_raise(raw_image, tmp_path):
    with pytest.raises(OSError):
        mmu.Image(tmp_path / "missing")
    with pytest.raises(ValueError, match="format: "):
        mmu.Image(raw_image, format="iso")
    with pytest.raises(ValueError, match="ram: "):
        mmu.Image(raw_image, ram=["all"])
    image = open_raw(raw_image)
    with pytest.raises(mmu.ImageError, match="where the root table is .cr3"):
        image.walk(0x1000)
    with pytest.raises(mmu.ImageError, match="CPU"):
        image.walk(0x1000, cpu=5, **REGISTERS)
    with pytest.raises(TypeError, match="unexpected keyword argument 'mode'"):
        image.mappings(mode="pae")
