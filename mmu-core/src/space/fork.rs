//! Fork: a second address space with the same contents, which neither copies until it writes.

use super::frames::FrameUse;
use super::region::{Backing, Region};
use super::system::{Safeguards, SpaceId, System};
use super::tables::{LeafEntry, PageState, SpaceTables};
use super::{Environment, PAGE_BYTES, SpaceError};
use crate::x86::format::{EntryBits, Format};

impl<F: Format, const FRAMES: usize, const SLOTS: usize> System<F, FRAMES, SLOTS> {
    /// Makes a copy of an address space. Pages in memory are shared and write-protected in both, so
    /// that a write faults and copies; pages in the store stay there, once for both. Shared objects
    /// stay shared.
    ///
    /// A format without rights cannot protect; there every page in memory is copied at once.
    ///
    /// # Errors
    /// When there are too many spaces, or too few frames for the tables: then there is no copy.
    pub fn fork<E: Environment>(
        &mut self,
        env: &mut E,
        parent: SpaceId,
    ) -> Result<SpaceId, SpaceError> {
        self.space(parent)?;
        let child = self.create(env)?;
        let done = self.copy_regions(env, parent, child);
        // What the parent could write it may now only read.
        self.flush_space(env, parent);
        match done {
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
            let child_leaf = self.leaf(env, child, page)?;
            // The child's table may have taken the frame of this very page: look again.
            let entry = env.read_entry(at, F::ENTRY_BYTES)?;
            match SpaceTables::<F>::state(entry) {
                PageState::Untouched => {}
                PageState::Swapped(slot) => {
                    self.slots.share(slot);
                    env.write_entry(child_leaf.at, F::ENTRY_BYTES, entry)?;
                }
                PageState::InFrame(frame) if Self::HAS_FLAGS => {
                    self.frames.share(frame);
                    let protected = if self.settings.duties.contains(Safeguards::WRITE_PROTECT) {
                        entry & !EntryBits::RW.bits()
                    } else {
                        entry
                    };
                    env.write_entry(at, F::ENTRY_BYTES, protected)?;
                    // The child has not touched the page. Its D is the parent's to remember.
                    let fresh = protected & !(EntryBits::A | EntryBits::D).bits();
                    env.write_entry(child_leaf.at, F::ENTRY_BYTES, fresh)?;
                }
                PageState::InFrame(frame) => {
                    self.pinned = Some(frame);
                    let copy = self.obtain(env, FrameUse::Page(page), child, page);
                    self.pinned = None;
                    let copy = copy?;
                    env.copy(frame, copy)?;
                    self.write_leaf(env, child_leaf.at, region, copy)?;
                }
            }
        }
        Ok(())
    }
}
