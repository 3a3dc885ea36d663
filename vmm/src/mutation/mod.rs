//! The mutation score: which of the walker bugs known from history a machine proves wrong.
//!
//! The machine runs every case once, and all mutants are judged by the same observations. A case
//! catches a mutant when the machine does what the reference allows and the mutant does not allow.
//! The smallest such case is then reduced, and run once more alone.

mod requirements;
mod trial;

pub use trial::Status;

use crate::campaign::sampler::{Sampler, TrialSource};
use crate::campaign::{Trial, run_one};
use crate::finding::{Example, shrink};
use crate::walker::{MUTANTS, Mutant, UNREACHABLE, Unreachable};
use crosswalk_case::Case;
use crosswalk_case::observation::Attempt;
use crosswalk_machine::{Capabilities, Machine, MachineError};
use requirements::unmet;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};
use trial::{MutantTrial, ReferenceVerdicts, Side};

/// When a run ends at the latest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// After this number of cases.
    Cases(u64),
    /// After this time.
    Time(Duration),
}

impl Limit {
    /// Number of cases that are left.
    fn cases_left(self, cases: u64, elapsed: Duration) -> u64 {
        match self {
            Self::Cases(limit) => limit - cases,
            Self::Time(limit) if elapsed < limit => u64::MAX,
            Self::Time(_) => 0,
        }
    }
}

/// The result for one mutant.
#[derive(Clone, Debug)]
pub struct MutantOutcome {
    /// The id of the mutant.
    pub id: &'static str,
    /// Its mistake.
    pub mistake: &'static str,
    /// Where the mistake was made.
    pub origin: &'static str,
    /// Whether it was caught, or why not.
    pub status: Status,
    /// Number of cases it took to catch it.
    pub cases_to_catch: Option<u64>,
    /// The smallest case that catches it, or that shows that the machine makes the same mistake.
    pub example: Option<Example>,
    /// Why it was not caught.
    pub reason: Option<String>,
}

impl MutantOutcome {
    const fn missed(id: &'static str, mistake: &'static str, origin: &'static str) -> Self {
        Self {
            id,
            mistake,
            origin,
            status: Status::Missed,
            cases_to_catch: None,
            example: None,
            reason: None,
        }
    }
}

/// The mutation score of a machine.
#[derive(Clone, Debug)]
pub struct MutationScore {
    /// The result for every mutant, by id.
    pub outcomes: Vec<MutantOutcome>,
    /// Number of cases that were run.
    pub cases: u64,
    /// The time since the first batch.
    pub duration: Duration,
}

impl MutationScore {
    /// Number of mutants with this status.
    pub fn count(&self, status: Status) -> usize {
        self.outcomes.iter().filter(|outcome| outcome.status == status).count()
    }
}

/// The progress of a run.
#[derive(Clone, Copy, Debug)]
pub struct MutationProgress {
    /// Number of cases so far.
    pub cases: u64,
    /// Number of mutants caught so far.
    pub caught: usize,
}

/// Runs cases until the limit, until every mutant is caught that the machine can catch, or until `progress` breaks off.
///
/// # Errors
/// When the guest or the machine dies.
pub fn run(
    machine: &mut dyn Machine,
    sampler: &mut Sampler,
    limit: Limit,
    progress: impl FnMut(MutationProgress) -> ControlFlow<()>,
) -> Result<MutationScore, MachineError> {
    let start = Instant::now();
    let mut trials: Vec<MutantTrial> = MUTANTS
        .iter()
        .map(|mutant| MutantTrial::new(mutant, unmet(mutant.needs, machine.capabilities())))
        .collect();

    let cases = run_cases(machine, sampler, limit, start, &mut trials, progress)?;

    let mut outcomes = Vec::new();
    for trial in &trials {
        outcomes.push(conclude(machine, trial)?);
    }
    let capabilities = machine.capabilities();
    outcomes.extend(UNREACHABLE.iter().map(|mutant| unreachable_outcome(mutant, capabilities)));
    outcomes.sort_unstable_by_key(|outcome| outcome.id);

    Ok(MutationScore { outcomes, cases, duration: start.elapsed() })
}

