//! Why a scenario stops before its end.

use crosswalk_guest::system::Ending;
use crosswalk_machine::MachineError;
use mmu_core::AccessError;
use mmu_core::memory::OutsideMemory;
use mmu_core::space::{Decision, SpaceError};

/// Why a scenario stopped.
#[derive(Debug, thiserror::Error)]
pub enum DriverError {
    /// The system refused a request.
    #[error("{0}")]
    Space(#[from] SpaceError),
    /// An access has no outcome.
    #[error("{0}")]
    Access(#[from] AccessError),
    /// A frame lies outside memory.
    #[error("{0}")]
    Outside(#[from] OutsideMemory),
    /// A program did not run to its end.
    #[error("a program of {0} ended otherwise: {end}", end = in_words(*.1))]
    Ended(char, Ending),
    /// A step is about a process that has ended.
    #[error("{0} has ended")]
    HasEnded(char),
    /// The step of a file at this line stopped.
    #[error("line {0}: {1}")]
    AtLine(usize, Box<Self>),
    /// The machine died. The scenario itself has not failed.
    #[error("{0}")]
    Machine(#[from] MachineError),
}

/// How a process ended.
fn in_words(ending: Ending) -> String {
    match ending {
        Ending::Exited => "it is over".into(),
        Ending::Invalid(what) => Decision::Invalid(what).to_string(),
        Ending::Refused(problem) => format!("a fault that cannot be served: {problem}"),
        Ending::Exception(vector) => format!("exception {vector}"),
        Ending::Endless => "it faults again and again at one place".into(),
    }
}
