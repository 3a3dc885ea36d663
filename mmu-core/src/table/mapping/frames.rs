//! Where frames for new tables come from.

use crate::address::{PageSize, PhysAddr};

/// Hands out 4 KiB frames for tables.
pub trait FrameAllocator {
    /// A frame that is not in use, or `None` when none is left. Its contents are arbitrary.
    fn allocate(&mut self) -> Option<PhysAddr>;
}

/// Hands out the frames of a range, lowest first. Frames cannot be given back.
///
/// ```
/// use mmu_core::PhysAddr;
/// use mmu_core::table::mapping::{FrameAllocator, FrameRange};
/// let mut frames = FrameRange::new(PhysAddr::new(0x1000), 2);
/// assert_eq!(frames.allocate(), Some(PhysAddr::new(0x1000)));
/// assert_eq!(frames.allocate(), Some(PhysAddr::new(0x2000)));
/// assert_eq!(frames.allocate(), None);
/// ```
#[derive(Clone, Debug)]
pub struct FrameRange {
    next: PhysAddr,
    left: usize,
}

impl FrameRange {
    /// `count` frames from `first` up, which is 4 KiB aligned.
    pub const fn new(first: PhysAddr, count: usize) -> Self {
        Self { next: first, left: count }
    }
}

impl FrameAllocator for FrameRange {
    fn allocate(&mut self) -> Option<PhysAddr> {
        self.left = self.left.checked_sub(1)?;

        let frame = self.next;
        self.next = frame + PageSize::Size4KiB.bytes();
        Some(frame)
    }
}
