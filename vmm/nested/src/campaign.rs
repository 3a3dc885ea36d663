//! A run: machines share the batches of a schedule. Each runs one while its thread judges the one before.

use crate::batch::{self, BatchRun};
use crate::generate::{CaseBatch, Stream};
use crate::schedule::{Schedule, Turn};
use crate::tally::{Judge, NestedTally};
use crosswalk_machine::nested::NestedBatch;
use crosswalk_machine::{Machine, MachineError};
use std::collections::VecDeque;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// What a run is to do.
pub struct Plan<'p> {
    /// The batches.
    pub schedule: Schedule,
    /// By what the cases are judged.
    pub judge: Judge<'p>,
    /// The most time.
    pub time: Option<Duration>,
    /// Whether to end at the first divergence that is not known.
    pub fails_fast: bool,
}

/// The machines of a run. Each has a guest of its own.
pub struct Fleet<'f> {
    /// The first.
    pub first: &'f mut dyn Machine,
    /// Number of machines, the first included. Each of the others is opened by the thread that uses it.
    pub machines: usize,
    /// Opens one of the others, which must offer what the first one does.
    pub open: &'f (dyn Fn() -> Result<Box<dyn Machine>, MachineError> + Sync),
}

/// How far a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Cases that were judged.
    pub cases: u64,
    /// Those among them that differ.
    pub diverged: u64,
    /// Those that differ in a way that is not known.
    pub unknown: u64,
}

/// Runs a plan. The counts do not depend on the number of machines, unless a time or a divergence ends the run.
/// `note` is told after every batch how far the run is, and says whether to go on.
///
/// # Errors
/// If a machine fails, or a guest does and cannot be started again, or another machine cannot be opened.
pub fn run(
    plan: &Plan<'_>,
    fleet: Fleet<'_>,
    note: &(dyn Fn(Progress) -> bool + Sync),
) -> Result<NestedTally, MachineError> {
    let Fleet { first, machines, open } = fleet;
    let shared = Shared {
        plan,
        stream: plan.schedule.stream(),
        schedule: Mutex::new(plan.schedule.clone()),
        end: plan.time.and_then(|time| Instant::now().checked_add(time)),
        cases: AtomicU64::new(0),
        diverged: AtomicU64::new(0),
        unknown: AtomicU64::new(0),
        is_over: AtomicBool::new(false),
        note,
    };

    thread::scope(|scope| {
        let others: Vec<_> = (1..machines)
            .map(|_| scope.spawn(|| shared.ending_with(|| shared.work(open()?.as_mut()))))
            .collect();

        let mut whole = shared.ending_with(|| shared.work(first));
        for other in others {
            let part = other.join().unwrap_or_else(|panic| resume_unwind(panic));
            whole = whole.and_then(|mut whole| {
                whole.merge(part?);
                Ok(whole)
            });
        }
        whole
    })
}

/// What the machines of a run share.
struct Shared<'r> {
    plan: &'r Plan<'r>,
    stream: &'r Stream,
    schedule: Mutex<Schedule>,
    end: Option<Instant>,
    cases: AtomicU64,
    diverged: AtomicU64,
    unknown: AtomicU64,
    is_over: AtomicBool,
    note: &'r (dyn Fn(Progress) -> bool + Sync),
}

/// A batch that is under way.
struct Started {
    batch: CaseBatch,
    encoded: NestedBatch,
}

impl Shared<'_> {
    /// Ends the whole run if one machine fails.
    fn ending_with(
        &self,
        work: impl FnOnce() -> Result<NestedTally, MachineError>,
    ) -> Result<NestedTally, MachineError> {
        work().inspect_err(|_| self.is_over.store(true, Ordering::Relaxed))
    }

    /// Runs batches on one machine, until there are no more or the run is over.
    fn work(&self, machine: &mut dyn Machine) -> Result<NestedTally, MachineError> {
        let mut tally = NestedTally::default();
        let mut turns = VecDeque::new();
        let mut under_way: Option<Started> = None;

        loop {
            // The next batch is written into the other arena, while the machine runs one.
            let next = self.next_turn(&mut turns).map(|Turn { number, cases }| {
                let batch = self.stream.first_of_batch(number, cases);
                Started { encoded: batch::encode(&batch), batch }
            });
            let command = next
                .as_ref()
                .map(|next| next.encoded.write(machine.memory(), machine.capabilities()));

            let ran = match under_way.take() {
                Some(Started { batch, encoded }) => {
                    let provenance = self.plan.judge.provenance;
                    Some((batch::finish(&batch, &encoded, machine, provenance)?, batch))
                }
                None => None,
            };
            if let Some(command) = command {
                machine.start(command);
            }
            under_way = next;

            let is_last = ran.is_none() && under_way.is_none();
            if let Some((ran, batch)) = ran {
                self.add(&mut tally, &batch, &ran);
            }
            if is_last {
                return Ok(tally);
            }
        }
    }

    /// The next batch of this machine. It takes two at once, one for each arena.
    fn next_turn(&self, turns: &mut VecDeque<Turn>) -> Option<Turn> {
        let is_late = self.end.is_some_and(|end| Instant::now() >= end);
        if is_late || self.is_over.load(Ordering::Relaxed) {
            return None;
        }
        if turns.is_empty() {
            let mut schedule = self.schedule.lock().unwrap_or_else(PoisonError::into_inner);
            turns.extend(schedule.next_pair());
        }
        turns.pop_front()
    }

    /// Judges a batch, and tells how far the run is.
    fn add(&self, tally: &mut NestedTally, batch: &CaseBatch, ran: &BatchRun) {
        let before = (tally.diverge, tally.unknown());
        tally.add_batch(self.plan.judge, self.stream, batch, ran);

        let add = |sum: &AtomicU64, part: u64| sum.fetch_add(part, Ordering::Relaxed) + part;
        let progress = Progress {
            cases: add(&self.cases, batch.cases.len() as u64),
            diverged: add(&self.diverged, tally.diverge - before.0),
            unknown: add(&self.unknown, tally.unknown() - before.1),
        };
        let goes_on = (self.note)(progress);
        if !goes_on || (self.plan.fails_fast && progress.unknown > 0) {
            self.is_over.store(true, Ordering::Relaxed);
        }
    }
}
