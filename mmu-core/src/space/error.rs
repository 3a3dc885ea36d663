//! Why an operation was not done.

use super::SpaceId;
use crate::address::{PhysAddr, VirtAddr};
use crate::memory::OutsideMemory;
use core::fmt;

/// Why an operation was not done. What was done before it is undone, or is harmless: tables that
/// were added, pages that were written to the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpaceError {
    /// No frame is free and none can be reclaimed, for what this address needs.
    OutOfFrames(VirtAddr),
    /// There is no such address space.
    NoSuchSpace(SpaceId),
    /// There are as many address spaces as there can be.
    TooManySpaces,
    /// The space has as many regions as it can have; this was one too many.
    TooManyRegions(VirtAddr),
    /// A region starts or ends inside a page.
    Misaligned(VirtAddr),
    /// A region is empty, not canonical, or ends behind the last address.
    BadRange(VirtAddr),
    /// There is a region already.
    Overlap(VirtAddr),
    /// There is no region that starts there.
    NoRegion(VirtAddr),
    /// The region cannot grow so far.
    CannotGrow(VirtAddr),
    /// There is no such shared object, it has fewer pages than the region that starts there, or the
    /// space has it already.
    BadObject(VirtAddr),
    /// There are as many shared objects as there can be, or the object is too long.
    TooManyObjects,
    /// The slots of the region's contents do not exist.
    BadSlots(VirtAddr),
    /// A frame is too far up for an entry of this format.
    FrameTooHigh(PhysAddr),
    /// A region is to show fixed memory that holds frames of the system; this is the first of them.
    OwnFrame(PhysAddr),
    /// There is no memory where there should be.
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
