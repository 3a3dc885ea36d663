//! A campaign: cases from a generator, run on machines in batches, and judged. While a guest runs one
//! batch in one arena, the host judges the previous batch in the other and writes the next. With several
//! machines, each takes the next batches, and the verdicts are added up in the order of the schedule.

mod again;
pub mod breakdown;
pub mod command;
pub mod coverage;
mod fleet;
pub mod given;
pub mod journal;
pub mod known;
mod pipeline;
pub mod predictor;
mod reduce;
mod runner;
pub mod sampler;
pub mod series;
pub mod tally;
mod turn_queue;
mod worker;

pub use again::GivenCases;
pub use fleet::{Fleet, OpenAnother, check_alike};

use crate::campaign::tally::Tally;
use crate::finding::known::Kind;
use crate::finding::{Finding, Findings};
use crate::generate::{CaseName, Schedule};
use crate::verdict::Verdict;
use crate::walker::WalkerSpec;
use breakdown::Breakdown;
use crosswalk_case::Case;
use crosswalk_case::observation::Attempt;
use crosswalk_machine::{Capabilities, Machine, MachineError, Stopwatch};
use fleet::Opener;
use known::KnownFindings;
use pipeline::{Clock, FailedBatch, RunLimit};
use runner::BatchRunner;
use series::{Point, Series};
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{Receiver, channel};
use std::thread::{self, Scope};
use std::time::{Duration, Instant};
use turn_queue::{CloseOnDrop, InOrder, TurnQueue};
use worker::{BatchReport, JudgedBatch, Worker};

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

    /// How far it has come, for the series of a run. `cpu_seconds` includes child processes.
    pub fn point(&self, cpu_seconds: f64) -> Point {
        let (findings, unknown) = self.findings.numbers();
        Point {
            seconds: self.elapsed.as_secs_f64(),
            cpu_seconds,
            cases: self.tally.cases(),
            rules: self.tally.rules_hit(),
            outcomes: self.tally.kinds_of_outcomes(),
            findings,
            unknown,
        }
    }

    fn add(&mut self, batch: JudgedBatch, observer: &mut impl Observer) {
        for (case, verdict) in &batch.followed {
            observer.judged(case, verdict);
        }
        self.findings.add_sightings(batch.sightings);
        self.tally.merge(batch.tally);
        self.breakdown += batch.breakdown;
        self.turn = batch.next_turn;
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
    /// How the run went, if it kept a journal.
    pub series: Series,
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
    /// Whether it wants to see every case.
    fn follows_cases(&self) -> bool {
        false
    }

    /// Called for every case in order, with its verdict, if it [wants](Self::follows_cases) to see them.
    fn judged(&mut self, case: &Case, verdict: &Verdict) {
        let _ = (case, verdict);
    }

    /// Called after every batch: all cases before `progress.turn` are judged, and none after it.
    fn batch_done(&mut self, progress: &CampaignProgress);
}

impl<F: FnMut(&CampaignProgress)> Observer for F {
    fn batch_done(&mut self, progress: &CampaignProgress) {
        self(progress);
    }
}

/// Runs a campaign to its end, or until `stop` is set. Within a second the end comes, whatever the guests
/// do: a batch that takes longer is left unjudged, with those after it, and its machine is interrupted.
///
/// The cases and the result do not depend on the number of machines.
///
/// # Errors
/// When a guest or a machine dies.
pub fn run(
    fleet: &mut Fleet<'_>,
    plan: &CampaignPlan,
    progress: &mut CampaignProgress,
    stop: &AtomicBool,
    observer: &mut impl Observer,
) -> Result<(), MachineError> {
    let clock = Clock::resumed_after(progress.elapsed);
    let line = fleet::line_of(fleet.first);
    let opener = Opener::new(fleet.open, &line);
    let queue = TurnQueue::new(&plan.schedule, progress.turn, fleet.machines);
    let recognizer = progress.findings.recognizer();
    let follows_cases = observer.follows_cases();
    let worker = Worker { plan, recognizer: &recognizer, queue: &queue, follows_cases };
    let limit = || RunLimit::new(plan.time, clock, [stop, queue.closed()]);

    thread::scope(|scope| {
        let _closed = CloseOnDrop(&queue);
        let (reports, received) = channel();

        let first = &mut *fleet.first;
        let (limit_of_first, reports_of_first) = (limit(), reports.clone());
        start(scope, &queue, move || worker.run(first, limit_of_first, &reports_of_first))?;
        for _ in 1..fleet.machines {
            let (limit, reports) = (limit(), reports.clone());
            start(scope, &queue, move || worker.open_and_run(opener, limit, &reports))?;
        }
        drop(reports);

        collect(&received, &queue, clock, progress, observer)
    })
}

/// Starts a thread that works with a machine. If it panics, the others end.
fn start<'scope>(
    scope: &'scope Scope<'scope, '_>,
    queue: &'scope TurnQueue<'_>,
    work: impl FnOnce() + Send + 'scope,
) -> Result<(), MachineError> {
    let work = move || {
        let closed = CloseOnDrop(queue);
        work();
        // Others may have batches in flight.
        std::mem::forget(closed);
    };

    let started = thread::Builder::new().name("worker".into()).spawn_scoped(scope, work);
    started.map_err(|source| MachineError::Host { doing: "starting a thread", source })?;
    Ok(())
}

/// Adds up the batches of all machines in order, until no machine has one. The first failure in that
/// order ends the campaign.
fn collect(
    received: &Receiver<BatchReport>,
    queue: &TurnQueue<'_>,
    clock: Clock,
    progress: &mut CampaignProgress,
    observer: &mut impl Observer,
) -> Result<(), MachineError> {
    let mut batches = InOrder::new();
    let mut failed: Option<FailedBatch> = None;

    for report in received {
        match report {
            Ok(batch) => batches.add(batch.place, batch),
            Err(failure) => {
                queue.close();
                let is_first = failed.as_ref().is_none_or(|first| failure.place < first.place);
                if is_first {
                    failed = Some(failure);
                }
            }
        }

        while let Some(batch) = batches.take_next() {
            let mut stopwatch = Stopwatch::start();
            progress.add(batch, observer);
            progress.breakdown.judging += stopwatch.lap();
            progress.elapsed = clock.elapsed();
            observer.batch_done(progress);
            queue.judged_one();
        }
    }

    failed.map_or(Ok(()), |failed| Err(failed.error))
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
        series: Series::default(),
    })
}

/// Runs a single case. A case that does not fit the guest is [`Attempt::Unsupported`].
///
/// # Errors
/// When the guest or the machine dies.
pub fn run_one(machine: &mut dyn Machine, case: &Case) -> Result<Attempt, MachineError> {
    BatchRunner::new(machine).run_one(machine, case)
}
