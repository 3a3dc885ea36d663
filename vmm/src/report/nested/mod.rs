//! A run of nested cases, and one of them drawn: as text and as JSON.

mod conformance;
mod json;
mod mutants;
mod recorded;
mod text;
mod walk;

pub use conformance::{conformance_document, conformance_text};
pub use json::document;
pub use mutants::{mutants_document, mutants_text};
pub use recorded::{RecordedNestedSection, recorded_document, recorded_text, replay_heading};
pub use text::{heading, summary};
pub use walk::json::{RunOfNestedCase, document as explained_document, explained};
pub use walk::{draw, explain, known_as, on_machine};

#[cfg(test)]
pub(in crate::report) use {
    conformance::NestedConformanceDocument, json::NestedDocument, mutants::NestedMutantsDocument,
    recorded::NestedRecordDocument, walk::json::NestedExplainDocument,
};

use crate::corpus::Source;
use crate::generate::Shard;
use crate::report::document::VerdictWord;
use crosswalk_machine::{Capabilities, Identity};
use crosswalk_nested::known::{KnownNested, KnownNestedFinding, ProbeFinding};
use crosswalk_nested::tally::NestedTally;

/// What a report says about a run besides its counts.
#[derive(Clone, Copy)]
pub struct NestedFacts<'r> {
    /// The machine.
    pub identity: &'r Identity,
    /// What it offers.
    pub capabilities: &'r Capabilities,
    /// Of a replay: where its cases were recorded, and how many of each.
    pub sources: &'r [(Source, u64)],
    /// How the cases were chosen: `random`, `guided`, `exhaustive`, `given` or `recorded`.
    pub generator: &'r str,
    /// The seed, if there is one.
    pub seed: Option<u64>,
    /// Which part of the run it is.
    pub shard: Shard,
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

/// The result in a word.
pub fn verdict(facts: &NestedFacts<'_>, tally: &NestedTally) -> VerdictWord {
    let is_part = facts.shard != Shard::WHOLE;
    if tally.cases == 0 && is_part && facts.complete {
        VerdictWord::Done
    } else if tally.agree + tally.diverge == 0 {
        VerdictWord::NothingCompared
    } else if tally.unknown() > 0 || matches!(probed(facts), Some((_, None))) {
        VerdictWord::Diverge
    } else if facts.complete && tally.unsupported.is_empty() {
        VerdictWord::Agree
    } else {
        VerdictWord::Incomplete
    }
}
