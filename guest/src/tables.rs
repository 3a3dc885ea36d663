//! How each paging mode uses the page tables of an arena: which tables belong to which level, and
//! which slots map the guest itself and are therefore not available to cases.

use crate::layout::Arena;
use core::ops::Range;
use mmu_core::PagingMode;

/// The indices of the tables of each level, root first. In PAE paging, table `1 + i` belongs to
/// PDPTE `i`, since all lanes of a batch share the PDPTEs.
pub const fn of_levels(mode: PagingMode) -> &'static [Range<usize>] {
    match mode {
        PagingMode::Unpaged | PagingMode::Linear => &[],
        PagingMode::Bits32 => &[0..1, 1..4],
        PagingMode::Pae => &[0..1, 1..5, 5..8],
        PagingMode::FourLevel => &[0..1, 1..3, 3..5, 5..8],
        PagingMode::FiveLevel => &[0..1, 1..3, 3..5, 5..7, 7..10],
    }
}

/// The number of tables that a mode uses: tables 0 to `count - 1` of an arena.
///
/// ```
/// use mmu_core::PagingMode;
/// assert_eq!(crosswalk_guest::tables::count(PagingMode::Pae), 8);
/// assert_eq!(crosswalk_guest::tables::count(PagingMode::Unpaged), 0);
/// ```
pub const fn count(mode: PagingMode) -> usize {
    match of_levels(mode) {
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
pub const fn own_slots(mode: PagingMode) -> &'static [(usize, Range<usize>)] {
    match mode {
        PagingMode::Unpaged | PagingMode::Linear => &[],
        // PDEs of 4 MiB.
        PagingMode::Bits32 => &[(0, 0..2), (0, 256..258)],
        // PDEs of 2 MiB, below PDPTE 0 and PDPTE 1.
        PagingMode::Pae => &[(1, 0..4), (2, 0..4)],
        // One entry of the root covers both ranges.
        PagingMode::FourLevel | PagingMode::FiveLevel => &[(0, 0..1)],
    }
}

/// Whether a slot maps the guest itself.
pub fn is_own(mode: PagingMode, table: usize, slot: usize) -> bool {
    own_slots(mode).iter().any(|(own, slots)| *own == table && slots.contains(&slot))
}

/// Whether all lanes of a batch share the slots of a table. They share PAE's PDPTEs, of which there
/// are only four.
pub const fn is_shared(mode: PagingMode, table: usize) -> bool {
    matches!(mode, PagingMode::Pae) && table == 0
}

const _: () = assert!(count(PagingMode::FiveLevel) <= Arena::TABLES);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::MAX_LANES;

    #[test]
    fn every_level_has_a_slot_for_every_lane() {
        for mode in PagingMode::ALL {
            for tables in of_levels(mode) {
                if is_shared(mode, tables.start) {
                    continue;
                }

                let all =
                    tables.clone().flat_map(|table| (0..slots(mode)).map(move |i| (table, i)));
                let free = all.filter(|(table, slot)| !is_own(mode, *table, *slot)).count();
                assert!(free >= MAX_LANES, "{mode}: {free} slots");
            }
        }
    }

    #[test]
    fn levels_follow_each_other_without_a_gap() {
        for mode in PagingMode::ALL {
            let mut next = 0;

            for tables in of_levels(mode) {
                assert_eq!(tables.start, next, "{mode}");
                next = tables.end;
            }

            assert_eq!(count(mode), next, "{mode}");
            assert_eq!(of_levels(mode).len(), mmu_core::x86::format::levels(mode).len(), "{mode}");
        }
    }
}
