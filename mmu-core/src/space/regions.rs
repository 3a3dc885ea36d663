//! The operations on regions and shared objects that programs ask for.

use super::environment::Environment;
use super::error::SpaceError;
use super::ids::{ObjectId, PAGE_BYTES, SpaceId};
use super::object::{MAX_OBJECT_PAGES, Object, ObjectPage};
use super::region::{Backing, Protection, Region, RegionKind};
use super::system::System;
use super::tables::{PageState, SpaceTables};
use crate::address::{PAGE_SHIFT, PhysAddr, VirtAddr};
use crate::table::limits;
use crate::x86::format::Format;

impl<F: Format, const FRAMES: usize, const SLOTS: usize> System<F, FRAMES, SLOTS> {
    /// Adds a region. Its pages are mapped when they are touched, those of [`Backing::Fixed`] at once.
    ///
    /// # Errors
    /// When the region is not well formed, overlaps another, or is one too many.
    pub fn map<E: Environment>(
        &mut self,
        env: &mut E,
        space: SpaceId,
        region: Region,
    ) -> Result<(), SpaceError> {
        let start = region.start;
        self.check(space, &region)?;

        if let Backing::Object(id) = region.backing {
            self.object_mut(id).ok_or(SpaceError::BadObject(start))?.attached += 1;
        }
        self.space_mut(space)?.regions.push(region);

        if let Backing::Fixed(first) = region.backing
            && let Err(error) = self.map_fixed(env, space, &region, first)
        {
            self.unmap(env, space, start)?;
            return Err(error);
        }
        Ok(())
    }

    fn map_fixed<E: Environment>(
        &mut self,
        env: &mut E,
        space: SpaceId,
        region: &Region,
        first: PhysAddr,
    ) -> Result<(), SpaceError> {
        for offset in (0..region.pages).map(|number| number * PAGE_BYTES) {
            let page = region.start.wrapping_add(offset);
            let at = self.leaf(env, space, page)?.at;
            let entry = self.leaf_entry(region, first + offset);
            env.write_entry(at, F::ENTRY_BYTES, entry | Self::fixed_bits(entry))?;
            self.space(space)?.tables.mark_path(env, page)?;
        }
        Ok(())
    }

    /// Checks that a region can be added.
    fn check(&self, space: SpaceId, region: &Region) -> Result<(), SpaceError> {
        let start = region.start;
        let others = &self.space(space)?.regions;

        check_range::<F>(region)?;
        if others.iter().any(|other| overlap(region, other)) {
            return Err(SpaceError::Overlap(start));
        }

        match region.backing {
            Backing::Zero => {}
            Backing::Image(slot) if self.slots.are_images(slot, region.limit) => {}
            Backing::Image(_) => return Err(SpaceError::BadSlots(start)),
            Backing::Fixed(frame) => self.check_fixed(region, frame)?,
            Backing::Object(id) => {
                let pages = self.object(id).map_or(0, |object| object.count);
                let is_attached = others.iter().any(|other| other.backing == region.backing);
                if region.limit > pages || is_attached {
                    return Err(SpaceError::BadObject(start));
                }
            }
        }

        if others.is_full() { Err(SpaceError::TooManyRegions(start)) } else { Ok(()) }
    }

    /// Checks that entries can hold the addresses of fixed memory, and that none of it is a frame of
    /// the system.
    fn check_fixed(&self, region: &Region, first: PhysAddr) -> Result<(), SpaceError> {
        let last = first + (region.pages - 1) * PAGE_BYTES;
        if !SpaceTables::<F>::fits(first) || !SpaceTables::<F>::fits(last) {
            return Err(SpaceError::FrameTooHigh(last));
        }

        let first_frame = self.frames.address(0);
        let behind_frames = self.frames.address(self.frames.count());
        if first < behind_frames && first_frame <= last {
            return Err(SpaceError::OwnFrame(first));
        }
        Ok(())
    }

    /// Removes the region that holds an address, with its pages. The tables stay until the end of the
    /// space.
    ///
    /// # Errors
    /// When no region holds the address.
    pub fn unmap<E: Environment>(
        &mut self,
        env: &mut E,
        space: SpaceId,
        address: VirtAddr,
    ) -> Result<Region, SpaceError> {
        let place = self.region_place(space, address)?;
        let region = self.space(space)?.regions[place];

        self.drop_pages(env, space, &region, true)?;
        self.space_mut(space)?.regions.remove(place);
        self.detach(region.backing);
        Ok(region)
    }

