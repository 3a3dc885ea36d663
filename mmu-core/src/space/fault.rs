//! The page-fault handler: what a fault means, and what is done about it.
//!
//! It knows what a processor reports: the address and the error code. Whether the page is in memory it
//! reads from the tables and not from P of the error code: with an old translation the two may differ.

use super::environment::Environment;
use super::error::SpaceError;
use super::event::{Decision, Event, Invalid, Minor};
use super::frames::FrameUse;
use super::ids::{ObjectId, PAGE_BYTES, SlotNumber, SpaceId, page_of};
use super::object::ObjectPage;
use super::region::{Backing, Protection, Region, RegionKind};
use super::system::{Safeguards, System};
use super::tables::{LeafEntry, PageState, SpaceTables};
use crate::address::{PhysAddr, VirtAddr};
use crate::x86::fault::{Fault, PageFaultCode, Vector};
use crate::x86::format::{EntryBits, Format};

/// A page that must be brought into memory.
#[derive(Clone, Copy)]
struct MissingPage<'r> {
    space: SpaceId,
    region: &'r Region,
    page: VirtAddr,
    /// The physical address of its entry.
    at: PhysAddr,
}

impl<F: Format, const FRAMES: usize, const SLOTS: usize> System<F, FRAMES, SLOTS> {
    /// Serves a fault of a space: brings in the page, copies it, or decides that the access is not
    /// allowed. Unless the access was invalid, the process must repeat it.
    ///
    /// # Errors
    /// When there is no frame for the page, or no such space. Nothing has changed for the process
    /// then: with more frames it may repeat the access.
    pub fn fault<E: Environment>(
        &mut self,
        env: &mut E,
        space: SpaceId,
        fault: &Fault,
    ) -> Result<Decision, SpaceError> {
        let mut retried = self.space(space)?.retried.clone();
        let (mut decision, mut frame) = self.decide(env, space, fault)?;

        if decision != Decision::Minor(Minor::Spurious) {
            retried.clear();
        } else if retried.contains(fault) {
            // The page was shot down before the last attempt, so the processor has used these tables
            // (TLB-2), and denies the access itself.
            (decision, frame) = (Decision::Invalid(Invalid::Processor), None);
        } else {
            if retried.is_full() {
                retried.remove(0);
            }
            retried.push(*fault);
        }
        // A spurious fault has shot down its page, and changed no entry.
        self.space_mut(space)?.retried = retried;

        self.statistics.count(decision);
        env.record(Event::Fault { space, fault: *fault, decision, frame });
        Ok(decision)
    }

    /// The decision about a fault, and the frame in which the page is now.
    fn decide<E: Environment>(
        &mut self,
        env: &mut E,
        space: SpaceId,
        fault: &Fault,
    ) -> Result<(Decision, Option<PhysAddr>), SpaceError> {
        let invalid = |why| Ok((Decision::Invalid(why), None));
        let code = PageFaultCode::from_bits_retain(fault.error_code);

        if fault.vector == Vector::AlignmentCheck {
            return invalid(Invalid::Misaligned);
        }
        let (Vector::PageFault, Some(address)) = (fault.vector, fault.cr2) else {
            return invalid(Invalid::NotCanonical);
        };
        if code.contains(PageFaultCode::RSVD) {
            return invalid(Invalid::Reserved);
        }
        let Some(region) = self.region_for(env, space, address, code)? else {
            return invalid(Invalid::NoRegion);
        };
        if let Some(why) = denial(&region, code) {
            return invalid(why);
        }

        let (decision, frame) = self.serve(env, space, &region, page_of(address), code)?;
        Ok((decision, Some(frame)))
    }

    /// The region that holds an address. A stack grows to hold it, but not for a fetch.
    fn region_for<E: Environment>(
        &mut self,
        env: &mut E,
        space: SpaceId,
        address: VirtAddr,
        code: PageFaultCode,
    ) -> Result<Option<Region>, SpaceError> {
        let regions = &mut self.space_mut(space)?.regions;
        if let Some(region) = regions.iter().find(|region| region.holds(address)) {
            return Ok(Some(*region));
        }
        if code.contains(PageFaultCode::I) {
            return Ok(None);
        }

        let can_reach = |region: &&mut Region| {
            let room_below = region.reserved().0..region.start.get();
            region.kind == RegionKind::Stack && room_below.contains(&address.get())
        };
        let Some(stack) = regions.iter_mut().find(can_reach) else { return Ok(None) };

        let start = page_of(address);
        stack.pages += (stack.start.get() - start.get()) / PAGE_BYTES;
        stack.start = start;
        env.record(Event::Grown { space, start });
        Ok(Some(*stack))
    }

    /// Serves a fault at a page where the region allows the access.
    fn serve<E: Environment>(
        &mut self,
        env: &mut E,
        space: SpaceId,
        region: &Region,
        page: VirtAddr,
        code: PageFaultCode,
    ) -> Result<(Decision, PhysAddr), SpaceError> {
        let leaf = self.leaf(env, space, page)?;
        let missing = MissingPage { space, region, page, at: leaf.at };

        match SpaceTables::<F>::state(leaf.entry) {
            PageState::InFrame(frame) => {
                let is_read_only = Self::HAS_FLAGS && leaf.entry & EntryBits::RW.bits() == 0;
                if code.contains(PageFaultCode::W) && is_read_only {
                    return self.copy_on_write(env, space, region, leaf, frame);
                }
                self.flush_page(env, space, page);
                Ok((Decision::Minor(Minor::Spurious), frame))
            }
            PageState::Swapped(slot) => {
                // The entry's reference to the slot goes to the frame.
                let frame = self.load(env, missing, slot)?;
                Ok((Decision::Major(slot), frame))
            }
            PageState::Untouched => self.first_touch(env, missing),
        }
    }

