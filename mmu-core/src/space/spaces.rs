//! The operations on whole address spaces: create, fork, destroy. A fork makes a second space with the
//! same contents, which are not copied until one side writes.

use super::environment::Environment;
use super::error::SpaceError;
use super::frames::FrameUse;
use super::ids::{PAGE_BYTES, SpaceId};
use super::region::{Backing, Region};
use super::system::{Safeguards, Space, System};
use super::tables::{LeafEntry, PageState, SpaceTables};
use crate::address::{PhysAddr, VirtAddr};
use crate::x86::format::{EntryBits, Format};
use arrayvec::ArrayVec;

impl<F: Format, const FRAMES: usize, const SLOTS: usize> System<F, FRAMES, SLOTS> {
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

        self.spaces[number] =
            Some(Space { tables, regions: ArrayVec::new(), retried: ArrayVec::new() });
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
        tables.for_each_table(env, &mut |_, table| {
            self.frames.release(table);
        })?;
        for frame in tables.root_frames() {
            self.frames.release(frame);
        }

        self.spaces[usize::from(space.0)] = None;
        self.flush_space(env, space);
        Ok(())
    }

    /// Makes a copy of an address space. Pages in memory are shared and write-protected in both, so
    /// that a write faults and copies. Pages in the store stay there, once for both. Shared objects
    /// stay shared.
    ///
    /// A format without rights cannot write-protect; there every page in memory is copied at once.
    ///
    /// # Errors
    /// When there are too many spaces, or too few frames for the tables. Then there is no copy.
    pub fn fork<E: Environment>(
        &mut self,
        env: &mut E,
        parent: SpaceId,
    ) -> Result<SpaceId, SpaceError> {
        self.space(parent)?;
        let child = self.create(env)?;
        let copied = self.copy_regions(env, parent, child);

        // Pages that the parent could write are read-only now.
        self.flush_space(env, parent);

        match copied {
            Ok(()) => Ok(child),
            Err(error) => {
                self.destroy(env, child)?;
                Err(error)
            }
        }
    }

    fn copy_regions<E: Environment>(
        &mut self,
        env: &mut E,
        parent: SpaceId,
        child: SpaceId,
    ) -> Result<(), SpaceError> {
        for region in self.space(parent)?.regions.clone() {
            self.map(env, child, region)?;
            if !matches!(region.backing, Backing::Object(_) | Backing::Fixed(_)) {
                self.copy_pages(env, parent, child, &region)?;
            }
        }
        Ok(())
    }

    fn copy_pages<E: Environment>(
        &mut self,
        env: &mut E,
        parent: SpaceId,
        child: SpaceId,
        region: &Region,
    ) -> Result<(), SpaceError> {
        let tables = self.space(parent)?.tables;
        let mut from = region.start;

        while let Some(LeafEntry { page, at, .. }) = tables.next(env, from, region.end())? {
            from = page.wrapping_add(PAGE_BYTES);
            let child_at = self.leaf(env, child, page)?.at;

            // The child's new table may have taken the frame of this very page: read the entry again.
            let entry = env.read_entry(at, F::ENTRY_BYTES)?;
            match SpaceTables::<F>::state(entry) {
                PageState::Untouched => {}
                PageState::Swapped(slot) => {
                    self.slots.share(slot);
                    env.write_entry(child_at, F::ENTRY_BYTES, entry)?;
                }
                PageState::InFrame(frame) if Self::HAS_FLAGS => {
                    self.frames.share(frame);
                    self.share_page(env, at, child_at, frame, entry)?;
                }
                PageState::InFrame(frame) => {
                    let copy = self.copy_frame(env, frame, child, page)?;
                    self.write_leaf(env, child_at, region, copy)?;
                }
            }
        }
        Ok(())
    }

    /// Write-protects a page in both spaces, for copy-on-write. The frame remembers D: an entry with
    /// R/W=0 and D=1 would map a shadow stack (RIGHT-7).
    fn share_page<E: Environment>(
        &mut self,
        env: &mut E,
        parent_at: PhysAddr,
        child_at: PhysAddr,
        frame: PhysAddr,
        entry: u64,
    ) -> Result<(), SpaceError> {
        self.note_dirty(frame, entry);
        let clean = entry & !EntryBits::D.bits();
        let protected = if self.settings.safeguards.contains(Safeguards::WRITE_PROTECT) {
            clean & !EntryBits::RW.bits()
        } else {
            clean
        };
        env.write_entry(parent_at, F::ENTRY_BYTES, protected)?;

        // The child has not touched the page.
        let untouched = protected & !EntryBits::A.bits();
        env.write_entry(child_at, F::ENTRY_BYTES, untouched)?;
        Ok(())
    }
}