    /// Changes what is allowed in the region that holds an address, for pages that are mapped and for
    /// those to come.
    ///
    /// # Errors
    /// When no region holds the address.
    pub fn protect<E: Environment>(
        &mut self,
        env: &mut E,
        space: SpaceId,
        address: VirtAddr,
        protection: Protection,
    ) -> Result<(), SpaceError> {
        let place = self.region_place(space, address)?;
        self.space_mut(space)?.regions[place].protection = protection;

        let region = self.space(space)?.regions[place];
        let mut from = region.start;
        while let Some(leaf) = self.space(space)?.tables.next(env, from, region.end())? {
            from = leaf.page.wrapping_add(PAGE_BYTES);

            if let PageState::InFrame(frame) = SpaceTables::<F>::state(leaf.entry) {
                let new = self.changed_entry(&region, frame, leaf.entry);
                env.write_entry(leaf.at, F::ENTRY_BYTES, new)?;
                self.flush_page(env, space, leaf.page);
            }
        }
        Ok(())
    }

    /// Gives a heap more pages, which are mapped when they are touched. Stacks grow by themselves.
    ///
    /// # Errors
    /// When no heap holds the address, or its limit is reached.
    pub fn grow(
        &mut self,
        space: SpaceId,
        address: VirtAddr,
        pages: u64,
    ) -> Result<Region, SpaceError> {
        let place = self.region_place(space, address)?;
        let region = &mut self.space_mut(space)?.regions[place];

        if region.kind != RegionKind::Heap || pages > region.limit - region.pages {
            return Err(SpaceError::CannotGrow(region.start));
        }
        region.pages += pages;
        Ok(*region)
    }

    /// Makes a shared object, of zeros or of images. It lives until the last region that shows it is
    /// removed.
    ///
    /// # Errors
    /// When there are too many objects or pages, or the images do not exist.
    pub fn create_object(&mut self, pages: u64, backing: Backing) -> Result<ObjectId, SpaceError> {
        let free = self.objects.iter().position(Option::is_none);
        let number = free.ok_or(SpaceError::TooManyObjects)?;
        if pages == 0 || pages > MAX_OBJECT_PAGES as u64 {
            return Err(SpaceError::TooManyObjects);
        }

        match backing {
            Backing::Zero => {}
            Backing::Image(slot) if self.slots.are_images(slot, pages) => {}
            _ => return Err(SpaceError::BadSlots(VirtAddr::new(0))),
        }

        self.objects[number] = Some(Object {
            pages: [ObjectPage::Untouched; MAX_OBJECT_PAGES],
            count: pages,
            backing,
            attached: 0,
        });
        Ok(ObjectId(number as u8))
    }

    /// Drops the reference of a removed region to its object.
    pub(super) fn detach(&mut self, backing: Backing) {
        let Backing::Object(id) = backing else { return };
        let Some(object) = self.object_mut(id) else { return };

        object.attached -= 1;
        if object.attached > 0 {
            return;
        }

        let pages = object.pages;
        self.objects[usize::from(id.0)] = None;
        for page in pages {
            match page {
                ObjectPage::Untouched => {}
                ObjectPage::Swapped(slot) => self.slots.release(slot),
                ObjectPage::InFrame(frame) => self.release(frame),
            }
        }
    }

    fn region_place(&self, space: SpaceId, address: VirtAddr) -> Result<usize, SpaceError> {
        let regions = &self.space(space)?.regions;
        let place = regions.iter().position(|region| region.holds(address));
        place.ok_or(SpaceError::NoRegion(address))
    }
}

/// Checks that a region is aligned, not empty, and inside the linear addresses of the format.
fn check_range<F: Format>(region: &Region) -> Result<(), SpaceError> {
    let start = region.start;
    if start.offset(PAGE_SHIFT) != 0 {
        return Err(SpaceError::Misaligned(start));
    }

    // First of all the numbers of pages, so that sums of them cannot overflow. No format has 2^50.
    if region.pages == 0 || region.limit < region.pages || region.limit >= 1 << 50 {
        return Err(SpaceError::BadRange(start));
    }

    let (first, end) = region.reserved();
    let last = end.wrapping_sub(1);
    let is_in_one_half = first < end && first >> 63 == last >> 63;
    let exists = |address| limits::exists::<F>(VirtAddr::new(address));
    if is_in_one_half && exists(first) && exists(last) {
        Ok(())
    } else {
        Err(SpaceError::BadRange(start))
    }
}

/// Whether two regions may grow to hold the same address.
const fn overlap(one: &Region, other: &Region) -> bool {
    let (first, end) = one.reserved();
    let (other_first, other_end) = other.reserved();
    first < other_end && other_first < end
}
