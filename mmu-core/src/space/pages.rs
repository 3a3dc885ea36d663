//! The leaf entries of pages: adding the tables for them, writing them, and dropping them.

use super::environment::{Environment, FrameMemory};
use super::error::SpaceError;
use super::frames::FrameUse;
use super::ids::{PAGE_BYTES, SpaceId};
use super::region::{Backing, Region};
use super::system::{Safeguards, System};
use super::tables::{LeafEntry, LeafPlace, PageState, SpaceTables};
use crate::address::{PhysAddr, VirtAddr};
use crate::x86::format::{EntryBits, EntryKind, Format, Level};

impl<F: Format, const FRAMES: usize, const SLOTS: usize> System<F, FRAMES, SLOTS> {
    /// The entry of a page, after adding the tables that it needs.
    pub(super) fn leaf<E: Environment>(
        &mut self,
        env: &mut E,
        space: SpaceId,
        page: VirtAddr,
    ) -> Result<LeafEntry, SpaceError> {
        let tables = self.space(space)?.tables;
        loop {
            match tables.find(env, page)? {
                LeafPlace::Leaf(leaf) => return Ok(leaf),
                LeafPlace::NoTable(level, at) => self.add_table(env, space, page, level, at)?,
            }
        }
    }

    /// Adds an empty table for a page, and the entry at `at` that points to it.
    fn add_table<E: Environment>(
        &mut self,
        env: &mut E,
        space: SpaceId,
        page: VirtAddr,
        level: &Level,
        at: PhysAddr,
    ) -> Result<(), SpaceError> {
        let table = self.obtain(env, FrameUse::Table(space), space, page)?;
        env.wipe(table)?;

        // The leaf alone decides about rights.
        let bits = EntryBits::P | EntryBits::RW | EntryBits::US;
        let entry = F::entry(level, EntryKind::Table, table, bits);
        env.write_entry(at, F::ENTRY_BYTES, entry)?;

        if level.number == F::LEVELS[0].number {
            env.root_changed(space);
        }
        Ok(())
    }

    /// Writes the entry that maps a frame for a region.
    pub(super) fn write_leaf<M: FrameMemory>(
        &self,
        memory: &mut M,
        at: PhysAddr,
        region: &Region,
        frame: PhysAddr,
    ) -> Result<(), SpaceError> {
        Ok(memory.write_entry(at, F::ENTRY_BYTES, self.leaf_entry(region, frame))?)
    }

    /// The entry that maps a frame for a region. It is read-only while other spaces have the same
    /// frame as their own page.
    pub(super) fn leaf_entry(&self, region: &Region, frame: PhysAddr) -> u64 {
        let has_execute_disable = self.settings.execute_disable && F::ENTRY_BYTES == 8;
        let mut bits = region.protection.entry_bits(has_execute_disable);

        if self.is_copy_on_write(frame) {
            bits.remove(EntryBits::RW);
        }
        SpaceTables::<F>::leaf(frame, bits)
    }

    /// The entry that takes the place of another one for the same frame of a region. A stays, and D
    /// where the page can still be written. With R/W=0 it would map a shadow stack (RIGHT-7), so the
    /// frame remembers it.
    pub(super) fn changed_entry(&mut self, region: &Region, frame: PhysAddr, old: u64) -> u64 {
        let new = self.leaf_entry(region, frame);
        if !Self::HAS_FLAGS {
            return new;
        }
        if matches!(region.backing, Backing::Fixed(_)) {
            return new | Self::fixed_bits(new);
        }

        self.note_dirty(frame, old);
        let is_writable = new & EntryBits::RW.bits() != 0;
        let dirty = if is_writable { EntryBits::D } else { EntryBits::empty() };
        new | old & (EntryBits::A | dirty).bits()
    }

    /// A and D in the entry of a fixed page. These pages are never reclaimed, so the processor need
    /// not record their use. D goes with R/W only: otherwise the entry would map a shadow stack
    /// (RIGHT-7).
    pub(super) const fn fixed_bits(entry: u64) -> u64 {
        if !Self::HAS_FLAGS {
            0
        } else if entry & EntryBits::RW.bits() != 0 {
            EntryBits::A.bits() | EntryBits::D.bits()
        } else {
            EntryBits::A.bits()
        }
    }

    /// Keeps what D of an entry says about a frame, for when the entry loses it.
    pub(super) fn note_dirty(&mut self, frame: PhysAddr, entry: u64) {
        if let Some(known) = self.frames.get_mut(frame) {
            known.dirty |= Self::is_dirty(entry);
        }
    }

    fn is_copy_on_write(&self, frame: PhysAddr) -> bool {
        let is_protected = self.settings.safeguards.contains(Safeguards::WRITE_PROTECT);
        let Some(known) = self.frames.get(frame) else { return false };

        is_protected && known.references > 1 && matches!(known.usage, FrameUse::Page(_))
    }

    /// Takes all pages of a region from a space. `page_by_page` shoots down each; otherwise the caller
    /// flushes the whole space.
    pub(super) fn drop_pages<E: Environment>(
        &mut self,
        env: &mut E,
        space: SpaceId,
        region: &Region,
        page_by_page: bool,
    ) -> Result<(), SpaceError> {
        let mut from = region.start;
        while let Some(leaf) = self.space(space)?.tables.next(env, from, region.end())? {
            from = leaf.page.wrapping_add(PAGE_BYTES);

            env.write_entry(leaf.at, F::ENTRY_BYTES, 0)?;
            self.drop_leaf(leaf.entry);
            if page_by_page {
                self.flush_page(env, space, leaf.page);
            }
        }
        Ok(())
    }

    /// Drops the reference of an entry to its slot or frame.
    pub(super) fn drop_leaf(&mut self, entry: u64) {
        match SpaceTables::<F>::state(entry) {
            PageState::Untouched => {}
            PageState::Swapped(slot) => self.slots.release(slot),
            PageState::InFrame(frame) => {
                self.note_dirty(frame, entry);
                self.release(frame);
            }
        }
    }

    /// Drops a reference to a frame. The last one drops the frame's reference to its slot, too.
    pub(super) fn release(&mut self, frame: PhysAddr) {
        if let Some(slot) = self.frames.release(frame).and_then(|frame| frame.slot) {
            self.slots.release(slot);
        }
    }
}
