#!/usr/bin/env python3
"""A tour of crosswalk_mmu, cell by cell: editors and Jupyter (jupytext) run what stands between two `# %%`.
`python3 explore.py [IMAGE]` runs all of it; IMAGE is a memory image."""

# %% Build page tables: a page of code, one of data, and 2 MiB that only the kernel may use.
import sys

import crosswalk_mmu as mmu

memory = mmu.Memory(1 << 20)
cr3 = memory.allocate()
mmu.map(memory, cr3=cr3, va=0x400000, frame=0x10000, writable=False)
mmu.map(memory, cr3=cr3, va=0x600000, frame=0x20000, executable=False)
mmu.map(memory, cr3=cr3, va=0xFFFF_8000_0000_0000, frame=0, page_size=2 << 20, user=False)

# %% Walk: the entries on the path, and the physical address.
walk = mmu.walk(memory, cr3=cr3, va=0x400123)
for entry in walk.path:
    print(f"{entry.name:6} at {entry.address:#8x}: {entry.value:#018x} -> {entry.frame:#x}")
print(f"physical {walk.physical:#x}, a page of {walk.page_size} bytes")

# %% Who may do what? A table of faults, by ring and kind of access.
pages = {"code": 0x400000, "data": 0x600000, "kernel": 0xFFFF_8000_0000_0000, "nothing": 0x800000}
for ring in (0, 3):
    for name, va in pages.items():
        ends = []
        for access in ("read", "write", "fetch"):
            fault = mmu.walk(memory, cr3=cr3, va=va, access=access, ring=ring).fault
            ends.append(str(fault).split(" at ")[0] if fault else "completes")
        print(f"ring {ring}  {name:8}", *(f"{end:12}" for end in ends))

# %% What a single bit decides: flip each bit of the leaf, and see how a user's read ends.
leaf = walk.path[-1]
reads: dict[str, list[int]] = {}
for bit in range(64):
    memory.write_entry(leaf.address, leaf.value ^ 1 << bit)
    flipped = mmu.walk(memory, cr3=cr3, va=0x400123, profile=mmu.Profile.generation("zen-3"))
    reads.setdefault(str(flipped.fault or "completes"), []).append(bit)
memory.write_entry(leaf.address, leaf.value)
for end, bits in reads.items():
    print(f"{end}: bits {bits}")

# %% Everything that the manuals allow. Where they leave a choice there are several outcomes.
for outcome in mmu.predict({0x1000: 0x2007}, cr3=0x1000, va=0).outcomes:
    print(outcome, "by", outcome.choice)

# %% What machines did: the corpus that comes with crosswalk, as records.
try:
    import pandas
except ModuleNotFoundError:
    print("without pandas there is no table here")
else:
    frame = pandas.DataFrame(mmu.corpus())
    print(frame.groupby(["flavour", "mode"]).size().unstack(fill_value=0))
    faults = frame[frame.vector == 14]
    print(faults.groupby(faults.error_code.astype(int)).size().rename("page faults"))

# %% A memory image: pages that can be both written and executed.
if len(sys.argv) > 1:
    image = mmu.Image(sys.argv[1])
    print(image, image.registers())
    mappings = image.mappings()
    for found in mappings:
        if found["writable"] and found["executable"]:
            print(f"{found['va']:#x}, {found['length']:#x} bytes, at {found['frame']:#x}")
    print(mappings.problems)
