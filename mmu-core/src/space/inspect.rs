//! Read-only views of a system.

use super::error::SpaceError;
use super::event::Statistics;
use super::frames::{FrameUse, Frames};
use super::ids::SpaceId;
use super::region::Region;
use super::slots::Slots;
use super::system::System;
use super::tables::{LeafEntry, PageState, SpaceTables};
use crate::address::{PhysAddr, VirtAddr};
use crate::memory::{OutsideMemory, TableMemory};
use crate::x86::format::{Format, Level};

impl<F: Format, const FRAMES: usize, const SLOTS: usize> System<F, FRAMES, SLOTS> {
    /// The address spaces, lowest number first.
    pub fn spaces(&self) -> impl Iterator<Item = SpaceId> {
        let numbered = (0..).zip(&self.spaces);
        numbered.filter_map(|(number, space)| space.as_ref().map(|_| SpaceId(number)))
    }

    /// The root table of a space: the value of CR3 while the space runs.
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

    /// The first entry of a space that is not 0, of the pages from `from` to below `end`, and where
    /// its page is.
    ///
    /// # Errors
    /// When there is no such space, or a table is outside memory.
    pub fn next_page<M: TableMemory<Error = OutsideMemory>>(
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
    /// When there is no such space, or a table is outside memory.
    pub fn look<M: TableMemory<Error = OutsideMemory>>(
        &self,
        memory: &M,
        space: SpaceId,
        page: VirtAddr,
    ) -> Result<Option<LeafEntry>, SpaceError> {
        Ok(self.space(space)?.tables.look(memory, page)?)
    }

    /// The physical addresses of the entries on the way to a page, root first, as far as there are
    /// tables. A walk may set A in these, however it ends (AD-2).
    ///
    /// # Errors
    /// When there is no such space, or a table is outside memory.
    pub fn path<M: TableMemory<Error = OutsideMemory>>(
        &self,
        memory: &M,
        space: SpaceId,
        page: VirtAddr,
    ) -> Result<impl Iterator<Item = PhysAddr>, SpaceError> {
        let path = self.space(space)?.tables.path(memory, page)?;
        Ok(path.into_iter().map(|step| step.at))
    }

    /// Calls `visit` with every table of a space and its level: those below the root, lower levels first,
    /// then each frame of the root.
    ///
    /// # Errors
    /// When there is no such space, or a table is outside memory.
    pub fn for_each_table<M: TableMemory<Error = OutsideMemory>>(
        &self,
        memory: &M,
        space: SpaceId,
        mut visit: impl FnMut(&'static Level, PhysAddr),
    ) -> Result<(), SpaceError> {
        let tables = self.space(space)?.tables;
        tables.for_each_table(memory, &mut visit)?;

        for frame in tables.root_frames() {
            visit(&F::LEVELS[0], frame);
        }
        Ok(())
    }

    /// The number of frames that the tables of a space take.
    pub fn table_frames(&self, space: SpaceId) -> usize {
        let is_table = |frame: &FrameUse| *frame == FrameUse::Table(space);
        self.frames.iter().filter(|(_, frame)| is_table(&frame.usage)).count()
    }

    /// The frames.
    pub const fn frames(&self) -> &Frames<FRAMES> {
        &self.frames
    }

    /// The frame at the clock's hand: the first that the next [`reclaim`](Self::reclaim) looks at.
    pub const fn clock_hand(&self) -> PhysAddr {
        self.frames.address(self.hand)
    }

    /// The slots of the store.
    pub const fn slots(&self) -> &Slots<SLOTS> {
        &self.slots
    }

    /// Counts of the events so far.
    pub const fn statistics(&self) -> &Statistics {
        &self.statistics
    }
}
