"""x86 address translation in software.

- `walk` follows an address through page tables, entry by entry; `predict` has every outcome that the manuals allow.
- `Memory` and `map` build page tables.
- `Image` is a memory image: its registers, walks, and everything that its tables map.
- `corpus` reads what machines did with cases of address translation, as records.

Numbers are physical or linear addresses, register values and entries, as they are in the manuals. Whatever is wrong
with an argument or a file raises an exception.
"""

from ._native import (
    PTE,
    Corpus,
    CorpusError,
    Fault,
    Image,
    ImageError,
    MapError,
    Mappings,
    Memory,
    Outcome,
    OutsideMemoryError,
    Prediction,
    Profile,
    Update,
    Walk,
    corpus,
    map,
    predict,
    walk,
)

__all__ = [
    "PTE",
    "Corpus",
    "CorpusError",
    "Fault",
    "Image",
    "ImageError",
    "MapError",
    "Mappings",
    "Memory",
    "Outcome",
    "OutsideMemoryError",
    "Prediction",
    "Profile",
    "Update",
    "Walk",
    "corpus",
    "map",
    "predict",
    "walk",
]
