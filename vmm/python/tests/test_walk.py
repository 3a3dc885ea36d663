"""Walks, predictions and page tables. The expected values are those of the SDM, computed by hand."""

import pytest

import crosswalk_mmu as mmu

# A page, read-only for the user, at 0x1000: linear 0x1234 is physical 0x50234.
ENTRIES = {0x10000: 0x11007, 0x11000: 0x12007, 0x12000: 0x13007, 0x13008: 0x50005}


def test_a_walk_shows_every_entry():
    walk = mmu.walk(ENTRIES, cr3=0x10000, va=0x1234)
    assert (walk.physical, walk.page_size, walk.fault, walk.mode) == (0x50234, 4096, None, "4level")
    assert [entry.name for entry in walk.path] == ["PML4E", "PDPTE", "PDE", "PTE"]
    assert [entry.address for entry in walk.path] == [0x10000, 0x11000, 0x12000, 0x13008]
    leaf = walk.path[-1]
    assert leaf.is_leaf and leaf.frame == 0x50000 and leaf.value == 0x50005
    assert (leaf.present, leaf.writable, leaf.user, leaf.accessed) == (True, False, True, False)
    assert (walk.writable, walk.user, walk.executable) == (False, True, True)
    assert repr(walk) == "<Walk 0x1234 -> 0x50234>"


def test_a_fault_is_as_the_processor_reports_it():
    fault = mmu.walk(ENTRIES, cr3=0x10000, va=0x1234, access="write").fault
    assert (fault.vector, fault.error_code, fault.cr2) == (14, 7, 0x1234)
    assert (str(fault), fault.bits, fault.mnemonic) == ("#PF(P|W|U) at 0x1234", ["P", "W", "U"], "#PF")

    absent = mmu.walk(ENTRIES, cr3=0x10000, va=0x2000, ring=0)
    assert absent.fault.error_code == 0 and not absent.path[-1].present
    bad = mmu.walk(ENTRIES | {0x12000: 0x13087}, cr3=0x10000, va=0x1234, profile=mmu.Profile("intel"))
    # PS in the PDE, and bits 20:13 of a 2 MiB page that are not 0.
    assert bad.fault.error_code == 0xD and bad.path[-1].reserved == 0x12000
    beyond = mmu.walk(ENTRIES, cr3=0x10000, va=1 << 47)
    assert (beyond.fault.vector, beyond.fault.error_code, beyond.fault.cr2) == (13, 0, None)
    assert beyond.path == [] and beyond.physical is None


def test_an_access_of_two_pages_has_two_parts():
    both = ENTRIES | {0x13010: 0x90005}
    walk = mmu.walk(both, cr3=0x10000, va=0x1FFD, size=8)
    assert walk.parts == [(0x50FFD, 3), (0x90000, 5)]
    fault = mmu.walk(ENTRIES, cr3=0x10000, va=0x1FFD, size=8).fault
    assert (fault.error_code, fault.cr2) == (4, 0x2000)


def test_memory_may_be_of_any_kind():
    memory = mmu.Memory(1 << 20)
    for address, value in ENTRIES.items():
        memory.write_entry(address, value)
    asked = []

    def function(address, size):
        asked.append((address, size))
        return ENTRIES.get(address)

    for source in [memory, memory.read(0, memory.size), ENTRIES, function]:
        assert mmu.walk(source, cr3=0x10000, va=0x1234).physical == 0x50234
        prediction = mmu.predict(source, cr3=0x10000, va=0x1234)
        assert prediction.outcomes[0].physical == 0x50234
    assert asked[:4] == [(address, 8) for address in ENTRIES]


@pytest.mark.parametrize(
    "mode, entries, va, physical",
    [
        ("unpaged", {}, 0x1234, 0x1234),
        ("32bit", {0x1004: 0x2007, 0x2004: 0x50007}, 0x401234, 0x50234),
        ("pae", {0x1000: 0x2001, 0x2000: 0x3007, 0x3008: 0x50007}, 0x1234, 0x50234),
        ("5level", {0x1000: 0x10007} | ENTRIES, 0x1234, 0x50234),
    ],
)
def test_every_mode_walks(mode, entries, va, physical):
    # PAE's PDPTE registers are loaded from memory.
    assert mmu.walk(entries, mode=mode, cr3=0x1000, va=va).physical == physical


