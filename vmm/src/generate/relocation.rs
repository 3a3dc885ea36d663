//! Batches with page tables above 4 GiB: some of their tables move into windows, with everything that
//! refers to them.

use super::PERIOD;
use crosswalk_case::Case;
use crosswalk_guest::layout::Arena;
use crosswalk_guest::table_windows::{TablePlace, TableWindow};
use crosswalk_guest::tables::{self, TableUse};
use crosswalk_machine::{Capabilities, LeftOut};
use mmu_core::PagingMode;
use mmu_core::x86::format::EntryBits;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

/// Keeps what is drawn here apart from the cases of the same seed.
const SALT: u64 = 0x4b1a_c0de_0000_0000;

/// Moves tables of a batch with this seed, if it is one of those with tables above 4 GiB.
pub(super) fn relocate(
    cases: &mut [Case],
    seed: u64,
    (mode, number): (PagingMode, u64),
    arena: Arena,
    machine: &Capabilities,
) {
    let is_turn = matches!(number % PERIOD, 9 | 10);
    let windows: Vec<_> = TableWindow::within(machine.profile.physical_address_bits).collect();
    let has_windows = !windows.is_empty() && !machine.left_out.contains(LeftOut::HIGH_TABLES);
    if !is_turn || !has_windows {
        return;
    }

    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed ^ SALT);
    let places: Vec<TablePlace> = movable_tables(mode)
        .filter_map(|index| {
            let window = windows.choose(&mut rng).copied().filter(|_| rng.random_bool(0.6));
            window.map(|window| TablePlace { index, window: Some(window) })
        })
        .collect();
    for case in cases {
        move_tables(case, arena, &places);
    }
}

/// The tables that can be above 4 GiB: in 4-level paging all of them. The guest loads other roots in 32-bit
/// code, and lives below the first two PDPTEs of PAE.
fn movable_tables(mode: PagingMode) -> std::ops::Range<usize> {
    let first = match mode {
        PagingMode::FourLevel => 0,
        PagingMode::FiveLevel => 1,
        PagingMode::Pae => 3,
        PagingMode::Unpaged | PagingMode::Linear | PagingMode::Bits32 => return 0..0,
    };
    first..tables::count(TableUse::of(mode))
}

/// Moves the tables with the indices of these places to them.
fn move_tables(case: &mut Case, arena: Arena, places: &[TablePlace]) {
    let moved = |address: u64| {
        let low = arena.table_at(address & EntryBits::ADDRESS);
        let place = places.iter().find(|place| Some(place.index) == low);
        let window = place.and_then(|place| place.window);
        address + window.map_or(0, TableWindow::distance)
    };

    case.state.cr3 = moved(case.state.cr3);
    case.state.pdptes = case.state.pdptes.map(moved);
    for entry in &mut case.entries {
        entry.at = moved(entry.at);
        entry.value = moved(entry.value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate::Generator;
    use crate::generate::tests::capabilities;
    use crate::walker::{MUTANTS, Walker};
    use crosswalk_machine::batch::arena_of;
    use mmu_core::Reference;

    const MODES: [PagingMode; 3] = [PagingMode::Pae, PagingMode::FourLevel, PagingMode::FiveLevel];

    fn is_high(case: &Case) -> bool {
        case.entries.iter().any(|entry| entry.at >> 32 != 0)
    }

    /// One pair of batches in eight, by either generator.
    #[test]
    fn every_sixteenth_batch_has_tables_above_4_gib_and_fits_the_layout() {
        for mode in MODES {
            for generator in [Generator::Random(7), Generator::Guided(7)] {
                let stream = generator.stream(mode, &capabilities(true));
                for number in 0..PERIOD {
                    let batch = stream.batch(number, 60);
                    let has_high = batch.cases.iter().any(is_high);
                    assert_eq!(has_high, matches!(number, 9 | 10), "{mode} {number}");
                    for case in &batch.cases {
                        assert_eq!(arena_of(case), Ok(batch.arena), "{case}");
                    }
                }
            }
        }
    }

    /// A walker that cuts addresses to 32 bits finds no entry, or another lane's.
    #[test]
    fn mode_8_a_cut_address_shows() {
        let b12 = MUTANTS.iter().find(|mutant| mutant.id == "B12").expect("it is listed");
        for mode in MODES {
            let stream = Generator::Random(7).stream(mode, &capabilities(true));
            let cases = stream.batch(9, 480).cases;
            let tells = |case: &&Case| {
                Reference.predict(case).alternatives != b12.walker.predict(case).alternatives
            };
            assert!(cases.iter().filter(tells).count() > 100, "{mode}");
        }
    }
}
