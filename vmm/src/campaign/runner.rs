//! Runs batches on a machine, one at a time, and reads back what the guest did.

use super::Trial;
use crate::generate::CaseName;
use crosswalk_case::Case;
use crosswalk_case::observation::Attempt;
use crosswalk_machine::batch::{Batch, Encoded, arena_of, cannot_run};
use crosswalk_machine::image::Image;
use crosswalk_machine::memory::GuestMemory;
use crosswalk_machine::{
    BatchCommand, Capabilities, GuestFailure, Machine, MachineError, Position, ProvenanceMap,
    RunLog,
};

/// The host's side of a machine: where batches are written and read back. It does not borrow the
/// machine, which may run one batch while the host works on another.
pub(super) struct BatchRunner {
    memory: GuestMemory,
    image: Image,
    capabilities: Capabilities,
    provenance: ProvenanceMap,
}

/// A batch that has run.
pub(super) struct RanBatch {
    /// The name of the first case.
    first: CaseName,
    cases: Vec<Case>,
    /// What was observed of each case.
    attempts: Vec<Attempt>,
}

impl RanBatch {
    /// Each case with its name and what was observed.
    pub(super) fn iter(&self) -> impl Iterator<Item = (CaseName, &Case, &Attempt)> {
        let ran = self.names().zip(&self.cases).zip(&self.attempts);
        ran.map(|((name, case), attempt)| (name, case, attempt))
    }

    fn into_trials(self) -> Vec<Trial> {
        let ran = self.names().zip(self.cases).zip(self.attempts);
        ran.map(|((name, case), attempt)| Trial { name, case, attempt }).collect()
    }

    fn names(&self) -> impl Iterator<Item = CaseName> + use<> {
        let first = self.first;
        (first.index..).map(move |index| CaseName { index, ..first })
    }
}

impl BatchRunner {
    pub(super) fn new(machine: &dyn Machine) -> Self {
        Self {
            memory: machine.memory().clone(),
            image: machine.image().clone(),
            capabilities: machine.capabilities().clone(),
            provenance: *machine.provenance(),
        }
    }

    /// Encodes a batch. Cases that the machine cannot run are left out.
    pub(super) fn encode(&self, batch: Batch) -> Encoded {
        Encoded::new(batch, &self.image, &self.capabilities)
    }

    /// Writes a batch into its arena. Returns the command that runs it.
    pub(super) fn write(&self, encoded: &Encoded) -> BatchCommand {
        encoded.write(&self.memory)
    }

    /// Leaves out the case at which the machine gave up, and undoes what the batch did so far, so
    /// that the batch can be written again.
    pub(super) fn leave_out(
        &mut self,
        encoded: &mut Encoded,
        position: Position,
        why: String,
    ) -> Result<(), MachineError> {
        let Some(case) = encoded.case_at(position) else {
            let failure = GuestFailure::BetweenCases(why);
            return Err(encoded.blame(MachineError::guest(failure, Some(position))));
        };

        encoded.leave_out(case, why, &self.image);
        encoded.restore(&self.memory);

        Ok(())
    }

    /// Reads back a batch that has run. The cases get their names in order, from `first` on.
    pub(super) fn read_back(
        &mut self,
        encoded: Encoded,
        log: &RunLog,
        first: CaseName,
    ) -> Result<RanBatch, MachineError> {
        let mut attempts = self.attempts(&encoded, log)?;
        let mut cases = encoded.batch.cases;
        if let Some(machine) = &log.ran_on {
            adapt(&mut cases, machine);
            if log.skipped.is_none() {
                leave_out_unable(&cases, &mut attempts, machine);
            }
        }
        Ok(RanBatch { first, cases, attempts })
    }

    fn attempts(&mut self, encoded: &Encoded, log: &RunLog) -> Result<Vec<Attempt>, MachineError> {
        encoded.read_back(log, &self.memory, &self.provenance)
    }

    /// Runs a batch to its end, without the cases at which the machine gives up.
    pub(super) fn run_batch(
        &mut self,
        machine: &mut dyn Machine,
        batch: Batch,
        first: CaseName,
    ) -> Result<Vec<Trial>, MachineError> {
        let mut encoded = self.encode(batch);

        loop {
            let command = self.write(&encoded);
            let mut log = machine.run(command).map_err(|error| encoded.blame(error))?;

            match log.gave_up.take() {
                Some((position, why)) => self.leave_out(&mut encoded, position, why)?,
                None => return Ok(self.read_back(encoded, &log, first)?.into_trials()),
            }
        }
    }

    /// Whether the machine offers what a case needs.
    pub(super) fn can_run(&self, case: &Case) -> bool {
        let Ok(arena) = arena_of(case) else { return false };
        let encoded = self.encode(Batch { arena, cases: vec![case.clone()] });
        encoded.left_out.iter().all(Option::is_none)
    }

    /// Runs a single case.
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
            // The guest may not even survive loading the case's control state.
            return Ok(Attempt::Unsupported(why));
        }

        let command = self.write(&encoded);
        let log = machine.run(command).map_err(|error| encoded.blame(error))?;
        if let Some((_, why)) = log.gave_up {
            encoded.restore(&self.memory);
            return Ok(Attempt::Unsupported(why));
        }

        Ok(self.attempts(&encoded, &log)?.swap_remove(0))
    }
}

/// Makes cases that were made for one machine those of another, which has run them.
fn adapt(cases: &mut [Case], machine: &Capabilities) {
    for case in cases {
        case.profile = machine.profile;
    }
}

/// What the machine that has run the cases cannot run was not observed, whatever it did.
fn leave_out_unable(cases: &[Case], attempts: &mut [Attempt], machine: &Capabilities) {
    for (case, attempt) in cases.iter().zip(attempts) {
        if let Some(why) = cannot_run(case, machine) {
            *attempt = Attempt::Unsupported(why);
        }
    }
}
