//! Which rule a wrong answer is about.

use super::table::ConformanceCause;
use crate::conformance::mark::Mark;
use crate::verdict::End;
use crate::walker::{MUTANTS, OMISSIONS, Walker};
use crosswalk_case::Case;
use mmu_core::{Alternative, Reference, Rule};
use std::fmt;

/// A row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum KnownMistake {
    /// Where the walk leads: which entries it reads, and to which address.
    Walk,
    /// A rule.
    Rule(Rule),
}

impl fmt::Display for KnownMistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Walk => f.pad("WALK"),
            Self::Rule(rule) => rule.fmt(f),
        }
    }
}

impl KnownMistake {
    /// What it says, in a sentence.
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Walk => {
                "Each level's index selects the next entry, and the last one the address."
            }
            Self::Rule(rule) => rule.meaning(),
        }
    }
}

/// Every row that a case can be about, in order.
pub fn rows() -> Vec<KnownMistake> {
    let has = |rule: Rule| {
        MUTANTS.iter().any(|mutant| mutant.rule == Some(rule))
            || OMISSIONS.iter().any(|omission| omission.rule == Some(rule))
    };
    let rules = Rule::ALL.iter().copied().filter(|rule| has(*rule));
    [KnownMistake::Walk].into_iter().chain(rules.map(KnownMistake::Rule)).collect()
}

/// The row of what breaks a rule, or leads elsewhere.
fn row_of(rule: Option<Rule>) -> KnownMistake {
    rule.map_or(KnownMistake::Walk, KnownMistake::Rule)
}

/// A way to get a case wrong.
pub(super) struct Deviation {
    /// What it is about.
    pub(super) row: KnownMistake,
    /// What is done instead, in words.
    pub(super) instead: &'static str,
    /// What it allows.
    pub(super) allowed: Vec<Alternative>,
}

/// The mutants and omissions that predict a case otherwise.
pub(super) fn deviations_in(case: &Case, allowed: &[Alternative]) -> Vec<Deviation> {
    let mutants = MUTANTS.iter().map(|mutant| (row_of(mutant.rule), mutant.mistake, mutant.walker));
    let omissions =
        OMISSIONS.iter().map(|omission| (row_of(omission.rule), omission.instead, omission.walker));
    let all = omissions.chain(mutants).filter_map(|(row, instead, walker): (_, _, &dyn Walker)| {
        let predicted = walker.predict(case).alternatives.to_vec();
        (predicted != allowed).then_some(Deviation { row, instead, allowed: predicted })
    });
    all.collect()
}

/// The causes of a wrong answer: the deviations by which it is right, of those the ones whose rule decides
/// the case if there are any. Where there is none, those by which it says nothing wrong and whose rule
/// is a reason for the expected end; or else every such rule.
pub(super) fn causes(
    about: &[Deviation],
    marked_by: impl Fn(&Deviation) -> Mark,
    case: &Case,
    allowed: &[Alternative],
) -> Vec<ConformanceCause> {
    let rules = Reference.predict(case).rules;
    let end = allowed.first().map_or(End::Completed, |way| End::of(&way.outcome));
    let decides = |row: KnownMistake| match row {
        KnownMistake::Rule(rule) => rules.contains(rule),
        KnownMistake::Walk => true,
    };
    let is_reason =
        |row: KnownMistake| matches!(row, KnownMistake::Rule(rule) if ends_like(rule, end));
    let named = |way: &Deviation| (way.row, Some(way.instead));
    let marked: Vec<(&Deviation, Mark)> = about.iter().map(|way| (way, marked_by(way))).collect();
    let right = marked.iter().filter(|(_, mark)| *mark == Mark::Right);
    let mut causes: Vec<ConformanceCause> = right.map(|(way, _)| named(way)).collect();
    if causes.iter().any(|(row, _)| decides(*row)) {
        causes.retain(|(row, _)| decides(*row));
    }
    if causes.is_empty() {
        let silent = marked.iter().filter(|(_, mark)| matches!(mark, Mark::Silent(_)));
        causes.extend(silent.map(|(way, _)| named(way)).filter(|(row, _)| is_reason(*row)));
    }
    if causes.is_empty() {
        let reasons = rules.iter().map(KnownMistake::Rule).filter(|row| is_reason(*row));
        causes.extend(reasons.map(|row| (row, None)));
    }
    if causes.is_empty() {
        causes.push((KnownMistake::Walk, None));
    }
    causes
}

/// Whether a rule is a reason for an access to end so.
fn ends_like(rule: Rule, end: End) -> bool {
    match end {
        // Where the address lies otherwise than in other entries.
        End::Completed => rule == Rule::Mode5,
        End::NotPresent => rule == Rule::Code1,
        End::Reserved => matches!(
            rule,
            Rule::Mode5
                | Rule::Mode6
                | Rule::Mode7
                | Rule::Mode10
                | Rule::Code3
                | Rule::Code4
                | Rule::Code5
                | Rule::Code6
                | Rule::Code7
                | Rule::Pdpte4
        ),
        End::Denied => matches!(
            rule,
            Rule::Right1 | Rule::Right3 | Rule::Right4 | Rule::Right5 | Rule::Right7 | Rule::Right8
        ),
        End::BadAddress => matches!(rule, Rule::Canon1 | Rule::Canon2 | Rule::Pdpte2),
    }
}
