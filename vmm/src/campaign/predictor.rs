//! Who predicts in a run, as `--walker` names it: a built-in walker, or the user's program.

use super::command::WalkerCommand;
use crate::walker::WalkerSpec;
use crosswalk_nested::mutants::{self, NestedMutant};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// `reference`, `mutant:ID`, `mutant:ID+ID` or `cmd:COMMAND`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Predictor {
    /// A built-in walker.
    BuiltIn(WalkerSpec),
    /// A program that speaks the walker protocol.
    Program(WalkerCommand),
    /// A walker of nested paging with one known mistake.
    Nested(&'static NestedMutant),
}

impl Predictor {
    /// The walker whose predictions the machine is compared with. For a program it is the
    /// reference: the program itself is only asked about the cases that have been run.
    pub const fn judge(&self) -> WalkerSpec {
        match self {
            Self::BuiltIn(walker) => *walker,
            Self::Program(_) | Self::Nested(_) => WalkerSpec::Reference,
        }
    }

    /// Whether it is the reference walker.
    pub const fn is_reference(&self) -> bool {
        matches!(self, Self::BuiltIn(WalkerSpec::Reference))
    }
}

impl FromStr for Predictor {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(mutant) = text.strip_prefix("mutant:").and_then(mutants::by_id) {
            return Ok(Self::Nested(mutant));
        }
        match text.strip_prefix("cmd:") {
            Some(command) => command.parse().map(Self::Program),
            None => text.parse().map(Self::BuiltIn).map_err(|error: String| {
                error.replacen("expected reference,", "expected reference, cmd:COMMAND,", 1)
            }),
        }
    }
}

impl fmt::Display for Predictor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BuiltIn(walker) => walker.fmt(f),
            Self::Program(command) => write!(f, "cmd:{command}"),
            Self::Nested(mutant) => write!(f, "mutant:{}", mutant.id),
        }
    }
}

impl TryFrom<String> for Predictor {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Predictor> for String {
    fn from(predictor: Predictor) -> Self {
        predictor.to_string()
    }
}
