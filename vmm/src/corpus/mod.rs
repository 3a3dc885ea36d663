//! The corpus: what machines did with cases, recorded, to be replayed where there is none.
//!
//! A corpus is one or more sections, one for each machine that was recorded: what the machine is, its
//! cases, and an end that tells whether anything was lost. Sections follow one another, so that
//! corpora are joined by `cat`. `docs/guide/src/corpus-format.md` specifies the form.

mod codec;
mod line;
mod microcode;
mod outcome;
pub mod read;
pub mod record;
pub mod replay;
mod select;
pub mod write;

pub use microcode::microcode;

use crate::generate::CaseName;
use crosswalk_case::Case;
use crosswalk_case::observation::Attempt;
use crosswalk_machine::{Capabilities, Identity, MachineLine};

/// The version of the form.
pub const FORMAT: u32 = 1;

/// What a section was recorded from.
#[derive(Clone, Debug, PartialEq)]
pub struct Source {
    /// The version of the program that recorded it.
    pub crosswalk: String,
    /// The machine.
    pub machine: MachineLine,
    /// The processor's microcode, where the system tells it.
    pub microcode: Option<String>,
    /// The seed of the cases.
    pub seed: u64,
    /// How many cases were tried, of which those were recorded that add something.
    pub tried: u64,
}

impl Source {
    /// The machine.
    ///
    /// # Errors
    /// When it names something that does not exist.
    pub fn machine(&self) -> Result<(Identity, Capabilities), String> {
        self.machine.read()
    }
}

/// A recorded case.
#[derive(Clone, Debug, PartialEq)]
pub struct Recorded {
    /// Its name, by which the machine's generator makes it again.
    pub name: CaseName,
    /// The case.
    pub case: Case,
    /// What the machine did.
    pub run: Attempt,
    /// The ids of the rules that decided.
    pub rules: Vec<String>,
    /// The ids of the mutants that it proves wrong.
    pub tells: Vec<String>,
    /// The allowed outcomes as they were recorded; `docs/guide/src/corpus-format.md` has their form.
    pub allowed: serde_json::Value,
}

/// The corpus that comes with the program, compressed.
pub const BUNDLED: &[u8] = include_bytes!("../../corpus/bundled.jsonl.zst");

/// What errors call it.
pub const BUNDLED_NAME: &str = "the bundled corpus";

#[cfg(test)]
mod tests;
