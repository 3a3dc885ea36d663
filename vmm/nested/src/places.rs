//! Where the tables of a lane are: some pages are a lane's own, of all others each lane has 64 bytes.
//!
//! A guest-physical address of 32 bits leaves the upper levels of the second level no choice of an index, so their tables
//! are a lane's own. In every other table the index selects the lane, whatever table an entry leads to.

use crosswalk_guest::layout::Arena;
use crosswalk_guest::nested;
use mmu_core::PagingMode;

/// Number of tables that are not a lane's own.
const SHARED: usize = 24;
/// Tables that lanes can have of their own.
const OWN: usize = nested::TABLES - SHARED;

/// The tables of a lane in one arena.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Places {
    arena: Arena,
    lane: usize,
    /// The number of the lane's own tables.
    own: usize,
}

/// Number of own tables that a lane needs under a second level of this depth: all above the last two levels.
const fn own_tables(levels: usize) -> usize {
    if levels < 3 { 1 } else { levels - 2 }
}

/// Number of cases in a batch whose second level has so many levels.
pub(crate) const fn lanes(levels: usize) -> usize {
    let lanes = OWN / own_tables(levels);
    if lanes < nested::LANES { lanes } else { nested::LANES }
}

/// Whether an address is in memory that holds tables of cases.
pub(crate) fn is_table_memory(at: u64) -> bool {
    arena_of(at).is_some()
}

/// The arena in whose tables an address is.
pub(crate) fn arena_of(at: u64) -> Option<Arena> {
    Arena::ALL.into_iter().find(|arena| arena.nested_table_at(at).is_some())
}

/// Whether two words of tables belong to the same lane, if the lane of the first has a whole page or its part of all
/// others: both are in one page of its own, or in the same part of shared pages.
pub(crate) fn is_of_same_lane(one: u64, other: u64) -> bool {
    let place = |at| {
        let arena = arena_of(at)?;
        let table = arena.nested_table_at(at)?;
        // A lane has 64 bytes of a shared page.
        Some(if table < OWN { (arena.index(), table, 0) } else { (arena.index(), OWN, at & 0xfc0) })
    };
    place(one).is_some_and(|one| place(other) == Some(one))
}

impl Places {
    /// The places of a lane, under a second level of so many levels.
    pub(crate) const fn new(arena: Arena, lane: usize, levels: usize) -> Self {
        Self { arena, lane, own: own_tables(levels) }
    }

    /// The arena.
    pub(crate) const fn arena(self) -> Arena {
        self.arena
    }

    /// The lane's number.
    pub(crate) const fn lane(self) -> usize {
        self.lane
    }

    /// The address of one of the lane's own tables, root first.
    pub(crate) const fn own_table(self, number: usize) -> u64 {
        self.arena.nested_table(self.lane * self.own + number)
    }

    /// The address of a table of all lanes.
    pub(crate) const fn shared_table(self, table: Shared) -> u64 {
        self.arena.nested_table(OWN + table.number())
    }

    /// The index of the lane's slot `slot`, 0 to 7, in a table of all lanes.
    pub(crate) const fn index(self, slot: usize, mode: PagingMode) -> u64 {
        let slots = if matches!(mode, PagingMode::Bits32) { 16 } else { 8 };
        (self.lane * slots + slot) as u64
    }

    /// The address of the page with L2's instructions.
    pub(crate) const fn code_page(self) -> u64 {
        self.arena.nested_code()
    }
}

/// The tables of which each lane has a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shared {
    /// A page directory of the second level.
    NestedDirectory,
    /// One of four page tables of the second level.
    NestedTable(usize),
    /// The table of L2 at this level, on the way to the access.
    ToAccess(u8),
    /// The table of L2 at this level, on the way to its instructions.
    ToCode(u8),
}

impl Shared {
    const fn number(self) -> usize {
        match self {
            Self::NestedDirectory => 0,
            Self::NestedTable(number) => 1 + number % 4,
            Self::ToAccess(level) => 4 + level as usize,
            Self::ToCode(level) => 9 + level as usize,
        }
    }
}

const _: () = assert!(Shared::ToCode(5).number() < SHARED);

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn lanes_have_tables_of_their_own() {
        for levels in 2..=5 {
            let mut seen = HashSet::new();
            for lane in 0..lanes(levels) {
                let places = Places::new(Arena::ALL[0], lane, levels);
                for number in 0..own_tables(levels) {
                    assert!(seen.insert(places.own_table(number)), "{levels} levels, lane {lane}");
                    assert_eq!(arena_of(places.own_table(number)), Some(Arena::ALL[0]));
                }
            }
            let shared =
                Places::new(Arena::ALL[0], 0, levels).shared_table(Shared::NestedDirectory);
            assert!(!seen.contains(&shared));
        }
    }

    #[test]
    fn shared_tables_have_slots_for_all_lanes() {
        let last = Places::new(Arena::ALL[1], nested::LANES - 1, 4);
        assert!(last.index(7, PagingMode::FourLevel) < 512);
        assert!(last.index(15, PagingMode::Bits32) < 1024);
    }
}
