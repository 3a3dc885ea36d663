//! The corpus: what machines did with cases, recorded, to be replayed where there is no machine.
//!
//! A corpus is one or more sections, one for each machine that was recorded: a description of the
//! machine, its cases, and an end that shows whether anything was lost. Sections simply follow one
//! another, so `cat` joins corpora. `docs/guide/src/corpus-format.md` specifies the format.
#![cfg_attr(
    not(test),
    warn(
        clippy::arithmetic_side_effects,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::string_slice,
        clippy::unwrap_used
    )
)]

mod allowed;
mod coverage;
mod distinct;
pub mod filter;
mod line;
mod machines;
mod microcode;
pub mod nested;
mod observed;
pub mod read;
pub mod record;
pub mod replay;
pub mod sample;
mod select;
pub mod statistics;
pub mod vectors;
pub mod write;

pub use distinct::{CaseKey, distinct_cases};
pub use microcode::microcode;

use crate::generate::CaseName;
use allowed::allowed;
use crosswalk_case::Case;
use crosswalk_case::observation::Attempt;
use crosswalk_machine::{Capabilities, Identity, MachineLine};

/// The version of the format.
pub const FORMAT: u32 = 1;

/// The corpus that comes with the program, compressed.
pub const BUNDLED: &[u8] = include_bytes!("../../corpus/bundled.jsonl.zst");

/// The name of the bundled corpus in reports and errors.
pub const BUNDLED_NAME: &str = "the bundled corpus";

/// Where a section was recorded, and how.
#[derive(Clone, Debug, PartialEq)]
pub struct Source {
    /// The version of the program that recorded it.
    pub crosswalk: String,
    /// The machine.
    pub machine: MachineLine,
    /// The revision of the processor's microcode, if the system reports one.
    pub microcode: Option<String>,
    /// The seed of the cases.
    pub seed: u64,
    /// Number of cases that were tried. Those that add something were recorded.
    pub tried: u64,
}

impl Source {
    /// The machine.
    ///
    /// # Errors
    /// When the description names something that does not exist, such as a feature.
    pub fn machine(&self) -> Result<(Identity, Capabilities), String> {
        self.machine.read()
    }
}

/// A recorded case.
#[derive(Clone, Debug, PartialEq)]
pub struct Recorded {
    /// The name of the case, from which the machine's generator makes it again.
    pub name: CaseName,
    /// The case.
    pub case: Case,
    /// What the machine did.
    pub attempt: Attempt,
    /// The ids of the rules that decided the case.
    pub rules: Vec<String>,
    /// The ids of the mutants that the case catches.
    pub catches: Vec<String>,
    /// The outcomes that were allowed at the time of recording, in the form that
    /// `docs/guide/src/corpus-format.md` specifies.
    pub allowed: serde_json::Value,
}

impl Recorded {
    /// Whether this version of the program allows the same outcomes as the one that recorded the case.
    pub fn is_allowed_the_same(&self) -> bool {
        self.allowed == allowed(&self.case)
    }
}

#[cfg(test)]
mod tests;
