//! Looking at a system from outside.

use super::frames::{FrameUse, Frames};
use super::region::Region;
use super::slots::Slots;
use super::system::{SpaceId, System};
use super::tables::{LeafEntry, PageState, SpaceTables};
use super::{SpaceError, Statistics};
use crate::address::{PhysAddr, VirtAddr};
use crate::memory::TableMemory;
use crate::x86::format::Format;

impl<F: Format, const FRAMES: usize, const SLOTS: usize> System<F, FRAMES, SLOTS> {
    /// The address spaces, lowest number first.
    pub fn spaces(&self) -> impl Iterator<Item = SpaceId> {
        let numbered = (0..).zip(&self.spaces);
        numbered.filter_map(|(number, space)| space.as_ref().map(|_| SpaceId(number)))
    }

    /// The root table of a space: what CR3 is to hold while it runs.
    ///
    /// # Errors
    /// When there is no such space.
    pub fn root(&self, space: SpaceId) -> Result<PhysAddr, SpaceError> {
        Ok(self.space(space)?.tables.root)
    }

    /// The regions of a space, in the order in which they were added.
    ///
    /// # Errors
    /// When there is no such space.
    pub fn regions(&self, space: SpaceId) -> Result<&[Region], SpaceError> {
        Ok(&self.space(space)?.regions)
    }

    /// The first entry of a space at or above `from`, below `end`, that says something, and what.
    ///
    /// # Errors
    /// When there is no such space, or a table lies outside memory.
    pub fn next_page<M: TableMemory>(
        &self,
        memory: &M,
        space: SpaceId,
        from: VirtAddr,
        end: VirtAddr,
    ) -> Result<Option<(LeafEntry, PageState)>, SpaceError> {
        let leaf = self.space(space)?.tables.next(memory, from, end)?;
        Ok(leaf.map(|leaf| (leaf, SpaceTables::<F>::state(leaf.entry))))
    }

    /// The entry of a page of a space, if there is a table for it.
    ///
    /// # Errors
    /// When there is no such space, or a table lies outside memory.
    pub fn look<M: TableMemory>(
        &self,
        memory: &M,
        space: SpaceId,
        page: VirtAddr,
    ) -> Result<Option<LeafEntry>, SpaceError> {
        Ok(self.space(space)?.tables.look(memory, page)?)
    }

    /// Where the entries on the way to a page lie, root first, as far as there are tables: those in
    /// which a walk may set A, whatever it ends in (AD-2).
    ///
    /// # Errors
    /// When there is no such space, or a table lies outside memory.
    pub fn path<M: TableMemory>(
        &self,
        memory: &M,
        space: SpaceId,
        page: VirtAddr,
    ) -> Result<impl Iterator<Item = PhysAddr>, SpaceError> {
        let path = self.space(space)?.tables.path(memory, page)?;
        Ok(path.into_iter().map(|(_, at, _)| at))
    }

    /// How many frames the tables of a space take.
    pub fn table_frames(&self, space: SpaceId) -> usize {
        let is_table = |frame: &FrameUse| *frame == FrameUse::Table(space);
        self.frames.iter().filter(|(_, frame)| is_table(&frame.usage)).count()
    }

    /// The frames.
    pub const fn frames(&self) -> &Frames<FRAMES> {
        &self.frames
    }

    /// The slots of the store.
    pub const fn slots(&self) -> &Slots<SLOTS> {
        &self.slots
    }

    /// What happened so far, counted.
    pub const fn statistics(&self) -> &Statistics {
        &self.statistics
    }
}
