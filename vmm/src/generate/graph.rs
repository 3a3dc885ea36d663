//! Tables that are no tree, and addresses at the edges.
//!
//! All lanes of a batch reach the same few tables, from many parents, and with large pages beside
//! small ones. Here a path goes through any tables, whatever level they are meant for, back into the
//! table that it comes from, or through the very same entry again.

use super::case_builder::CaseBuilder;
use super::placement::{FreeSlots, TableSlot};
use crosswalk_guest::tables;
use mmu_core::Ring;
use mmu_core::x86::format::levels;
use rand::{Rng, RngExt};

impl CaseBuilder<'_> {
    /// A path of small pages through any tables. `None` where there is no slot for it.
    pub(super) fn place_in_graph(
        &mut self,
        rng: &mut impl Rng,
        slots: &mut FreeSlots,
    ) -> Option<()> {
        let levels = levels(self.mode);
        if levels.is_empty() || !self.maps_frames() {
            return None;
        }
        let mut free = slots.clone();
        let last = levels.len() - 1;
        let start = usize::from(free.is_shared(0));
        let mut path: Vec<TableSlot> = vec![free.draw(rng, start, false)?];
        while path.len() + start <= last {
            let from = *path.last()?;
            let is_looping = path.len() > 1 && path[path.len() - 2] == from;
            let is_leaf = path.len() + start == last;
            let next = match rng.random_range(0..4) {
                // The same entry again (AD-6); it points to its own table then.
                0 | 1 if !is_leaf => from,
                0..3 => free.draw_in(rng, from.table)?,
                _ if is_looping => free.draw_in(rng, from.table)?,
                _ => {
                    let first = start.min(1);
                    let table = rng.random_range(first..tables::count(self.mode));
                    free.draw_in(rng, table)?
                }
            };
            path.push(next);
        }
        free.add_shared(&mut path);
        *slots = free;
        self.crosses = false;
        self.leaf_level = last;
        self.map(rng, &path, None);
        Some(())
    }

    /// A small page next to an edge of the address space: the last of the lower half, or of all.
    /// `None` where its slots are taken.
    pub(super) fn place_at_edge(
        &mut self,
        rng: &mut impl Rng,
        slots: &mut FreeSlots,
    ) -> Option<()> {
        let end = tables::slots(self.mode) - 1;
        let root = if self.is_long_mode() && rng.random_bool(0.5) { 255 } else { end };
        self.place_at(rng, slots, (root, end))
    }

    /// The first page of the upper half, in ring 0: in ring 3 a KVM has been seen to do there now this
    /// and now that, and a run must be the same every time.
    pub(super) fn place_at_upper_half(
        &mut self,
        rng: &mut impl Rng,
        slots: &mut FreeSlots,
    ) -> Option<()> {
        if self.ring == Ring::Three {
            return None;
        }
        self.place_at(rng, slots, (256, 0))
    }

    /// A small page with these indices in the root and below.
    fn place_at(
        &mut self,
        rng: &mut impl Rng,
        slots: &mut FreeSlots,
        root: (usize, usize),
    ) -> Option<()> {
        let levels = levels(self.mode);
        if levels.is_empty() || !self.maps_frames() {
            return None;
        }
        let mut free = slots.clone();
        let mut path = Vec::new();
        for depth in 0..levels.len() {
            match depth {
                _ if free.is_shared(depth) => {}
                // Below the last PDPTE.
                1 if free.is_shared(0) => path.push(free.take_in(4, root.1)?),
                0 => path.push(free.take(0, root.0)?),
                _ => path.push(free.take(depth, root.1)?),
            }
        }
        free.add_shared(&mut path);
        *slots = free;
        self.crosses = false;
        self.leaf_level = levels.len() - 1;
        self.map(rng, &path, None);
        Some(())
    }
}
