"""Every page of an image by gdb-pt-dump, without gdb: gdb_pt_dump_pages.py IMAGE CR3 LEVELS.

The checkout of gdb-pt-dump is in PYTHONPATH. Prints a line for each range, with the first address, the size, the
physical address, and whether it can be written, accessed by user code, and executed; and at the end how many
seconds the parse took.
"""

import argparse
import mmap
import struct
import sys
import time

from pt.machine import Machine
from pt.pt_x86_64_parse import PT_x86_64_Backend


class Dump(Machine):
    """An ELF dump."""

    def __init__(self, path, cr3, levels):
        super().__init__()
        self.registers = {
            "$cr0": 0x80010011,
            "$cr3": cr3,
            "$cr4": 0x20 | (0x1000 if levels == 5 else 0),
            "$efer": 0xD00,
        }
        with open(path, "rb") as file:
            self.bytes = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)

        (table,) = struct.unpack_from("<Q", self.bytes, 32)
        size, count = struct.unpack_from("<HH", self.bytes, 54)
        headers = (struct.unpack_from("<IIQQQQ", self.bytes, table + size * i) for i in range(count))
        self.segments = [(pa, offset, length) for kind, _, offset, _, pa, length in headers if kind == 1]

    def read_register(self, register_name):
        return self.registers[register_name]

    def read_physical_memory(self, physical_address, length):
        for start, offset, size in self.segments:
            if start <= physical_address and physical_address + length <= start + size:
                at = offset + physical_address - start
                return self.bytes[at : at + length]
        raise IndexError(hex(physical_address))


def main():
    image, cr3, levels = sys.argv[1], int(sys.argv[2], 16), int(sys.argv[3])
    dump = Dump(image, cr3, levels)
    options = argparse.Namespace(cr3=None, save=False, force_traverse_all=False, phys_verbose=True)

    start = time.perf_counter()
    ranges = PT_x86_64_Backend(dump).parse_tables({}, options)
    seconds = time.perf_counter() - start

    for page in ranges:
        rights = f"{int(page.w)} {int(not page.s)} {int(page.x)}"
        print(f"{page.va & 2**64 - 1:x} {page.page_size:x} {page.phys[0]:x} {rights}")
    print(f"seconds {seconds}")


if __name__ == "__main__":
    main()
