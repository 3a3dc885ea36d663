//! The audit: whether the accounting of frames and slots agrees with the tables.

use super::error::SpaceError;
use super::frames::FrameUse;
use super::ids::{PAGE_BYTES, SlotNumber, SpaceId};
use super::object::ObjectPage;
use super::region::Region;
use super::system::System;
use super::tables::{LeafEntry, PageState, SpaceTables};
use crate::address::{PhysAddr, VirtAddr};
use crate::memory::{OutsideMemory, TableMemory};
use crate::x86::format::{EntryBits, Format};
use core::fmt;

/// A flaw that an audit has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// The number of references that a frame is said to have, and the number found.
    References(PhysAddr, u16, u16),
    /// The same for a slot of the store.
    SlotReferences(SlotNumber, u16, u16),
    /// A page is mapped to a frame with another use.
    WrongFrame(SpaceId, VirtAddr, PhysAddr),
    /// A page can be written although another space has the same frame as its own page.
    WritableAndShared(SpaceId, VirtAddr, PhysAddr),
    /// A page is mapped read-only with D set: with CR4.CET it would be a shadow stack (RIGHT-7).
    ShadowStack(SpaceId, VirtAddr, u64),
    /// The tables cannot be read.
    Unreadable(SpaceError),
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::References(frame, counted, found) => {
                write!(f, "frame {frame} is counted {counted} times and in use {found} times")
            }
            Self::SlotReferences(slot, counted, found) => {
                write!(f, "slot {} is counted {counted} times and in use {found} times", slot.0)
            }
            Self::WrongFrame(space, page, frame) => {
                write!(f, "space {space} maps {page} to frame {frame}, which has another use")
            }
            Self::WritableAndShared(space, page, frame) => write!(
                f,
                "space {space} may write to {page}, though another space has its frame {frame}, \
                 too: the write protection after a fork is missing"
            ),
            Self::ShadowStack(space, page, entry) => write!(
                f,
                "space {space} maps {page} with R/W=0 and D=1 ({entry:#x}): with CET it would be a \
                 shadow stack"
            ),
            Self::Unreadable(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for Flaw {}

impl<E: Into<SpaceError>> From<E> for Flaw {
    fn from(error: E) -> Self {
        Self::Unreadable(error.into())
    }
}

impl<F: Format, const FRAMES: usize, const SLOTS: usize> System<F, FRAMES, SLOTS> {
    /// Checks that no frame and no slot is lost or owned twice, that reference counts are right, and
    /// that no space can write to a page of another. It visits all tables.
    ///
    /// # Errors
    /// The first flaw.
    pub fn audit<M: TableMemory<Error = OutsideMemory>>(&self, memory: &M) -> Result<(), Flaw> {
        let mut found = Found { frames: [0; FRAMES], slots: [0; SLOTS] };

        for id in self.spaces() {
            self.audit_tables(memory, id, &mut found)?;
            self.audit_pages(memory, id, &mut found)?;
        }
        for page in self.objects.iter().flatten().flat_map(|object| object.pages) {
            match page {
                ObjectPage::Untouched => {}
                ObjectPage::Swapped(slot) => self.count_slot(&mut found, slot)?,
                ObjectPage::InFrame(frame) => self.count_frame(&mut found, frame),
            }
        }

        self.audit_frame_counts(&mut found)?;
        self.audit_slot_counts(&found)
    }

    /// The frames of a space's tables must be in use as its tables.
    fn audit_tables<M: TableMemory<Error = OutsideMemory>>(
        &self,
        memory: &M,
        id: SpaceId,
        found: &mut Found<FRAMES, SLOTS>,
    ) -> Result<(), Flaw> {
        let tables = self.space(id)?.tables;
        for frame in tables.root_frames() {
            self.count_frame(found, frame);
        }

        let mut stray = None;
        tables.for_each_table(memory, &mut |_, table| {
            if self.frames.get(table).map(|frame| frame.usage) != Some(FrameUse::Table(id)) {
                stray = Some(table);
            }
            self.count_frame(found, table);
        })?;

        match stray {
            Some(table) => Err(Flaw::WrongFrame(id, VirtAddr::new(0), table)),
            None => Ok(()),
        }
    }

    /// Every page of a space's regions must be in a slot, or in a frame that is in use as this page.
    fn audit_pages<M: TableMemory<Error = OutsideMemory>>(
        &self,
        memory: &M,
        id: SpaceId,
        found: &mut Found<FRAMES, SLOTS>,
    ) -> Result<(), Flaw> {
        let space = self.space(id)?;

        for region in &space.regions {
            let mut from = region.start;
            while let Some(leaf) = space.tables.next(memory, from, region.end())? {
                from = leaf.page.wrapping_add(PAGE_BYTES);

                match SpaceTables::<F>::state(leaf.entry) {
                    PageState::Untouched => {}
                    PageState::Swapped(slot) => self.count_slot(found, slot)?,
                    PageState::InFrame(frame) => {
                        self.count_frame(found, frame);
                        self.audit_mapped_page(id, region, &leaf, frame)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn audit_mapped_page(
        &self,
        id: SpaceId,
        region: &Region,
        leaf: &LeafEntry,
        frame: PhysAddr,
    ) -> Result<(), Flaw> {
        let is_writable = Self::HAS_FLAGS && leaf.entry & EntryBits::RW.bits() != 0;
        if Self::HAS_FLAGS && !is_writable && Self::is_dirty(leaf.entry) {
            return Err(Flaw::ShadowStack(id, leaf.page, leaf.entry));
        }

        let wrong_frame = Err(Flaw::WrongFrame(id, leaf.page, frame));
        let Some(known) = self.frames.get(frame) else {
            // Fixed memory is mapped, too, and is not one of the frames.
            return if self.frames.is_one_of(frame) { wrong_frame } else { Ok(()) };
        };

        match known.usage {
            FrameUse::Page(page) if page == leaf.page => {
                if is_writable && known.references > 1 {
                    return Err(Flaw::WritableAndShared(id, leaf.page, frame));
                }
                Ok(())
            }
            FrameUse::Shared(_, number) if u64::from(number) == region.page_number(leaf.page) => {
                Ok(())
            }
            _ => wrong_frame,
        }
    }

    fn audit_frame_counts(&self, found: &mut Found<FRAMES, SLOTS>) -> Result<(), Flaw> {
        for number in 0..self.frames.count() {
            let frame = self.frames.address(number);
            let known = self.frames.get(frame);

            let counted = known.map_or(0, |known| known.references);
            let in_use = found.frames[number];
            if counted != in_use {
                return Err(Flaw::References(frame, counted, in_use));
            }

            if let Some(slot) = known.and_then(|known| known.slot) {
                self.count_slot(found, slot)?;
            }
        }
        Ok(())
    }

    fn audit_slot_counts(&self, found: &Found<FRAMES, SLOTS>) -> Result<(), Flaw> {
        for (number, &in_use) in (0..).zip(&found.slots) {
            let slot = SlotNumber(number);
            let counted = self.slots.references(slot);
            if counted != in_use {
                return Err(Flaw::SlotReferences(slot, counted, in_use));
            }
        }
        Ok(())
    }

    /// Counts a reference to a frame. Other memory is not counted.
    fn count_frame(&self, found: &mut Found<FRAMES, SLOTS>, frame: PhysAddr) {
        if let Some(number) = self.frames.number(frame) {
            found.frames[number] += 1;
        }
    }

    /// Counts a reference to a slot, which must exist.
    fn count_slot(&self, found: &mut Found<FRAMES, SLOTS>, slot: SlotNumber) -> Result<(), Flaw> {
        let counted = self.slots.references(slot);
        let in_use = found.slots.get_mut(slot.0 as usize);
        *in_use.ok_or(Flaw::SlotReferences(slot, counted, 1))? += 1;
        Ok(())
    }
}

/// The references to each frame and each slot that an audit has found.
struct Found<const FRAMES: usize, const SLOTS: usize> {
    frames: [u16; FRAMES],
    slots: [u16; SLOTS],
}