def test_registers_decide_about_the_mode_and_the_rights():
    arguments = {"cr3": 0x10000, "va": 0x1234, "access": "write", "ring": 0}
    assert mmu.walk(ENTRIES, **arguments).fault.error_code == 3
    assert mmu.walk(ENTRIES, **arguments, cr0=0x80000011).physical == 0x50234  # without WP
    smap = 0x620 | 1 << 21
    read = arguments | {"access": "read"}
    assert mmu.walk(ENTRIES, **read, cr4=smap).fault.error_code == 1
    assert mmu.walk(ENTRIES, **read, cr4=smap, ac=True).physical == 0x50234
    with pytest.raises(ValueError, match="the registers select 5level, not 4level"):
        mmu.walk(ENTRIES, **read, cr4=0x1620, mode="4level")


def test_a_prediction_has_every_choice():
    # A table outside memory reads as zeros or as ones (OUT-1).
    prediction = mmu.predict({0x10000: 0x11007}, cr3=0x10000, va=0x1234)
    assert {outcome.fault.error_code for outcome in prediction.outcomes} == {4, 0xD}
    assert {outcome.choice[0] for outcome in prediction.outcomes} == {"OUT-1"}
    assert "OUT-1" in prediction.rules

    only = mmu.predict(ENTRIES, cr3=0x10000, va=0x1234).outcomes
    assert len(only) == 1 and only[0].choice is None
    updates = {update.address: update for update in only[0].updates}
    assert set(updates) == set(ENTRIES)
    leaf = updates[0x13008]
    assert (leaf.before, leaf.must_set, leaf.may_set) == (0x50005, 0x20, 0)
    assert leaf.allows(0x50025) and not leaf.allows(0x50005) and not leaf.allows(0x50065)


def test_pages_are_mapped(tables):
    memory, cr3 = tables
    mmu.map(memory, cr3=cr3, va=0x400000, frame=0x8000, writable=False, executable=False)
    walk = mmu.walk(memory, cr3=cr3, va=0x400123)
    assert walk.physical == 0x8123
    assert mmu.walk(memory, cr3=cr3, va=0x400123, access="fetch").fault.error_code == 0x15

    # 4 MiB and 4 KiB: two pages of 2 MiB, and one of 4 KiB.
    mmu.map(memory, cr3=cr3, va=1 << 30, frame=1 << 30, length=(4 << 20) + 4096, key=5)
    sizes = [mmu.walk(memory, cr3=cr3, va=(1 << 30) + at).page_size for at in (0, 2 << 20, 4 << 20)]
    assert sizes == [2 << 20, 2 << 20, 4096]
    assert mmu.walk(memory, cr3=cr3, va=1 << 30).path[-1].key == 5
    mmu.map(memory, cr3=cr3, va=1 << 39, frame=0, page_size=1 << 30, profile=mmu.Profile.generation("zen"))
    assert mmu.walk(memory, cr3=cr3, va=(1 << 39) + 5).physical == 5


def test_what_cannot_be_mapped_is_told(tables):
    memory, cr3 = tables
    mmu.map(memory, cr3=cr3, va=0x1000, frame=0x8000)
    with pytest.raises(mmu.MapError, match="already"):
        mmu.map(memory, cr3=cr3, va=0x1000, frame=0x9000)
    with pytest.raises(mmu.MapError, match="not canonical"):
        mmu.map(memory, cr3=cr3, va=1 << 47, frame=0x9000)
    with pytest.raises(mmu.MapError, match="multiple of the page size"):
        mmu.map(memory, cr3=cr3, va=0x1001, frame=0x9000)
    with pytest.raises(ValueError, match="page_size"):
        mmu.map(memory, cr3=cr3, va=0, frame=0, page_size=8192)
    with pytest.raises(mmu.OutsideMemoryError):
        mmu.map(memory, cr3=1 << 30, va=0x1000, frame=0x8000)
    with pytest.raises(MemoryError):
        mmu.map(memory, cr3=cr3, va=0x100000000, frame=0, length=1 << 40, page_size=4096)


