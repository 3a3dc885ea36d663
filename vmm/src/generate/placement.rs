//! Where the entries of a lane go: slots of the arena's tables, none of them twice. Slots are drawn
//! at random level by level, so that a walker which uses the wrong bits of the address, or the
//! wrong level's, reads somebody else's entry.

use guest::layout::Arena;
use rand::{Rng, RngExt};

/// Which of the arena's tables serve which level: one PML4, then two, two and three.
const TABLES_OF_LEVEL: [std::ops::Range<usize>; 4] = [0..1, 1..3, 3..5, 5..8];

/// A slot of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slot {
    /// The table's number in the arena.
    pub(super) table: usize,
    /// The index in the table.
    pub(super) index: u64,
}

impl Slot {
    /// The physical address of the slot.
    pub(super) const fn address(self, arena: Arena) -> u64 {
        arena.table(self.table) + self.index * 8
    }
}

/// The slots still free.
#[derive(Clone, Debug)]
pub(super) struct Slots {
    taken: [[bool; 512]; Arena::TABLES],
}

impl Slots {
    /// All slots, less the one that maps the guest itself.
    pub(super) fn new() -> Self {
        let mut taken = [[false; 512]; Arena::TABLES];
        taken[0][0] = true;
        Self { taken }
    }

    /// A free slot at a level (0 is the root) with, if asked for, the slot after it.
    pub(super) fn draw(&mut self, rng: &mut impl Rng, level: usize, pair: bool) -> Option<Slot> {
        let tables = TABLES_OF_LEVEL[level].clone();
        let first_table = rng.random_range(tables.clone());
        let start = rng.random_range(0..512);
        let count = tables.len();
        for step in 0..count {
            let table = tables.start + (first_table - tables.start + step) % count;
            for offset in 0..512 {
                let index = (start + offset) % 512;
                if !self.is_free(table, index) || (pair && !self.is_free(table, index + 1)) {
                    continue;
                }
                self.taken[table][index] = true;
                if pair {
                    self.taken[table][index + 1] = true;
                }
                return Some(Slot { table, index: index as u64 });
            }
        }
        None
    }

    /// This very slot of some table of the level, if one has it free.
    pub(super) fn take(&mut self, level: usize, index: usize) -> Option<Slot> {
        let table = TABLES_OF_LEVEL[level].clone().find(|table| self.is_free(*table, index))?;
        self.taken[table][index] = true;
        Some(Slot { table, index: index as u64 })
    }

    fn is_free(&self, table: usize, index: usize) -> bool {
        self.taken[table].get(index) == Some(&false)
    }
}
