//! Faults by entry bit and level: of the accesses on whose path a bit of an entry is unusual, the part that faulted.

use super::heat::{HeatRow, share_cell};
use crate::campaign::tally::{BitCounts, Tally};
use crate::report::RunFacts;
use crate::report::style::number::with_commas;
use mmu_core::PagingMode;
use mmu_core::x86::format::levels;
use std::ops::RangeInclusive;

/// A column: a mode, the number of a level, and its name.
pub(super) type LevelColumn = (PagingMode, u8, &'static str);

/// The levels of the modes that ran, root first.
pub(super) fn level_columns(tally: &Tally) -> Vec<LevelColumn> {
    let of_mode = |mode: &PagingMode| {
        let mode = *mode;
        levels(mode).iter().rev().map(move |level| (mode, level.number, level.entry_name))
    };
    let mut columns: Vec<LevelColumn> = tally.modes.keys().flat_map(of_mode).collect();
    columns.sort_by_key(|(mode, level, _)| (*mode, std::cmp::Reverse(*level)));
    columns
}

/// A row for each bit, or for bits that are alike.
pub(super) fn bit_rows(
    columns: &[LevelColumn],
    facts: &RunFacts<'_>,
    tally: &Tally,
) -> Vec<HeatRow> {
    let row = |(bits, meaning): (RangeInclusive<u8>, &'static str)| {
        let cell = |(mode, level, _): &LevelColumn| {
            let BitCounts { cases, faults } = counts(tally, *mode, *level, &bits);
            let title = format!("{} of {} faulted", with_commas(faults), with_commas(cases));
            share_cell(*mode, faults, cases, title)
        };
        HeatRow {
            id: match (bits.start(), bits.end()) {
                (first, last) if first == last => first.to_string(),
                (first, last) => format!("{last}:{first}"),
            },
            meaning,
            cells: columns.iter().map(cell).collect(),
        }
    };
    let rows = bits_alike(facts.capabilities.profile.physical_address_bits).into_iter().map(row);
    rows.filter(|row| row.cells.iter().any(|cell| !cell.text.is_empty())).collect()
}

/// The bits of an entry, and what makes them unusual.
fn bits_alike(physical_address_bits: u8) -> Vec<(RangeInclusive<u8>, &'static str)> {
    let above = physical_address_bits.clamp(13, 52);
    let mut rows = vec![
        (0..=0, "P is clear"),
        (1..=1, "R/W is clear"),
        (2..=2, "U/S is clear"),
        (3..=3, "PWT is set"),
        (4..=4, "PCD is set"),
        (5..=6, "set where they are reserved"),
        (7..=7, "PS or PAT is set, on no large page"),
        (8..=8, "G is set"),
        (9..=11, "ignored bits are set"),
        (12..=above - 1, "address bits are set that a large page reserves"),
        (above..=51, "bits above MAXPHYADDR are set"),
        (52..=58, "ignored bits are set"),
        (59..=62, "a protection key, or ignored bits"),
        (63..=63, "XD is set"),
    ];
    rows.retain(|(bits, _)| !bits.is_empty());
    rows
}

/// The accesses with one of these bits, each as often as it has some.
fn counts(tally: &Tally, mode: PagingMode, level: u8, bits: &RangeInclusive<u8>) -> BitCounts {
    let Some(of_mode) = tally.modes.get(&mode) else { return BitCounts::default() };
    let is_counted = |of: u8, bit: u8| of == level && bits.contains(&bit);
    let counted = of_mode.entry_bits.iter().filter(|(of, bit, _)| is_counted(*of, *bit));

    counted.fold(BitCounts::default(), |sum, (.., counts)| BitCounts {
        cases: sum.cases.saturating_add(counts.cases),
        faults: sum.faults.saturating_add(counts.faults),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bit_is_in_one_row_whatever_the_processor() {
        for width in [0, 32, 36, 46, 48, 51, 52, 255] {
            let bits: Vec<u8> = bits_alike(width).into_iter().flat_map(|(bits, _)| bits).collect();
            assert_eq!(bits, (0..64).collect::<Vec<_>>(), "{width}");
        }
    }
}
