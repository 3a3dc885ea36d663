"""The types of crosswalk_mmu. Every number is an address, a register value or an entry as the manuals have it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from os import PathLike
from typing import Any, Literal, TypeAlias, TypedDict, final, type_check_only

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

_Mode: TypeAlias = Literal["unpaged", "32bit", "pae", "4level", "5level"]
_AccessKind: TypeAlias = Literal["read", "write", "rmw", "fetch", "clflush"]
_Segment: TypeAlias = Literal["data", "stack", "fs", "gs"]

class CorpusError(ValueError):
    """A file is neither a corpus nor a file of test vectors, or it is damaged. The message names the line."""

class ImageError(ValueError):
    """A file is no memory image, is malformed, or lacks what is asked for."""

class MapError(ValueError):
    """A page cannot be mapped."""

class OutsideMemoryError(LookupError):
    """There is no memory at a physical address."""

@final
class Profile:
    """A processor, as far as address translation is concerned."""

    def __new__(
        cls,
        vendor: Literal["intel", "amd", "unknown"] = "unknown",
        *,
        max_physical_address: int | None = None,
        features: Sequence[str] | None = None,
    ) -> Profile:
        """A processor of a vendor, whose manual decides where the two differ; "unknown" allows both.

        `max_physical_address` is MAXPHYADDR, 32 to 52 bits. `features` are all that it has, of "nx", "page_1gb",
        "pge", "smep", "smap", "pku", "pks", "pse36", "pat", "la57", "pcid", "lam", "invpcid" and "cet_ss". Without
        them it has all, and physical addresses have 48 bits.
        """

    @staticmethod
    def generation(name: str) -> Profile:
        """A generation of processors, such as "skylake" or "zen-3". ValueError lists them all."""

    @staticmethod
    def generations() -> list[str]:
        """The names of all generations, oldest first, Intel's before AMD's."""

    @property
    def vendor(self) -> str: ...
    @property
    def max_physical_address(self) -> int: ...
    @property
    def features(self) -> list[str]: ...

@final
class Fault:
    """An exception that a translation raises. `str(fault)` is as in "#PF(P|W|U) at 0x1234"."""

    @property
    def vector(self) -> int:
        """14 for #PF, 13 for #GP, 12 for #SS, 17 for #AC."""

    @property
    def mnemonic(self) -> str:
        """"#PF", "#GP", "#SS" or "#AC"."""

    @property
    def error_code(self) -> int: ...
    @property
    def bits(self) -> list[str]:
        """The bits of a page fault's error code, of "P", "W", "U", "RSVD", "I", "PK" and "SS"."""

    @property
    def cr2(self) -> int | None:
        """The new CR2; None if CR2 keeps its value."""

@final
class PTE:
    """A table entry on the path of a walk, of any level."""

    @property
    def name(self) -> str:
        """What the manuals call entries of its level: "PML5E", "PML4E", "PDPTE", "PDE", "PTE"."""

    @property
    def level(self) -> int:
        """1 for the last."""

    @property
    def address(self) -> int:
        """Its physical address."""

    @property
    def value(self) -> int: ...
    @property
    def frame(self) -> int:
        """The physical address in it: of the next table, or of the page."""

    @property
    def is_leaf(self) -> bool:
        """Whether it maps a page."""

    @property
    def present(self) -> bool: ...
    @property
    def writable(self) -> bool: ...
    @property
    def user(self) -> bool: ...
    @property
    def accessed(self) -> bool: ...
    @property
    def dirty(self) -> bool: ...
    @property
    def global_(self) -> bool: ...
    @property
    def no_execute(self) -> bool: ...
    @property
    def key(self) -> int:
        """The protection key of a leaf."""

    @property
    def reserved(self) -> int:
        """The reserved bits that are set: they end the walk with a page fault."""

@final
class Walk:
    """A walk: the entries that it read, and how it ended. A and D are not set by it."""

    @property
    def mode(self) -> str: ...
    @property
    def va(self) -> int: ...
    @property
    def physical(self) -> int | None:
        """The physical address of the first byte; None if the access faults."""

    @property
    def parts(self) -> list[tuple[int, int]]:
        """Address and length of the bytes in each page that the access touches; empty if it faults."""

    @property
    def page_size(self) -> int | None: ...
    @property
    def fault(self) -> Fault | None: ...
    @property
    def path(self) -> list[PTE]:
        """The entries on the path of the first byte, the root's first, down to the one that ends the walk."""

    @property
    def writable(self) -> bool:
        """Whether every entry of the path allows writing."""

    @property
    def user(self) -> bool: ...
    @property
    def executable(self) -> bool: ...
    @property
    def rules(self) -> list[str]:
        """The ids of the rules that decided, such as "CODE-4"; the guide of crosswalk explains them."""

