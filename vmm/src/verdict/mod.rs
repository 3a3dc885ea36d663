//! The verdict on a case: what the machine did, compared field by field with what a walker predicts.
//!
//! - `access`: one access, or the last one of a sequence;
//! - `sequence`: the accesses of a sequence, one by one;
//! - `iterations`: repeated instructions that a fault has stopped;
//! - `compare`: an observation and the allowed outcomes;
//! - `effects`: what an allowed outcome does to memory;
//! - `value`: what an access reads, and what its register has afterwards;
//! - `choices`: what the machine chose where the rules leave a choice;
//! - `describe`: observations and outcomes in words.

mod access;
mod choices;
mod compare;
mod describe;
mod difference;
mod effects;
mod end;
mod iterations;
mod sequence;
pub(crate) mod value;

pub use choices::ChoiceTaken;
pub use crosswalk_explain::words::describe_expectation;
pub use describe::{describe_observation, result_of};
pub use difference::{Difference, Field};
pub use end::End;
pub use sequence::{describe_action, observed_until};

use crate::walker::Walker;
use access::judge_access;
use compare::Comparison;
use crosswalk_case::Case;
use crosswalk_case::observation::Attempt;
use crosswalk_guest::stub::Form;
use mmu_core::{Alternative, Prediction, Reference};
use sequence::judge_sequence;
use std::slice;
use value::Stores;

/// The result of comparing what a machine did with what a walker predicts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The machine did one of the things that are allowed.
    Agree {
        /// Nothing in the observation proves the physical address.
        unproved: bool,
        /// The choices that the machine made.
        choices: Vec<ChoiceTaken>,
    },

    /// The machine did something else.
    Diverge {
        /// The action that differs, counted from 0: [`Case::before`] and then the access.
        at: usize,
        /// The nearest allowed outcome: the one with the fewest differences.
        expected: Box<Alternative>,
        /// Every field that differs from it; at least one.
        differences: Vec<Difference>,
    },

    /// The machine could not run the case. Holds the reason.
    Unsupported(String),
}

/// Whether a walker predicts what was observed of a case. [`judge`] says more, and takes longer.
pub fn agrees(walker: &dyn Walker, case: &Case, run: &Attempt) -> bool {
    match run {
        Attempt::Observed(seen) if !case.is_sequence() && case.form != Form::RepeatedMove => {
            let before = Stores::new();
            let comparison = Comparison { walker, case, seen, before: &before, is_record: false };
            walker.predict(case).alternatives.iter().any(|way| comparison.agrees(way))
        }
        _ => matches!(judge(walker, case, run), Verdict::Agree { .. }),
    }
}

/// Judges one case by the prediction of a walker.
pub fn judge(walker: &dyn Walker, case: &Case, run: &Attempt) -> Verdict {
    if case.is_sequence() {
        judge_accesses(walker, case, &walker.predict_accesses(case), run)
    } else {
        judge_accesses(walker, case, &[walker.predict(case)], run)
    }
}

/// Like [`judge`], for a caller that already has the walker's predictions for all accesses.
///
/// # Panics
/// If there is no prediction, or one has no alternative. Every walker's has one.
pub fn judge_accesses(
    walker: &dyn Walker,
    case: &Case,
    predictions: &[Prediction],
    run: &Attempt,
) -> Verdict {
    let (last, earlier) = predictions.split_last().expect("a case has an access");
    if let Attempt::Observed(seen) = run
        && let Some(parted) = iterations::part(case, seen)
    {
        let predictions = walker.predict_accesses(&parted.case);
        let (last, earlier) = predictions.split_last().expect("a case has an access");
        let verdict = judge_sequence(walker, &parted.case, (earlier, last), &parted.seen);
        return parted.verdict_of_whole(verdict);
    }
    match run {
        Attempt::Observed(seen) if case.is_sequence() => {
            judge_sequence(walker, case, (earlier, last), seen)
        }
        Attempt::Observed(seen) => judge_access(walker, case, last, seen, &Stores::new(), 0),
        Attempt::Unsupported(why) => Verdict::Unsupported(why.clone()),
    }
}

/// Like [`judge`], for a caller that already has the walker's prediction for the last access.
pub fn judge_prediction(
    walker: &dyn Walker,
    case: &Case,
    prediction: &Prediction,
    run: &Attempt,
) -> Verdict {
    match run {
        Attempt::Observed(_) if case.is_sequence() => {
            let mut predictions = walker.predict_earlier(case);
            predictions.push(prediction.clone());
            judge_accesses(walker, case, &predictions, run)
        }
        _ => judge_accesses(walker, case, slice::from_ref(prediction), run),
    }
}

/// Judges a case that is not a sequence by a prediction that no walker made.
///
/// # Panics
/// If the prediction has no alternative. Every walker's has one.
pub fn judge_observation(case: &Case, prediction: &Prediction, run: &Attempt) -> Verdict {
    judge_accesses(&Reference, case, slice::from_ref(prediction), run)
}
