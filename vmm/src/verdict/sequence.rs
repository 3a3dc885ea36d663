//! Judging a sequence: the accesses before the last by their records, and the last one also by what
//! all of them left in memory.
#![cfg_attr(
    not(test),
    warn(
        clippy::arithmetic_side_effects,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::string_slice,
        clippy::unwrap_used
    )
)]

use super::Verdict;
use super::access::judge_access;
use super::compare::{Comparison, nearest, privileged_differences};
use super::describe::{describe_observation, describe_privileged};
use super::effects::Effects;
use super::value::Stores;
use crate::walker::Walker;
use arrayvec::ArrayVec;
use crosswalk_case::observation::Observation;
use crosswalk_case::{Action, Case};
use mmu_core::outcome::EntryUpdates;
use mmu_core::{Alternative, Outcome, Prediction};

/// Judges a sequence by the predictions for its earlier accesses and for the last one.
pub(super) fn judge_sequence(
    walker: &dyn Walker,
    case: &Case,
    (earlier, last): (&[Prediction], &Prediction),
    seen: &Observation,
) -> Verdict {
    let accesses = case.accesses();
    let all_made = |before: &[Case]| [before.len(), seen.earlier.len()] == [earlier.len(); 2];
    let Some((last_access, accesses)) =
        accesses.split_last().filter(|(_, before)| all_made(before))
    else {
        return Verdict::Unsupported("an access of the sequence could not be made".into());
    };

    let mov = diverging_privileged(walker, case, seen);

    // What may be stored so far: where several outcomes are allowed, the record need not say which it was.
    let mut possible = vec![Stores::new()];
    let asked = accesses.iter().zip(earlier).zip(&seen.earlier);
    for (at, ((access, prediction), record)) in places(case).zip(asked) {
        if let Some((_, diverging)) = mov.as_ref().filter(|(earlier, _)| *earlier < at) {
            return diverging.clone();
        }
        let recorded = record.alone(seen.provenance);
        let comparison =
            |before| Comparison { walker, case: access, seen: &recorded, before, is_record: true };

        let mut after = Vec::new();
        for before in &possible {
            let ways = &prediction.alternatives;
            for way in ways.iter().filter(|way| comparison(before).agrees(way)) {
                let stores = Effects::of(access, &way.outcome, before).stored;
                if !after.contains(&stores) {
                    after.push(stores);
                }
            }
        }
        if after.is_empty() {
            let before = likeliest(&possible);
            let (expected, differences) = nearest(prediction, &comparison(&before));
            return Verdict::Diverge { at, expected: Box::new(expected.clone()), differences };
        }
        // What is stored now is what the next access finds.
        possible = after;
    }

    if let Some((_, diverging)) = mov {
        return diverging;
    }
    let end = case.before.len();
    let judged = |stores: &Stores| judge_access(walker, last_access, last, seen, stores, end);
    let agrees = |verdict: &Verdict| matches!(verdict, Verdict::Agree { .. });
    let first_that_agrees = possible.iter().map(judged).find(agrees);
    first_that_agrees.unwrap_or_else(|| judged(&likeliest(&possible)))
}

/// The first divergence of a privileged instruction, and which action that is. Where they were not observed
/// there is none: versions that did not do so have left corpora.
fn diverging_privileged(
    walker: &dyn Walker,
    case: &Case,
    seen: &Observation,
) -> Option<(usize, Verdict)> {
    let predicted = walker.predict_privileged(case);
    if predicted.len() != seen.privileged.len() {
        return None;
    }

    let judged = places_of_privileged(case).zip(predicted.iter().zip(&seen.privileged));
    for (at, (expected, record)) in judged {
        let differences = privileged_differences(expected, record);
        if !differences.is_empty() {
            let outcome = match expected.fault {
                Some(fault) => Outcome::Fault(fault),
                None => Outcome::Translated(ArrayVec::new()),
            };
            let way = Alternative { outcome, updates: EntryUpdates::new(), choice: None };
            return Some((at, Verdict::Diverge { at, expected: Box::new(way), differences }));
        }
    }
    None
}

/// Where the accesses before the last are among the actions, counted from 0.
fn places(case: &Case) -> impl Iterator<Item = usize> {
    let actions = case.before.iter().enumerate();
    actions.filter(|(_, action)| matches!(action, Action::Access(_))).map(|(at, _)| at)
}

/// The same of the privileged instructions.
fn places_of_privileged(case: &Case) -> impl Iterator<Item = usize> {
    let actions = case.before.iter().enumerate();
    actions.filter(|(_, action)| action.is_privileged()).map(|(at, _)| at)
}

/// What was observed of a case up to action `at`, which must be an access, as of a case that ends there
/// ([`Case::until`]): of an access before the last, its record alone.
pub fn observed_until(case: &Case, seen: &Observation, at: usize) -> Option<(Case, Observation)> {
    let until = case.until(at)?;
    if at == case.before.len() {
        return Some((until, seen.clone()));
    }

    let earlier = places(case).take_while(|place| *place < at).count();
    let privileged = places_of_privileged(case).take_while(|place| *place < at).count();
    let record = seen.earlier.get(earlier)?;
    let last = record.alone(seen.provenance);
    let observation = Observation {
        earlier: seen.earlier.iter().take(earlier).copied().collect(),
        privileged: seen.privileged.iter().take(privileged).copied().collect(),
        sees_outside: seen.sees_outside,
        ..last
    };
    Some((until, observation))
}

/// What a machine did in action `at`, in words; `None` where that is not observed.
pub fn describe_action(case: &Case, seen: &Observation, at: usize) -> Option<String> {
    if let Some((until, seen)) = observed_until(case, seen, at) {
        return Some(describe_observation(&until, &seen));
    }

    let place = places_of_privileged(case).position(|place| place == at)?;
    seen.privileged.get(place).map(describe_privileged)
}

/// What was stored if the first of the allowed outcomes happened each time.
fn likeliest(possible: &[Stores]) -> Stores {
    possible.first().cloned().unwrap_or_default()
}
