//! Where the entries of a lane go: slots of the arena's tables, each used once. Slots are drawn at
//! random level by level, so that a walker that uses the wrong bits of the address, or those of
//! another level, reads the entry of another lane.

use crosswalk_guest::layout::Arena;
use crosswalk_guest::tables::{self, TableUse};
use rand::{Rng, RngExt};
use std::ops::Range;

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
    table_use: TableUse,
    /// Number of slots of a table.
    slots: usize,
    /// Whether each slot is taken, table by table.
    taken: Vec<bool>,
}

impl FreeSlots {
    /// All slots of the tables in use except those that map the guest itself.
    pub(super) fn new(table_use: TableUse) -> Self {
        let slots = tables::slots(table_use.mode);
        let count = tables::count(table_use);
        debug_assert!(count <= Arena::TABLES);

        let mut taken = vec![false; count * slots];
        for (table, own) in tables::own_slots(table_use) {
            taken[table * slots..][own.clone()].fill(true);
        }
        Self { table_use, slots, taken }
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
        for level in self.shared_levels()..=leaf_level {
            path.push(self.draw(rng, level, pair && level == leaf_level)?);
        }

        self.add_shared(&mut path);
        Some(path)
    }

    /// Prepends the shared slots that lead to a path, if there are any.
    pub(super) fn add_shared(&self, path: &mut Vec<TableSlot>) {
        if let Some(first) = path.first() {
            let shared = self.shared_path(first.table);
            path.splice(0..0, shared);
        }
    }

    /// The shared slots that lead to a table of the first level that is not shared.
    pub(super) fn shared_path(&self, table: usize) -> Vec<TableSlot> {
        let pdpte = table - self.first_own_tables().start;
        let path = tables::shared_path(self.table_use, pdpte);
        path.map(|(table, index)| TableSlot { table, index: index as u64 }).collect()
    }

    /// Number of upper levels whose slots the lanes share.
    pub(super) fn shared_levels(&self) -> usize {
        tables::shared_levels(self.table_use)
    }

    /// The tables of the first level that is not shared.
    pub(super) fn first_own_tables(&self) -> Range<usize> {
        tables::of_levels(self.table_use)[self.shared_levels()].clone()
    }

    /// Takes a free slot at a level, and with `pair` the slot after it, too.
    pub(super) fn draw(
        &mut self,
        rng: &mut impl Rng,
        level: usize,
        pair: bool,
    ) -> Option<TableSlot> {
        let tables = tables::of_levels(self.table_use)[level].clone();
        let slots = self.slots;
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
                        self.take_in(table, index + 1);
                    }
                    return Some(slot);
                }
            }
        }
        None
    }

    /// Takes any free slot of a table.
    pub(super) fn draw_in(&mut self, rng: &mut impl Rng, table: usize) -> Option<TableSlot> {
        let slots = self.slots;
        let first = rng.random_range(0..slots);
        (first..slots).chain(0..first).find_map(|index| self.take_in(table, index))
    }

    /// Takes the slot with this index in some table of a level, if it is free in one.
    pub(super) fn take(&mut self, level: usize, index: usize) -> Option<TableSlot> {
        let mut tables = tables::of_levels(self.table_use)[level].clone();
        tables.find_map(|table| self.take_in(table, index))
    }

    /// Takes this slot, if it is free.
    pub(super) fn take_in(&mut self, table: usize, index: usize) -> Option<TableSlot> {
        self.is_free(table, index).then(|| {
            self.taken[table * self.slots + index] = true;
            TableSlot { table, index: index as u64 }
        })
    }

    fn is_free(&self, table: usize, index: usize) -> bool {
        index < self.slots && !self.taken[table * self.slots + index]
    }
}
