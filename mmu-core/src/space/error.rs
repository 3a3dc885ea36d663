//! Why an operation failed.

use super::ids::{SlotNumber, SpaceId};
use crate::address::{PhysAddr, VirtAddr};
use crate::memory::OutsideMemory;
use core::fmt;

/// Why an operation failed. What it had done is undone, or harmless: added tables, and pages written to
/// the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpaceError {
    /// No frame is free and none can be reclaimed, for the page or a table of this address.
    OutOfFrames(VirtAddr),
    /// There is no such address space.
    NoSuchSpace(SpaceId),
    /// There is no room for another address space.
    TooManySpaces,
    /// The space has no room for another region, the one at this address.
    TooManyRegions(VirtAddr),
    /// A region starts or ends inside a page.
    Misaligned(VirtAddr),
    /// A region is empty, not canonical, or ends behind the last address of the format.
    BadRange(VirtAddr),
    /// Another region is in the way.
    Overlap(VirtAddr),
    /// No region holds this address.
    NoRegion(VirtAddr),
    /// The region cannot grow that far.
    CannotGrow(VirtAddr),
    /// There is no such shared object, it has fewer pages than the region that starts here, or the
    /// space already has it.
    BadObject(VirtAddr),
    /// There is no room for another shared object, or the object has too many pages.
    TooManyObjects,
    /// The slots of the region's contents do not exist.
    BadSlots(VirtAddr),
    /// A frame is above the physical addresses that an entry of this format can hold.
    FrameTooHigh(PhysAddr),
    /// A slot has a number that the entry of a page that is not in memory cannot hold.
    SlotTooHigh(SlotNumber),
    /// A region of fixed memory, from this address, includes frames of the system.
    OwnFrame(PhysAddr),
    /// There is no memory where a table or a page should be.
    Outside(OutsideMemory),
}

impl fmt::Display for SpaceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OutOfFrames(address) => {
                write!(f, "no frame is free, and none can be reclaimed, for {address}")
            }
            Self::NoSuchSpace(space) => write!(f, "there is no address space {space}"),
            Self::TooManySpaces => f.write_str("there are too many address spaces"),
            Self::TooManyRegions(start) => write!(f, "the region at {start} is one too many"),
            Self::Misaligned(address) => write!(f, "{address} is not the start of a page"),
            Self::BadRange(start) => {
                write!(f, "the region at {start} is empty or leaves the addresses of the format")
            }
            Self::Overlap(start) => write!(f, "the region at {start} overlaps another"),
            Self::NoRegion(start) => write!(f, "no region starts at {start}"),
            Self::CannotGrow(start) => write!(f, "the region at {start} cannot grow so far"),
            Self::BadObject(start) => {
                write!(f, "the region at {start} does not fit a shared object of its own")
            }
            Self::TooManyObjects => {
                f.write_str("there are too many shared objects or pages of one")
            }
            Self::BadSlots(start) => {
                write!(f, "the contents of the region at {start} are not in the store")
            }
            Self::FrameTooHigh(frame) => write!(f, "frame {frame} does not fit into an entry"),
            Self::SlotTooHigh(slot) => write!(f, "slot {} does not fit into an entry", slot.0),
            Self::OwnFrame(frame) => {
                write!(f, "the memory from {frame} on holds frames of the system")
            }
            Self::Outside(outside) => outside.fmt(f),
        }
    }
}

impl core::error::Error for SpaceError {}

impl From<OutsideMemory> for SpaceError {
    fn from(outside: OutsideMemory) -> Self {
        Self::Outside(outside)
    }
}