@final
class Update:
    """How an outcome changes a table entry: the bits A and D."""

    @property
    def address(self) -> int: ...
    @property
    def before(self) -> int: ...
    @property
    def must_set(self) -> int:
        """Bits that must be set afterwards."""

    @property
    def may_set(self) -> int:
        """Bits that may be set afterwards, or not."""

    def allows(self, value: int) -> bool:
        """Whether the entry may have this value afterwards."""

@final
class Outcome:
    """One way in which an access may go."""

    @property
    def physical(self) -> int | None:
        """The physical address of the first byte; None if it faults."""

    @property
    def parts(self) -> list[tuple[int, int]]:
        """Address and length of the bytes in each page; empty if it faults."""

    @property
    def fault(self) -> Fault | None: ...
    @property
    def updates(self) -> list[Update]:
        """The entries that change or may change. All others stay as they are."""

    @property
    def choice(self) -> tuple[str, str] | None:
        """Where a rule leaves a choice: its id, and the member that leads here."""

@final
class Prediction:
    """Every outcome that the manuals allow, the likeliest first, and the rules that decided."""

    @property
    def outcomes(self) -> list[Outcome]: ...
    @property
    def rules(self) -> list[str]: ...

@final
class Memory:
    """Physical memory from address 0 on, filled with zeros at first."""

    def __new__(cls, size: int) -> Memory:
        """`size` is a multiple of 4 KiB, up to 4 GiB. MemoryError if the host has no such memory."""

    @property
    def size(self) -> int: ...
    def allocate(self) -> int:
        """Hands out a frame of zeros, for a table, from the end of the memory downwards. MemoryError if none is left."""

    def read(self, address: int, length: int) -> bytes: ...
    def write(self, address: int, data: bytes) -> None: ...
    def read_entry(self, address: int, *, size: Literal[4, 8] = 8) -> int: ...
    def write_entry(self, address: int, value: int, *, size: Literal[4, 8] = 8) -> None: ...

_Tables: TypeAlias = Memory | Image | bytes | dict[int, int] | Callable[[int, int], int | None]
"""Memory that a walk reads: bytes begin at physical address 0; a dict has entries by their physical addresses, the
rest of whose frames is 0; a function is called with the address and the size of an entry, and returns its value, or
None where there is no memory."""

def walk(
    memory: _Tables,
    *,
    cr3: int,
    va: int,
    access: _AccessKind = "read",
    size: int = 1,
    ring: Literal[0, 3] = 3,
    mode: _Mode | None = None,
    cr0: int | None = None,
    cr4: int | None = None,
    efer: int | None = None,
    pkru: int = 0,
    pkrs: int = 0,
    pdptes: tuple[int, int, int, int] | None = None,
    ac: bool = False,
    segment: _Segment = "data",
    implicit: bool = False,
    shadow_stack: bool = False,
    compatibility: bool = False,
    profile: Profile | None = None,
) -> Walk:
    """Follows a linear address through the tables at CR3.

    `mode` gives the registers usual values, with CR0.WP and EFER.NXE; "4level" if it is left out. CR0, CR4 and EFER
    replace them, and decide about the mode. In PAE paging the PDPTE registers are loaded from memory unless `pdptes` are
    given. `ac` is EFLAGS.AC, `implicit` an access of the processor's own, `compatibility` one of code in compatibility
    mode. OutsideMemoryError if a table is where no memory is.
    """

def predict(
    memory: _Tables,
    *,
    cr3: int,
    va: int,
    access: _AccessKind = "read",
    size: int = 1,
    ring: Literal[0, 3] = 3,
    mode: _Mode | None = None,
    cr0: int | None = None,
    cr4: int | None = None,
    efer: int | None = None,
    pkru: int = 0,
    pkrs: int = 0,
    pdptes: tuple[int, int, int, int] | None = None,
    ac: bool = False,
    segment: _Segment = "data",
    implicit: bool = False,
    shadow_stack: bool = False,
    compatibility: bool = False,
    profile: Profile | None = None,
) -> Prediction:
    """Predicts every outcome that the manuals allow for an access. The arguments are those of `walk`."""

def map(
    memory: Memory,
    *,
    cr3: int,
    va: int,
    frame: int,
    length: int = 4096,
    page_size: int | None = None,
    writable: bool = True,
    user: bool = True,
    executable: bool = True,
    global_: bool = False,
    accessed: bool = False,
    dirty: bool = False,
    key: int = 0,
    mode: _Mode | None = None,
    cr0: int | None = None,
    cr4: int | None = None,
    efer: int | None = None,
    profile: Profile | None = None,
) -> None:
    """Maps `length` bytes from `va` on to the frames from `frame` on, in the tables at CR3.

    The largest pages are used that fit at each place, or those of `page_size`, of which one is mapped without `length`.
    Frames for new tables come from `memory.allocate()`, as should the root's; new tables allow everything, so that the
    leaf alone decides. MapError says why a page cannot be mapped; those before it stay mapped.
    """