def test_a_processor_has_a_profile():
    zen = mmu.Profile.generation("zen-3")
    assert (zen.vendor, zen.max_physical_address) == ("amd", 48) and "pku" in zen.features
    assert zen == mmu.Profile.generation("zen-3") and zen != mmu.Profile("amd")
    narrow = mmu.Profile("intel", max_physical_address=36, features=["nx"])
    assert repr(narrow) == 'Profile("intel", max_physical_address=36, features=["nx"])'
    # Bit 36 of an entry is reserved then.
    entries = ENTRIES | {0x13008: 0x50005 | 1 << 36}
    assert mmu.walk(entries, cr3=0x10000, va=0x1234, profile=narrow).fault.error_code == 0xD
    assert mmu.walk(entries, cr3=0x10000, va=0x1234).physical == 0x1000050234


@pytest.mark.parametrize(
    "change, error, words",
    [
        ({"va": -1}, OverflowError, None),
        ({"va": 1 << 64}, OverflowError, None),
        ({"va": "here"}, TypeError, "va: "),
        ({"cr3": None}, TypeError, "missing the keyword argument 'cr3'"),
        ({"access": "peek"}, ValueError, "access: expected one of read, write"),
        ({"size": 0}, ValueError, "no bytes"),
        ({"size": 65535}, ValueError, "pages"),
        ({"size": 65536}, OverflowError, None),
        ({"ring": 1}, ValueError, "ring: expected 0 or 3"),
        ({"mode": "linear"}, ValueError, "mode: "),
        ({"mode": "6level"}, ValueError, "mode: expected one of"),
        ({"pdptes": (1, 2, 3)}, ValueError, None),
        ({"profile": "zen"}, TypeError, "profile: "),
        ({"address": 1}, TypeError, "unexpected keyword argument 'address'"),
        ({"cr3": 1 << 40}, mmu.OutsideMemoryError, "no memory at physical address"),
        ({"mode": "pae", "pdptes": None, "cr3": 1 << 31}, ValueError, "cr3: loading it fails"),
    ],
)
def test_wrong_arguments_raise(change, error, words):
    arguments = {"cr3": 0x10000, "va": 0x1234} | change
    with pytest.raises(error, match=words):
        mmu.walk(ENTRIES, **arguments)


def test_errors_of_the_caller_come_back():
    class Broken(Exception):
        pass

    def broken(address, size):
        raise Broken(hex(address))

    for function in (mmu.walk, mmu.predict):
        with pytest.raises(Broken, match="0x10000"):
            function(broken, cr3=0x10000, va=0)
        with pytest.raises(TypeError):
            function(lambda address, size: "text", cr3=0x10000, va=0)
        with pytest.raises(TypeError, match="memory: expected"):
            function(5, cr3=0x10000, va=0)
        with pytest.raises(OverflowError):
            function({-1: 0}, cr3=0x10000, va=0)


def test_memory_has_limits():
    for size in (0, 4095, 1 << 33):
        with pytest.raises(ValueError):
            mmu.Memory(size)
    memory = mmu.Memory(0x3000)
    assert [memory.allocate(), memory.allocate()] == [0x2000, 0x1000]
    with pytest.raises(MemoryError):
        memory.allocate()
    for address in (0x3000, 0x2FFF, (1 << 64) - 1):
        with pytest.raises(mmu.OutsideMemoryError):
            memory.read(address, 2)
        with pytest.raises(mmu.OutsideMemoryError):
            memory.write(address, b"ab")
        with pytest.raises(mmu.OutsideMemoryError):
            memory.write_entry(address, 1)
    with pytest.raises(mmu.OutsideMemoryError):
        memory.read(0, (1 << 63) - 1)
    with pytest.raises(ValueError):
        memory.read_entry(0, size=3)
