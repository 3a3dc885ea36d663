//! Why a command failed, and its exit code.

use crate::campaign::journal::JournalError;
use crate::conformance::AdaptersError;
use crate::corpus::read::CorpusError;
use crate::file;
use crate::finding::known::KnownError;
use crate::report::{broken, within_line};
use crosswalk_case::Case;
use crosswalk_machine::MachineError;
use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

/// Why a command failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// Bad usage or input: exit code 2.
    Input(String),
    /// The user stopped it before there was anything to report: exit code 130.
    Stopped,
    /// There is no machine, it died, the host failed, or the result cannot be written: exit code 3.
    Machine {
        /// What happened.
        problem: String,
        /// The case that the guest died on, or all cases that it may have died on.
        cases: Vec<Case>,
    },
}

impl Failure {
    /// A failure of a machine that is not about a case.
    pub(super) const fn machine(problem: String) -> Self {
        Self::Machine { problem, cases: Vec::new() }
    }

    /// What follows from an error of the host about something that the user named.
    pub(super) fn of_io(problem: String, error: &io::Error) -> Self {
        if file::is_of_host(error) { Self::machine(problem) } else { Self::Input(problem) }
    }

    /// Prints the failure and saves its cases, so that they can be run again. Returns the exit code.
    pub(super) fn report(self) -> ExitCode {
        match self {
            Self::Input(problem) => {
                print_error(&problem);
                ExitCode::from(2)
            }
            Self::Stopped => {
                print_error("interrupted before there was anything to report");
                ExitCode::from(130)
            }
            Self::Machine { problem, cases } => {
                let note = match save(&cases) {
                    Ok(None) => String::new(),
                    Ok(Some(name)) => format!("; the case at hand is in {name}"),
                    Err(error) => format!("; the case at hand could not be saved: {error}"),
                };
                print_error(&format!("{problem}{note}"));
                ExitCode::from(3)
            }
        }
    }
}

/// Prints to standard error, with nothing that a terminal obeys: broken at blanks for a terminal, one line for
/// a script, whatever names it has. Where that cannot be written, the exit code says it alone.
pub(super) fn print_error(problem: &str) {
    let mut stderr = io::stderr();
    let problem = format!("crosswalk: {problem}");
    let problem = within_line(&problem);
    let _ = if stderr.is_terminal() {
        write!(stderr, "{}", broken(&problem))
    } else {
        writeln!(stderr, "{problem}")
    };
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Input(problem) | Self::Machine { problem, .. } => f.write_str(problem),
            Self::Stopped => f.write_str("interrupted"),
        }
    }
}

impl From<MachineError> for Failure {
    fn from(error: MachineError) -> Self {
        let problem = error.to_string();

        match error {
            MachineError::Image(_) | MachineError::Refused(_) => Self::Input(problem),
            MachineError::GuestFailed { cases, .. } => Self::Machine { problem, cases },
            _ => Self::machine(problem),
        }
    }
}

impl From<JournalError> for Failure {
    fn from(error: JournalError) -> Self {
        let problem = error.to_string();
        if error.is_of_host() { Self::machine(problem) } else { Self::Input(problem) }
    }
}

impl From<CorpusError> for Failure {
    fn from(error: CorpusError) -> Self {
        Self::Input(error.to_string())
    }
}

impl From<AdaptersError> for Failure {
    fn from(error: AdaptersError) -> Self {
        Self::Input(error.to_string())
    }
}

impl From<KnownError> for Failure {
    fn from(error: KnownError) -> Self {
        Self::Input(error.to_string())
    }
}

/// Saves cases in the working directory: a single case as an object, several as an array. Returns the
/// name of the file, if there are cases.
fn save(cases: &[Case]) -> io::Result<Option<String>> {
    let text = match cases {
        [] => return Ok(None),
        [case] => serde_json::to_string_pretty(case),
        several => serde_json::to_string_pretty(several),
    };

    let name = format!("crosswalk-case-{}.json", std::process::id());
    file::replace(name.as_ref(), text? + "\n")?;
    Ok(Some(name))
}
