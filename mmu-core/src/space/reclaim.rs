//! Reclaim: taking back frames that are not in use, with a clock.
//!
//! The hand goes round the frames. If a page was accessed since the last round (A is set), A is
//! cleared and the frame stays; otherwise the frame is taken. It is written to the store only if it was
//! written to (D is set) since it came from there.
//!
//! Clearing A comes with a shoot-down, although a processor may do without. A translation that stays
//! cached would not set A again, and what the clock sees would depend on the size of the TLB.

use super::environment::Environment;
use super::error::SpaceError;
use super::event::Event;
use super::frames::{Frame, FrameUse};
use super::ids::{SlotNumber, SpaceId};
use super::object::ObjectPage;
use super::region::{Backing, Region};
use super::system::{MAX_SPACES, Space, System};
use super::tables::{LeafEntry, PageState, SpaceTables};
use crate::address::{PAGE_SHIFT, PhysAddr, VirtAddr};
use crate::memory::{OutsideMemory, TableMemory};
use crate::x86::format::{EntryBits, Format};
use arrayvec::ArrayVec;

/// The entries that map a frame, each with its space.
type Mappings = ArrayVec<(SpaceId, LeafEntry), MAX_SPACES>;

impl<F: Format, const FRAMES: usize, const SLOTS: usize> System<F, FRAMES, SLOTS> {
    /// Takes back one frame that was not accessed recently, and makes it free. `None` if there is
    /// none: all frames are tables, or dirty while the store is full.
    ///
    /// # Errors
    /// When a table or the store is outside memory.
    pub fn reclaim<E: Environment>(&mut self, env: &mut E) -> Result<Option<PhysAddr>, SpaceError> {
        // The first round may only clear A everywhere; the second takes any frame that can be taken.
        for _ in 0..2 * self.frames.count() {
            let frame = self.frames.address(self.hand);
            self.hand = (self.hand + 1) % self.frames.count();

            let Some(known) = self.frames.get(frame).copied() else { continue };
            if matches!(known.usage, FrameUse::Table(_)) || self.pinned == Some(frame) {
                continue;
            }

            let mappings = self.mappings(env, frame)?;
            if Self::HAS_FLAGS && mappings.iter().any(|(_, leaf)| is_accessed(leaf)) {
                self.give_second_chance(env, frame, &mappings)?;
            } else if self.evict(env, frame, known, &mappings)? {
                return Ok(Some(frame));
            }
        }
        Ok(None)
    }

    /// Clears A in all entries that map a frame.
    fn give_second_chance<E: Environment>(
        &mut self,
        env: &mut E,
        frame: PhysAddr,
        mappings: &Mappings,
    ) -> Result<(), SpaceError> {
        self.statistics.second_chances += 1;
        env.record(Event::SecondChance { frame });

        for (space, LeafEntry { page, at, entry }) in mappings {
            env.write_entry(*at, F::ENTRY_BYTES, entry & !EntryBits::A.bits())?;
            self.flush_page(env, *space, *page);
        }
        Ok(())
    }

    /// Takes a frame from all spaces that have it; `false` if the store is full.
    fn evict<E: Environment>(
        &mut self,
        env: &mut E,
        frame: PhysAddr,
        known: Frame,
        mappings: &Mappings,
    ) -> Result<bool, SpaceError> {
        let dirty = known.dirty || mappings.iter().any(|(_, leaf)| Self::is_dirty(leaf.entry));
        let slot = if dirty { self.slot_for(known.slot) } else { known.slot };
        if dirty && slot.is_none() {
            return Ok(false);
        }

        let written = slot.filter(|_| dirty);
        if let Some(slot) = written {
            // No process runs meanwhile, so the frame cannot change before the shoot-down.
            env.save(frame, slot)?;
            self.statistics.written += 1;
        }

        self.mark_absent(env, known.usage, slot, mappings)?;
        while self.frames.get(frame).is_some() {
            self.frames.release(frame);
        }

        self.statistics.evicted += 1;
        let from = mappings.first().map(|(space, leaf)| (*space, leaf.page));
        env.record(Event::Evicted { frame, from, written });
        Ok(true)
    }

