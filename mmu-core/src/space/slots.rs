//! The slots of the backing store: which are free, and the references to each.

use super::ids::SlotNumber;

/// The slots of a store, at most `N`. The first of them hold *images*, from which programs are loaded,
/// and are never written. The others take reclaimed pages.
#[derive(Clone, Debug)]
pub struct Slots<const N: usize> {
    images: u32,
    count: u32,
    /// The references to each slot: by entries with P=0, by frames with the same contents, and by
    /// shared objects.
    references: [u16; N],
}

impl<const N: usize> Slots<N> {
    /// `count` slots (cut to `N`), of which the first `images` (cut to the same number) are never
    /// written.
    pub const fn new(count: u32, images: u32) -> Self {
        let count = if count < N as u32 { count } else { N as u32 };
        let images = if images < count { images } else { count };
        Self { images, count, references: [0; N] }
    }

    /// The last slot, if there is one.
    pub(super) const fn last(&self) -> Option<SlotNumber> {
        match self.count.checked_sub(1) {
            Some(last) => Some(SlotNumber(last)),
            None => None,
        }
    }

    /// Whether these slots are images.
    pub(super) const fn are_images(&self, first: SlotNumber, pages: u64) -> bool {
        first.0 as u64 + pages <= self.images as u64
    }

    /// Takes the lowest free slot.
    pub(super) fn allocate(&mut self) -> Option<SlotNumber> {
        let free = (self.images..self.count).find(|slot| self.references[*slot as usize] == 0)?;

        self.references[free as usize] = 1;
        Some(SlotNumber(free))
    }

    /// Adds a reference.
    pub(super) fn share(&mut self, slot: SlotNumber) {
        if let Some(references) = self.references.get_mut(slot.0 as usize) {
            *references += 1;
        }
    }

    /// Drops a reference. After the last the slot is free.
    pub(super) fn release(&mut self, slot: SlotNumber) {
        if let Some(references) = self.references.get_mut(slot.0 as usize) {
            *references = references.saturating_sub(1);
        }
    }

    /// The number of references to a slot.
    pub fn references(&self, slot: SlotNumber) -> u16 {
        self.references.get(slot.0 as usize).copied().unwrap_or(0)
    }

    /// Every slot with references, and their number, lowest slot first.
    pub fn iter(&self) -> impl Iterator<Item = (SlotNumber, u16)> {
        let counted = (0..self.count).zip(&self.references);
        counted
            .filter(|(_, references)| **references > 0)
            .map(|(slot, count)| (SlotNumber(slot), *count))
    }

    /// Whether a slot holds an image, which is never written.
    pub const fn is_image(&self, slot: SlotNumber) -> bool {
        slot.0 < self.images
    }

    /// Whether a frame may be written to the slot that it came from, because nothing else refers to
    /// the slot.
    pub(super) fn may_be_written(&self, slot: SlotNumber) -> bool {
        slot.0 >= self.images && self.references(slot) == 1
    }

    /// The number of slots with reclaimed pages.
    pub fn in_use(&self) -> usize {
        let swap = self.references.get(self.images as usize..self.count as usize);
        swap.map_or(0, |swap| swap.iter().filter(|references| **references > 0).count())
    }
}
