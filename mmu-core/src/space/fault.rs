//! The page-fault handler: what a fault means, and what is done about it.
//!
//! It knows what a processor tells: the address and the error code. Whether the page is in memory it
//! sees in the tables, not in P of the error code: with an old translation the two may differ.

use super::frames::FrameUse;
use super::object::ObjectPage;
use super::region::{Backing, Protection, Region, RegionKind};
use super::system::{Safeguards, SpaceId, System};
use super::tables::SpaceTables;
use super::tables::{LeafEntry, PageState};
use super::{
    Decision, Environment, Event, Invalid, Minor, ObjectId, PAGE_BYTES, SlotNumber, SpaceError,
};
use crate::address::{PhysAddr, VirtAddr};
use crate::x86::fault::{Fault, PageFaultCode, Vector};
use crate::x86::format::{EntryBits, Format};

/// A page that is to be brought into memory.
#[derive(Clone, Copy)]
struct Missing<'r> {
    space: SpaceId,
    region: &'r Region,
    page: VirtAddr,
    /// Where its entry lies.
    at: PhysAddr,
}

impl<F: Format, const FRAMES: usize, const SLOTS: usize> System<F, FRAMES, SLOTS> {
    /// Serves a fault of a space: brings in the page, copies it, or finds that the access is not
    /// allowed. Afterwards the access is to be made again, unless it was invalid.
    ///
    /// # Errors
    /// When there is no frame for the page, or no such space. Nothing has changed for the process
    /// then: with more frames the access may be made again.
    pub fn fault<E: Environment>(
        &mut self,
        env: &mut E,
        space: SpaceId,
        fault: &Fault,
    ) -> Result<Decision, SpaceError> {
        let (decision, frame) = self.decide(env, space, fault)?;
        self.statistics.count(decision);
        env.record(Event::Fault { space, fault: *fault, decision, frame });
        Ok(decision)
    }

    fn decide<E: Environment>(
        &mut self,
        env: &mut E,
        space: SpaceId,
        fault: &Fault,
    ) -> Result<(Decision, Option<PhysAddr>), SpaceError> {
        let code = PageFaultCode::from_bits_retain(fault.error_code);
        let (Vector::PageFault, Some(address)) = (fault.vector, fault.cr2) else {
            return Ok((Decision::Invalid(Invalid::NotCanonical), None));
        };
        let region = match self.judge(env, space, address, code)? {
            Ok(region) => region,
            Err(invalid) => return Ok((Decision::Invalid(invalid), None)),
        };
        let page = VirtAddr::new(address.get() & !(PAGE_BYTES - 1));
        let leaf = self.leaf(env, space, page)?;
        let missing = Missing { space, region: &region, page, at: leaf.at };
        let (decision, frame) = match SpaceTables::<F>::state(leaf.entry) {
            PageState::InFrame(frame) => {
                let is_read_only = Self::HAS_FLAGS && leaf.entry & EntryBits::RW.bits() == 0;
                if code.contains(PageFaultCode::W) && is_read_only {
                    self.copy_on_write(env, space, &region, leaf)?
                } else {
                    self.flush_page(env, space, page);
                    (Decision::Minor(Minor::Spurious), frame)
                }
            }
            PageState::Swapped(slot) => {
                // The entry's use of the slot goes over to the frame.
                let frame = self.load(env, missing, slot)?;
                (Decision::Major(slot), frame)
            }
            PageState::Untouched => self.first_touch(env, missing)?,
        };
        Ok((decision, Some(frame)))
    }

    /// The region that allows the access, or why none does. A stack is grown to reach the address.
    fn judge<E: Environment>(
        &mut self,
        env: &mut E,
        space: SpaceId,
        address: VirtAddr,
        code: PageFaultCode,
    ) -> Result<Result<Region, Invalid>, SpaceError> {
        if code.contains(PageFaultCode::RSVD) {
            return Ok(Err(Invalid::Reserved));
        }
        let regions = &mut self.space_mut(space)?.regions;
        let region = if let Some(region) = regions.iter().find(|region| region.holds(address)) {
            *region
        } else {
            let reaches = |region: &&mut Region| {
                region.kind == RegionKind::Stack
                    && (region.reserved().0..region.start.get()).contains(&address.get())
            };
            let stack = regions.iter_mut().find(reaches);
            let Some(stack) = stack.filter(|_| !code.contains(PageFaultCode::I)) else {
                return Ok(Err(Invalid::NoRegion));
            };
            let start = VirtAddr::new(address.get() & !(PAGE_BYTES - 1));
            stack.pages += (stack.start.get() - start.get()) / PAGE_BYTES;
            stack.start = start;
            env.record(Event::Grown { space, start });
            *stack
        };
        let allows = |needed| region.protection.contains(needed);
        Ok(if region.kind == RegionKind::Guard {
            Err(Invalid::Guard)
        } else if code.contains(PageFaultCode::U) && !allows(Protection::USER) {
            Err(Invalid::Supervisor)
        } else if code.contains(PageFaultCode::W) && !allows(Protection::WRITE) {
            Err(Invalid::ReadOnly)
        } else if code.contains(PageFaultCode::I) && !allows(Protection::EXECUTE) {
            Err(Invalid::NoExecute)
        } else {
            Ok(region)
        })
    }

