//! The numbers of spaces, shared objects and slots, and the size of a page.

use crate::address::{PAGE_SHIFT, PageSize, VirtAddr};
use core::fmt;

/// Bytes of a page and of a frame.
pub const PAGE_BYTES: u64 = PageSize::Size4KiB.bytes();

/// The first address of the page that holds an address.
pub(super) const fn page_of(address: VirtAddr) -> VirtAddr {
    VirtAddr::new(address.get() & !(PAGE_BYTES - 1))
}

/// The number of an address space. Numbers of spaces that have ended are used again, the lowest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpaceId(pub u8);

impl fmt::Display for SpaceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The number of a shared object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectId(pub u8);

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The number of a slot of the backing store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SlotNumber(pub u32);

impl SlotNumber {
    /// The slot `count` further on.
    #[must_use]
    pub const fn plus(self, count: u64) -> Self {
        Self(self.0.wrapping_add(count as u32))
    }

    /// The distance from the first slot, in bytes.
    pub const fn offset(self) -> u64 {
        (self.0 as u64) << PAGE_SHIFT
    }
}
