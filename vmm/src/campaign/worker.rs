//! The work of one machine in a campaign: it takes turns, runs their batches, and judges them.

use super::breakdown::Breakdown;
use super::fleet::Opener;
use super::pipeline::{FailedBatch, FinishedBatch, Pipeline, RunLimit};
use super::tally::Tally;
use super::turn_queue::TurnQueue;
use super::{CampaignPlan, Trial};
use crate::finding::{Recognizer, ShownByCase};
use crate::verdict::{self, Verdict};
use crosswalk_machine::{Machine, MachineError, Stopwatch};
use std::sync::mpsc::Sender;
use std::thread;

/// A batch with its verdicts.
pub(super) struct JudgedBatch {
    /// Its place among all batches of the campaign.
    pub(super) place: u64,
    /// The first turn of the schedule after it.
    pub(super) next_turn: u64,
    /// The counts of its cases.
    pub(super) tally: Tally,
    /// Where its time went.
    pub(super) breakdown: Breakdown,
    /// Its cases in order.
    pub(super) cases: Vec<JudgedCase>,
}

/// A case that was run, with its verdict.
pub(super) struct JudgedCase {
    pub(super) trial: Trial,
    pub(super) verdict: Verdict,
    /// What it shows.
    pub(super) shown: ShownByCase,
}

/// What a machine reports of each of its batches.
pub(super) type BatchReport = Result<JudgedBatch, FailedBatch>;

/// Where the turns of a campaign come from, and where its batches go.
#[derive(Clone, Copy)]
pub(super) struct Worker<'p> {
    pub(super) plan: &'p CampaignPlan,
    pub(super) recognizer: &'p Recognizer,
    pub(super) queue: &'p TurnQueue<'p>,
}

impl Worker<'_> {
    /// Opens a machine, and works with it.
    pub(super) fn open_and_run(
        self,
        opener: Opener<'_>,
        limit: RunLimit<'_>,
        reports: &Sender<BatchReport>,
    ) {
        match opener.open(&limit) {
            Ok(mut machine) => self.run(machine.as_mut(), limit, reports),
            // The campaign is over.
            Err(MachineError::Interrupted) => {}
            Err(error) => report_failure(error, reports),
        }
    }

    /// Works with a machine until there is nothing left to do, or the machine fails.
    pub(super) fn run(
        self,
        machine: &mut dyn Machine,
        limit: RunLimit<'_>,
        reports: &Sender<BatchReport>,
    ) {
        thread::scope(|scope| {
            let Self { plan, queue, .. } = self;
            let mut pipeline = match Pipeline::start(scope, machine, &plan.schedule, queue, limit) {
                Ok(pipeline) => pipeline,
                Err(error) => return report_failure(error, reports),
            };

            while let Some(batch) = pipeline.next_batch().transpose() {
                let report = batch.map(|batch| self.judge(batch));
                let is_last = report.is_err();
                if reports.send(report).is_err() || is_last {
                    return;
                }
            }
        });
    }

    fn judge(self, batch: FinishedBatch) -> JudgedBatch {
        let FinishedBatch { place, next_turn, trials, mut breakdown } = batch;
        let mut stopwatch = Stopwatch::start();
        let walker = self.plan.walker.walker();
        let mut tally = Tally::default();

        let judged = trials.into_iter().map(|trial| {
            let Trial { name, case, attempt } = &trial;
            let prediction = walker.predict(case);
            let verdict = verdict::judge_prediction(walker, case, &prediction, attempt);
            tally.add((*name, case), &prediction, attempt, &verdict);
            let shown = self.recognizer.recognize(case, attempt, &verdict);
            JudgedCase { trial, verdict, shown }
        });
        let cases = judged.collect();

        breakdown.judging += stopwatch.lap();
        JudgedBatch { place, next_turn, tally, breakdown, cases }
    }
}

/// Reports that a machine cannot run anything. Failures of batches come before it.
fn report_failure(error: MachineError, reports: &Sender<BatchReport>) {
    // The campaign has ended if nobody listens.
    let _ = reports.send(Err(FailedBatch { place: u64::MAX, error }));
}
