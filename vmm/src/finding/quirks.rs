//! The quirks of a machine that explain what it did with a case.

use crate::verdict;
use crate::walker::quirk::{Quirks, Quirky};
use crosswalk_case::Case;
use crosswalk_case::observation::{Attempt, ObservedFault};
use crosswalk_guest::stub::Form;
use mmu_core::PageFaultCode;
use std::iter;

/// The smallest set of a machine's quirks with which the reference predicts an observation that it does
/// not predict without them, if there is one. Not every quirk that could show need be in it: a machine may have a second walker without
/// them.
pub fn explaining(machine: Quirks, case: &Case, run: &Attempt) -> Option<Quirks> {
    smallest(machine & (Quirks::possible_for(case) - hidden_from(case, run)), case, run)
}

/// The smallest set of these quirks that explains an observation.
fn smallest(possible: Quirks, case: &Case, run: &Attempt) -> Option<Quirks> {
    let quirks: Vec<Quirks> = possible.iter().collect();
    let members = |set: u32| -> Quirks {
        let members = quirks.iter().enumerate().filter(|(i, _)| set >> i & 1 != 0);
        members.map(|(_, quirk)| *quirk).collect()
    };

    sets_by_size(quirks.len() as u32)
        .skip(1) // The empty one.
        .map(members)
        .find(|quirks| verdict::agrees(&Quirky(*quirks), case, run))
}

/// The quirks that cannot matter to what was seen of a single access. Each changes an outcome in one way only, and
/// that is not there: whatever other quirks a machine has, the reference predicts the same with them alone.
fn hidden_from(case: &Case, run: &Attempt) -> Quirks {
    let Attempt::Observed(seen) = run else { return Quirks::empty() };
    if case.is_sequence() || case.form == Form::RepeatedMove {
        return Quirks::empty();
    }

    let has_rsvd = |fault: ObservedFault| fault.error_code & PageFaultCode::RSVD.bits() != 0;
    let mut hidden = Quirks::empty();
    hidden.set(Quirks::RSVD_WITHOUT_P, !seen.fault.is_some_and(has_rsvd));
    let sets_no_flag = seen.entries.iter().all(|entry| entry.after == entry.before);
    hidden.set(Quirks::A_BEFORE_1_GIB, sets_no_flag);
    hidden
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
    use crate::generate::{Generator, Schedule, Shard};
    use crate::walker::Walker;
    use crosswalk_case::observation::{EntryAfter, Observation, Provenance};
    use crosswalk_guest::layout::Arena;
    use crosswalk_machine::Capabilities;
    use mmu_core::{Alternative, PagingMode, Profile, Reference, Ring, VirtAddr};

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

    /// Random cases of every mode.
    fn random_cases(per_mode: u64) -> impl Iterator<Item = Case> {
        let machine = Capabilities::of_everything(Profile::default());
        PagingMode::ALL.into_iter().flat_map(move |mode| {
            let random = [Generator::Random(3)];
            let schedule = Schedule::new(&random, &[mode], &machine, Shard::WHOLE, Some(per_mode));
            let turns = iter::successors(schedule.turn(0), |turn| schedule.turn(turn.number + 1));
            turns.flat_map(|turn| schedule.batch(&turn).cases).collect::<Vec<_>>()
        })
    }

    /// What is left out because of an entry, a control bit or a feature must change no prediction, alone or together
    /// with all that remain.
    #[test]
    fn quirks_that_are_not_possible_change_nothing() {
        let of_entries = Quirks::GLOBAL_IS_FREE
            | Quirks::A_BEFORE_1_GIB
            | Quirks::ALWAYS_1_GIB
            | Quirks::KEY_AFTER_PAGE
            | Quirks::KEYS_BY_RING
            | Quirks::PSE_36_IS_FREE
            | Quirks::PSE_36_ENDS_AT_36
            | Quirks::PAT_IS_FREE;
        for case in random_cases(1500) {
            let ways = |quirks| Quirky(quirks).predict(&case).alternatives;
            let possible = Quirks::possible_for(&case);
            let is_left_out = |quirk: &Quirks| !possible.contains(*quirk);
            for quirk in of_entries.iter().filter(is_left_out) {
                assert_eq!(ways(quirk), ways(Quirks::empty()), "{quirk:?} in {case:?}");
                assert_eq!(ways(possible | quirk), ways(possible), "{quirk:?} in {case:?}");
            }
        }
    }

    /// A fault that quirks predict, and the reference does not, has the same explanation whether they are left out or not.
    #[test]
    fn quirks_that_are_hidden_explain_nothing() {
        let mut hidden = 0;
        for case in random_cases(400).filter(|case| !case.is_sequence()) {
            let possible = Quirks::possible_for(&case);
            for quirks in possible.iter().map(|quirk| quirk | Quirks::RSVD_WITHOUT_P) {
                for way in &Quirky(quirks).predict(&case).alternatives {
                    let Some(seen) = observation_of(&case, way) else { continue };
                    if verdict::agrees(&Reference, &case, &seen) {
                        continue;
                    }
                    let left = possible - hidden_from(&case, &seen);
                    hidden += usize::from(left != possible);
                    let explained = smallest(left, &case, &seen);
                    assert_eq!(explained, smallest(possible, &case, &seen), "{way:?} of {case:?}");
                }
            }
        }
        assert!(hidden > 100, "{hidden}");
    }

    /// What a machine shows that does this, if it is a fault.
    fn observation_of(case: &Case, way: &Alternative) -> Option<Attempt> {
        let fault = *way.outcome.fault()?;
        let fault = ObservedFault {
            vector: fault.vector as u8,
            error_code: fault.error_code,
            cr2: fault.cr2.map_or(0, VirtAddr::get),
            cr2_before: 0,
            rip: None,
            frame: None,
        };
        let mut seen = Observation::new(Some(fault), 0, Provenance::Tcg);
        seen.entries.extend(case.entries.iter().map(|entry| {
            let update = way.updates.iter().find(|update| update.at.get() == entry.at);
            let set = update.map_or(0, |update| update.must_set);
            EntryAfter { at: entry.at, before: entry.value, after: entry.value | set }
        }));
        Some(Attempt::Observed(seen))
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