    /// Records where the page of a frame is from now on. The frame's reference to the slot goes to the
    /// object, or to the entries.
    fn mark_absent<E: Environment>(
        &mut self,
        env: &mut E,
        usage: FrameUse,
        slot: Option<SlotNumber>,
        mappings: &Mappings,
    ) -> Result<(), SpaceError> {
        let slot_in_entries = if let FrameUse::Shared(id, number) = usage {
            if let Some(object) = self.object_mut(id) {
                let page = slot.map_or(ObjectPage::Untouched, ObjectPage::Swapped);
                object.pages[usize::from(number)] = page;
            }
            None
        } else {
            slot
        };

        let absent = SpaceTables::<F>::absent(slot_in_entries);
        for (space, LeafEntry { page, at, .. }) in mappings {
            if let Some(slot) = slot_in_entries {
                self.slots.share(slot);
            }
            env.write_entry(*at, F::ENTRY_BYTES, absent)?;
            self.flush_page(env, *space, *page);
        }

        if let Some(slot) = slot_in_entries {
            self.slots.release(slot);
        }
        Ok(())
    }

    /// A slot to which a dirty frame may be written, with one reference: the slot that the frame came
    /// from if nothing else refers to it, or else another.
    fn slot_for(&mut self, old: Option<SlotNumber>) -> Option<SlotNumber> {
        if old.is_some_and(|old| self.slots.may_be_written(old)) {
            return old;
        }

        let new = self.slots.allocate()?;
        if let Some(old) = old {
            self.slots.release(old);
        }
        Some(new)
    }

    /// The entries that map a frame.
    fn mappings<M: TableMemory<Error = OutsideMemory>>(
        &self,
        memory: &M,
        frame: PhysAddr,
    ) -> Result<Mappings, SpaceError> {
        let mut mappings = Mappings::new();
        let Some(known) = self.frames.get(frame) else { return Ok(mappings) };

        for id in self.spaces() {
            let space = self.space(id)?;
            let Some(page) = page_in(space, known.usage) else { continue };

            if let Some(leaf) = space.tables.look(memory, page)?
                && SpaceTables::<F>::state(leaf.entry) == PageState::InFrame(frame)
            {
                mappings.push((id, leaf));
            }
        }
        Ok(mappings)
    }

    /// The spaces that map a frame, and at which address.
    ///
    /// # Errors
    /// When a table is outside memory.
    pub fn sharers<M: TableMemory<Error = OutsideMemory>>(
        &self,
        memory: &M,
        frame: PhysAddr,
    ) -> Result<ArrayVec<(SpaceId, VirtAddr), MAX_SPACES>, SpaceError> {
        let mappings = self.mappings(memory, frame)?;
        Ok(mappings.into_iter().map(|(space, leaf)| (space, leaf.page)).collect())
    }

    /// A frame for a page or a table, after a reclaim if none is free. Its contents are arbitrary.
    pub(super) fn obtain<E: Environment>(
        &mut self,
        env: &mut E,
        usage: FrameUse,
        owner: SpaceId,
        address: VirtAddr,
    ) -> Result<PhysAddr, SpaceError> {
        self.obtain_run(env, 1, usage, owner, address)
    }

    /// Consecutive frames. The clock runs until there are enough, or it finds no more.
    pub(super) fn obtain_run<E: Environment>(
        &mut self,
        env: &mut E,
        length: usize,
        usage: FrameUse,
        owner: SpaceId,
        address: VirtAddr,
    ) -> Result<PhysAddr, SpaceError> {
        loop {
            if let Some(frame) = self.frames.allocate_run(length, usage, owner) {
                return Ok(frame);
            }
            self.reclaim(env)?.ok_or(SpaceError::OutOfFrames(address))?;
        }
    }

    /// A frame for a space's own page, with the contents of another frame.
    pub(super) fn copy_frame<E: Environment>(
        &mut self,
        env: &mut E,
        source: PhysAddr,
        space: SpaceId,
        page: VirtAddr,
    ) -> Result<PhysAddr, SpaceError> {
        // The source must not be reclaimed to make room for its own copy.
        self.pinned = Some(source);
        let obtained = self.obtain(env, FrameUse::Page(page), space, page);
        self.pinned = None;

        let copy = obtained?;
        env.copy(source, copy)?;
        Ok(copy)
    }
}

/// Where a space would map the page in a frame. A page of its own has the same address in every space
/// that got it by a fork; for a shared object the region decides.
fn page_in<F: Format>(space: &Space<F>, usage: FrameUse) -> Option<VirtAddr> {
    match usage {
        FrameUse::Table(_) => None,
        FrameUse::Page(page) => Some(page),
        FrameUse::Shared(object, number) => {
            let shows = |region: &&Region| region.backing == Backing::Object(object);
            let region = space.regions.iter().find(shows)?;
            Some(region.start.wrapping_add(u64::from(number) << PAGE_SHIFT))
        }
    }
}

const fn is_accessed(leaf: &LeafEntry) -> bool {
    leaf.entry & EntryBits::A.bits() != 0
}
