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
use super::compare::{Comparison, nearest};
use super::effects::Effects;
use super::value::Stores;
use crate::walker::Walker;
use crosswalk_case::Case;
use crosswalk_case::observation::Observation;
use mmu_core::Prediction;

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

    let mut stores = Stores::new();
    let asked = accesses.iter().zip(earlier).zip(&seen.earlier);
    for (number, ((access, prediction), record)) in (1..).zip(asked) {
        let recorded = Observation::new(record.fault, record.value, seen.provenance);
        let comparison =
            Comparison { walker, case: access, seen: &recorded, before: &stores, is_record: true };
        let (expected, mut differences) = nearest(prediction, &comparison);

        if !differences.is_empty() {
            for difference in &mut differences {
                difference.expected = format!("{} of access {}", difference.expected, number);
            }
            return Verdict::Diverge { expected: Box::new(expected.clone()), differences };
        }
        // What is stored now is what the next access finds.
        stores = Effects::of(access, &expected.outcome, &stores).stored;
    }
    judge_access(walker, last_access, last, seen, &stores)
}
