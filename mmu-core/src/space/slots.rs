//! The slots of the backing store: which are free, and how often each is in use.

use super::SlotNumber;

/// The slots of a store, at most `N`. The first of them hold what programs are loaded from (their
/// *images*); these stay as they are. The others take pages that were reclaimed.
#[derive(Clone, Debug)]
pub struct Slots<const N: usize> {
    images: u32,
    count: u32,
    /// How often a slot is in use: by entries with P=0, by frames that have the same contents, and
    /// by shared objects.
    references: [u16; N],
}

impl<const N: usize> Slots<N> {
    /// `count` slots (cut to `N`), of which the first `images` are never written.
    pub const fn new(count: u32, images: u32) -> Self {
        let count = if count < N as u32 { count } else { N as u32 };
        Self { images, count, references: [0; N] }
    }

    /// Whether these slots are images.
    pub(super) const fn are_images(&self, first: SlotNumber, pages: u64) -> bool {
        first.0 as u64 + pages <= self.images as u64
    }

    /// A slot that nobody uses, the lowest.
    pub(super) fn allocate(&mut self) -> Option<SlotNumber> {
        let free = (self.images..self.count).find(|slot| self.references[*slot as usize] == 0)?;
        self.references[free as usize] = 1;
        Some(SlotNumber(free))
    }

    /// One more user.
    pub(super) fn share(&mut self, slot: SlotNumber) {
        if let Some(references) = self.references.get_mut(slot.0 as usize) {
            *references += 1;
        }
    }

    /// One user less; after the last the slot is free.
    pub(super) fn release(&mut self, slot: SlotNumber) {
        if let Some(references) = self.references.get_mut(slot.0 as usize) {
            *references = references.saturating_sub(1);
        }
    }

    /// How many users a slot has.
    pub fn references(&self, slot: SlotNumber) -> u16 {
        self.references.get(slot.0 as usize).copied().unwrap_or(0)
    }

    /// Whether a frame may be written to the slot that it came from: nobody else reads it.
    pub(super) fn may_be_written(&self, slot: SlotNumber) -> bool {
        slot.0 >= self.images && self.references(slot) == 1
    }

    /// How many slots for reclaimed pages are in use.
    pub fn in_use(&self) -> usize {
        let swap = self.references.get(self.images as usize..self.count as usize);
        swap.map_or(0, |swap| swap.iter().filter(|references| **references > 0).count())
    }
}