    /// A write to a page that others may have, too.
    fn copy_on_write<E: Environment>(
        &mut self,
        env: &mut E,
        space: SpaceId,
        region: &Region,
        LeafEntry { page, at, entry }: LeafEntry,
    ) -> Result<(Decision, PhysAddr), SpaceError> {
        let PageState::InFrame(old) = SpaceTables::<F>::state(entry) else {
            unreachable!("only pages in memory are write-protected")
        };
        let shared = self.frames.get(old).is_some_and(|frame| frame.references > 1);
        if !shared {
            if let Some(frame) = self.frames.get_mut(old) {
                frame.owner = space;
            }
            // More is allowed than before: the fault has dropped what was cached (TLB-3).
            env.write_entry(at, F::ENTRY_BYTES, entry | EntryBits::RW.bits())?;
            return Ok((Decision::Minor(Minor::Reuse), old));
        }
        self.pinned = Some(old);
        let new = self.obtain(env, FrameUse::Page(page), space, page);
        self.pinned = None;
        let new = new?;
        env.copy(old, new)?;
        // No slot has what the copy has.
        self.frames.get_mut(new).expect("it was allocated just now").dirty = true;
        self.drop_leaf(entry);
        self.write_leaf(env, at, region, new)?;
        self.flush_page(env, space, page);
        Ok((Decision::Minor(Minor::Copy), new))
    }

    /// A page that the space has not touched yet.
    fn first_touch<E: Environment>(
        &mut self,
        env: &mut E,
        missing: Missing<'_>,
    ) -> Result<(Decision, PhysAddr), SpaceError> {
        let number = missing.region.page_number(missing.page);
        match missing.region.backing {
            Backing::Zero => {
                let frame = self.zero_fill(env, missing, FrameUse::Page(missing.page))?;
                self.write_leaf(env, missing.at, missing.region, frame)?;
                Ok((Decision::Minor(Minor::ZeroFill), frame))
            }
            Backing::Image(first) => {
                let slot = first.plus(number);
                let frame = self.load(env, missing, slot)?;
                self.slots.share(slot);
                Ok((Decision::Major(slot), frame))
            }
            Backing::Object(id) => self.touch_object(env, missing, id, number as usize),
            Backing::Fixed(frame) => {
                // It was mapped from the start, and the tables are whole: nothing is missing.
                let frame = frame + number * PAGE_BYTES;
                self.write_leaf(env, missing.at, missing.region, frame)?;
                Ok((Decision::Minor(Minor::Spurious), frame))
            }
        }
    }

    /// A page of a shared object that the space has not mapped.
    fn touch_object<E: Environment>(
        &mut self,
        env: &mut E,
        missing: Missing<'_>,
        id: ObjectId,
        number: usize,
    ) -> Result<(Decision, PhysAddr), SpaceError> {
        let start = missing.region.start;
        let object = self.object(id).ok_or(SpaceError::BadObject(start))?;
        let usage = FrameUse::Shared(id, number as u16);
        let (decision, frame) = match (object.pages[number], object.backing) {
            (ObjectPage::InFrame(frame), _) => (Decision::Minor(Minor::MapShared), frame),
            (ObjectPage::Swapped(slot), _) => {
                // The object's use of the slot goes over to the frame.
                let frame = self.fill_from(env, missing, usage, slot)?;
                (Decision::Major(slot), frame)
            }
            (ObjectPage::Untouched, Backing::Image(first)) => {
                let slot = first.plus(number as u64);
                let frame = self.fill_from(env, missing, usage, slot)?;
                self.slots.share(slot);
                (Decision::Major(slot), frame)
            }
            (ObjectPage::Untouched, _) => {
                let frame = self.zero_fill(env, missing, usage)?;
                (Decision::Minor(Minor::ZeroFill), frame)
            }
        };
        if let Some(object) = self.object_mut(id) {
            object.pages[number] = ObjectPage::InFrame(frame);
        }
        // One reference is the object's, this one is the entry's.
        self.frames.share(frame);
        self.write_leaf(env, missing.at, missing.region, frame)?;
        Ok((decision, frame))
    }

    /// A frame of zeros.
    fn zero_fill<E: Environment>(
        &mut self,
        env: &mut E,
        missing: Missing<'_>,
        usage: FrameUse,
    ) -> Result<PhysAddr, SpaceError> {
        let frame = self.obtain(env, usage, missing.space, missing.page)?;
        if self.settings.duties.contains(Safeguards::WIPE) {
            env.wipe(frame)?;
        }
        Ok(frame)
    }

    /// A frame for the space's own page, mapped, with the contents of a slot.
    fn load<E: Environment>(
        &mut self,
        env: &mut E,
        missing: Missing<'_>,
        slot: SlotNumber,
    ) -> Result<PhysAddr, SpaceError> {
        let frame = self.fill_from(env, missing, FrameUse::Page(missing.page), slot)?;
        self.write_leaf(env, missing.at, missing.region, frame)?;
        Ok(frame)
    }

    /// A frame with the contents of a slot, which from now on is the frame's.
    fn fill_from<E: Environment>(
        &mut self,
        env: &mut E,
        missing: Missing<'_>,
        usage: FrameUse,
        slot: SlotNumber,
    ) -> Result<PhysAddr, SpaceError> {
        let frame = self.obtain(env, usage, missing.space, missing.page)?;
        env.load(slot, frame)?;
        self.statistics.read += 1;
        self.frames.get_mut(frame).expect("it was allocated just now").slot = Some(slot);
        Ok(frame)
    }
}
