"""Every page of an image by volatility3's Intel layers: volatility3_pages.py IMAGE CR3 LEVELS.

Prints a line for each piece, with the first address, the size and the physical address, and at the end how many
seconds the map took, without the start of Python and of the library. It says nothing about rights.
"""

import pathlib
import sys
import time

from volatility3.framework import contexts
from volatility3.framework.layers import elf, intel, physical


def main():
    image, cr3, levels = pathlib.Path(sys.argv[1]), int(sys.argv[2], 16), int(sys.argv[3])
    if levels != 4:
        sys.exit("it has no layer for this mode")

    context = contexts.Context()
    context.config["file.location"] = image.resolve().as_uri()
    context.add_layer(physical.FileLayer(context, "file", "file"))
    context.config["memory.base_layer"] = "file"
    context.add_layer(elf.Elf64Layer(context, "memory", "memory"))
    context.config["pages.memory_layer"] = "memory"
    context.config["pages.page_map_offset"] = cr3 & ~0xFFF
    layer = intel.Intel32e(context, "pages", "pages")
    context.add_layer(layer)

    start = time.perf_counter()
    whole = layer.maximum_address - layer.minimum_address + 1
    pieces = list(layer.mapping(layer.minimum_address, whole, ignore_errors=True))
    seconds = time.perf_counter() - start

    for first, size, address, _, _ in pieces:
        # Its addresses of the upper half have no sign.
        canonical = first | 0xFFFF << 48 if first >> 47 else first
        print(f"{canonical:x} {size:x} {address:x} - - -")
    print(f"seconds {seconds}")


if __name__ == "__main__":
    main()
