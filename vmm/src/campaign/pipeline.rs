//! Batches in flight: while the machine runs one batch, the host judges the previous one and writes
//! the next.
//!
//! ```text
//! Turns -> encode, write -> MachineQueue -> machine's thread -> MachineQueue -> read back -> judge
//! ```

use super::runner::BatchRunner;
use super::{CampaignPlan, Trial};
use crate::generate::{Schedule, Turn};
use crosswalk_machine::batch::Encoded;
use crosswalk_machine::{BatchCommand, Machine, MachineError, RunLog};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::Scope;
use std::time::{Duration, Instant};

/// Maximum number of batches in flight: one for each arena.
const ARENAS: usize = 2;

/// Measures the duration of a campaign, including the time before it was resumed.
#[derive(Clone, Copy)]
pub(super) struct Clock {
    start: Instant,
    before: Duration,
}

impl Clock {
    pub(super) fn resumed_after(before: Duration) -> Self {
        Self { start: Instant::now(), before }
    }

    pub(super) fn elapsed(self) -> Duration {
        self.before + self.start.elapsed()
    }
}

/// The host's half of a campaign: keeps both arenas filled, and returns batches in order.
pub(super) struct Pipeline<'p> {
    schedule: &'p Schedule,
    turns: Turns<'p>,
    runner: BatchRunner,
    queue: MachineQueue,
    /// The batches that the machine has not completed yet, oldest first.
    in_flight: VecDeque<(Turn, Encoded)>,
}

/// A batch that has run.
pub(super) struct FinishedBatch {
    /// The first turn of the schedule after it.
    pub(super) next_turn: u64,
    pub(super) trials: Vec<Trial>,
}

impl<'p> Pipeline<'p> {
    /// Starts the machine's thread. The campaign begins at `turn` of the plan's schedule.
    pub(super) fn start<'scope>(
        scope: &'scope Scope<'scope, '_>,
        machine: &'scope mut dyn Machine,
        plan: &'p CampaignPlan,
        turn: u64,
        clock: Clock,
        stop: &'p AtomicBool,
    ) -> Self {
        let schedule = &plan.schedule;

        Self {
            schedule,
            turns: Turns { schedule, next: turn, time: plan.time, clock, stop },
            runner: BatchRunner::new(machine),
            queue: MachineQueue::start(scope, machine),
            in_flight: VecDeque::new(),
        }
    }

    /// The next batch, once it has run; `None` at the end of the campaign.
    pub(super) fn next_batch(&mut self) -> Result<Option<FinishedBatch>, MachineError> {
        self.fill();

        let Some((turn, mut encoded)) = self.in_flight.pop_front() else { return Ok(None) };
        let log = self.complete(&mut encoded)?;
        let trials = self.runner.read_back(encoded, &log, turn.first)?;

        Ok(Some(FinishedBatch { next_turn: turn.number + 1, trials }))
    }

    /// Sends batches to the machine until every arena has one.
    fn fill(&mut self) {
        while self.in_flight.len() < ARENAS
            && let Some(turn) = self.turns.next()
        {
            let encoded = self.runner.encode(self.schedule.batch(&turn));
            self.queue.send(self.runner.write(&encoded));
            self.in_flight.push_back((turn, encoded));
        }
    }

    /// Waits for the oldest batch. As long as the machine gives up at one of its cases, the batch
    /// runs again without that case, after the batches that were sent behind it.
    fn complete(&mut self, encoded: &mut Encoded) -> Result<RunLog, MachineError> {
        let mut log = self.queue.receive().map_err(|error| encoded.blame(error))?;

        while let Some((position, why)) = log.gave_up.take() {
            self.runner.leave_out(encoded, position, why)?;
            self.queue.wait_for(self.in_flight.len());

            let command = self.runner.write(encoded);
            log = self.queue.run_now(command).map_err(|error| encoded.blame(error))?;
        }

        Ok(log)
    }
}

/// The turns of the schedule that are left, until time is up or the campaign is stopped.
struct Turns<'p> {
    schedule: &'p Schedule,
    next: u64,
    time: Option<Duration>,
    clock: Clock,
    stop: &'p AtomicBool,
}

impl Iterator for Turns<'_> {
    type Item = Turn;

    fn next(&mut self) -> Option<Turn> {
        let is_late = self.time.is_some_and(|time| self.clock.elapsed() >= time);
        if is_late || self.stop.load(Ordering::Relaxed) {
            return None;
        }

        let turn = self.schedule.turn(self.next)?;
        self.next = turn.number + 1;
        Some(turn)
    }
}

type BatchDone = Result<RunLog, MachineError>;

/// The queue to the machine's thread and back. Results arrive in the order of the commands.
struct MachineQueue {
    commands: SyncSender<BatchCommand>,
    done: Receiver<BatchDone>,
    /// Results of later commands, received while an earlier batch had to run again.
    early: VecDeque<BatchDone>,
}

impl MachineQueue {
    fn start<'scope>(scope: &'scope Scope<'scope, '_>, machine: &'scope mut dyn Machine) -> Self {
        let (commands, to_run) = sync_channel(ARENAS);
        let (send_done, done) = sync_channel(ARENAS);
        scope.spawn(move || run_commands(machine, &to_run, &send_done));

        Self { commands, done, early: VecDeque::new() }
    }

    fn send(&self, command: BatchCommand) {
        self.commands.send(command).expect("the machine's thread outlives the queue");
    }

    /// Waits for the result of the oldest command.
    fn receive(&mut self) -> BatchDone {
        self.early.pop_front().unwrap_or_else(|| self.receive_new())
    }

    fn receive_new(&self) -> BatchDone {
        self.done.recv().expect("every command has a result")
    }

    /// Waits until the next `count` commands are done, so that the machine is idle.
    fn wait_for(&mut self, count: usize) {
        while self.early.len() < count {
            let done = self.receive_new();
            self.early.push_back(done);
        }
    }

    /// Runs a command on the idle machine, ahead of the results that were received early.
    fn run_now(&self, command: BatchCommand) -> BatchDone {
        self.send(command);
        self.receive_new()
    }
}

/// The machine's thread: runs commands in order, until the queue is dropped.
fn run_commands(
    machine: &mut dyn Machine,
    to_run: &Receiver<BatchCommand>,
    done: &SyncSender<BatchDone>,
) {
    for command in to_run {
        if done.send(machine.run(command)).is_err() {
            return;
        }
    }
}
