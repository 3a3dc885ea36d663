//! Runs cases that are given, one at a time, as cases of this machine's processor.

use super::Trial;
use super::runner::BatchRunner;
use crate::generate::CaseName;
use crosswalk_case::Case;
use crosswalk_machine::batch::arena_of;
use crosswalk_machine::{Capabilities, Machine, MachineError};

/// What became of cases that were given.
#[derive(Debug, Default)]
pub struct RanAgain {
    /// Those that were run, in order, with the machine's own profile.
    pub trials: Vec<Trial>,
    /// The number of those that ask for what the machine does not offer.
    pub refused: u64,
}

/// Runs cases with the profile of the machine, whatever processor they were made for. `note` is called
/// with the number of cases tried so far.
///
/// # Errors
/// When the guest or the machine dies.
pub fn run_again(
    machine: &mut dyn Machine,
    cases: impl IntoIterator<Item = (CaseName, Case)>,
    mut note: impl FnMut(u64),
) -> Result<RanAgain, MachineError> {
    let mut runner = BatchRunner::new(machine);
    let mut ran = RanAgain::default();

    for (tried, (name, case)) in (1..).zip(cases) {
        let case = Case { profile: machine.capabilities().profile, ..case };
        if is_offered(&case, machine.capabilities()) && runner.can_run(&case) {
            let attempt = runner.run_one(machine, &case)?;
            ran.trials.push(Trial { name, case, attempt });
        } else {
            ran.refused += 1;
        }
        note(tried);
    }
    Ok(ran)
}

/// Whether the machine offers the mode of a case, and the case fits the guest.
fn is_offered(case: &Case, machine: &Capabilities) -> bool {
    let mode = case.mode();
    let is_mode = |(offered, offer): &(_, Result<(), String>)| *offered == mode && offer.is_ok();
    machine.modes.iter().any(is_mode) && arena_of(case).is_ok()
}
