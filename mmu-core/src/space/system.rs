//! The system: its address spaces, and the tables and references behind them.

use super::frames::{FrameUse, Frames};
use super::object::{Object, ObjectId};
use super::region::Region;
use super::slots::Slots;
use super::tables::{LeafEntry, LeafPlace, PageState, SpaceTables};
use super::{Environment, FrameMemory, PAGE_BYTES, SpaceError, Statistics};
use crate::address::{PhysAddr, VirtAddr};
use crate::x86::format::{EntryBits, EntryKind, Format, Level};
use arrayvec::ArrayVec;
use bitflags::bitflags;
use core::fmt;

/// The maximum number of address spaces.
pub const MAX_SPACES: usize = 16;
/// The maximum number of regions of a space.
pub const MAX_REGIONS: usize = 12;
/// The maximum number of shared objects.
pub const MAX_OBJECTS: usize = 8;

/// The number of an address space. Numbers of spaces that have ended are used again, the lowest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpaceId(pub u8);

impl fmt::Display for SpaceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

bitflags! {
    /// What keeps processes apart and the tables true. A test leaves one out to check that this is
    /// noticed.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct Safeguards: u8 {
        /// Cached translations are shot down when an entry changes.
        const SHOOT_DOWN = 1 << 0;
        /// A frame is wiped before a process can read it.
        const WIPE = 1 << 1;
        /// After a fork neither side can write to a page that both have.
        const WRITE_PROTECT = 1 << 2;
    }
}

/// The resources and behaviour of a system.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// The first of its frames, 4 KiB aligned.
    pub first_frame: PhysAddr,
    /// The number of its frames, for tables and pages.
    pub frames: usize,
    /// The number of slots of the store.
    pub slots: u32,
    /// The number of slots, from the first, with images from which programs are loaded.
    pub images: u32,
    /// Whether the processor has execute-disable and it is on. Entries of 4 bytes have no such bit.
    pub execute_disable: bool,
    /// The safeguards in force: all, except in tests.
    pub safeguards: Safeguards,
}

/// An address space.
#[derive(Clone, Debug)]
pub(super) struct Space<F: Format> {
    pub(super) tables: SpaceTables<F>,
    pub(super) regions: ArrayVec<Region, MAX_REGIONS>,
}

/// Address spaces over at most `FRAMES` frames and `SLOTS` slots. All state is in this value, in tables
/// and in frames, so no allocator is needed.
///
/// It acts through an [`Environment`], which every operation takes. Operations and faults are the only
/// input, so the same sequence of them gives the same frames, tables and decisions everywhere.
#[derive(Clone, Debug)]
pub struct System<F: Format, const FRAMES: usize, const SLOTS: usize> {
    pub(super) frames: Frames<FRAMES>,
    pub(super) slots: Slots<SLOTS>,
    pub(super) spaces: [Option<Space<F>>; MAX_SPACES],
    pub(super) objects: [Option<Object>; MAX_OBJECTS],
    /// The number of the frame at the clock's hand.
    pub(super) hand: usize,
    /// A frame that must not be reclaimed at the moment, because it is being copied.
    pub(super) pinned: Option<PhysAddr>,
    pub(super) statistics: Statistics,
    pub(super) settings: Settings,
}

impl<F: Format, const FRAMES: usize, const SLOTS: usize> System<F, FRAMES, SLOTS> {
    /// A system without address spaces.
    ///
    /// # Errors
    /// When entries of the format cannot hold the address of a frame.
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
        let free = self.spaces.iter().position(Option::is_none);
        let number = free.ok_or(SpaceError::TooManySpaces)?;
        let space = SpaceId(number as u8);

        let length = SpaceTables::<F>::ROOT_FRAMES;
        let usage = FrameUse::Table(space);
        let root = self.obtain_run(env, length, usage, space, VirtAddr::new(0))?;
        let tables = SpaceTables::new(root);
        for frame in tables.root_frames() {
            env.wipe(frame)?;
        }

        self.spaces[number] = Some(Space { tables, regions: ArrayVec::new() });
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

        let tables = self.space(space)?.tables;
        tables.for_each_table(env, &mut |table| {
            self.frames.release(table);
        })?;
        for frame in tables.root_frames() {
            self.frames.release(frame);
        }

        self.spaces[usize::from(space.0)] = None;
        self.flush_space(env, space);
        Ok(())
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
                if let Some(known) = self.frames.get_mut(frame) {
                    known.dirty |= Self::is_dirty(entry);
                }
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

    fn is_copy_on_write(&self, frame: PhysAddr) -> bool {
        let is_protected = self.settings.safeguards.contains(Safeguards::WRITE_PROTECT);
        let Some(known) = self.frames.get(frame) else { return false };

        is_protected && known.references > 1 && matches!(known.usage, FrameUse::Page(_))
    }

    /// Whether leaves have rights, A and D. In a format without them every mapped page counts as
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
        if self.settings.safeguards.contains(Safeguards::SHOOT_DOWN) {
            self.statistics.pages_forgotten += 1;
            env.flush_page(space, page);
        }
    }

    /// Shoots down all translations of a space.
    pub(super) fn flush_space<E: Environment>(&mut self, env: &mut E, space: SpaceId) {
        if self.settings.safeguards.contains(Safeguards::SHOOT_DOWN) {
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
