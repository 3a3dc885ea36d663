//! The mapping of a lane's pages: entries, and the address that they translate.

use super::{AccessTarget, CaseBuilder, PlacedEntry, outside_page};
use crate::generate::canonical;
use crate::generate::placement::{FreeSlots, TableSlot};
use arrayvec::ArrayVec;
use crosswalk_guest::contents::{self, CODE_OFFSETS, DESCRIPTOR_OFFSETS, crossing_code};
use crosswalk_guest::high;
use crosswalk_guest::stub::{Code, Form};
use crosswalk_guest::tables;
use mmu_core::x86::format::{self, EntryBits, EntryKind, MAX_LEVELS, levels};
use mmu_core::{PagingMode, PhysAddr};
use rand::{Rng, RngExt};
use std::ops::Range;

/// A slot and the depth of the level that it serves.
pub(super) type SlotAtDepth = (TableSlot, usize);

impl CaseBuilder<'_> {
    /// Maps the lane's pages in random slots. Without paging, the address is that of the frames.
    pub(in crate::generate) fn place_anywhere(
        &mut self,
        rng: &mut impl Rng,
        slots: &mut FreeSlots,
    ) {
        if self.mode == PagingMode::Unpaged {
            let frames = self.arena.data_frames(self.lane);
            self.address = frames | self.page_offset(rng);
            return;
        }

        if self.crosses && self.leaf_level == self.last() {
            let mut free = slots.clone();
            if let Some(path) = free.draw_path(rng, self.leaf_level, true) {
                *slots = free;
                let second = [(path[self.leaf_level].next(), self.leaf_level)];
                return self.map(rng, &path, Some(&second));
            }
            // No pair of slots is left. Single ones are, for every lane.
            self.crosses = false;
        }
        let path = slots.draw_path(rng, self.leaf_level, false);
        self.map(rng, &path.expect("every level has a slot for every lane"), None);
    }

    /// Maps the lane's frames by a page of 1 GiB below 4 GiB, through PDPTE 2 or 3, in compatibility
    /// mode.
    pub(in crate::generate) fn place_1_gib(&mut self, rng: &mut impl Rng, slots: &FreeSlots) {
        let directory = slots.first_own_tables().start + rng.random_range(2..4);
        self.crosses = false;
        self.leaf_level = slots.shared_levels() - 1;
        self.map(rng, &slots.shared_path(directory), None);
    }

    /// Whether a small page can map the target.
    pub(super) fn maps_frames(&self) -> bool {
        // A 32-bit entry reaches a high address in a large page only.
        self.target == AccessTarget::Data || self.mode != PagingMode::Bits32
    }

    /// Maps the first page by the slots of its path, and the second by slots of its own; then forms
    /// the address.
    pub(super) fn map(
        &mut self,
        rng: &mut impl Rng,
        path: &[TableSlot],
        second: Option<&[SlotAtDepth]>,
    ) {
        let shift = levels(self.mode)[self.leaf_level].shift;
        let within_page = (1 << shift) - 1;

        let pages = self.pages(rng, second.is_some());
        let base = match self.target {
            AccessTarget::Outside => outside_page(rng, self.machine, self.mode, shift),
            AccessTarget::Data | AccessTarget::High(_) => pages[0] & !within_page,
        };
        let first: ArrayVec<SlotAtDepth, MAX_LEVELS> = path.iter().copied().zip(0..).collect();
        self.link(&first, base);
        if let Some(second) = second {
            self.link(second, pages[1]);
        }

        let levels = levels(self.mode);
        let indices = path.iter().zip(levels).map(|(slot, level)| slot.index << level.shift);
        let offset = (pages[0] & within_page) | self.page_offset(rng);
        self.address = canonical(self.mode, indices.sum::<u64>() | offset);
    }

    /// The frames of the first and the second page.
    fn pages(&self, rng: &mut impl Rng, has_second: bool) -> [u64; 2] {
        let frames = self.arena.data_frames(self.lane);
        let mut pages = [frames, frames + 0x1000];

        // The frames of two small pages may be in any order.
        if self.leaf_level == self.last() && rng.random_bool(0.5) {
            pages.reverse();
        }
        // Both pages may map one frame.
        if has_second && rng.random_bool(0.2) {
            pages[1] = pages[0];
        }
        match self.target {
            AccessTarget::High(place) => pages.map(|page| high::appears_at(place, page)),
            AccessTarget::Data | AccessTarget::Outside => pages,
        }
    }

    /// Adds plain entries: each points to the table of the next, and the last to a page.
    fn link(&mut self, path: &[SlotAtDepth], page: u64) {
        let plain = EntryBits::P | EntryBits::RW | EntryBits::US;

        for (i, (slot, depth)) in path.iter().enumerate() {
            // An entry that is used again has the same value.
            if self.entries.iter().any(|entry| entry.slot == *slot) {
                continue;
            }
            let level = &levels(self.mode)[*depth];
            let (kind, target) = match path.get(i + 1) {
                Some((next, _)) => (EntryKind::Table, self.arena.table(next.table)),
                None => (EntryKind::Leaf, page),
            };
            let value = format::entry(self.mode, level, kind, PhysAddr::new(target), plain);
            let value = if kind == EntryKind::Table { self.shared(*slot, value) } else { value };
            self.entries.push(PlacedEntry { slot: *slot, level, value });
        }
    }

    /// The value of an entry as the batch has it, if its lanes share it.
    fn shared(&self, slot: TableSlot, plain: u64) -> u64 {
        let levels = tables::shared_levels(self.table_use());
        if !self.compatibility || slot.table >= levels {
            return plain;
        }

        let is_pdpte = slot.table + 1 == levels;
        let pdpte = slot.index.checked_sub(2).filter(|_| is_pdpte);
        let unusual = pdpte.and_then(|pdpte| self.unusual_pdptes.get(pdpte as usize));
        // With A set, no lane changes it.
        (plain | EntryBits::A.bits()) ^ unusual.copied().unwrap_or(0)
    }

    /// The offset in its page at which the access starts: one with something for the instruction.
    /// Sets the size of a fetch.
    fn page_offset(&mut self, rng: &mut impl Rng) -> u64 {
        let size = u64::from(self.size);
        let mut below = |n: u64| rng.random_range(0..n);

        match (self.form, self.crosses) {
            (Form::Jump, true) => {
                let (offset, size) = crossing_code(Code::of(self.table_use()));
                self.size = size;
                offset
            }
            (Form::Jump, false) => {
                self.size = contents::CODE_SIZE;
                aligned(below, CODE_OFFSETS)
            }
            (Form::SegmentLimit, _) => aligned(below, DESCRIPTOR_OFFSETS),
            (_, true) => 0x1000 - 1 - below(size - 1),
            (_, false) => match below(8) {
                0 => 0,
                1 => 0x1000 - size,
                _ => below(0x1001 - size),
            },
        }
    }
}

/// An offset in a range that is a multiple of 8.
fn aligned(mut below: impl FnMut(u64) -> u64, range: Range<u64>) -> u64 {
    range.start + 8 * below((range.end - range.start) / 8)
}