@type_check_only
class Record(TypedDict):
    """A case of a corpus and what a machine did with it, as a row of a table. None where there is nothing."""

    name: str
    mode: _Mode
    machine: str
    flavour: str
    beneath: str
    emulator: str | None
    cpu: str
    access: _AccessKind
    va: int
    size: int
    ring: int
    actions: int
    """The number of actions before the access."""
    provenance: str | None
    """Who decided; None if the machine could not run the case."""
    faulted: bool | None
    vector: int | None
    error_code: int | None
    cr2: int | None
    verdict: str | None
    """Of test vectors: "agree", "diverge" or "unsupported"."""
    findings: list[str] | None
    """Of test vectors: the known findings that the machine shows."""
    rules: list[str]
    case: dict[str, Any]
    """State, entries, access and processor, as corpora have them, with numbers for strings such as "0x1000"."""
    allowed: dict[str, Any]
    observed: dict[str, Any] | None
    unsupported: str | None

def corpus(path: str | PathLike[str] | None = None) -> Corpus:
    """Reads a corpus that `crosswalk record` or `corpus filter` wrote, or test vectors of `corpus export`, record by
    record. Without a path it reads the corpus that comes with crosswalk. OSError if the file cannot be opened;
    CorpusError, when it is reached, where it is damaged."""

@final
class Corpus(Iterator[Record]):
    """The records of a corpus. `pandas.DataFrame(corpus())` makes a table of them."""

    def __iter__(self) -> Corpus: ...
    def __next__(self) -> Record: ...

@type_check_only
class Registers(TypedDict):
    """The control registers of a CPU."""

    mode: _Mode
    cr0: int
    cr3: int
    cr4: int
    efer: int
    derived: list[str]
    """What was not read but derived or assumed, a sentence each."""

@type_check_only
class MappedRange(TypedDict):
    """Pages next to each other, of one size and with the same rights."""

    va: int
    length: int
    frame: int
    """The physical address of the first page; those of the others follow."""
    page_size: int
    writable: bool
    user: bool
    executable: bool
    accessed: bool | None
    """None if not all pages are alike in it."""
    dirty: bool | None
    global_: bool | None

@final
class Mappings(Iterator[MappedRange]):
    """Everything that tables map, in the order of addresses. A thread reads the image meanwhile, without the GIL."""

    def __iter__(self) -> Mappings: ...
    def __next__(self) -> MappedRange: ...
    @property
    def problems(self) -> Mapping[Literal["reserved", "repeated", "unreadable"], int]:
        """What was found so far that maps nothing: the numbers of entries with reserved bits, of tables that repeat and
        were not read again, and of entries that the image does not have."""

@final
class Image:
    """A memory image. Its memory stays in the file."""

    def __new__(
        cls,
        path: str | PathLike[str],
        *,
        format: Literal["elf", "lime", "kdump", "avml", "windows", "raw"] | None = None,
        ram: Sequence[str] | None = None,
    ) -> Image:
        """Opens an image. Its beginning says the format, unless it is given. Of a raw image `ram` says what is where:
        "START:LENGTH@OFFSET". OSError if it cannot be read, ImageError if it is no image."""

    @property
    def format(self) -> str: ...
    @property
    def byte_count(self) -> int:
        """Number of bytes of physical memory."""

    @property
    def cpu_count(self) -> int:
        """Number of CPUs whose registers it has."""

    def read(self, address: int, length: int) -> bytes:
        """The bytes from a physical address on, at most 1 GiB. OutsideMemoryError if the image lacks one."""

    def registers(
        self,
        *,
        cpu: int = 0,
        cr0: int | None = None,
        cr3: int | None = None,
        cr4: int | None = None,
        efer: int | None = None,
    ) -> Registers:
        """The control registers of a CPU; those that are given replace what the image says."""

    def walk(
        self,
        va: int,
        *,
        access: _AccessKind = "read",
        size: int = 1,
        ring: Literal[0, 3] = 0,
        cpu: int = 0,
        cr0: int | None = None,
        cr3: int | None = None,
        cr4: int | None = None,
        efer: int | None = None,
        ac: bool = False,
        segment: _Segment = "data",
        implicit: bool = False,
        shadow_stack: bool = False,
        compatibility: bool = False,
        profile: Profile | None = None,
    ) -> Walk:
        """Follows a linear address through the tables of a CPU."""

    def mappings(
        self,
        *,
        first: int = 0,
        last: int = 0xFFFFFFFFFFFFFFFF,
        pages: bool = False,
        cpu: int = 0,
        cr0: int | None = None,
        cr3: int | None = None,
        cr4: int | None = None,
        efer: int | None = None,
        profile: Profile | None = None,
    ) -> Mappings:
        """Iterates over everything that the tables of a CPU map, in ranges, or page by page."""
