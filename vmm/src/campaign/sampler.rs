//! Draws cases of every kind and runs them, one batch at a time: batches of random cases and of sequences,
//! with single cases in between. For callers that want variety rather than speed, such as the mutation score and
//! the recording of a corpus.

use super::Trial;
use super::runner::BatchRunner;
use crate::generate::{CaseName, Generator, Schedule, Shard, Stream};
use crosswalk_case::Case;
use crosswalk_machine::{Capabilities, Machine, MachineError};
use mmu_core::PagingMode;

/// Number of single cases after each batch.
const SINGLES: u64 = 12;

/// Where a recording gets its cases, run on a machine.
pub trait TrialSource {
    /// Runs the next cases, at most `limit`. The result is empty only when no cases are left.
    ///
    /// # Errors
    /// When the guest or the machine dies.
    fn run(&mut self, machine: &mut dyn Machine, limit: u64) -> Result<Vec<Trial>, MachineError>;
}

/// Runs the batches of a schedule, one at a time.
pub struct ScheduleRunner {
    schedule: Schedule,
    turn: u64,
}

impl ScheduleRunner {
    /// All batches of the schedule.
    pub const fn new(schedule: Schedule) -> Self {
        Self { schedule, turn: 0 }
    }
}

impl TrialSource for ScheduleRunner {
    /// No cases are left once the machine is interrupted, as one is whose log has ended.
    fn run(&mut self, machine: &mut dyn Machine, _limit: u64) -> Result<Vec<Trial>, MachineError> {
        let Some(turn) = self.schedule.turn(self.turn) else { return Ok(Vec::new()) };
        self.turn = turn.number + 1;

        let batch = self.schedule.batch(&turn);
        match BatchRunner::new(machine).run_batch(machine, batch, turn.first) {
            Err(MachineError::Interrupted) => Ok(Vec::new()),
            trials => trials,
        }
    }
}

/// Draws cases in a fixed order: the same seed, modes and machine give the same cases.
pub struct Sampler {
    batches: Schedule,
    turn: u64,
    singles: Vec<(Generator, Box<dyn Stream>)>,
    single: u64,
}

impl Sampler {
    /// The cases of a seed in these modes.
    ///
    /// # Panics
    /// When `modes` is empty.
    pub fn new(seed: u64, modes: &[PagingMode], machine: &Capabilities) -> Self {
        let generators = [Generator::Random(seed), Generator::Sequences(seed)];
        let single = Generator::Single(seed);
        let singles = modes.iter().map(|mode| (single, single.stream(*mode, machine)));

        Self {
            batches: Schedule::new(&generators, modes, machine, Shard::WHOLE, None),
            turn: 0,
            singles: singles.collect(),
            single: 0,
        }
    }

    /// The next single case. The modes take turns.
    fn next_single(&mut self) -> (CaseName, Case) {
        let count = self.singles.len() as u64;
        let (generator, stream) = &self.singles[(self.single % count) as usize];
        let index = self.single / count;
        self.single += 1;

        let case = stream.batch(index, 1).cases.swap_remove(0);
        (CaseName { generator: *generator, mode: stream.mode(), index }, case)
    }
}

impl TrialSource for Sampler {
    /// Runs the next batch, and some single cases.
    fn run(&mut self, machine: &mut dyn Machine, limit: u64) -> Result<Vec<Trial>, MachineError> {
        let Some(turn) = self.batches.turn(self.turn) else { return Ok(Vec::new()) };
        self.turn = turn.number + 1;

        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let mut batch = self.batches.batch(&turn);
        batch.cases.truncate(limit);

        let mut runner = BatchRunner::new(machine);
        let mut trials = runner.run_batch(machine, batch, turn.first)?;
        for _ in 0..SINGLES {
            if trials.len() >= limit {
                break;
            }
            let (name, case) = self.next_single();
            let attempt = runner.run_one(machine, &case)?;
            trials.push(Trial { name, case, attempt });
        }

        Ok(trials)
    }
}
