//! The audit: whether the books agree with the tables.

use super::frames::FrameUse;
use super::object::ObjectPage;
use super::system::{SpaceId, System};
use super::tables::{PageState, SpaceTables};
use super::{PAGE_BYTES, SlotNumber, SpaceError};
use crate::address::{PhysAddr, VirtAddr};
use crate::memory::TableMemory;
use crate::x86::format::{EntryBits, Format};
use core::fmt;

/// What an audit found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// A frame is counted as often as the first number says, and in use as often as the second.
    References(PhysAddr, u16, u16),
    /// The same for a slot of the store.
    SlotReferences(SlotNumber, u16, u16),
    /// A page is mapped to a frame that has another use.
    WrongFrame(SpaceId, VirtAddr, PhysAddr),
    /// A page can be written, although another space has its frame for itself, too.
    WritableAndShared(SpaceId, VirtAddr, PhysAddr),
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
    /// Checks that no frame and no slot is lost or owned twice, that counts add up, and that no
    /// space can write to what another has for itself. It costs a walk over all tables.
    ///
    /// # Errors
    /// The first flaw.
    pub fn audit<M: TableMemory>(&self, memory: &M) -> Result<(), Flaw> {
        let mut uses = [0u16; FRAMES];
        let mut slots = [0u16; SLOTS];
        for id in self.spaces() {
            self.audit_space(memory, id, &mut uses, &mut slots)?;
        }
        for page in self.objects.iter().flatten().flat_map(|object| object.pages) {
            match page {
                ObjectPage::Untouched => {}
                ObjectPage::Swapped(slot) => self.use_slot(&mut slots, slot)?,
                ObjectPage::InFrame(frame) => self.use_frame(&mut uses, frame),
            }
        }
        for (number, found) in uses.iter().enumerate().take(self.frames.count()) {
            let frame = self.frames.address(number);
            let known = self.frames.get(frame);
            let counted = known.map_or(0, |known| known.references);
            if counted != *found {
                return Err(Flaw::References(frame, counted, *found));
            }
            if let Some(slot) = known.and_then(|known| known.slot) {
                self.use_slot(&mut slots, slot)?;
            }
        }
        for (number, found) in (0..).zip(&slots) {
            let slot = SlotNumber(number);
            let counted = self.slots.references(slot);
            if counted != *found {
                return Err(Flaw::SlotReferences(slot, counted, *found));
            }
        }
        Ok(())
    }

    fn audit_space<M: TableMemory>(
        &self,
        memory: &M,
        id: SpaceId,
        uses: &mut [u16],
        slots: &mut [u16],
    ) -> Result<(), Flaw> {
        let space = self.space(id)?;
        for number in 0..SpaceTables::<F>::ROOT_FRAMES as u64 {
            self.use_frame(uses, space.tables.root + number * PAGE_BYTES);
        }
        let mut stray = None;
        space.tables.for_each_table(memory, &mut |table| {
            if self.frames.get(table).map(|frame| frame.usage) != Some(FrameUse::Table(id)) {
                stray = Some(table);
            }
            self.use_frame(uses, table);
        })?;
        if let Some(table) = stray {
            return Err(Flaw::WrongFrame(id, VirtAddr::new(0), table));
        }
        for region in &space.regions {
            let mut from = region.start;
            while let Some(leaf) = space.tables.next(memory, from, region.end())? {
                from = leaf.page.wrapping_add(PAGE_BYTES);
                let frame = match SpaceTables::<F>::state(leaf.entry) {
                    PageState::Untouched => continue,
                    PageState::Swapped(slot) => {
                        self.use_slot(slots, slot)?;
                        continue;
                    }
                    PageState::InFrame(frame) => frame,
                };
                self.use_frame(uses, frame);
                let Some(known) = self.frames.get(frame) else {
                    if self.frames.is_one_of(frame) {
                        return Err(Flaw::WrongFrame(id, leaf.page, frame));
                    }
                    continue;
                };
                let is_writable = Self::HAS_FLAGS && leaf.entry & EntryBits::RW.bits() != 0;
                match known.usage {
                    FrameUse::Page(page) if page == leaf.page => {
                        if is_writable && known.references > 1 {
                            return Err(Flaw::WritableAndShared(id, leaf.page, frame));
                        }
                    }
                    FrameUse::Shared(_, number)
                        if u64::from(number) == region.page_number(leaf.page) => {}
                    _ => return Err(Flaw::WrongFrame(id, leaf.page, frame)),
                }
            }
        }
        Ok(())
    }

    fn use_frame(&self, uses: &mut [u16], frame: PhysAddr) {
        if let Some(uses) = self.frames.number(frame).and_then(|number| uses.get_mut(number)) {
            *uses += 1;
        }
    }

    /// A slot that does not exist is in use, and not counted.
    fn use_slot(&self, slots: &mut [u16], slot: SlotNumber) -> Result<(), Flaw> {
        let counted = self.slots.references(slot);
        let uses = slots.get_mut(slot.0 as usize);
        *uses.ok_or(Flaw::SlotReferences(slot, counted, 1))? += 1;
        Ok(())
    }
}
