//! The mutation score: which of the walker bugs known to history a machine proves wrong.
//!
//! The machine runs once, and every mutant is held against the same observations. A mutant is caught
//! by a case on which the machine does what the reference allows and the mutant does not. The
//! smallest such case is then run again, reduced, and run alone.

mod requirements;
mod trial;

pub use trial::{Status, Verdicts};

use crate::campaign::run_one;
use crate::campaign::sampler::{Sampler, Trial};
use crate::finding::{Example, shrink};
use crate::walker::{MUTANTS, Mutant, UNREACHABLE};
use crosswalk_case::Case;
use crosswalk_case::observation::Attempt;
use crosswalk_machine::{Machine, MachineError};
use std::time::{Duration, Instant};
use trial::{MutantTrial, Side};

/// When a run ends at the latest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// After so many cases.
    Cases(u64),
    /// After so much time.
    Time(Duration),
}

/// What became of one mutant.
#[derive(Clone, Debug)]
pub struct MutantOutcome {
    /// Its id.
    pub id: &'static str,
    /// The mistake.
    pub mistake: &'static str,
    /// Where it happened.
    pub origin: &'static str,
    /// Whether it was caught, or why not.
    pub status: Status,
    /// How many cases it took.
    pub cases_to_catch: Option<u64>,
    /// The smallest case that catches it, or that shows that the machine has it.
    pub example: Option<Example>,
    /// Why it was not caught.
    pub reason: Option<String>,
}

/// The score of a run.
#[derive(Clone, Debug)]
pub struct MutationScore {
    /// Every mutant, by id.
    pub outcomes: Vec<MutantOutcome>,
    /// The cases that were run.
    pub cases: u64,
    /// From the first batch on.
    pub duration: Duration,
}

impl MutationScore {
    /// How many mutants have a status.
    pub fn count(&self, status: Status) -> usize {
        self.outcomes.iter().filter(|outcome| outcome.status == status).count()
    }
}

/// How far a run is.
#[derive(Clone, Copy, Debug)]
pub struct MutationProgress {
    /// Cases so far.
    pub cases: u64,
    /// Mutants caught so far.
    pub caught: usize,
}

/// Runs random cases until the limit, or until every mutant is caught that can be.
///
/// # Errors
/// When the guest or the machine dies.
pub fn run(
    machine: &mut dyn Machine,
    mixture: &mut Sampler,
    limit: Limit,
    mut progress: impl FnMut(MutationProgress),
) -> Result<MutationScore, MachineError> {
    let start = Instant::now();
    let mut suspects: Vec<MutantTrial> = MUTANTS
        .iter()
        .map(|mutant| MutantTrial::new(mutant, requirements::why_not(mutant.needs, machine)))
        .collect();
    let mut cases = 0;
    loop {
        let left = match limit {
            Limit::Cases(wanted) => wanted - cases,
            Limit::Time(time) if start.elapsed() < time => u64::MAX,
            Limit::Time(_) => 0,
        };
        if left == 0 || !suspects.iter().any(MutantTrial::is_open) {
            break;
        }
        let tried = mixture.run(machine, left)?;
        if tried.is_empty() {
            break;
        }
        for Trial { case, run, .. } in &tried {
            cases += 1;
            hold(&mut suspects, case, run, cases);
        }
        let caught = suspects.iter().filter(|suspect| suspect.is_caught()).count();
        progress(MutationProgress { cases, caught });
    }
    let mut outcomes = Vec::new();
    for suspect in suspects {
        outcomes.push(conclude(machine, suspect)?);
    }
    outcomes.extend(UNREACHABLE.iter().map(|mutant| {
        MutantOutcome {
            id: mutant.id,
            mistake: mutant.mistake,
            origin: mutant.origin,
            status: Status::OutOfReach,
            cases_to_catch: None,
            example: None,
            reason: Some(
                requirements::why_not(mutant.needs, machine)
                    .unwrap_or_else(|| format!("the guest would have to {}", mutant.guest)),
            ),
        }
    }));
    outcomes.sort_unstable_by_key(|outcome| outcome.id);
    Ok(MutationScore { outcomes, cases, duration: start.elapsed() })
}

/// Holds one case against every mutant.
fn hold(suspects: &mut [MutantTrial], case: &Case, run: &Attempt, number: u64) {
    let Attempt::Observed(_) = run else { return };
    let verdicts = Verdicts::of(case, run);
    let mut has: Vec<&'static Mutant> = Vec::new();
    for suspect in &mut *suspects {
        if suspect.hold(case, run, &verdicts, number) {
            has.push(suspect.mutant);
        }
    }
    for suspect in suspects.iter_mut().filter(|_| !has.is_empty()) {
        suspect.hold_beside(&has, case, run, &verdicts);
    }
}

/// What became of a mutant: the smallest of its cases is reduced and run alone.
fn conclude(
    machine: &mut dyn Machine,
    mut suspect: MutantTrial,
) -> Result<MutantOutcome, MachineError> {
    let mutant = suspect.mutant;
    let outcome = |status, cases_to_catch, example, reason| MutantOutcome {
        id: mutant.id,
        mistake: mutant.mistake,
        origin: mutant.origin,
        status,
        cases_to_catch,
        example,
        reason,
    };
    for (side, status) in [(Side::Caught, Status::Caught), (Side::Has, Status::MachineHasIt)] {
        if let Some(example) = reduce(machine, &mut suspect, side)? {
            let cases = if side == Side::Caught { suspect.cases_to_catch } else { None };
            let reason = (side == Side::Has)
                .then(|| format!("expected {}, observed {}", example.expected, example.observed));
            return Ok(outcome(status, cases, Some(example), reason));
        }
    }
    let why_not = suspect.lacking.clone().or_else(|| suspect.hidden());
    Ok(match why_not {
        Some(why) => outcome(Status::OutOfReach, None, None, Some(why)),
        None => outcome(Status::Missed, None, None, Some(suspect.missed())),
    })
}

/// The smallest case for one side, confirmed by running it alone.
fn reduce(
    machine: &mut dyn Machine,
    suspect: &mut MutantTrial,
    side: Side,
) -> Result<Option<Example>, MachineError> {
    for example in suspect.examples(side) {
        let mut show = |case: &Case| {
            let run = run_one(machine, case)?;
            Ok::<_, MachineError>(suspect.shows(side, case, &run))
        };
        let smallest = shrink(example, &mut show)?;
        if let Some(confirmed) = show(&smallest.case)? {
            return Ok(Some(confirmed));
        }
    }
    Ok(None)
}
