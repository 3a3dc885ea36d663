//! Sequences: the accesses before the last are judged by what their records tell, the last also by
//! what all of them left in memory.

use super::compare::{Effects, compare_fault, compare_value, judge_access};
use super::describe::describe_fault;
use super::{Difference, Field, Verdict};
use crate::walker::value::Stores;
use crosswalk_case::Case;
use crosswalk_case::observation::Observation;
use mmu_core::{Alternative, Outcome, Prediction};

/// Judges a sequence.
pub(super) fn judge_observation(
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
    for (number, (alone, prediction)) in accesses.iter().zip(earlier).enumerate() {
        let recorded = seen.earlier[number];
        let as_recorded = Observation::new(recorded.fault, recorded.value, seen.provenance);
        let mut nearest: Option<(&Alternative, Vec<Difference>)> = None;
        for way in &prediction.alternatives {
            let differences = compare_record(alone, way, &as_recorded, &stores);
            if nearest.as_ref().is_none_or(|(_, fewest)| differences.len() < fewest.len()) {
                nearest = Some((way, differences));
            }
        }
        let (way, mut differences) = nearest.expect("a prediction has an alternative");
        if !differences.is_empty() {
            for difference in &mut differences {
                let expected = std::mem::take(&mut difference.expected);
                difference.expected = format!("{expected} of access {}", number + 1);
            }
            return Verdict::Diverge { expected: Box::new(way.clone()), differences };
        }
        stores = Effects::of(alone, &way.outcome, &stores).stored.into_iter().collect();
    }
    judge_access(&accesses[earlier.len()], last, seen, &stores)
}

/// The differences that a record alone tells.
fn compare_record(
    case: &Case,
    expected: &Alternative,
    seen: &Observation,
    before: &Stores,
) -> Vec<Difference> {
    let mut differences = Vec::new();
    let mut differ = |field, expected: String, observed: String| {
        differences.push(Difference { field, expected, observed });
    };
    match (&expected.outcome, seen.fault) {
        (Outcome::Fault(fault), _) => compare_fault(fault, seen, &mut differ),
        (Outcome::Translated(_), Some(fault)) => {
            differ(Field::Vector, "no exception".into(), describe_fault(fault));
        }
        (Outcome::Translated(spans), None) => {
            compare_value(case, spans, seen, before, &mut differ);
        }
    }
    differences
}
