//! Judging a sequence: the accesses before the last by their records, and the last one also by what
//! all of them left in memory.

use super::Verdict;
use super::access::judge_access;
use super::compare::{compare_record, nearest};
use super::effects::Effects;
use crate::walker::value::Stores;
use crosswalk_case::Case;
use crosswalk_case::observation::Observation;
use mmu_core::Prediction;

/// Judges a sequence by the predictions for its earlier accesses and for the last one.
pub(super) fn judge_sequence(
    case: &Case,
    earlier: &[Prediction],
    last: &Prediction,
    seen: &Observation,
) -> Verdict {
    let accesses = case.accesses();
    if seen.earlier.len() != earlier.len() || accesses.len() != earlier.len() + 1 {
        return Verdict::Unsupported("an access of the sequence could not be made".into());
    }

    let mut stores = Stores::new();
    for (number, (access, prediction)) in accesses.iter().zip(earlier).enumerate() {
        let record = seen.earlier[number];
        let recorded = Observation::new(record.fault, record.value, seen.provenance);
        let (expected, mut differences) =
            nearest(prediction, |way| compare_record(access, way, &recorded, &stores));

        if !differences.is_empty() {
            for difference in &mut differences {
                difference.expected = format!("{} of access {}", difference.expected, number + 1);
            }
            return Verdict::Diverge { expected: Box::new(expected.clone()), differences };
        }
        // What is stored now is what the next access finds.
        stores = Effects::of(access, &expected.outcome, &stores).stored.into_iter().collect();
    }
    judge_access(&accesses[earlier.len()], last, seen, &stores)
}
