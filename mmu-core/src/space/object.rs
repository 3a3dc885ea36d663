//! Shared objects: pages that several spaces share.

use super::ids::SlotNumber;
use super::region::Backing;
use crate::address::PhysAddr;

/// The maximum number of pages of a shared object.
pub const MAX_OBJECT_PAGES: usize = 16;

/// Where a page of an object is. The object keeps this, and not the entries of the spaces that share
/// it, since a page that no space maps at the moment must not be lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ObjectPage {
    /// Still only in the object's backing.
    Untouched,
    /// In this slot.
    Swapped(SlotNumber),
    /// In this frame.
    InFrame(PhysAddr),
}

/// A shared object.
#[derive(Clone, Debug)]
pub(super) struct Object {
    pub(super) pages: [ObjectPage; MAX_OBJECT_PAGES],
    /// The number of pages that are part of the object.
    pub(super) count: u64,
    pub(super) backing: Backing,
    /// The number of regions that show the object.
    pub(super) attached: u16,
}
