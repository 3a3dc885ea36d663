//! The quirks of a machine that explain what it did with a case.

use crate::verdict;
use crate::walker::quirk::{Quirks, Quirky};
use crosswalk_case::Case;
use crosswalk_case::observation::Attempt;
use std::iter;

/// The smallest set of a machine's quirks with which the reference predicts an observation that it does
/// not predict without them, if there is one. Not every quirk that could show need be in it: a machine may have a second walker without
/// them.
pub fn explaining(machine: Quirks, case: &Case, run: &Attempt) -> Option<Quirks> {
    let quirks: Vec<Quirks> = (machine & Quirks::possible_for(case)).iter().collect();
    let members = |set: u32| -> Quirks {
        let members = quirks.iter().enumerate().filter(|(i, _)| set >> i & 1 != 0);
        members.map(|(_, quirk)| *quirk).collect()
    };

    sets_by_size(quirks.len() as u32)
        .skip(1) // The empty one.
        .map(members)
        .find(|quirks| verdict::agrees(&Quirky(*quirks), case, run))
}

/// All sets of `count` members, as bits, the smaller ones first. There are many, and one of the first
/// mostly does.
fn sets_by_size(count: u32) -> impl Iterator<Item = u32> {
    let sets_of = move |size: u32| {
        let first = (1 << size) - 1;
        iter::successors(Some(first), |set| next_of_same_size(*set))
            .take_while(move |set| *set < 1 << count)
    };
    (0..=count).flat_map(sets_of)
}

/// The next larger number with as many bits set: the lowest run of ones loses its highest to the place
/// above, and the others go down to the end.
fn next_of_same_size(set: u32) -> Option<u32> {
    let lowest = set & set.wrapping_neg();
    let carried = set + lowest;
    Some(carried | ((carried ^ set) >> 2).checked_div(lowest)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crosswalk_case::observation::{Observation, ObservedFault, Provenance};
    use crosswalk_guest::layout::Arena;
    use mmu_core::{Profile, Ring};

    #[test]
    fn every_set_comes_once_and_the_smaller_ones_first() {
        assert_eq!(sets_by_size(0).collect::<Vec<_>>(), [0]);
        let sets: Vec<_> = sets_by_size(3).collect();
        assert_eq!(sets, [0b000, 0b001, 0b010, 0b100, 0b011, 0b101, 0b110, 0b111]);

        let mut sets: Vec<_> = sets_by_size(12).collect();
        assert!(sets.is_sorted_by_key(|set| set.count_ones()));
        sets.sort_unstable();
        assert!(sets.into_iter().eq(0..1 << 12));
    }

    /// A read through a PDE with a reserved bit: the SDM asks for P and RSVD, TCG reports RSVD alone.
    #[test]
    fn the_fewest_quirks_explain() {
        let profile = Profile { physical_address_bits: 40, ..Profile::default() };
        let mut case = Case::plain(Arena::ALL[0], 3, Ring::Three, profile);
        case.entries[2].value |= 1 << 45;

        let seen = |error_code| {
            let cr2 = case.access.address.get();
            let fault = ObservedFault {
                vector: 14,
                error_code,
                cr2,
                cr2_before: 0,
                rip: None,
                frame: None,
            };
            Attempt::Observed(Observation::new(Some(fault), 0, Provenance::Tcg))
        };

        let all = Quirks::all();
        assert_eq!(explaining(all, &case, &seen(0xc)), Some(Quirks::RSVD_WITHOUT_P));
        assert_eq!(explaining(Quirks::empty(), &case, &seen(0xc)), None);
        assert_eq!(explaining(all, &case, &seen(0x5)), None, "no quirk makes it a denial");
    }
}
