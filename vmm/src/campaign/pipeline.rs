//! Batches in flight: while the machine runs one batch, the host writes the next and judges the one
//! before.
//!
//! ```text
//! TurnQueue -> encode, write -> MachineQueue -> machine's thread -> MachineQueue -> read back -> judge
//! ```

use super::breakdown::Breakdown;
use super::runner::{BatchRunner, RanBatch};
use super::turn_queue::{PlacedTurn, TurnQueue};
use crate::generate::Schedule;
use crosswalk_guest::layout::Arena;
use crosswalk_machine::batch::Encoded;
use crosswalk_machine::{BatchCommand, Interrupter, Machine, MachineError, RunLog, Stopwatch};
use std::cell::Cell;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::{self, Scope};
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

/// How long the batches may take that are under way when a campaign ends, on fast machines and on slow
/// ones. A batch takes some 20 ms on KVM.
const GRACE: [Duration; 2] = [Duration::from_millis(900), Duration::from_secs(3)];

/// Decides when a campaign is over for a machine: when its time is up, the user stops it, or another
/// machine failed.
pub(super) struct RunLimit<'p> {
    time: Option<Duration>,
    clock: Clock,
    /// Each of them ends the campaign.
    stops: [&'p AtomicBool; 2],
    /// When it was first seen that the campaign is over.
    over_since: Cell<Option<Instant>>,
    /// Number of batches that have run.
    batches: Cell<u32>,
}

impl<'p> RunLimit<'p> {
    pub(super) fn new(time: Option<Duration>, clock: Clock, stops: [&'p AtomicBool; 2]) -> Self {
        Self { time, clock, stops, over_since: Cell::new(None), batches: Cell::new(0) }
    }

    /// Whether no batch may begin any more.
    pub(super) fn is_over(&self) -> bool {
        let is_late = self.time.is_some_and(|time| self.clock.elapsed() >= time);
        let is_over = is_late || self.stops.iter().any(|stop| stop.load(Ordering::Relaxed));

        if is_over && self.over_since.get().is_none() {
            self.over_since.set(Some(Instant::now()));
        }
        is_over
    }

    /// Whether no batch may go on any more.
    fn is_overdue(&self) -> bool {
        self.is_over() && self.over_since.get().is_some_and(|since| since.elapsed() >= self.grace())
    }

    /// The time for all arenas and one more, by the batches so far.
    fn grace(&self) -> Duration {
        let [min, max] = GRACE;
        let average = self.clock.start.elapsed() / self.batches.get().max(1);
        (average * (ARENAS as u32 + 1)).clamp(min, max)
    }
}

/// The host's half of a machine: keeps both arenas filled, and returns batches in the order in which
/// they were taken.
pub(super) struct Pipeline<'p> {
    schedule: &'p Schedule,
    queue: &'p TurnQueue<'p>,
    /// Turns that were taken, and not sent to the machine.
    turns: VecDeque<PlacedTurn>,
    limit: RunLimit<'p>,
    runner: BatchRunner,
    commands: MachineQueue,
    interrupter: Interrupter,
    /// The batches that the machine has not completed yet, oldest first.
    in_flight: VecDeque<(PlacedTurn, Encoded)>,
    /// Where the time since the last finished batch went.
    breakdown: Breakdown,
}

/// A batch that has run.
pub(super) struct FinishedBatch {
    /// Its place among all batches of the campaign.
    pub(super) place: u64,
    /// The first turn of the schedule after it.
    pub(super) next_turn: u64,
    pub(super) ran: RanBatch,
    /// Where the time since the batch before it went, judging left out.
    pub(super) breakdown: Breakdown,
}

/// Why a batch, and all after it on the same machine, did not run.
pub(super) struct FailedBatch {
    /// The place of the batch.
    pub(super) place: u64,
    pub(super) error: MachineError,
}

