//! Batches in flight: the host encodes and judges one while the machine runs another.

use super::CampaignPlan;
use crate::finding::known;
use crate::finding::quirks::explaining;
use crate::finding::{Example, Finding, shrink};
use crate::generate::Turn;
use crate::verdict::{self, Difference, Field, Verdict};
use crate::walker::WalkerSpec;
use crosswalk_case::Case;
use crosswalk_case::observation::Attempt;
use crosswalk_machine::batch::{Batch, DataFrames, Encoded, arena_of};
use crosswalk_machine::image::Image;
use crosswalk_machine::memory::GuestMemory;
use crosswalk_machine::{
    BatchCommand, Capabilities, GuestFailure, Machine, MachineError, ProvenanceMap, RunLog,
};
use std::collections::{BTreeSet, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender};
use std::time::{Duration, Instant};

/// Batches in flight: one for each arena.
pub(super) const ARENAS: usize = 2;

/// The turns that are still to come.
pub(super) struct Turns<'p> {
    pub(super) plan: &'p CampaignPlan,
    pub(super) next: u64,
    pub(super) start: Instant,
    pub(super) before: Duration,
    pub(super) stop: &'p AtomicBool,
}

impl Turns<'_> {
    pub(super) fn next(&mut self) -> Option<Turn> {
        let is_late = |time| self.before + self.start.elapsed() >= time;
        if self.stop.load(Ordering::Relaxed) || self.plan.time.is_some_and(is_late) {
            return None;
        }
        let turn = self.plan.schedule.turn(self.next)?;
        self.next = turn.number + 1;
        Some(turn)
    }
}

pub(super) type BatchDone = Result<RunLog, MachineError>;

/// The machine's thread: runs what comes, in order.
pub(super) fn serve(
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

/// The line to the machine's thread. Answers come in the order of the commands.
pub(super) struct MachineQueue {
    pub(super) commands: SyncSender<BatchCommand>,
    pub(super) answers: Receiver<BatchDone>,
    /// Answers to later commands, taken while an earlier one had to be given again.
    pub(super) early: VecDeque<BatchDone>,
}

impl MachineQueue {
    pub(super) fn send(&self, command: BatchCommand) {
        self.commands.send(command).expect("the machine's thread outlives the line");
    }

    pub(super) fn answer(&mut self) -> BatchDone {
        let receive = || self.answers.recv().expect("every command is answered");
        self.early.pop_front().unwrap_or_else(receive)
    }
}

/// Where batches are written and read: the host's side of the guest's memory.
pub(super) struct Pipeline {
    pub(super) memory: GuestMemory,
    image: Image,
    pub(super) capabilities: Capabilities,
    provenance: ProvenanceMap,
    frames: DataFrames,
}

impl Pipeline {
    pub(super) fn new(machine: &dyn Machine) -> Self {
        Self {
            memory: machine.memory().clone(),
            image: machine.image().clone(),
            capabilities: machine.capabilities().clone(),
            provenance: *machine.provenance(),
            frames: DataFrames::default(),
        }
    }

    pub(super) fn encode(&self, batch: Batch) -> Encoded {
        Encoded::new(batch, &self.image, &self.capabilities)
    }

    pub(super) fn read_back(
        &mut self,
        encoded: &Encoded,
        log: &RunLog,
    ) -> Result<Vec<Attempt>, MachineError> {
        encoded.read_back(log, &self.memory, &mut self.frames, &self.provenance)
    }

    /// Waits for a batch, and has it run again without the case the machine gave up on, until it
    /// gives up on none. `behind` batches were sent after it.
    pub(super) fn see_through(
        &mut self,
        encoded: &mut Encoded,
        line: &mut MachineQueue,
        behind: usize,
    ) -> Result<RunLog, MachineError> {
        let mut log = line.answer().map_err(|error| encoded.blame(error))?;
        while let Some((position, why)) = log.gave_up {
            let Some(case) = encoded.case_at(position) else {
                let failure = GuestFailure::BetweenCases(why);
                return Err(encoded.blame(MachineError::guest(failure, Some(position))));
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

    pub(super) fn run_one(
        &mut self,
        machine: &mut dyn Machine,
        case: &Case,
    ) -> Result<Attempt, MachineError> {
        let arena = match arena_of(case) {
            Ok(arena) => arena,
            Err(why) => {
                return Ok(Attempt::Unsupported(format!("the case does not fit the guest: {why}")));
            }
        };
        let mut encoded = self.encode(Batch { arena, cases: vec![case.clone()] });
        if let Some(why) = encoded.left_out[0].take() {
            // The guest may not even survive loading its control state.
            return Ok(Attempt::Unsupported(why));
        }
        let command = encoded.write(&self.memory);
        let log = machine.run(command).map_err(|error| encoded.blame(error))?;
        if let Some((_, why)) = log.gave_up {
            self.frames.restore(arena, &self.memory);
            return Ok(Attempt::Unsupported(why));
        }
        Ok(self.read_back(&encoded, &log)?.swap_remove(0))
    }

    /// Replaces a finding's example by the smallest case that differs in the same fields.
    pub(super) fn shrink(
        &mut self,
        machine: &mut dyn Machine,
        plan: &CampaignPlan,
        finding: &mut Finding,
    ) -> Result<(), MachineError> {
        let Some(example) = finding.example.take() else { return Ok(()) };
        // A finding about the machine is held against the reference, whoever else predicted.
        let judged_by = if finding.catches_walker { plan.walker } else { WalkerSpec::Reference };
        let all_quirks = known::quirks(&plan.known);
        let fields = |differences: &[Difference]| -> BTreeSet<Field> {
            differences.iter().map(|difference| difference.field).collect()
        };
        let (wanted, quirks) = (fields(&example.differences), example.quirks);
        let smallest = shrink(example, |case| {
            let run = self.run_one(machine, case)?;
            let verdict = |walker: WalkerSpec| verdict::judge(walker.walker(), case, &run);
            let Verdict::Diverge { expected, differences } = verdict(judged_by) else {
                return Ok(None);
            };
            let machine_is_right = matches!(verdict(WalkerSpec::Reference), Verdict::Agree { .. });
            let explained_by = explaining(all_quirks, case, &run).unwrap_or_default();
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
