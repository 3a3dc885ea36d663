//! A campaign: cases from a generator, run on a machine in batches, and judged. While the guest runs
//! one batch in one arena, the host judges the previous batch in the other and writes the next.

pub mod breakdown;
pub mod coverage;
pub mod journal;
pub mod known;
mod pipeline;
pub mod predictor;
mod reduce;
mod runner;
pub mod sampler;
pub mod tally;

use crate::campaign::tally::Tally;
use crate::finding::known::Kind;
use crate::finding::{Finding, Findings};
use crate::generate::{CaseName, Schedule};
use crate::verdict::{self, Verdict};
use crate::walker::WalkerSpec;
use breakdown::Breakdown;
use crosswalk_case::Case;
use crosswalk_case::observation::Attempt;
use crosswalk_machine::{Capabilities, Machine, MachineError, Stopwatch};
use known::KnownFindings;
use mmu_core::Prediction;
use pipeline::{Clock, Pipeline, RunLimit};
use runner::BatchRunner;
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::{Duration, Instant};

/// What to run.
pub struct CampaignPlan {
    /// Where the cases come from, and in which order; it may limit their number.
    pub schedule: Schedule,
    /// The maximum duration, including the time before the campaign was resumed.
    pub time: Option<Duration>,
    /// The walker that predicts.
    pub walker: WalkerSpec,
    /// The known findings of the machine.
    pub known: KnownFindings,
}

/// The state of a campaign: everything that is needed to resume it.
pub struct CampaignProgress {
    /// The first turn of the schedule that is not judged yet.
    pub turn: u64,
    /// All counts so far.
    pub tally: Tally,
    /// All findings so far.
    pub findings: Findings,
    /// The duration so far.
    pub elapsed: Duration,
    /// Where the time went since the campaign was started or resumed.
    pub breakdown: Breakdown,
}

impl CampaignProgress {
    /// The state before the first batch.
    pub fn start(plan: &CampaignPlan, machine: &Capabilities) -> Self {
        Self {
            turn: 0,
            tally: Tally::default(),
            findings: plan.known.clone().collector(plan.walker, machine),
            elapsed: Duration::ZERO,
            breakdown: Breakdown::default(),
        }
    }

    fn add(&mut self, trial: &Trial, prediction: &Prediction, verdict: &Verdict) {
        let Trial { name, case, attempt } = trial;

        self.tally.add((*name, case), prediction, attempt, verdict);
        self.findings.add(case, attempt, verdict);
    }
}

/// A case that was run on a machine, or that the machine could not run.
#[derive(Clone, Debug)]
pub struct Trial {
    /// The name of the case.
    pub name: CaseName,
    /// The case.
    pub case: Case,
    /// What was observed, or why the machine could not run the case.
    pub attempt: Attempt,
}

/// The results of a campaign.
#[derive(Debug)]
pub struct Summary {
    /// All counts.
    pub tally: Tally,
    /// All findings, known ones first.
    pub findings: Vec<Finding>,
    /// The time from the first batch to the last verdict.
    pub duration: Duration,
    /// Where the time went; `None` if no machine ran.
    pub breakdown: Option<Breakdown>,
}

impl Summary {
    /// Whether the machine diverged in a way that is not a known finding.
    pub fn has_unknown_divergence(&self) -> bool {
        self.has_unknown(Kind::Divergence)
    }

    /// Whether the machine diverged, or did not run a case, in a way that is not a known finding.
    pub fn has_unknown_finding(&self) -> bool {
        self.has_unknown(Kind::Divergence) || self.has_unknown(Kind::Unsupported)
    }

    fn has_unknown(&self, kind: Kind) -> bool {
        let mut findings = self.findings.iter();
        findings.any(|finding| finding.kind == kind && !finding.known && finding.count > 0)
    }

    /// Whether no case was compared with anything.
    pub fn compared_nothing(&self) -> bool {
        self.tally.agreed() == 0 && self.tally.diverged() == 0
    }
}

/// Follows a campaign while it runs.
pub trait Observer {
    /// Called for every case, with what the walker predicted and the verdict.
    fn judged(&mut self, case: &Case, prediction: &Prediction, verdict: &Verdict) {
        let _ = (case, prediction, verdict);
    }

    /// Called after every batch: all cases before `progress.turn` are judged, and none after it.
    fn batch_done(&mut self, progress: &CampaignProgress);
}

impl<F: FnMut(&CampaignProgress)> Observer for F {
    fn batch_done(&mut self, progress: &CampaignProgress) {
        self(progress);
    }
}

/// Runs a campaign to its end, or until `stop` is set. Within a second the end comes, whatever the guest
/// does: a batch that takes longer is left unjudged, and the machine is interrupted.
///
/// # Errors
/// When the guest or the machine dies.
pub fn run(
    machine: &mut dyn Machine,
    plan: &CampaignPlan,
    progress: &mut CampaignProgress,
    stop: &AtomicBool,
    observer: &mut impl Observer,
) -> Result<(), MachineError> {
    let walker = plan.walker.walker();
    let clock = Clock::resumed_after(progress.elapsed);

    thread::scope(|scope| {
        let limit = RunLimit::new(plan.time, clock, stop);
        let mut pipeline = Pipeline::start(scope, machine, &plan.schedule, progress.turn, limit)?;

        while let Some(batch) = pipeline.next_batch()? {
            let mut stopwatch = Stopwatch::start();
            for trial in &batch.trials {
                let Trial { case, attempt, .. } = trial;
                let prediction = walker.predict(case);
                let verdict = verdict::judge_prediction(walker, case, &prediction, attempt);

                observer.judged(case, &prediction, &verdict);
                progress.add(trial, &prediction, &verdict);
            }

            progress.breakdown += batch.breakdown;
            progress.breakdown.judging += stopwatch.lap();
            progress.turn = batch.next_turn;
            progress.elapsed = clock.elapsed();
            observer.batch_done(progress);
        }

        Ok(())
    })
}

/// How long the examples of all findings together are reduced. Seconds suffice, unless a guest is slow on
/// purpose.
const REDUCTION: Duration = Duration::from_secs(10);

/// Summarizes a campaign that has ended, and reduces the example of every divergence by running
/// simpler cases, if the machine was not interrupted, and for a limited time.
///
/// # Errors
/// When the guest or the machine dies.
pub fn finish(
    machine: &mut dyn Machine,
    plan: &CampaignPlan,
    progress: CampaignProgress,
) -> Result<Summary, MachineError> {
    let mut runner = BatchRunner::new(machine);
    let mut findings = progress.findings.finish();

    let deadline = Instant::now() + REDUCTION;
    let is_usable = !machine.interrupter().is_interrupted();
    for finding in findings.iter_mut().filter(|finding| finding.kind == Kind::Divergence) {
        if !is_usable {
            break;
        }
        reduce::reduce_example(&mut runner, machine, plan, finding, deadline)?;
    }

    Ok(Summary {
        tally: progress.tally,
        findings,
        duration: progress.elapsed,
        breakdown: Some(progress.breakdown),
    })
}

/// Runs a single case. A case that does not fit the guest is [`Attempt::Unsupported`].
///
/// # Errors
/// When the guest or the machine dies.
pub fn run_one(machine: &mut dyn Machine, case: &Case) -> Result<Attempt, MachineError> {
    BatchRunner::new(machine).run_one(machine, case)
}