impl<'p> Pipeline<'p> {
    /// Starts the machine's thread.
    ///
    /// # Errors
    /// When the host has no thread for it.
    pub(super) fn start<'scope>(
        scope: &'scope Scope<'scope, '_>,
        machine: &'scope mut dyn Machine,
        schedule: &'p Schedule,
        queue: &'p TurnQueue<'p>,
        limit: RunLimit<'p>,
    ) -> Result<Self, MachineError> {
        Ok(Self {
            schedule,
            queue,
            turns: VecDeque::new(),
            limit,
            runner: BatchRunner::new(machine),
            interrupter: machine.interrupter().clone(),
            commands: MachineQueue::start(scope, machine)?,
            in_flight: VecDeque::new(),
            breakdown: Breakdown::default(),
        })
    }

    /// The next batch, once it has run; `None` at the end of the campaign. Batches that are under way
    /// then, and take too long, are not waited for: the machine is interrupted. While the caller judges
    /// the batch, the machine has two others to run.
    pub(super) fn next_batch(&mut self) -> Result<Option<FinishedBatch>, FailedBatch> {
        self.fill();
        while self.in_flight.is_empty() && !self.limit.is_over() && self.queue.wait_for_room() {
            self.fill();
        }

        let Some((placed, mut encoded)) = self.in_flight.pop_front() else { return Ok(None) };
        let PlacedTurn { place, turn } = placed;
        let failed = |error| FailedBatch { place, error };

        let log = match self.complete(&mut encoded) {
            Err(MachineError::Interrupted) => return Ok(None),
            completed => completed.map_err(failed)?,
        };

        let mut stopwatch = Stopwatch::start();
        let ran = self.runner.read_back(encoded, &log, turn.first).map_err(failed)?;
        self.breakdown.reading_back += stopwatch.lap();
        self.limit.batches.update(|batches| batches.saturating_add(1));
        self.fill();

        let breakdown = std::mem::take(&mut self.breakdown);
        Ok(Some(FinishedBatch { place, next_turn: turn.number + 1, ran, breakdown }))
    }

    /// Sends batches to the machine until every arena has one, as far as there is room for them.
    fn fill(&mut self) {
        while !self.limit.is_over() {
            if self.turns.is_empty() && self.in_flight.len() < ARENAS {
                self.turns = self.queue.take();
            }

            match self.turns.front() {
                Some(placed) if self.is_free(placed.turn.arena()) => self.send_next(),
                _ => return,
            }
        }
    }

    /// Whether no batch in flight is in an arena. The last pair of a stream may be a single batch, so
    /// that the one behind it has the same arena.
    fn is_free(&self, arena: Arena) -> bool {
        self.in_flight.iter().all(|(placed, _)| placed.turn.arena() != arena)
    }

    /// Sends the next of the turns that were taken to the machine.
    fn send_next(&mut self) {
        let Some(placed) = self.turns.pop_front() else { return };

        let mut stopwatch = Stopwatch::start();
        let batch = self.schedule.batch(&placed.turn);
        self.breakdown.generating += stopwatch.lap();

        let encoded = self.runner.encode(batch);
        let command = self.runner.write(&encoded);
        self.breakdown.encoding += stopwatch.lap();

        self.commands.send(command);
        self.in_flight.push_back((placed, encoded));
    }

    /// Waits for the oldest batch. As long as the machine gives up at one of its cases, the batch
    /// runs again without that case, after the batches that were sent behind it.
    fn complete(&mut self, encoded: &mut Encoded) -> Result<RunLog, MachineError> {
        let mut log = self.receive().map_err(|error| encoded.blame(error))?;
        self.breakdown += log.time;

        while let Some((position, why)) = log.gave_up.take() {
            self.runner.leave_out(encoded, position, why)?;
            while self.commands.early.len() < self.in_flight.len() {
                let done = self.receive_new();
                self.commands.early.push_back(done);
            }

            if self.limit.is_overdue() {
                self.interrupter.interrupt();
            }
            self.commands.send(self.runner.write(encoded));
            log = self.receive_new().map_err(|error| encoded.blame(error))?;
            self.breakdown += log.time;
        }

        Ok(log)
    }

    /// Waits for the result of the oldest command.
    fn receive(&mut self) -> BatchDone {
        self.commands.early.pop_front().unwrap_or_else(|| self.receive_new())
    }

    /// Waits for the result of the oldest command that has none yet.
    fn receive_new(&self) -> BatchDone {
        /// The time between two looks at the limit.
        const LOOK: Duration = Duration::from_millis(50);

        loop {
            match self.commands.done.recv_timeout(LOOK) {
                Ok(done) => return done,
                Err(RecvTimeoutError::Timeout) if self.limit.is_overdue() => {
                    self.interrupter.interrupt();
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => panic!("every command has a result"),
            }
        }
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
    fn start<'scope>(
        scope: &'scope Scope<'scope, '_>,
        machine: &'scope mut dyn Machine,
    ) -> Result<Self, MachineError> {
        let (commands, to_run) = sync_channel(ARENAS);
        let (send_done, done) = sync_channel(ARENAS);

        thread::Builder::new()
            .name("machine".into())
            .spawn_scoped(scope, move || run_commands(machine, &to_run, &send_done))
            .map_err(|source| MachineError::Host { doing: "starting a thread", source })?;
        Ok(Self { commands, done, early: VecDeque::new() })
    }

    fn send(&self, command: BatchCommand) {
        self.commands.send(command).expect("the machine's thread outlives the queue");
    }
}

/// The machine's thread: runs commands in order, until the queue is dropped. A machine that takes the next
/// batch ahead gets it as soon as it is there.
fn run_commands(
    machine: &mut dyn Machine,
    to_run: &Receiver<BatchCommand>,
    done: &SyncSender<BatchDone>,
) {
    let mut started = 0;
    let mut next = None;
    loop {
        if started == 0 {
            let Some(command) = next.take().or_else(|| to_run.recv().ok()) else { return };
            machine.start(command);
            started += 1;
        }
        while started <= machine.batches_ahead()
            && let Ok(command) = to_run.recv_timeout(machine.expected())
        {
            machine.start(command);
            started += 1;
        }

        let log = machine.finish();
        started -= 1;
        if started == 0 {
            next = to_run.try_recv().ok();
            if next.is_none() {
                machine.rest();
            }
        }
        if done.send(log).is_err() {
            return;
        }
    }
}
