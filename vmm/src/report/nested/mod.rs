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

use crate::report::document::VerdictWord;
use crosswalk_machine::{Capabilities, Identity};
use crosswalk_nested::campaign::NestedTally;
use crosswalk_nested::known::{KnownNested, KnownNestedFinding, ProbeFinding};

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

/// What a probe has shown of the machine, and the known finding that it is.
pub(super) fn probed<'r>(
    facts: &NestedFacts<'r>,
) -> Option<(ProbeFinding, Option<&'r KnownNestedFinding>)> {
    let probe = ProbeFinding::of(facts.capabilities)?;
    Some((probe, facts.known.of_probe(probe)))
}

/// How a run ended.
pub fn verdict(facts: &NestedFacts<'_>, tally: &NestedTally) -> VerdictWord {
    if compared(tally) == 0 {
        VerdictWord::NothingCompared
    } else if tally.unknown() > 0 || matches!(probed(facts), Some((_, None))) {
        VerdictWord::Diverge
    } else if facts.complete && tally.unsupported.is_empty() {
        VerdictWord::Agree
    } else {
        VerdictWord::Incomplete
    }
}

/// Number of cases that were compared.
const fn compared(tally: &NestedTally) -> u64 {
    tally.agree + tally.diverge
}
