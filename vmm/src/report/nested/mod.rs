//! A run of nested cases, and one of them drawn: as text and as JSON.

mod json;
mod mutants;
mod text;
mod walk;

pub use json::document;
pub use mutants::{mutants_document, mutants_text};
pub use text::{heading, summary};
pub use walk::{draw, explain};

#[cfg(test)]
pub(in crate::report) use {json::NestedDocument, mutants::NestedMutantsDocument};

use crosswalk_machine::{Capabilities, Identity};
use crosswalk_nested::campaign::NestedTally;
use crosswalk_nested::known::KnownNested;

/// What a report says about a run besides its counts.
#[derive(Clone, Copy)]
pub struct NestedFacts<'r> {
    /// The machine.
    pub identity: &'r Identity,
    /// What it offers.
    pub capabilities: &'r Capabilities,
    /// How the cases were chosen: `random`, `guided`, `exhaustive` or `given`.
    pub generator: &'r str,
    /// The seed, if there is one.
    pub seed: Option<u64>,
    /// Who predicts.
    pub walker: &'r str,
    /// What the machine is known to do.
    pub known: &'r KnownNested,
    /// Whether everything that was asked for was run.
    pub complete: bool,
    /// How long it took, in seconds.
    pub seconds: f64,
}

/// Number of cases that were compared.
pub const fn compared(tally: &NestedTally) -> u64 {
    tally.agree + tally.diverge
}
