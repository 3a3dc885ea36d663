//! The frames of memory: which are free, what the others are used for, and the references to each.

use super::ids::{ObjectId, PAGE_BYTES, SlotNumber, SpaceId};
use crate::address::{PhysAddr, VirtAddr};

/// What a frame is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FrameUse {
    /// A table of a space, or a part of a root table that is larger than a frame.
    Table(SpaceId),
    /// A page that is mapped at this address in every space that has it: several, after a fork.
    Page(VirtAddr),
    /// A page of a shared object, by its number.
    Shared(ObjectId, u16),
}

/// A frame that is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// What it is used for.
    pub usage: FrameUse,
    /// The space for which it was allocated; after copy-on-write, the space that kept it.
    pub owner: SpaceId,
    /// The references to it: one for every entry that maps it, and one for its object.
    pub references: u16,
    /// The slot that has the same contents, unless the frame is dirty.
    pub slot: Option<SlotNumber>,
    /// Whether the contents may differ from those of the slot, or without a slot from zeros. The D
    /// bits of the entries that map the frame now are not included.
    pub dirty: bool,
}

/// The frames of a range of memory, at most `N`. The lowest free frame is handed out first, so that
/// the same operations give the same frames everywhere.
#[derive(Clone, Debug)]
pub struct Frames<const N: usize> {
    first: PhysAddr,
    count: usize,
    places: [Option<Frame>; N],
    /// No frame below this number is free.
    lowest: usize,
}

impl<const N: usize> Frames<N> {
    /// `count` free frames (cut to `N`) from `first` up, which is 4 KiB aligned.
    pub const fn new(first: PhysAddr, count: usize) -> Self {
        let count = if count < N { count } else { N };
        Self { first, count, places: [None; N], lowest: 0 }
    }

    /// The number of frames.
    pub const fn count(&self) -> usize {
        self.count
    }

    /// The number of free frames.
    pub fn free(&self) -> usize {
        self.count - self.iter().count()
    }

    /// Takes the lowest free frame. It still has the contents of its last use.
    pub fn allocate(&mut self, usage: FrameUse, owner: SpaceId) -> Option<PhysAddr> {
        self.allocate_run(1, usage, owner)
    }

    /// Takes the lowest `length` consecutive free frames, and returns the first of them; `None` also
    /// if `length` is 0.
    ///
    /// ```
    /// use mmu_core::PhysAddr;
    /// use mmu_core::space::{FrameUse, Frames, SpaceId};
    ///
    /// let mut frames = Frames::<8>::new(PhysAddr::new(0x10_0000), 3);
    /// let table = FrameUse::Table(SpaceId(0));
    /// assert_eq!(frames.allocate(table, SpaceId(0)), Some(PhysAddr::new(0x10_0000)));
    /// assert_eq!(frames.allocate_run(2, table, SpaceId(0)), Some(PhysAddr::new(0x10_1000)));
    /// assert_eq!(frames.allocate(table, SpaceId(0)), None);
    ///
    /// frames.share(PhysAddr::new(0x10_1000));
    /// assert!(frames.release(PhysAddr::new(0x10_1000)).is_none()); // one reference is left
    /// assert!(frames.release(PhysAddr::new(0x10_1000)).is_some());
    /// assert_eq!(frames.allocate(table, SpaceId(0)), Some(PhysAddr::new(0x10_1000)));
    /// ```
    pub fn allocate_run(
        &mut self,
        length: usize,
        usage: FrameUse,
        owner: SpaceId,
    ) -> Option<PhysAddr> {
        if length == 0 {
            return None;
        }

        let frames = &mut self.places[..self.count];
        let lowest = frames.iter().skip(self.lowest).position(Option::is_none);
        self.lowest = lowest.map_or(self.count, |ahead| self.lowest + ahead);

        let mut runs = frames.get(self.lowest..)?.windows(length);
        let start = self.lowest + runs.position(|run| run.iter().all(Option::is_none))?;

        let new = Frame { usage, owner, references: 1, slot: None, dirty: false };
        frames[start..start + length].fill(Some(new));
        Some(self.address(start))
    }

    /// Adds a reference to a frame that is in use.
    pub fn share(&mut self, frame: PhysAddr) {
        if let Some(frame) = self.get_mut(frame) {
            frame.references = frame.references.saturating_add(1);
        }
    }

    /// Drops a reference. With the last one the frame becomes free, and what it was is returned.
    pub fn release(&mut self, frame: PhysAddr) -> Option<Frame> {
        let number = self.number(frame)?;
        let place = &mut self.places[number];
        let known = place.as_mut()?;

        known.references -= 1;
        if known.references > 0 {
            return None;
        }

        self.lowest = self.lowest.min(number);
        place.take()
    }

    /// What a frame is used for; `None` if it is free, or not one of these.
    pub fn get(&self, frame: PhysAddr) -> Option<&Frame> {
        self.places[self.number(frame)?].as_ref()
    }

    pub(super) fn get_mut(&mut self, frame: PhysAddr) -> Option<&mut Frame> {
        let number = self.number(frame)?;
        self.places[number].as_mut()
    }

    /// Every frame that is in use, lowest first.
    pub fn iter(&self) -> impl Iterator<Item = (PhysAddr, &Frame)> {
        let numbered = self.places[..self.count].iter().enumerate();
        numbered.filter_map(|(number, frame)| Some((self.address(number), frame.as_ref()?)))
    }

    /// The first frame.
    pub const fn first(&self) -> PhysAddr {
        self.first
    }

    /// Whether this is one of the frames, free or not.
    pub(super) fn is_one_of(&self, frame: PhysAddr) -> bool {
        self.number(frame).is_some()
    }

    /// The address of a frame by its number.
    pub(super) const fn address(&self, number: usize) -> PhysAddr {
        PhysAddr::new(self.first.get().wrapping_add((number as u64).wrapping_mul(PAGE_BYTES)))
    }

    /// The number of a frame by its address.
    pub(super) fn number(&self, frame: PhysAddr) -> Option<usize> {
        let number = (frame.get().checked_sub(self.first.get())? / PAGE_BYTES) as usize;
        (number < self.count).then_some(number)
    }
}
