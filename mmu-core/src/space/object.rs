//! Shared objects: pages that several spaces have in common.

use super::{Backing, SlotNumber};
use crate::address::PhysAddr;
use core::fmt;

/// The most pages of a shared object.
pub const MAX_OBJECT_PAGES: usize = 16;

/// The number of a shared object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectId(pub u8);

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Where a page of an object is. The object knows, and not the entries of those who share it: what
/// is mapped by nobody at the moment must not be lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ObjectPage {
    /// As its backing has it.
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
    pub(super) count: u64,
    pub(super) backing: Backing,
    /// How many regions show it.
    pub(super) attached: u16,
}
