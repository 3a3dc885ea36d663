//! The work of one machine in a campaign: it takes turns, runs their batches, and judges them.

use super::CampaignPlan;
use super::breakdown::Breakdown;
use super::fleet::Opener;
use super::pipeline::{FailedBatch, FinishedBatch, Pipeline, RunLimit};
use super::tally::Tally;
use super::turn_queue::TurnQueue;
use crate::finding::{Recognizer, Sightings};
use crate::verdict::{self, Verdict};
use crosswalk_case::Case;
use crosswalk_machine::{Machine, MachineError, Stopwatch};
use std::slice;
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
    /// What its cases show.
    pub(super) sightings: Sightings,
    /// Its cases in order with their verdicts, if the caller wants to see them.
    pub(super) followed: Vec<(Case, Verdict)>,
}

/// What a machine reports of each of its batches.
pub(super) type BatchReport = Result<JudgedBatch, FailedBatch>;

/// Where the turns of a campaign come from, and where its batches go.
#[derive(Clone, Copy)]
pub(super) struct Worker<'p> {
    pub(super) plan: &'p CampaignPlan,
    pub(super) recognizer: &'p Recognizer,
    pub(super) queue: &'p TurnQueue<'p>,
    /// Whether the caller wants to see every case.
    pub(super) follows_cases: bool,
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
            let started = Pipeline::start(scope, machine, &plan.schedule, queue, limit);
            let mut pipeline = match started {
                Ok(pipeline) => pipeline,
                Err(error) => return report_failure(error, reports),
            };

            while let Some(batch) = pipeline.next_batch().transpose() {
                let report = batch.map(|batch| self.judge(batch));
                let is_last = report.is_err();
                // Nobody listens once the campaign has ended.
                if reports.send(report).is_err() || is_last {
                    return;
                }
            }
        });
    }

    fn judge(self, batch: FinishedBatch) -> JudgedBatch {
        let FinishedBatch { place, next_turn, ran, mut breakdown } = batch;
        let mut stopwatch = Stopwatch::start();
        let walker = self.plan.walker.walker();
        let mut tally = Tally::default();
        let mut sightings = Sightings::default();
        let mut followed = Vec::new();

        for (name, case, attempt) in ran.iter() {
            let (single, several);
            let predictions = if case.is_sequence() {
                several = walker.predict_accesses(case);
                &several[..]
            } else {
                single = walker.predict(case);
                slice::from_ref(&single)
            };
            let verdict = verdict::judge_accesses(walker, case, predictions, attempt);
            tally.add((name, case), predictions, attempt, &verdict);
            self.recognizer.recognize(case, attempt, &verdict, &mut sightings);
            if self.follows_cases {
                followed.push((case.clone(), verdict));
            }
        }

        breakdown.judging += stopwatch.lap();
        JudgedBatch { place, next_turn, tally, breakdown, sightings, followed }
    }
}

/// Reports that a machine cannot run anything. Failures of batches come before it.
fn report_failure(error: MachineError, reports: &Sender<BatchReport>) {
    // The campaign has ended if nobody listens.
    let _ = reports.send(Err(FailedBatch { place: u64::MAX, error }));
}
