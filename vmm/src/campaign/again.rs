//! Cases that are given, one at a time, as cases of this machine's processor.

use super::Trial;
use super::runner::BatchRunner;
use super::sampler::TrialSource;
use crate::generate::CaseName;
use crosswalk_case::Case;
use crosswalk_machine::batch::arena_of;
use crosswalk_machine::{Capabilities, Machine, MachineError};
use std::vec;

/// Cases to run with the profile of the machine, whatever processor they were made for. Those that the
/// machine cannot be given are left out.
pub struct GivenCases(vec::IntoIter<(CaseName, Case)>);

impl GivenCases {
    /// These cases, in this order.
    pub fn new(cases: Vec<(CaseName, Case)>) -> Self {
        Self(cases.into_iter())
    }
}

impl TrialSource for GivenCases {
    /// Runs the next case that the machine can be given.
    fn run(&mut self, machine: &mut dyn Machine, _limit: u64) -> Result<Vec<Trial>, MachineError> {
        let mut runner = BatchRunner::new(machine);
        let profile = machine.capabilities().profile;

        for (name, case) in self.0.by_ref() {
            let case = Case { profile, ..case };
            if is_offered(&case, machine.capabilities()) && runner.can_run(&case) {
                let attempt = runner.run_one(machine, &case)?;
                return Ok(vec![Trial { name, case, attempt }]);
            }
        }
        Ok(Vec::new())
    }
}

/// Whether the machine offers the mode of a case, and the case fits the guest.
fn is_offered(case: &Case, machine: &Capabilities) -> bool {
    let mode = case.mode();
    let is_mode = |(offered, offer): &(_, Result<(), String>)| *offered == mode && offer.is_ok();
    machine.modes.iter().any(is_mode) && arena_of(case).is_ok()
}
