//! Why a command failed, and its exit code.

use super::output::save;
use crosswalk_machine::MachineError;

/// Why a command failed, as the exit codes of the contract tell it.
#[derive(Debug)]
pub(super) enum Failure {
    /// Bad usage or input: exit 2.
    Input(String),
    /// No machine, or it died: exit 3.
    Machine(String),
}

impl From<MachineError> for Failure {
    fn from(error: MachineError) -> Self {
        let problem = error.to_string();
        match error {
            MachineError::Image(_) => Self::Input(problem),
            MachineError::GuestFailed { cases, .. } => Self::Machine(match save(&cases) {
                Ok(None) => problem,
                Ok(Some(name)) => format!("{problem}; the case at hand is in {name}"),
                Err(error) => format!("{problem}; the case at hand could not be saved: {error}"),
            }),
            _ => Self::Machine(problem),
        }
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (Self::Input(problem) | Self::Machine(problem)) = self;
        f.write_str(problem)
    }
}
