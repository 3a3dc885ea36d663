//! The system: address spaces, and the operations that a program asks for.

use super::frames::{FrameUse, Frames};
use super::object::{Object, ObjectId};
use super::region::Region;
use super::slots::Slots;
use super::tables::{LeafEntry, LeafPlace, PageState, SpaceTables};
use super::{Environment, FrameMemory, PAGE_BYTES, SpaceError, Statistics};
use crate::address::{PhysAddr, VirtAddr};
use crate::x86::format::{EntryBits, EntryKind, Format};
use arrayvec::ArrayVec;
use bitflags::bitflags;
use core::fmt;

/// The most address spaces.
pub const MAX_SPACES: usize = 16;
/// The most regions of a space.
pub const MAX_REGIONS: usize = 12;
/// The most shared objects.
pub const MAX_OBJECTS: usize = 8;

/// The number of an address space. It is given again when the space is no more; the lowest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpaceId(pub u8);

impl fmt::Display for SpaceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

bitflags! {
    /// What a system must not forget. A test leaves one out, to see that somebody notices.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct Safeguards: u8 {
        /// Old translations are shot down when an entry changes.
        const SHOOT_DOWN = 1 << 0;
        /// A frame is wiped before a process sees it.
        const WIPE = 1 << 1;
        /// After a fork neither side may write to what both have.
        const WRITE_PROTECT = 1 << 2;
    }
}

/// What a system is given.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// The first of its frames, 4 KiB aligned.
    pub first_frame: PhysAddr,
    /// How many frames it has, for tables and pages.
    pub frames: usize,
    /// How many slots the store has.
    pub slots: u32,
    /// How many of them, from the first, hold images that programs are loaded from.
    pub images: u32,
    /// Whether the processor has execute-disable and it is on. Entries of 4 bytes have none.
    pub execute_disable: bool,
    /// What is not forgotten: all, except in tests.
    pub duties: Safeguards,
}

/// An address space.
#[derive(Clone, Debug)]
pub(super) struct Space<F: Format> {
    pub(super) tables: SpaceTables<F>,
    pub(super) regions: ArrayVec<Region, MAX_REGIONS>,
}

/// Address spaces over at most `FRAMES` frames and `SLOTS` slots. All of its state lies in it, in
/// tables and in frames: it needs no allocator.
///
/// It acts through an [`Environment`], given to every operation. Operations and faults are the only
/// input, so the same sequence of them gives the same frames, tables and decisions everywhere.
#[derive(Clone, Debug)]
pub struct System<F: Format, const FRAMES: usize, const SLOTS: usize> {
    pub(super) frames: Frames<FRAMES>,
    pub(super) slots: Slots<SLOTS>,
    pub(super) spaces: [Option<Space<F>>; MAX_SPACES],
    pub(super) objects: [Option<Object>; MAX_OBJECTS],
    /// The frame that the clock looks at next.
    pub(super) hand: usize,
    /// The frame that must not be reclaimed at the moment: it is being copied.
    pub(super) pinned: Option<PhysAddr>,
    pub(super) statistics: Statistics,
    pub(super) settings: Settings,
}

impl<F: Format, const FRAMES: usize, const SLOTS: usize> System<F, FRAMES, SLOTS> {
    /// A system without address spaces.
    ///
    /// # Errors
    /// When a frame lies too far up for the format.
    pub fn new(settings: Settings) -> Result<Self, SpaceError> {
        let frames = Frames::new(settings.first_frame, settings.frames);
        let last = frames.address(frames.count().saturating_sub(1));
        for frame in [settings.first_frame, last] {
            if !SpaceTables::<F>::fits(frame) {
                return Err(SpaceError::FrameTooHigh(frame));
            }
        }
        Ok(Self {
            frames,
            slots: Slots::new(settings.slots, settings.images),
            spaces: [const { None }; MAX_SPACES],
            objects: [const { None }; MAX_OBJECTS],
            hand: 0,
            pinned: None,
            statistics: Statistics::default(),
            settings,
        })
    }

    /// Makes an address space with an empty root table.
    ///
    /// # Errors
    /// When there are too many, or no frame is left.
    pub fn create<E: Environment>(&mut self, env: &mut E) -> Result<SpaceId, SpaceError> {
        let number = self.spaces.iter().position(Option::is_none);
        let space = SpaceId(number.ok_or(SpaceError::TooManySpaces)? as u8);
        let (length, usage) = (SpaceTables::<F>::ROOT_FRAMES, FrameUse::Table(space));
        let root = self.obtain_run(env, length, usage, space, VirtAddr::new(0))?;
        for number in 0..length as u64 {
            env.wipe(root + number * PAGE_BYTES)?;
        }
        self.spaces[usize::from(space.0)] =
            Some(Space { tables: SpaceTables::new(root), regions: ArrayVec::new() });
        Ok(space)
    }

