//! Reclaim: taking frames from those who do not use them, with a clock.
//!
//! The hand goes round over the frames. Where somebody accessed the page since the last time (A is
//! set), A is cleared and the frame stays; otherwise it is taken. It is written to the store only if
//! somebody wrote to it (D is set) since it came from there.
//!
//! Clearing A comes with a shoot-down, although a processor may live without: a translation that
//! stays cached would not set A again, and what the clock sees would depend on the size of a TLB.

use super::frames::{Frame, FrameUse};
use super::object::ObjectPage;
use super::region::Backing;
use super::system::{MAX_SPACES, SpaceId, System};
use super::tables::{LeafEntry, PageState, SpaceTables};
use super::{Environment, Event, SlotNumber, SpaceError};
use crate::address::{PAGE_SHIFT, PhysAddr, VirtAddr};
use crate::memory::TableMemory;
use crate::x86::format::{EntryBits, Format};
use arrayvec::ArrayVec;

/// The entries that map a frame, each with its space.
type Mappings = ArrayVec<(SpaceId, LeafEntry), MAX_SPACES>;

impl<F: Format, const FRAMES: usize, const SLOTS: usize> System<F, FRAMES, SLOTS> {
    /// Takes one frame from whoever does not use it and makes it free. `None` if there is none: all
    /// frames are tables, or dirty while the store is full.
    ///
    /// # Errors
    /// When a table or the store lies outside memory.
    pub fn reclaim<E: Environment>(&mut self, env: &mut E) -> Result<Option<PhysAddr>, SpaceError> {
        // The first round may clear every A; in the second, whatever can be taken is taken.
        for _ in 0..2 * self.frames.count() {
            let frame = self.frames.address(self.hand);
            self.hand = (self.hand + 1) % self.frames.count();
            let Some(known) = self.frames.get(frame).copied() else { continue };
            if matches!(known.usage, FrameUse::Table(_)) || self.pinned == Some(frame) {
                continue;
            }
            let mappings = self.mappings(env, frame)?;
            let accessed = EntryBits::A.bits();
            if Self::HAS_FLAGS && mappings.iter().any(|(_, leaf)| leaf.entry & accessed != 0) {
                self.statistics.second_chances += 1;
                env.record(Event::SecondChance { frame });
                for (space, LeafEntry { page, at, entry }) in mappings {
                    env.write_entry(at, F::ENTRY_BYTES, entry & !accessed)?;
                    self.flush_page(env, space, page);
                }
            } else if self.evict(env, frame, known, &mappings)? {
                return Ok(Some(frame));
            }
        }
        Ok(None)
    }

    /// Takes a frame from all who have it; `false` if the store is full.
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
            // Nobody runs meanwhile, so nobody writes to the frame between this and the shoot-down.
            env.save(frame, slot)?;
            self.statistics.written += 1;
        }
        // The frame's use of the slot goes over to the object, or to the entries.
        let absent = if let FrameUse::Shared(id, number) = known.usage {
            if let Some(object) = self.object_mut(id) {
                let page = slot.map_or(ObjectPage::Untouched, ObjectPage::Swapped);
                object.pages[usize::from(number)] = page;
            }
            None
        } else {
            slot
        };
        for (space, LeafEntry { page, at, .. }) in mappings {
            if let Some(slot) = absent {
                self.slots.share(slot);
            }
            env.write_entry(*at, F::ENTRY_BYTES, SpaceTables::<F>::absent(absent))?;
            self.flush_page(env, *space, *page);
        }
        if let Some(slot) = absent {
            self.slots.release(slot);
        }
        while self.frames.get(frame).is_some() {
            self.frames.release(frame);
        }
        self.statistics.evicted += 1;
        let from = mappings.first().map(|(space, leaf)| (*space, leaf.page));
        env.record(Event::Evicted { frame, from, written });
        Ok(true)
    }

    /// A slot that a dirty frame may be written to, in use once: the one that it came from, if nobody
    /// else reads it, else another.
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

    /// The entries that map a frame. The frame knows the page: in every space that got it by a fork
    /// it is the same one, and a region tells where a shared object is.
    fn mappings<M: TableMemory>(
        &self,
        memory: &M,
        frame: PhysAddr,
    ) -> Result<Mappings, SpaceError> {
        let mut mappings = Mappings::new();
        let Some(known) = self.frames.get(frame) else { return Ok(mappings) };
        for id in self.spaces() {
            let space = self.space(id)?;
            let page = match known.usage {
                FrameUse::Table(_) => None,
                FrameUse::Page(page) => Some(page),
                FrameUse::Shared(object, number) => {
                    let shows = |backing| backing == Backing::Object(object);
                    let region = space.regions.iter().find(|region| shows(region.backing));
                    region.map(|region| region.start.wrapping_add(u64::from(number) << PAGE_SHIFT))
                }
            };
            let Some(page) = page else { continue };
            if let Some(leaf) = space.tables.look(memory, page)?
                && SpaceTables::<F>::state(leaf.entry) == PageState::InFrame(frame)
            {
                mappings.push((id, leaf));
            }
        }
        Ok(mappings)
    }

    /// Who has a frame, and at which address.
    ///
    /// # Errors
    /// When a table lies outside memory.
    pub fn sharers<M: TableMemory>(
        &self,
        memory: &M,
        frame: PhysAddr,
    ) -> Result<ArrayVec<(SpaceId, VirtAddr), MAX_SPACES>, SpaceError> {
        let mappings = self.mappings(memory, frame)?;
        Ok(mappings.into_iter().map(|(space, leaf)| (space, leaf.page)).collect())
    }

    /// A frame for a page or a table, after a reclaim if none is free. What is in it is arbitrary.
    pub(super) fn obtain<E: Environment>(
        &mut self,
        env: &mut E,
        usage: FrameUse,
        owner: SpaceId,
        address: VirtAddr,
    ) -> Result<PhysAddr, SpaceError> {
        self.obtain_run(env, 1, usage, owner, address)
    }

    /// Frames one after the other; the clock is asked until there are so many, or it has no more.
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
}