    /// A write to a page that other spaces may have, too.
    fn copy_on_write<E: Environment>(
        &mut self,
        env: &mut E,
        space: SpaceId,
        region: &Region,
        LeafEntry { page, at, entry }: LeafEntry,
        old: PhysAddr,
    ) -> Result<(Decision, PhysAddr), SpaceError> {
        let is_shared = self.frames.get(old).is_some_and(|frame| frame.references > 1);
        if !is_shared {
            if let Some(frame) = self.frames.get_mut(old) {
                frame.owner = space;
            }
            // No shoot-down: the entry allows more than before, and the fault has dropped what was
            // cached (TLB-3).
            env.write_entry(at, F::ENTRY_BYTES, entry | EntryBits::RW.bits())?;
            return Ok((Decision::Minor(Minor::Reuse), old));
        }

        let new = self.copy_frame(env, old, space, page)?;
        // No slot has the contents of the copy.
        self.frames.get_mut(new).expect("it has just been allocated").dirty = true;

        self.drop_leaf(entry);
        self.write_leaf(env, at, region, new)?;
        self.flush_page(env, space, page);
        Ok((Decision::Minor(Minor::Copy), new))
    }

    /// Brings in a page that the space has not touched yet.
    fn first_touch<E: Environment>(
        &mut self,
        env: &mut E,
        missing: MissingPage<'_>,
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
                // It was mapped when the region was, so a walk cannot miss it.
                let frame = frame + number * PAGE_BYTES;
                self.write_leaf(env, missing.at, missing.region, frame)?;
                Ok((Decision::Minor(Minor::Spurious), frame))
            }
        }
    }

    /// Brings in a page of a shared object that the space has not mapped yet.
    fn touch_object<E: Environment>(
        &mut self,
        env: &mut E,
        missing: MissingPage<'_>,
        id: ObjectId,
        number: usize,
    ) -> Result<(Decision, PhysAddr), SpaceError> {
        let start = missing.region.start;
        let object = self.object(id).ok_or(SpaceError::BadObject(start))?;
        let usage = FrameUse::Shared(id, number as u16);

        let (decision, frame) = match (object.pages[number], object.backing) {
            (ObjectPage::InFrame(frame), _) => (Decision::Minor(Minor::MapShared), frame),
            (ObjectPage::Swapped(slot), _) => {
                // The object's reference to the slot goes to the frame.
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

        // One reference is the object's; this one is the entry's.
        self.frames.share(frame);
        self.write_leaf(env, missing.at, missing.region, frame)?;
        Ok((decision, frame))
    }

    /// A frame filled with zeros.
    fn zero_fill<E: Environment>(
        &mut self,
        env: &mut E,
        missing: MissingPage<'_>,
        usage: FrameUse,
    ) -> Result<PhysAddr, SpaceError> {
        let frame = self.obtain(env, usage, missing.space, missing.page)?;

        if self.settings.safeguards.contains(Safeguards::WIPE) {
            env.wipe(frame)?;
        }
        Ok(frame)
    }

    /// Maps a frame for the space's own page, with the contents of a slot.
    fn load<E: Environment>(
        &mut self,
        env: &mut E,
        missing: MissingPage<'_>,
        slot: SlotNumber,
    ) -> Result<PhysAddr, SpaceError> {
        let frame = self.fill_from(env, missing, FrameUse::Page(missing.page), slot)?;
        self.write_leaf(env, missing.at, missing.region, frame)?;
        Ok(frame)
    }

    /// A frame with the contents of a slot, to which it refers from now on.
    fn fill_from<E: Environment>(
        &mut self,
        env: &mut E,
        missing: MissingPage<'_>,
        usage: FrameUse,
        slot: SlotNumber,
    ) -> Result<PhysAddr, SpaceError> {
        let frame = self.obtain(env, usage, missing.space, missing.page)?;

        env.load(slot, frame)?;
        self.statistics.read += 1;
        self.frames.get_mut(frame).expect("it has just been allocated").slot = Some(slot);
        Ok(frame)
    }
}

/// Why an access is not allowed, if the region or the error code says so. Bits of the code that have
/// no name here (HLAT, SGX, RMP) stand for causes outside the tables, which no change of them cures.
fn denial(region: &Region, code: PageFaultCode) -> Option<Invalid> {
    let lacks = |needed| !region.protection.contains(needed);

    if region.kind == RegionKind::Guard {
        Some(Invalid::Guard)
    } else if code.contains(PageFaultCode::PK) {
        Some(Invalid::ProtectionKey)
    } else if code.contains(PageFaultCode::SS) {
        Some(Invalid::ShadowStack)
    } else if !PageFaultCode::all().contains(code) {
        Some(Invalid::Processor)
    } else if code.contains(PageFaultCode::U) && lacks(Protection::USER) {
        Some(Invalid::Supervisor)
    } else if code.contains(PageFaultCode::W) && lacks(Protection::WRITE) {
        Some(Invalid::ReadOnly)
    } else if code.contains(PageFaultCode::I) && lacks(Protection::EXECUTE) {
        Some(Invalid::NoExecute)
    } else {
        None
    }
}
