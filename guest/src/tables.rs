//! How a batch uses the page tables of an arena: which tables belong to which level, and which slots
//! map the guest itself and are therefore not available to cases.

use core::ops::Range;
use mmu_core::PagingMode;

/// What decides the use of the tables. A paging mode converts to its use by addresses of every size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableUse {
    /// The paging mode.
    pub mode: PagingMode,
    /// Whether the accesses are made in compatibility mode. Their addresses are below 4 GiB, where all
    /// lanes share the first entries of the upper levels (MODE-1).
    pub compatibility: bool,
}

impl TableUse {
    /// Every use.
    pub const ALL: [Self; 7] = [
        Self::of(PagingMode::Unpaged),
        Self::of(PagingMode::Bits32),
        Self::of(PagingMode::Pae),
        Self::of(PagingMode::FourLevel),
        Self::of(PagingMode::FiveLevel),
        Self { mode: PagingMode::FourLevel, compatibility: true },
        Self { mode: PagingMode::FiveLevel, compatibility: true },
    ];

    /// The use by a mode, in 64-bit mode if it belongs to long mode.
    pub const fn of(mode: PagingMode) -> Self {
        Self { mode, compatibility: false }
    }
}

/// The indices of the tables of each level, root first. Where all lanes of a batch share the PDPTEs,
/// the first table of the level below them belongs to PDPTE 0, and so on.
pub const fn of_levels(tables: TableUse) -> &'static [Range<usize>] {
    match (tables.mode, tables.compatibility) {
        (PagingMode::Unpaged | PagingMode::Linear, _) => &[],
        (PagingMode::Bits32, _) => &[0..1, 1..4],
        (PagingMode::Pae, _) => &[0..1, 1..5, 5..8],
        (PagingMode::FourLevel, false) => &[0..1, 1..3, 3..5, 5..8],
        (PagingMode::FiveLevel, false) => &[0..1, 1..3, 3..5, 5..7, 7..10],
        (PagingMode::FourLevel, true) => &[0..1, 1..2, 2..6, 6..9],
        (PagingMode::FiveLevel, true) => &[0..1, 1..2, 2..3, 3..7, 7..10],
    }
}

/// The number of upper levels whose tables and slots all lanes of a batch share: those of the four
/// PDPTEs below 4 GiB, and those above them.
///
/// ```
/// use crosswalk_guest::tables::{TableUse, shared_levels};
/// use mmu_core::PagingMode;
///
/// assert_eq!(shared_levels(TableUse::of(PagingMode::Pae)), 1);
/// assert_eq!(shared_levels(TableUse::of(PagingMode::FiveLevel)), 0);
/// let low = TableUse { mode: PagingMode::FiveLevel, compatibility: true };
/// assert_eq!(shared_levels(low), 3);
/// ```
pub const fn shared_levels(tables: TableUse) -> usize {
    match (tables.mode, tables.compatibility) {
        (PagingMode::Pae, _) => 1,
        (PagingMode::FourLevel, true) => 2,
        (PagingMode::FiveLevel, true) => 3,
        _ => 0,
    }
}

/// The shared slots, as table and index, that lead to PDPTE `index` and this PDPTE itself, root
/// first. Empty if the lanes share none.
pub fn shared_path(tables: TableUse, index: usize) -> impl Iterator<Item = (usize, usize)> {
    let levels = shared_levels(tables);
    (0..levels).map(move |table| (table, if table + 1 == levels { index } else { 0 }))
}

/// The number of tables in use: tables 0 to `count - 1` of an arena.
///
/// ```
/// use mmu_core::PagingMode;
/// use crosswalk_guest::tables::{TableUse, count};
/// assert_eq!(count(TableUse::of(PagingMode::Pae)), 8);
/// assert_eq!(count(TableUse::of(PagingMode::Unpaged)), 0);
/// ```
pub const fn count(tables: TableUse) -> usize {
    match of_levels(tables) {
        [] => 0,
        [.., last] => last.end,
    }
}

/// Size of a page-table entry in bytes.
pub const fn entry_bytes(mode: PagingMode) -> u64 {
    match mode {
        PagingMode::Bits32 => 4,
        _ => 8,
    }
}

/// Number of slots in a table.
pub const fn slots(mode: PagingMode) -> usize {
    0x1000 / entry_bytes(mode) as usize
}

/// The slots, as table and range, through which the guest reaches its own memory: the first 8 MiB
/// and, at 1 GiB, the same memory again through the supervisor window. No case may use them.
pub const fn own_slots(tables: TableUse) -> &'static [(usize, Range<usize>)] {
    match (tables.mode, tables.compatibility) {
        (PagingMode::Unpaged | PagingMode::Linear, _) => &[],
        // PDEs of 4 MiB.
        (PagingMode::Bits32, _) => &[(0, 0..2), (0, 256..258)],
        // PDEs of 2 MiB, below PDPTE 0 and PDPTE 1.
        (PagingMode::Pae, _) => &[(1, 0..4), (2, 0..4)],
        (PagingMode::FourLevel, true) => &[(2, 0..4), (3, 0..4)],
        (PagingMode::FiveLevel, true) => &[(3, 0..4), (4, 0..4)],
        // One entry of the root covers both ranges.
        (PagingMode::FourLevel | PagingMode::FiveLevel, false) => &[(0, 0..1)],
    }
}

/// Whether a slot maps the guest itself.
pub fn is_own(tables: TableUse, table: usize, slot: usize) -> bool {
    own_slots(tables).iter().any(|(own, slots)| *own == table && slots.contains(&slot))
}

/// Whether all lanes of a batch share the slots of a table.
pub const fn is_shared(tables: TableUse, table: usize) -> bool {
    table < shared_levels(tables)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::{Arena, MAX_LANES};

    #[test]
    fn every_level_has_a_slot_for_every_lane() {
        for all in TableUse::ALL {
            for tables in of_levels(all) {
                if is_shared(all, tables.start) {
                    continue;
                }

                let slots = |table| (0..slots(all.mode)).map(move |slot| (table, slot));
                let every = tables.clone().flat_map(slots);
                let free = every.filter(|(table, slot)| !is_own(all, *table, *slot)).count();
                assert!(free >= MAX_LANES, "{all:?}: {free} slots");
            }
        }
    }

    #[test]
    fn levels_follow_each_other_without_a_gap() {
        for all in TableUse::ALL {
            let mut next = 0;

            for tables in of_levels(all) {
                assert_eq!(tables.start, next, "{all:?}");
                next = tables.end;
            }

            assert_eq!(count(all), next, "{all:?}");
            assert!(next <= Arena::TABLES, "{all:?}");
            assert_eq!(of_levels(all).len(), mmu_core::x86::format::levels(all.mode).len());
        }
    }

    #[test]
    fn a_shared_path_leads_to_each_pdpte() {
        let low = TableUse { mode: PagingMode::FiveLevel, compatibility: true };
        let path: std::vec::Vec<_> = shared_path(low, 3).collect();
        assert_eq!(path, [(0, 0), (1, 0), (2, 3)]);
        assert_eq!(
            shared_path(TableUse::of(PagingMode::Pae), 2).collect::<std::vec::Vec<_>>(),
            [(0, 2)]
        );
        assert_eq!(shared_path(TableUse::of(PagingMode::FourLevel), 2).count(), 0);
    }
}