/// Runs the cases, and judges all mutants by each of them. Returns the number of cases.
fn run_cases(
    machine: &mut dyn Machine,
    sampler: &mut Sampler,
    limit: Limit,
    start: Instant,
    trials: &mut [MutantTrial],
    mut progress: impl FnMut(MutationProgress) -> ControlFlow<()>,
) -> Result<u64, MachineError> {
    let mut cases = 0;

    loop {
        let left = limit.cases_left(cases, start.elapsed());
        if left == 0 || !trials.iter().any(MutantTrial::is_open) {
            return Ok(cases);
        }

        let batch = sampler.run(machine, left)?;
        if batch.is_empty() {
            return Ok(cases);
        }
        for Trial { case, attempt, .. } in &batch {
            cases += 1;
            judge_mutants(trials, case, attempt, cases);
        }

        let caught = trials.iter().filter(|trial| trial.is_caught()).count();
        if progress(MutationProgress { cases, caught }).is_break() {
            return Ok(cases);
        }
    }
}

/// Judges all mutants by one case; `number` is the number of cases so far.
fn judge_mutants(trials: &mut [MutantTrial], case: &Case, attempt: &Attempt, number: u64) {
    let Attempt::Observed(_) = attempt else { return };
    let verdicts = ReferenceVerdicts::of(case, attempt);

    let mut made_by_machine: Vec<&'static Mutant> = Vec::new();
    for trial in &mut *trials {
        if trial.add(case, attempt, &verdicts, number) {
            made_by_machine.push(trial.mutant());
        }
    }

    if !made_by_machine.is_empty() {
        for trial in trials {
            trial.add_combined(&made_by_machine, case, attempt, &verdicts);
        }
    }
}

/// The result for a mutant. The smallest of its cases is reduced and run alone.
fn conclude(machine: &mut dyn Machine, trial: &MutantTrial) -> Result<MutantOutcome, MachineError> {
    let mutant = trial.mutant();
    let missed = MutantOutcome::missed(mutant.id, mutant.mistake, mutant.origin);

    if let Some(example) = reduce(machine, trial, Side::Caught)? {
        return Ok(MutantOutcome {
            status: Status::Caught,
            cases_to_catch: trial.cases_to_catch(),
            example: Some(example),
            ..missed
        });
    }

    if let Some(example) = reduce(machine, trial, Side::MachineHasIt)? {
        let Example { expected, observed, .. } = &example;
        return Ok(MutantOutcome {
            status: Status::MachineHasIt,
            reason: Some(format!("expected {expected}, observed {observed}")),
            example: Some(example),
            ..missed
        });
    }

    Ok(match trial.why_out_of_reach() {
        Some(why) => MutantOutcome { status: Status::OutOfReach, reason: Some(why), ..missed },
        None => MutantOutcome { reason: Some(trial.why_missed()), ..missed },
    })
}

/// The result for a mistake that no case can show.
fn unreachable_outcome(mutant: &Unreachable, machine: &Capabilities) -> MutantOutcome {
    let reason = unmet(mutant.needs, machine)
        .unwrap_or_else(|| format!("the guest would have to {}", mutant.guest));

    MutantOutcome {
        status: Status::OutOfReach,
        reason: Some(reason),
        ..MutantOutcome::missed(mutant.id, mutant.mistake, mutant.origin)
    }
}

/// The smallest case for a side, confirmed by running it alone.
fn reduce(
    machine: &mut dyn Machine,
    trial: &MutantTrial,
    side: Side,
) -> Result<Option<Example>, MachineError> {
    let mut show = |case: &Case| {
        let attempt = run_one(machine, case)?;
        Ok::<_, MachineError>(trial.shows(side, case, &attempt))
    };

    for example in trial.examples(side) {
        let smallest = shrink(example, &mut show)?;
        if let Some(confirmed) = show(&smallest.case)? {
            return Ok(Some(confirmed));
        }
    }
    Ok(None)
}
