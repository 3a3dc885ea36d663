//! How a run ended, in one word: its exit code and the colour of its page follow from it.

use super::super::RunFacts;
use crate::campaign::Summary;
use crate::conformance::score::CandidateScore;

/// How a run ended, from the best to the gravest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Conclusion {
    /// Everything that was asked for was compared, and agrees, known findings aside.
    Agree,
    /// What was compared agrees, but a part of what was asked for was not compared.
    Incomplete,
    /// The machine or the walker is wrong, or cases were not run for a reason that is not known.
    Diverge,
    /// Nothing was compared.
    NothingCompared,
}

impl Conclusion {
    /// The conclusion of a run.
    pub fn of(facts: &RunFacts<'_>, summary: &Summary) -> Self {
        let is_silent = facts.candidate.is_some_and(CandidateScore::compared_nothing);
        let is_candidate_wrong = facts.candidate.is_some_and(|score| !score.is_clean());

        if (summary.compared_nothing() || is_silent) && !is_empty_shard(facts, summary) {
            Self::NothingCompared
        } else if summary.has_unknown_finding() || is_candidate_wrong {
            Self::Diverge
        } else if missing(facts).is_some() {
            Self::Incomplete
        } else {
            Self::Agree
        }
    }

    /// The exit code of a command that ends with it.
    pub const fn exit_code(self, allow_incomplete: bool) -> u8 {
        match self {
            Self::Agree => 0,
            Self::Incomplete if allow_incomplete => 0,
            Self::Diverge => 1,
            Self::NothingCompared => 3,
            Self::Incomplete => 4,
        }
    }

    /// Its name in documents.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Agree => "agree",
            Self::Incomplete => "incomplete",
            Self::Diverge => "diverge",
            Self::NothingCompared => "nothing_compared",
        }
    }

    /// The word in capitals with which its line begins.
    pub const fn badge(self) -> &'static str {
        match self {
            Self::Agree => "AGREE",
            Self::Incomplete => "INCOMPLETE",
            Self::Diverge => "DIVERGE",
            Self::NothingCompared => "NOTHING COMPARED",
        }
    }
}

/// Whether it is one of so many shards of a run that no case was left for it.
fn is_empty_shard(facts: &RunFacts<'_>, summary: &Summary) -> bool {
    facts.complete && summary.tally.cases() == 0 && !facts.run.shard.missing().is_empty()
}

/// What was asked for and is missing, as the end of a sentence: `the run was stopped before its end`.
pub(super) fn missing(facts: &RunFacts<'_>) -> Option<String> {
    if facts.complete {
        return None;
    }
    if facts.identity.kind == "image" {
        return Some("the log ends before its last batch".into());
    }

    let missing = facts.run.shard.missing();
    if missing.is_empty() || facts.run.shard.parts.len() == 1 {
        return Some("the run was stopped before its end".into());
    }
    let names: Vec<_> = missing.iter().map(ToString::to_string).collect();
    Some(format!("of {} shards these are missing: {}", facts.run.shard.count, names.join(", ")))
}
