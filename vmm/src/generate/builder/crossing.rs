//! Accesses that cross from one table into the next.

use super::mapping::SlotAtDepth;
use super::{AccessTarget, CaseBuilder};
use crate::generate::placement::{FreeSlots, TableSlot};
use crosswalk_guest::stub::Form;
use crosswalk_guest::tables;
use mmu_core::{AccessKind, PagingMode};
use rand::{Rng, RngExt};

/// The slots of the two pages.
#[derive(Default)]
struct Crossing {
    first: Vec<TableSlot>,
    /// The second page's own slots.
    second: Vec<SlotAtDepth>,
}

impl CaseBuilder<'_> {
    /// Maps the last page of one table and the first page of the next, for an access that crosses from
    /// one to the other. `None` if the access cannot, or a slot is taken.
    pub(in crate::generate) fn cross_tables(
        &mut self,
        rng: &mut impl Rng,
        slots: &mut FreeSlots,
    ) -> Option<()> {
        if !self.can_cross_tables() {
            return None;
        }
        let last = self.last();
        let turn_level = rng.random_range(0..last);

        // Slots are taken from a copy until all are found.
        let mut free = slots.clone();
        let mut crossing = self.turn(rng, &mut free, turn_level)?;
        let end = tables::slots(self.mode) - 1;
        for level in crossing.first.len() + free.shared_levels()..=last {
            crossing.first.push(free.take(level, end)?);
        }
        let below = crossing.second.last().map_or(0, |(_, depth)| depth + 1);
        for level in below..=last {
            crossing.second.push((free.take(level, 0)?, level));
        }
        free.add_shared(&mut crossing.first);

        *slots = free;
        self.crosses = true;
        self.leaf_level = last;
        self.map(rng, &crossing.first, Some(&crossing.second));
        Some(())
    }

    fn can_cross_tables(&self) -> bool {
        let can_cross = self.size > 1 || self.kind == AccessKind::Fetch;
        let needs_one_page = self.target == AccessTarget::Outside
            || !self.maps_frames()
            || self.form == Form::SegmentLimit;
        self.mode != PagingMode::Unpaged && can_cross && !needs_one_page
    }

    /// The slots down to the level at which the two pages use neighbouring entries. Below it the first
    /// page has the last index of every table, and the second page the first.
    fn turn(
        &self,
        rng: &mut impl Rng,
        free: &mut FreeSlots,
        turn_level: usize,
    ) -> Option<Crossing> {
        let mut crossing = Crossing::default();
        let shared = free.shared_levels();
        if turn_level < shared {
            // From one PDPTE to the next. The guest itself lives at the start of the first two.
            let table = free.first_own_tables().start + 1 + rng.random_range(0..2);
            crossing.first.push(free.take_in(table, tables::slots(self.mode) - 1)?);
            crossing.second.extend(free.shared_path(table + 1).into_iter().zip(0..));
            crossing.second.push((free.take_in(table + 1, 0)?, shared));
            return Some(crossing);
        }

        for level in shared..=turn_level {
            crossing.first.push(free.draw(rng, level, level == turn_level)?);
        }
        let turn = *crossing.first.last()?;
        let ends_lower_half = self.mode.is_long_mode() && turn_level == 0 && turn.index == 255;
        if ends_lower_half {
            // The next address is not canonical.
            return None;
        }
        crossing.second.push((turn.next(), turn_level));
        Some(crossing)
    }
}
