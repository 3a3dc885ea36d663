//! Where the entries of a lane go: slots of the arena's tables, each used once. Slots are drawn at
//! random level by level, so that a walker that uses the wrong bits of the address, or those of
//! another level, reads the entry of another lane.

use crosswalk_guest::layout::Arena;
use crosswalk_guest::tables;
use mmu_core::PagingMode;
use rand::{Rng, RngExt};

/// A slot of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TableSlot {
    /// The table's number in the arena.
    pub(super) table: usize,
    /// The index in the table.
    pub(super) index: u64,
}

impl TableSlot {
    /// The slot after it.
    pub(super) const fn next(self) -> Self {
        Self { index: self.index + 1, ..self }
    }
}

/// The slots that are still free.
#[derive(Clone, Debug)]
pub(super) struct FreeSlots {
    mode: PagingMode,
    /// Whether each slot of each table is taken.
    taken: Vec<Vec<bool>>,
}

impl FreeSlots {
    /// All slots of a mode's tables except those that map the guest itself.
    pub(super) fn new(mode: PagingMode) -> Self {
        let mut taken = vec![vec![false; tables::slots(mode)]; tables::count(mode)];
        for (table, slots) in tables::own_slots(mode) {
            taken[*table][slots.clone()].fill(true);
        }

        debug_assert!(taken.len() <= Arena::TABLES);
        Self { mode, taken }
    }

    /// Takes a path of free slots from the root (level 0) down to a level, and with `pair` the slot after
    /// the last one, too. `None` if a level is full; then some slots may be taken.
    pub(super) fn draw_path(
        &mut self,
        rng: &mut impl Rng,
        leaf_level: usize,
        pair: bool,
    ) -> Option<Vec<TableSlot>> {
        let mut path = Vec::with_capacity(leaf_level + 1);
        for level in 0..=leaf_level {
            if !self.is_shared(level) {
                path.push(self.draw(rng, level, pair && level == leaf_level)?);
            }
        }

        self.add_shared(&mut path);
        Some(path)
    }

    /// Prepends the shared slot that leads to a path, in PAE paging.
    pub(super) fn add_shared(&self, path: &mut Vec<TableSlot>) {
        if let Some(first) = path.first().filter(|_| self.is_shared(0)) {
            path.insert(0, TableSlot { table: 0, index: first.table as u64 - 1 });
        }
    }

    /// Whether the lanes share the slots of a level: PAE's PDPTEs.
    pub(super) fn is_shared(&self, level: usize) -> bool {
        let level = &tables::of_levels(self.mode)[level];
        tables::is_shared(self.mode, level.start)
    }

    /// Takes a free slot at a level, and with `pair` the slot after it, too.
    pub(super) fn draw(
        &mut self,
        rng: &mut impl Rng,
        level: usize,
        pair: bool,
    ) -> Option<TableSlot> {
        let tables = tables::of_levels(self.mode)[level].clone();
        let slots = tables::slots(self.mode);
        let first_table = rng.random_range(tables.clone());
        let first_index = rng.random_range(0..slots);

        // All slots, from the drawn one on.
        for table in (first_table..tables.end).chain(tables.start..first_table) {
            for index in (first_index..slots).chain(0..first_index) {
                if pair && !self.is_free(table, index + 1) {
                    continue;
                }
                if let Some(slot) = self.take_in(table, index) {
                    if pair {
                        self.taken[table][index + 1] = true;
                    }
                    return Some(slot);
                }
            }
        }
        None
    }

    /// Takes any free slot of a table.
    pub(super) fn draw_in(&mut self, rng: &mut impl Rng, table: usize) -> Option<TableSlot> {
        let slots = tables::slots(self.mode);
        let first = rng.random_range(0..slots);
        (first..slots).chain(0..first).find_map(|index| self.take_in(table, index))
    }

    /// Takes the slot with this index in some table of a level, if it is free in one.
    pub(super) fn take(&mut self, level: usize, index: usize) -> Option<TableSlot> {
        let mut tables = tables::of_levels(self.mode)[level].clone();
        tables.find_map(|table| self.take_in(table, index))
    }

    /// Takes this slot, if it is free.
    pub(super) fn take_in(&mut self, table: usize, index: usize) -> Option<TableSlot> {
        self.is_free(table, index).then(|| {
            self.taken[table][index] = true;
            TableSlot { table, index: index as u64 }
        })
    }

    fn is_free(&self, table: usize, index: usize) -> bool {
        self.taken[table].get(index) == Some(&false)
    }
}
