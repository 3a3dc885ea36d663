//! A run: batches from a generator through a machine to verdicts. While the guest runs one batch
//! in one arena, the host judges the batch before it in the other and writes the next.

pub mod coverage;
pub mod journal;
pub mod sampler;
pub mod tally;

use crate::campaign::tally::Tally;
use crate::finding::known::{self, Kind, Known};
use crate::finding::{Example, Finding, Findings, shrink};
use crate::generate::{CaseName, Schedule, Turn};
use crate::verdict::{self, Difference, Field, Verdict};
use crate::walker::Choice;
use crosswalk_case::Case;
use crosswalk_case::observation::Run;
use crosswalk_machine::batch::{Batch, DataFrames, Encoded, arena_of};
use crosswalk_machine::image::Image;
use crosswalk_machine::memory::GuestMemory;
use crosswalk_machine::{Capabilities, Command, Machine, MachineError, ProvenanceMap, RunLog};
use mmu_core::Prediction;
use std::collections::{BTreeSet, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

/// What to run.
pub struct Plan {
    /// Where the cases come from, in order; it may set a limit.
    pub schedule: Schedule,
    /// How long to go on at most, with the time of what went before.
    pub time: Option<Duration>,
    /// Who predicts.
    pub walker: Choice,
    /// Known findings of the machine.
    pub known: Vec<Known>,
    /// Whether those are forgiven.
    pub forgives: bool,
}

/// How far a run has come: everything that it takes to go on.
pub struct Progress {
    /// The first turn of the schedule that is not judged yet.
    pub turn: u64,
    /// All counts so far.
    pub tally: Tally,
    /// All findings so far.
    pub findings: Findings,
    /// The time that it took.
    pub elapsed: Duration,
}

impl Progress {
    /// Nothing done yet.
    pub fn start(plan: &Plan, machine: &Capabilities) -> Self {
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
    fn batch_done(&mut self, progress: &Progress);
}

impl<F: FnMut(&Progress)> Observer for F {
    fn batch_done(&mut self, progress: &Progress) {
        self(progress);
    }
}

/// Runs a plan to its end, or until `stop` is set.
///
/// # Errors
/// When the guest or the machine dies.
pub fn run(
    machine: &mut dyn Machine,
    plan: &Plan,
    progress: &mut Progress,
    stop: &AtomicBool,
    observer: &mut impl Observer,
) -> Result<(), MachineError> {
    let start = Instant::now();
    let before = progress.elapsed;
    let mut desk = Desk::new(machine);
    let mut turns = Turns { plan, next: progress.turn, start, before, stop };
    thread::scope(|scope| {
        let (commands, to_run) = sync_channel(ARENAS);
        let (done, answers) = sync_channel(ARENAS);
        let machine = &mut *machine;
        scope.spawn(move || serve(machine, &to_run, &done));
        let mut line = Line { commands, answers, early: VecDeque::new() };
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
                let verdict = verdict::by_prediction(plan.walker.walker(), case, &prediction, run);
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
    plan: &Plan,
    progress: Progress,
) -> Result<Summary, MachineError> {
    let mut desk = Desk::new(machine);
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
/// [`Run::Unsupported`].
pub fn run_one(machine: &mut dyn Machine, case: &Case) -> Result<Run, MachineError> {
    Desk::new(machine).run_one(machine, case)
}

/// Batches in flight: one for each arena.
const ARENAS: usize = 2;

/// The turns that are still to come.
struct Turns<'p> {
    plan: &'p Plan,
    next: u64,
    start: Instant,
    before: Duration,
    stop: &'p AtomicBool,
}

impl Turns<'_> {
    fn next(&mut self) -> Option<Turn> {
        let is_late = |time| self.before + self.start.elapsed() >= time;
        if self.stop.load(Ordering::Relaxed) || self.plan.time.is_some_and(is_late) {
            return None;
        }
        let turn = self.plan.schedule.turn(self.next)?;
        self.next = turn.number + 1;
        Some(turn)
    }
}

type Answer = Result<RunLog, MachineError>;

/// The machine's thread: runs what comes, in order.
fn serve(machine: &mut dyn Machine, to_run: &Receiver<Command>, done: &SyncSender<Answer>) {
    for command in to_run {
        if done.send(machine.run(command)).is_err() {
            return;
        }
    }
}

/// The line to the machine's thread. Answers come in the order of the commands.
struct Line {
    commands: SyncSender<Command>,
    answers: Receiver<Answer>,
    /// Answers to later commands, taken while an earlier one had to be given again.
    early: VecDeque<Answer>,
}

impl Line {
    fn send(&self, command: Command) {
        self.commands.send(command).expect("the machine's thread outlives the line");
    }

    fn answer(&mut self) -> Answer {
        let receive = || self.answers.recv().expect("every command is answered");
        self.early.pop_front().unwrap_or_else(receive)
    }
}

/// Where batches are written and read: the host's side of the guest's memory.
struct Desk {
    memory: GuestMemory,
    image: Image,
    capabilities: Capabilities,
    provenance: ProvenanceMap,
    frames: DataFrames,
}

impl Desk {
    fn new(machine: &dyn Machine) -> Self {
        Self {
            memory: machine.memory().clone(),
            image: machine.image().clone(),
            capabilities: machine.capabilities().clone(),
            provenance: *machine.provenance(),
            frames: DataFrames::default(),
        }
    }

    fn encode(&self, batch: Batch) -> Encoded {
        Encoded::new(batch, &self.image, &self.capabilities)
    }

    fn read_back(&mut self, encoded: &Encoded, log: &RunLog) -> Result<Vec<Run>, MachineError> {
        encoded.read_back(log, &self.memory, &mut self.frames, &self.provenance)
    }

    /// Waits for a batch, and has it run again without the case the machine gave up on, until it
    /// gives up on none. `behind` batches were sent after it.
    fn see_through(
        &mut self,
        encoded: &mut Encoded,
        line: &mut Line,
        behind: usize,
    ) -> Result<RunLog, MachineError> {
        let mut log = line.answer().map_err(|error| encoded.blame(error))?;
        while let Some((position, why)) = log.gave_up {
            let Some(case) = encoded.case_at(position) else {
                let what = format!("could not go on between two cases: {why}");
                return Err(encoded.blame(MachineError::guest(what, Some(position))));
            };
            encoded.leave_out(case, why, &self.image);
            self.frames.restore(encoded.batch.arena, &self.memory);
            while line.early.len() < behind {
                let answer = line.answers.recv().expect("every command is answered");
                line.early.push_back(answer);
            }
            let later = std::mem::take(&mut line.early);
            line.send(encoded.write(&self.memory));
            log = line.answer().map_err(|error| encoded.blame(error))?;
            line.early = later;
        }
        Ok(log)
    }

    fn run_one(&mut self, machine: &mut dyn Machine, case: &Case) -> Result<Run, MachineError> {
        let arena = match arena_of(case) {
            Ok(arena) => arena,
            Err(why) => {
                return Ok(Run::Unsupported(format!("the case does not fit the guest: {why}")));
            }
        };
        let mut encoded = self.encode(Batch { arena, cases: vec![case.clone()] });
        if let Some(why) = encoded.left_out[0].take() {
            // The guest may not even survive loading its control state.
            return Ok(Run::Unsupported(why));
        }
        let command = encoded.write(&self.memory);
        let log = machine.run(command).map_err(|error| encoded.blame(error))?;
        if let Some((_, why)) = log.gave_up {
            self.frames.restore(arena, &self.memory);
            return Ok(Run::Unsupported(why));
        }
        Ok(self.read_back(&encoded, &log)?.swap_remove(0))
    }

    /// Replaces a finding's example by the smallest case that differs in the same fields.
    fn shrink(
        &mut self,
        machine: &mut dyn Machine,
        plan: &Plan,
        finding: &mut Finding,
    ) -> Result<(), MachineError> {
        let Some(example) = finding.example.take() else { return Ok(()) };
        // A finding about the machine is held against the reference, whoever else predicted.
        let judged_by = if finding.catches_walker { plan.walker } else { Choice::Reference };
        let all_quirks = known::quirks(&plan.known);
        let fields = |differences: &[Difference]| -> BTreeSet<Field> {
            differences.iter().map(|difference| difference.field).collect()
        };
        let (wanted, quirks) = (fields(&example.differences), example.quirks);
        let smallest = shrink(example, |case| {
            let run = self.run_one(machine, case)?;
            let verdict = |walker: Choice| verdict::by(walker.walker(), case, &run);
            let Verdict::Diverge { expected, differences } = verdict(judged_by) else {
                return Ok(None);
            };
            let machine_is_right = matches!(verdict(Choice::Reference), Verdict::Agree { .. });
            let explained_by = all_quirks.explaining(case, &run).unwrap_or_default();
            let same_cause =
                explained_by == quirks && (!quirks.is_empty() || fields(&differences) == wanted);
            let same = same_cause && machine_is_right == finding.catches_walker;
            let example = || Example { quirks, ..Example::of(case, &expected, &run, &differences) };
            Ok::<_, MachineError>(same.then(example))
        })?;
        finding.example = Some(smallest);
        Ok(())
    }
}
