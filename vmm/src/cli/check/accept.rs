//! `check --update-known`: what a run finds becomes known.

use super::CheckArguments;
use crate::campaign::Summary;
use crate::cli::failure::{Failure, print_error};
use crate::cli::output::{check_replaceable, replace_file};
use crate::finding::known::KnownText;
use crosswalk_machine::Identity;

/// Adds the findings of a run that are not forgiven to the file that the user named, if there is one, and forgives
/// them.
pub(super) fn accept(
    arguments: &CheckArguments,
    machine: &Identity,
    summary: &mut Summary,
) -> Result<(), Failure> {
    let Some(path) = &arguments.update_known else { return Ok(()) };

    let mut known =
        if path.exists() { KnownText::of_file(path)? } else { KnownText::of_machine(machine)? };
    let ids = known.accept(&mut summary.findings, machine)?;
    if ids.is_empty() && path.exists() {
        return Ok(());
    }
    replace_file(path, known.text())?;

    let name = path.display();
    print_error(&match ids.as_slice() {
        [] => format!("{name}: nothing was to be accepted; it has what is known of the machine"),
        [id] => format!("{name}: 1 finding accepted ({id}), to be looked up"),
        [first, .., last] => {
            let count = ids.len();
            format!("{name}: {count} findings accepted ({first} to {last}), to be looked up")
        }
    });
    Ok(())
}

impl CheckArguments {
    /// Checks that the file can be written, before the work.
    pub(super) fn check_update_known(&self) -> Result<(), Failure> {
        let Some(path) = &self.update_known else { return Ok(()) };
        if path.as_os_str() == "none" {
            let problem = "--update-known none: --known would not read it; ./none is a file";
            return Err(Failure::Input(problem.into()));
        }
        if !self.walker.judge().is_reference() {
            let problem = "--update-known: a walker's mistakes are no findings of the machine";
            return Err(Failure::Input(problem.into()));
        }
        check_replaceable(path)
    }
}
