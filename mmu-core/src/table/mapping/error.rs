//! Why a mapping cannot be made or changed.

use crate::address::{PageSize, PhysAddr, VirtAddr};
use crate::memory::OutsideMemory;
use crate::x86::format::EntryBits;
use crate::x86::rule::Rule;
use crate::x86::semantics::Rights;
use core::fmt;

/// Why an edit failed. `E` is the error of the memory. No mapping has changed then, though empty tables may have been added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MapError<E = OutsideMemory> {
    /// The frame allocator has no frame for a new table.
    OutOfFrames,
    /// The address is not a multiple of the page size.
    Misaligned(u64, PageSize),
    /// The linear address is not canonical.
    NotCanonical(VirtAddr),
    /// The format or the processor does not have pages of this size.
    NoSuchPageSize(PageSize),
    /// The physical address is above MAXPHYADDR, or above what an entry of this level can hold.
    AboveMaxPhysical(PhysAddr),
    /// These flags would change the address of a page of this size: [`EntryBits::LARGE_PAT`] is an
    /// address bit of a 4 KiB page, whose PAT bit is [`EntryBits::PS`] (MODE-11).
    FlagsInAddress(EntryBits, PageSize),
    /// Entries of this format do not have these bits: XD in an entry of 4 bytes, and in a flat table
    /// everything but P, R/W and U/S, which each of its pages has anyway.
    NoSuchFlags(EntryBits),
    /// These bits are reserved by this rule, in the leaf or in an entry above it: a walk would end
    /// there with a page fault.
    Reserved(EntryBits, Rule),
    /// The tables above this page forbid these rights, so the flags of a leaf cannot grant them
    /// (RIGHT-1). Flags that do not ask for them fit: R/W=0, U/S=0, XD=1.
    Forbidden(VirtAddr, Rights),
    /// Something is already mapped there, possibly by a page of another size.
    Overlap(VirtAddr),
    /// Nothing is mapped there.
    NotMapped(VirtAddr),
    /// A table cannot be read or written, for instance because it is outside memory.
    Memory(E),
}

impl<E: fmt::Display> fmt::Display for MapError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OutOfFrames => f.write_str("no frame is left for a new table"),
            Self::Misaligned(address, size) => {
                write!(f, "{address:#x} is not a multiple of the page size {:#x}", size.bytes())
            }
            Self::NotCanonical(address) => write!(f, "{address} is not canonical"),
            Self::NoSuchPageSize(size) => {
                write!(f, "pages of {:#x} bytes do not exist here", size.bytes())
            }
            Self::AboveMaxPhysical(address) => {
                write!(f, "{address} is above the physical addresses that an entry can hold")
            }
            Self::FlagsInAddress(flags, size) => {
                let flags = flags.bits();
                let bytes = size.bytes();
                write!(f, "the flags {flags:#x} are address bits of a page of {bytes:#x} bytes")
            }
            Self::NoSuchFlags(flags) => {
                write!(f, "entries of this format do not have the bits {:#x}", flags.bits())
            }
            Self::Reserved(bits, rule) => {
                write!(f, "the bits {:#x} of an entry are reserved ({rule})", bits.bits())
            }
            Self::Forbidden(page, rights) => {
                write!(f, "the tables above {page} forbid it to be ")?;
                let names = [
                    (Rights::WRITE, "written"),
                    (Rights::USER, "used by the user"),
                    (Rights::EXECUTE, "executed"),
                ];
                let forbidden = names.iter().filter(|(right, _)| rights.contains(*right));
                for (number, (_, name)) in forbidden.enumerate() {
                    let separator = if number == 0 { "" } else { " or " };
                    write!(f, "{separator}{name}")?;
                }
                Ok(())
            }
            Self::Overlap(address) => write!(f, "{address} is mapped already"),
            Self::NotMapped(address) => write!(f, "{address} is not mapped"),
            Self::Memory(error) => error.fmt(f),
        }
    }
}

impl<E: fmt::Debug + fmt::Display> core::error::Error for MapError<E> {}

impl<E> From<E> for MapError<E> {
    fn from(error: E) -> Self {
        Self::Memory(error)
    }
}
