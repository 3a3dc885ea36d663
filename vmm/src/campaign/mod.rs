//! A run: batches from a generator through a machine to verdicts. While the guest runs one batch
//! in one arena, the host judges the batch before it in the other and writes the next.

pub mod coverage;
pub mod journal;
mod pipeline;
pub mod sampler;
pub mod tally;

use crate::campaign::tally::Tally;
use crate::finding::known::{Kind, KnownFinding};
use crate::finding::{Finding, Findings};
use crate::generate::{CaseName, Schedule, Turn};
use crate::verdict::{self, Verdict};
use crate::walker::WalkerSpec;
use crosswalk_case::Case;
use crosswalk_case::observation::Attempt;
use crosswalk_machine::batch::Encoded;
use crosswalk_machine::{Capabilities, Machine, MachineError};
use mmu_core::Prediction;
use pipeline::{ARENAS, MachineQueue, Pipeline, Turns, serve};
use std::collections::VecDeque;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::{Duration, Instant};

/// What to run.
pub struct CampaignPlan {
    /// Where the cases come from, in order; it may set a limit.
    pub schedule: Schedule,
    /// How long to go on at most, with the time of what went before.
    pub time: Option<Duration>,
    /// Who predicts.
    pub walker: WalkerSpec,
    /// Known findings of the machine.
    pub known: Vec<KnownFinding>,
    /// Whether those are forgiven.
    pub forgives: bool,
}

/// How far a run has come: everything that it takes to go on.
pub struct CampaignProgress {
    /// The first turn of the schedule that is not judged yet.
    pub turn: u64,
    /// All counts so far.
    pub tally: Tally,
    /// All findings so far.
    pub findings: Findings,
    /// The time that it took.
    pub elapsed: Duration,
}

impl CampaignProgress {
    /// Nothing done yet.
    pub fn start(plan: &CampaignPlan, machine: &Capabilities) -> Self {
        let findings = Findings::new(plan.walker, plan.known.clone(), plan.forgives, machine);
        Self { turn: 0, tally: Tally::default(), findings, elapsed: Duration::ZERO }
    }
}

/// What came of a run.
#[derive(Debug)]
pub struct Summary {
    /// All counts.
    pub tally: Tally,
    /// All findings, known ones first.
    pub findings: Vec<Finding>,
    /// From the first batch to the last verdict.
    pub duration: Duration,
}

impl Summary {
    /// Whether something diverged that is not known.
    pub fn has_unknown_divergence(&self) -> bool {
        self.findings
            .iter()
            .any(|finding| finding.kind == Kind::Divergence && !finding.known && finding.count > 0)
    }
}

/// What looks on while a run goes on.
pub trait Observer {
    /// A case was judged, of which the walker predicts this.
    fn judged(&mut self, case: &Case, prediction: &Prediction, verdict: &Verdict) {
        let _ = (case, prediction, verdict);
    }

    /// A batch is done: everything before the turn is judged, and nothing after it.
    fn batch_done(&mut self, progress: &CampaignProgress);
}

impl<F: FnMut(&CampaignProgress)> Observer for F {
    fn batch_done(&mut self, progress: &CampaignProgress) {
        self(progress);
    }
}

/// Runs a plan to its end, or until `stop` is set.
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
    let start = Instant::now();
    let before = progress.elapsed;
    let mut desk = Pipeline::new(machine);
    let mut turns = Turns { plan, next: progress.turn, start, before, stop };
    thread::scope(|scope| {
        let (commands, to_run) = sync_channel(ARENAS);
        let (done, answers) = sync_channel(ARENAS);
        let machine = &mut *machine;
        scope.spawn(move || serve(machine, &to_run, &done));
        let mut line = MachineQueue { commands, answers, early: VecDeque::new() };
        let mut waiting: VecDeque<(Turn, Encoded)> = VecDeque::new();
        loop {
            while waiting.len() < ARENAS
                && let Some(turn) = turns.next()
            {
                let encoded = desk.encode(plan.schedule.batch(&turn));
                line.send(encoded.write(&desk.memory));
                waiting.push_back((turn, encoded));
            }
            let Some((turn, mut encoded)) = waiting.pop_front() else { break };
            let log = desk.see_through(&mut encoded, &mut line, waiting.len())?;
            let runs = desk.read_back(&encoded, &log)?;
            for ((case, run), index) in
                encoded.batch.cases.iter().zip(&runs).zip(turn.first.index..)
            {
                let name = CaseName { index, ..turn.first };
                let prediction = plan.walker.walker().predict(case);
                let verdict =
                    verdict::judge_prediction(plan.walker.walker(), case, &prediction, run);
                observer.judged(case, &prediction, &verdict);
                progress.tally.add((name, case), &prediction, run, &verdict);
                progress.findings.add(case, run, &verdict);
            }
            progress.turn = turn.number + 1;
            progress.elapsed = before + start.elapsed();
            observer.batch_done(progress);
        }
        Ok::<(), MachineError>(())
    })
}

/// The summary of a run that has ended: every divergence is shrunk by running simpler cases.
///
/// # Errors
/// When the guest or the machine dies.
pub fn finish(
    machine: &mut dyn Machine,
    plan: &CampaignPlan,
    progress: CampaignProgress,
) -> Result<Summary, MachineError> {
    let mut desk = Pipeline::new(machine);
    let mut findings = progress.findings.finish();
    for finding in findings.iter_mut().filter(|finding| finding.kind == Kind::Divergence) {
        desk.shrink(machine, plan, finding)?;
    }
    Ok(Summary { tally: progress.tally, findings, duration: progress.elapsed })
}

/// Runs one case and returns what was seen, with the arena it fits.
///
/// # Errors
/// When the guest or the machine dies. A case that does not fit the guest is
/// [`Attempt::Unsupported`].
pub fn run_one(machine: &mut dyn Machine, case: &Case) -> Result<Attempt, MachineError> {
    Pipeline::new(machine).run_one(machine, case)
}
