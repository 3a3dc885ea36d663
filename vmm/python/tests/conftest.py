"""What the tests share."""

import struct

import pytest

import crosswalk_mmu as mmu


@pytest.fixture
def tables():
    """A memory, and CR3 of an empty root table of 4-level paging in it."""
    memory = mmu.Memory(1 << 20)
    return memory, memory.allocate()


@pytest.fixture
def raw_image(tmp_path):
    """A raw image: four tables that map one page, read-only for the user, at 0x1000."""
    memory = bytearray(0x6000)
    entries = {0x1000: 0x2007, 0x2000: 0x3007, 0x3000: 0x4007, 0x4008: 0x5025}
    for address, value in entries.items():
        struct.pack_into("<Q", memory, address, value)
    memory[0x5000:0x5005] = b"hello"
    path = tmp_path / "memory.raw"
    path.write_bytes(memory)
    return path
