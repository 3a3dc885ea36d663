//! What a program asks for: regions that come, go, grow and change, and shared objects.

use super::object::{MAX_OBJECT_PAGES, Object, ObjectId, ObjectPage};
use super::region::{Backing, Region, RegionKind};
use super::system::{SpaceId, System};
use super::tables::{LeafEntry, PageState, SpaceTables};
use super::{Environment, PAGE_BYTES, Protection, SpaceError};
use crate::address::{PhysAddr, VirtAddr};
use crate::x86::format::{EntryBits, Format};

impl<F: Format, const FRAMES: usize, const SLOTS: usize> System<F, FRAMES, SLOTS> {
    /// Adds a region. Its pages come when they are touched; those of [`Backing::Fixed`] are mapped at
    /// once.
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
        let object = match region.backing {
            Backing::Object(id) => Some(self.object_mut(id).ok_or(SpaceError::BadObject(start))?),
            _ => None,
        };
        if let Some(object) = object {
            object.attached += 1;
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
        for number in 0..region.pages {
            let page = region.start.wrapping_add(number * PAGE_BYTES);
            let LeafEntry { at, .. } = self.leaf(env, space, page)?;
            let entry = self.leaf_entry(region, first + number * PAGE_BYTES);
            // Nobody asks whether these pages are used: the processor need not say so.
            let flags =
                if Self::HAS_FLAGS { EntryBits::A | EntryBits::D } else { EntryBits::empty() };
            env.write_entry(at, F::ENTRY_BYTES, entry | flags.bits())?;
            self.space(space)?.tables.mark_path(env, page)?;
        }
        Ok(())
    }

    /// Whether a region can be added.
    fn check(&self, space: SpaceId, region: &Region) -> Result<(), SpaceError> {
        let start = region.start;
        let known = self.space(space)?;
        if start.offset(12) != 0 {
            return Err(SpaceError::Misaligned(start));
        }
        // Before anything is computed from them. No format has 2^50 pages.
        if region.pages == 0 || region.limit < region.pages || region.limit >= 1 << 50 {
            return Err(SpaceError::BadRange(start));
        }
        let (first, end) = region.reserved();
        let exists = |address: u64| {
            let address = VirtAddr::new(address);
            let bits = F::ADDRESS_BITS;
            if F::IS_LONG_MODE {
                address.is_canonical(bits)
            } else {
                address.truncated(bits) == address
            }
        };
        let last = end.wrapping_sub(1);
        if first >= end || first >> 63 != last >> 63 || !exists(first) || !exists(last) {
            return Err(SpaceError::BadRange(start));
        }
        let overlaps = |other: &Region| {
            let (other_first, other_end) = other.reserved();
            first < other_end && other_first < end
        };
        if known.regions.iter().any(overlaps) {
            return Err(SpaceError::Overlap(start));
        }
        match region.backing {
            Backing::Zero => {}
            Backing::Image(slot) if self.slots.are_images(slot, region.limit) => {}
            Backing::Image(_) => return Err(SpaceError::BadSlots(start)),
            Backing::Fixed(frame) => {
                let last = frame + (region.pages - 1) * PAGE_BYTES;
                if !SpaceTables::<F>::fits(frame) || !SpaceTables::<F>::fits(last) {
                    return Err(SpaceError::FrameTooHigh(last));
                }
                let (own, behind) =
                    (self.frames.address(0), self.frames.address(self.frames.count()));
                if frame < behind && own <= last {
                    return Err(SpaceError::OwnFrame(frame));
                }
            }
            Backing::Object(id) => {
                let pages = self.object(id).map_or(0, |object| object.count);
                let twice = known.regions.iter().any(|other| other.backing == region.backing);
                if region.limit > pages || twice {
                    return Err(SpaceError::BadObject(start));
                }
            }
        }
        let has_room = !known.regions.is_full();
        if has_room { Ok(()) } else { Err(SpaceError::TooManyRegions(start)) }
    }

    /// Removes the region that holds an address, with its pages. The tables stay until the end of
    /// the space.
    ///
    /// # Errors
    /// When there is none.
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

    /// Changes what may be done in the region that holds an address, now and for pages to come.
    ///
    /// # Errors
    /// When there is none.
    pub fn protect<E: Environment>(
        &mut self,
        env: &mut E,
        space: SpaceId,
        address: VirtAddr,
        protection: Protection,
    ) -> Result<(), SpaceError> {
        let place = self.region_place(space, address)?;
        let region = &mut self.space_mut(space)?.regions[place];
        region.protection = protection;
        let region = *region;
        let mut from = region.start;
        while let Some(leaf) = self.space(space)?.tables.next(env, from, region.end())? {
            from = leaf.page.wrapping_add(PAGE_BYTES);
            if let PageState::InFrame(frame) = SpaceTables::<F>::state(leaf.entry) {
                let kept = leaf.entry & (EntryBits::A | EntryBits::D).bits();
                let new = self.leaf_entry(&region, frame) | if Self::HAS_FLAGS { kept } else { 0 };
                env.write_entry(leaf.at, F::ENTRY_BYTES, new)?;
                self.flush_page(env, space, leaf.page);
            }
        }
        Ok(())
    }

    /// Gives a heap more pages, which it gets when they are touched. Stacks grow by themselves.
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

    /// Makes a shared object, of zeros or of images. It lives until the last region that shows it
    /// goes.
    ///
    /// # Errors
    /// When there are too many objects or pages, or the images do not exist.
    pub fn create_object(&mut self, pages: u64, backing: Backing) -> Result<ObjectId, SpaceError> {
        let number = self.objects.iter().position(Option::is_none);
        let number = number.ok_or(SpaceError::TooManyObjects)?;
        if pages == 0 || pages > MAX_OBJECT_PAGES as u64 {
            return Err(SpaceError::TooManyObjects);
        }
        match backing {
            Backing::Zero => {}
            Backing::Image(slot) if self.slots.are_images(slot, pages) => {}
            _ => return Err(SpaceError::BadSlots(VirtAddr::new(0))),
        }
        let (pages, count) = ([ObjectPage::Untouched; MAX_OBJECT_PAGES], pages);
        self.objects[number] = Some(Object { pages, count, backing, attached: 0 });
        Ok(ObjectId(number as u8))
    }

    /// One region less shows an object.
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
        let place = self.space(space)?.regions.iter().position(|region| region.holds(address));
        place.ok_or(SpaceError::NoRegion(address))
    }
}
