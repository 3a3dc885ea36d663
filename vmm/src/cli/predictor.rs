//! Who predicts, as `--walker` names it: a walker of ours, or somebody's program.

use super::failure::Failure;
use crate::conformance::process::CommandCandidate;
use crate::walker::WalkerSpec;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

/// `reference`, `mutant:ID`, `mutant:ID+ID` or `cmd:PATH`.
#[derive(Clone, Debug)]
pub(super) enum Predictor {
    /// One of ours.
    Own(WalkerSpec),
    /// A program.
    Program(PathBuf),
}

/// How long a program has for an answer.
const PATIENCE: Duration = Duration::from_secs(5);

impl Predictor {
    /// Who judges the machine: beside a program it is the reference.
    pub(super) const fn judge_observation(&self) -> WalkerSpec {
        match self {
            Self::Own(choice) => *choice,
            Self::Program(_) => WalkerSpec::Reference,
        }
    }

    /// The program, started, if it is one.
    pub(super) fn candidate(&self) -> Result<Option<CommandCandidate>, Failure> {
        let Self::Program(path) = self else { return Ok(None) };
        let mut candidate = CommandCandidate::new(path, &[], PATIENCE);
        candidate.start().map_err(|error| {
            Failure::Input(format!("{self}: the program cannot be started: {error}"))
        })?;
        Ok(Some(candidate))
    }
}

impl FromStr for Predictor {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.strip_prefix("cmd:") {
            Some("") => Err("expected a program after cmd:".into()),
            Some(path) => Ok(Self::Program(path.into())),
            None => text.parse().map(Self::Own).map_err(|error: String| {
                error.replacen("expected reference,", "expected reference, cmd:PATH,", 1)
            }),
        }
    }
}

impl fmt::Display for Predictor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Own(choice) => choice.fmt(f),
            Self::Program(path) => write!(f, "cmd:{}", path.display()),
        }
    }
}
