//! Tables that are not a tree.
//!
//! The lanes of a batch share a few tables, which are reached from many parents, some by large pages
//! and some by small ones. Here, a path goes through tables in any order, whatever their level: back
//! into the table that it comes from, or through the same entry again.

use super::CaseBuilder;
use crate::generate::placement::{FreeSlots, TableSlot};
use crosswalk_guest::tables;
use mmu_core::x86::format::levels;
use rand::{Rng, RngExt};

impl CaseBuilder<'_> {
    /// Maps a small page by a path through any tables. `None` if there is no slot for it.
    pub(in crate::generate) fn place_in_graph(
        &mut self,
        rng: &mut impl Rng,
        slots: &mut FreeSlots,
    ) -> Option<()> {
        let levels = levels(self.mode);
        if levels.is_empty() || !self.maps_frames() {
            return None;
        }

        let mut free = slots.clone();
        let mut path = self.draw_graph(rng, &mut free, levels.len())?;
        free.add_shared(&mut path);

        *slots = free;
        self.crosses = false;
        self.leaf_level = levels.len() - 1;
        self.map(rng, &path, None);
        Some(())
    }

    /// The slots of a path, without the one that the lanes share.
    fn draw_graph(
        &self,
        rng: &mut impl Rng,
        free: &mut FreeSlots,
        levels: usize,
    ) -> Option<Vec<TableSlot>> {
        let start = free.shared_levels();
        let mut path: Vec<TableSlot> = vec![free.draw(rng, start, false)?];

        while path.len() + start < levels {
            let from = *path.last()?;
            let is_loop = path.len() > 1 && path[path.len() - 2] == from;
            let is_leaf = path.len() + start == levels - 1;

            let next = match rng.random_range(0..4) {
                // The same entry again (AD-6): it points to its own table then.
                0 | 1 if !is_leaf => from,
                0..3 => free.draw_in(rng, from.table)?,
                _ if is_loop => free.draw_in(rng, from.table)?,
                _ => {
                    let table = rng.random_range(start..tables::count(self.table_use()));
                    free.draw_in(rng, table)?
                }
            };
            path.push(next);
        }
        Some(path)
    }
}