    /// Ends an address space: its regions, then its tables.
    ///
    /// # Errors
    /// When there is no such space.
    pub fn destroy<E: Environment>(
        &mut self,
        env: &mut E,
        space: SpaceId,
    ) -> Result<(), SpaceError> {
        while let Some(region) = self.space(space)?.regions.last().copied() {
            self.drop_pages(env, space, &region, false)?;
            self.space_mut(space)?.regions.pop();
            self.detach(region.backing);
        }
        let SpaceTables { root, .. } = self.space(space)?.tables;
        let frames = &mut self.frames;
        SpaceTables::<F>::new(root).for_each_table(env, &mut |table| {
            frames.release(table);
        })?;
        for number in 0..SpaceTables::<F>::ROOT_FRAMES as u64 {
            self.frames.release(root + number * PAGE_BYTES);
        }
        self.spaces[usize::from(space.0)] = None;
        self.flush_space(env, space);
        Ok(())
    }

    /// Takes all pages of a region from a space.
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

    /// What an entry stood for has one user less.
    pub(super) fn drop_leaf(&mut self, entry: u64) {
        match SpaceTables::<F>::state(entry) {
            PageState::Untouched => {}
            PageState::Swapped(slot) => self.slots.release(slot),
            PageState::InFrame(frame) => {
                if let Some(known) = self.frames.get_mut(frame) {
                    known.dirty |= Self::is_dirty(entry);
                }
                self.release(frame);
            }
        }
    }

    /// One user of a frame less; the last gives back the slot, too.
    pub(super) fn release(&mut self, frame: PhysAddr) {
        if let Some(slot) = self.frames.release(frame).and_then(|frame| frame.slot) {
            self.slots.release(slot);
        }
    }

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
                LeafPlace::Leaf(at) => {
                    let entry = env.read_entry(at, F::ENTRY_BYTES)?;
                    return Ok(LeafEntry { page, at, entry });
                }
                LeafPlace::NoTable(level, at) => {
                    let table = self.obtain(env, FrameUse::Table(space), space, page)?;
                    env.wipe(table)?;
                    // The leaf alone decides about rights.
                    let bits = EntryBits::P | EntryBits::RW | EntryBits::US;
                    let entry = F::entry(level, EntryKind::Table, table, bits);
                    env.write_entry(at, F::ENTRY_BYTES, entry)?;
                    if level.number == F::LEVELS[0].number {
                        env.root_changed(space);
                    }
                }
            }
        }
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

    /// The entry that maps a frame for a region: not writable while others have the frame for
    /// themselves, too.
    pub(super) fn leaf_entry(&self, region: &Region, frame: PhysAddr) -> u64 {
        let has_execute_disable = self.settings.execute_disable && F::ENTRY_BYTES == 8;
        let mut bits = region.protection.entry_bits(has_execute_disable);
        let is_copy_on_write = self
            .frames
            .get(frame)
            .is_some_and(|known| matches!(known.usage, FrameUse::Page(_)) && known.references > 1);
        let is_copy_on_write =
            is_copy_on_write && self.settings.duties.contains(Safeguards::WRITE_PROTECT);
        bits.set(EntryBits::RW, bits.contains(EntryBits::RW) && !is_copy_on_write);
        SpaceTables::<F>::leaf(frame, bits)
    }

    /// Whether leaves have rights, A and D. In a format without, whatever was mapped counts as
    /// written, and a fork copies at once.
    pub(super) const HAS_FLAGS: bool = SpaceTables::<F>::HAS_FLAGS;

    /// Whether a page may have been written through this entry.
    pub(super) const fn is_dirty(entry: u64) -> bool {
        !Self::HAS_FLAGS || entry & EntryBits::D.bits() != 0
    }

    /// Shoots down the translation of one page.
    pub(super) fn flush_page<E: Environment>(
        &mut self,
        env: &mut E,
        space: SpaceId,
        page: VirtAddr,
    ) {
        if self.settings.duties.contains(Safeguards::SHOOT_DOWN) {
            self.statistics.pages_forgotten += 1;
            env.flush_page(space, page);
        }
    }

    /// Shoots down all translations of a space.
    pub(super) fn flush_space<E: Environment>(&mut self, env: &mut E, space: SpaceId) {
        if self.settings.duties.contains(Safeguards::SHOOT_DOWN) {
            self.statistics.spaces_forgotten += 1;
            env.flush_space(space);
        }
    }

    pub(super) fn space(&self, space: SpaceId) -> Result<&Space<F>, SpaceError> {
        let known = self.spaces.get(usize::from(space.0)).and_then(Option::as_ref);
        known.ok_or(SpaceError::NoSuchSpace(space))
    }

    pub(super) fn space_mut(&mut self, space: SpaceId) -> Result<&mut Space<F>, SpaceError> {
        let known = self.spaces.get_mut(usize::from(space.0)).and_then(Option::as_mut);
        known.ok_or(SpaceError::NoSuchSpace(space))
    }

    pub(super) fn object(&self, id: ObjectId) -> Option<&Object> {
        self.objects.get(usize::from(id.0))?.as_ref()
    }

    pub(super) fn object_mut(&mut self, id: ObjectId) -> Option<&mut Object> {
        self.objects.get_mut(usize::from(id.0))?.as_mut()
    }
}
