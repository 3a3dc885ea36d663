//! Findings: divergences grouped by cause, named, and reduced to their smallest case.
//!
//! [`Findings`] collects them during a run. A divergence that a known finding covers counts for that
//! finding; the others go into groups of those that look alike, and in the end each group is explained
//! by the mutants that predict all of its members.

mod example;
mod explanation;
mod findings;
mod group;
pub mod known;
pub mod quirks;
mod recognizer;
pub mod saved;
mod shrink;
mod sightings;
mod signature;
mod unrun;

pub use example::{Example, Shown};
pub use findings::Findings;
use signature::Signature;

pub(crate) use recognizer::Recognizer;
pub use shrink::shrink;
pub(crate) use sightings::Sightings;

use crate::walker::quirk::Quirks;
use example::CountedExample;
use known::Kind;
use mmu_core::Rule;

/// One finding of a run.
#[derive(Clone, Debug)]
pub struct Finding {
    /// The id of the known finding, or the name of the mutant that explains it, or a number of its own
    /// (`F1`).
    pub id: String,
    /// What it is, in one line.
    pub title: String,
    /// The name of the walker that predicts everything that was observed, if there is one.
    pub explained_by: Option<String>,
    /// What its divergences have in common, if nothing explains them.
    pub(crate) signature: Option<Signature>,
    /// Number of cases.
    pub count: u64,
    /// The kind of finding.
    pub kind: Kind,
    /// What is known of it beforehand, if it is in the file of known findings.
    pub source: Option<Source>,
    /// Whether it is known, and this run forgives known findings. A known reason for not running a
    /// case needs no forgiveness.
    pub known: bool,
    /// Whether it is about the walker, a mutant: the machine agrees with the reference. All other
    /// findings are about the machine, by comparison with the reference.
    pub catches_walker: bool,
    /// The quirk that it is, if it is one.
    pub quirk: Quirks,
    /// The smallest case that showed it.
    pub example: Option<Example>,
}

/// Where a known finding stands in the manuals, and since when it is known.
#[derive(Clone, Debug)]
pub struct Source {
    /// The rule that the machine treats in its own way.
    pub rule: Rule,
    /// The section of the manual, or what else is to be read.
    pub manual: String,
    /// The versions in which it was measured.
    pub since: String,
}

impl Finding {
    /// A divergence that is not known.
    fn unknown(id: String, title: String, found: CountedExample) -> Self {
        Self {
            id,
            title,
            explained_by: None,
            signature: None,
            count: found.count,
            kind: Kind::Divergence,
            source: None,
            known: false,
            catches_walker: false,
            quirk: Quirks::empty(),
            example: found.into_smallest(),
        }
    }

    /// Replaces the example by another, if that is smaller.
    pub fn offer(&mut self, example: Example) {
        self.example = Example::smaller(self.example.take(), Some(example));
    }
}
