//! Judging one access.

use super::Verdict;
use super::choices::choices_taken;
use super::compare::{Comparison, is_out_of_sight, nearest};
use super::effects::Effects;
use super::value::{Stores, expected_value};
use crate::walker::Walker;
use crosswalk_case::Case;
use crosswalk_case::observation::Observation;
use mmu_core::{Alternative, Outcome, Prediction};

/// Judges an access, which is action `at` of its case. `before` has the bytes that earlier accesses of
/// its sequence stored.
pub(super) fn judge_access(
    walker: &dyn Walker,
    case: &Case,
    prediction: &Prediction,
    seen: &Observation,
    before: &Stores,
    at: usize,
) -> Verdict {
    let comparison = Comparison { walker, case, seen, before, is_record: false };
    let (expected, differences) = nearest(prediction, &comparison);

    if differences.is_empty() {
        Verdict::Agree {
            unproved: is_unproved(case, expected, seen),
            choices: choices_taken(case, expected, seen),
        }
    } else {
        Verdict::Diverge { at, expected: Box::new(expected.clone()), differences }
    }
}

/// Whether an agreement proves nothing about the physical address: the access completed, and the
/// machine cannot show where it went, or the instruction leaves no trace.
fn is_unproved(case: &Case, agreed: &Alternative, seen: &Observation) -> bool {
    let Outcome::Translated(spans) = &agreed.outcome else { return false };
    if is_out_of_sight(case, spans, seen) {
        return true;
    }

    let before = Stores::new();
    expected_value(case, spans, &before).is_none()
        && Effects::of(case, &agreed.outcome, &before).is_empty()
}
