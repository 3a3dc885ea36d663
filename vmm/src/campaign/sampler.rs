//! A mixture of random cases in batches and single cases between them, one batch after the other: what
//! [`mutation`](crate::mutation) and [`corpus`](crate::corpus) run, which want cases of every kind and
//! no speed.

use crate::campaign::run_one;
use crate::generate::{CaseName, Generator, Schedule, Shard, Stream};
use crosswalk_case::Case;
use crosswalk_case::observation::Attempt;
use crosswalk_machine::batch::{Batch, DataFrames, Encoded};
use crosswalk_machine::{Capabilities, GuestFailure, Machine, MachineError};
use mmu_core::PagingMode;

/// A case that was tried.
#[derive(Clone, Debug)]
pub struct Trial {
    /// Its name.
    pub name: CaseName,
    /// The case.
    pub case: Case,
    /// What became of it.
    pub run: Attempt,
}

/// So many single cases come after each batch.
const SINGLES: u64 = 12;

/// Where the cases come from, in order. The same seed, modes and machine give the same.
pub struct Sampler {
    random: Schedule,
    turn: u64,
    singles: Vec<(Generator, Box<dyn Stream>)>,
    single: u64,
}

impl Sampler {
    /// The mixture of a seed.
    ///
    /// # Panics
    /// When there is no mode.
    pub fn new(seed: u64, modes: &[PagingMode], machine: &Capabilities) -> Self {
        let random = Generator::Random(seed);
        let single = Generator::Single(seed);
        let singles = modes.iter().map(|mode| (single, single.stream(*mode, machine)));
        Self {
            random: Schedule::new(random, modes, machine, Shard::WHOLE, None),
            turn: 0,
            singles: singles.collect(),
            single: 0,
        }
    }

    /// Runs a batch, and some single cases; `most` in all. Empty only when there are no more.
    ///
    /// # Errors
    /// When the guest or the machine dies.
    pub fn run(
        &mut self,
        machine: &mut dyn Machine,
        most: u64,
    ) -> Result<Vec<Trial>, MachineError> {
        let Some(turn) = self.random.turn(self.turn) else { return Ok(Vec::new()) };
        self.turn = turn.number + 1;
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        let mut batch = self.random.batch(&turn);
        batch.cases.truncate(most);
        let (cases, runs) = run_batch(machine, batch)?;
        let indices = turn.first.index..;
        let tried = cases.into_iter().zip(runs).zip(indices).map(|((case, run), index)| Trial {
            name: CaseName { index, ..turn.first },
            case,
            run,
        });
        let mut tried: Vec<_> = tried.collect();
        for _ in 0..SINGLES {
            if tried.len() >= most {
                break;
            }
            let (name, case) = self.next_single();
            let run = run_one(machine, &case)?;
            tried.push(Trial { name, case, run });
        }
        Ok(tried)
    }

    /// The streams take turns.
    fn next_single(&mut self) -> (CaseName, Case) {
        let count = self.singles.len() as u64;
        let (number, index) = (self.single % count, self.single / count);
        self.single += 1;
        let (generator, stream) = &self.singles[number as usize];
        let case = stream.batch(index, 1).cases.swap_remove(0);
        (CaseName { generator: *generator, mode: stream.mode(), index }, case)
    }
}

/// Runs a batch to its end, without the cases that the machine gives up on.
fn run_batch(
    machine: &mut dyn Machine,
    batch: Batch,
) -> Result<(Vec<Case>, Vec<Attempt>), MachineError> {
    let mut frames = DataFrames::default();
    let mut encoded = Encoded::new(batch, machine.image(), machine.capabilities());
    loop {
        let command = encoded.write(machine.memory());
        let log = machine.run(command).map_err(|error| encoded.blame(error))?;
        let Some((position, why)) = log.gave_up else {
            let provenance = *machine.provenance();
            let runs = encoded.read_back(&log, machine.memory(), &mut frames, &provenance)?;
            return Ok((encoded.batch.cases, runs));
        };
        let Some(case) = encoded.case_at(position) else {
            let failure = GuestFailure::BetweenCases(why);
            return Err(encoded.blame(MachineError::guest(failure, Some(position))));
        };
        encoded.leave_out(case, why, machine.image());
        frames.restore(encoded.batch.arena, machine.memory());
    }
}
