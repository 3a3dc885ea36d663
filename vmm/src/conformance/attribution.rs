//! Attribution: which rule a wrong answer is about.

use super::mark::{Mark, mark};
use super::side::{Bites, Side};
use crate::verdict::End;
use crate::walker::{Combined, DynSemantics, MUTANTS, OMISSIONS, Walker};
use crosswalk_case::Case;
use crosswalk_case::protocol::{Answer, Ignores};
use mmu_core::x86::format::{EntryKind, Level};
use mmu_core::x86::semantics::{EntryError, Rights};
use mmu_core::{Alternative, Reference, Regime, Rule, RuleSet, Semantics};
use std::collections::BTreeSet;
use std::fmt;

/// An aspect of translation that a case can be about: a row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Aspect {
    /// Where the walk leads: which entries it reads, and to which address.
    Walk,
    /// A rule.
    Rule(Rule),
}

impl fmt::Display for Aspect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Walk => f.pad("WALK"),
            Self::Rule(rule) => rule.fmt(f),
        }
    }
}

impl Aspect {
    /// The aspect of a deviation from a rule, or of one that is not about a rule.
    fn of(rule: Option<Rule>) -> Self {
        rule.map_or(Self::Walk, Self::Rule)
    }

    /// What it means, in a sentence.
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Walk => {
                "Each level's index selects the next entry, and the last one the address."
            }
            Self::Rule(rule) => rule.meaning(),
        }
    }

    /// Where a walker that knows nothing of it goes wrong.
    pub(super) const fn bites(self) -> Bites {
        match self {
            Self::Walk => Bites::Anywhere,
            Self::Rule(rule) => Bites::of(rule),
        }
    }

    /// Whether it is one of the rules that decide a case, or the walk, which decides every case.
    fn is_decided_by(self, rules: &RuleSet) -> bool {
        match self {
            Self::Walk => true,
            Self::Rule(rule) => rules.contains(rule),
        }
    }

    /// Whether it is a rule that can make an access end like this.
    fn ends_like(self, end: End) -> bool {
        matches!(self, Self::Rule(rule) if ends_like(rule, end))
    }
}

/// Every aspect that a case can be about, in the order of the table.
pub fn rows() -> Vec<Aspect> {
    let can_be_left_out = |rule: Rule| {
        MUTANTS.iter().any(|mutant| mutant.rule == Some(rule))
            || OMISSIONS.iter().any(|omission| omission.rule == Some(rule))
    };

    let rules = Rule::ALL.iter().copied().filter(|rule| can_be_left_out(*rule));
    [Aspect::Walk].into_iter().chain(rules.map(Aspect::Rule)).collect()
}

/// A way to get a case wrong: a mutant or an omission that predicts other outcomes.
pub(super) struct Deviation {
    /// What it is about.
    pub(super) aspect: Aspect,
    /// What it does instead, in words.
    pub(super) instead: &'static str,
    /// On which side of its rule it is in this case.
    pub(super) side: Side,
    /// Who predicts so.
    pub(super) walker: &'static dyn Walker,
    /// The outcomes that it allows.
    allowed: Vec<Alternative>,
    /// What decides what the rights of a page mean; `None` for a deviation that is about what earlier
    /// accesses left.
    semantics: Option<&'static dyn DynSemantics>,
}

impl Deviation {
    /// Marks an answer by what the deviation allows.
    pub(super) fn mark(&self, case: &Case, answer: &Answer) -> Mark {
        mark(case, &self.allowed, answer)
    }

    /// Whether an answer that is allowed speaks against the deviation. If a reserved bit stops the
    /// deviation, and the walker does not look for these, the deviation is taken to go on.
    pub(super) fn is_refuted_by(&self, case: &Case, answer: &Answer) -> bool {
        match (self.mark(case, answer), self.semantics, answer) {
            (Mark::Wrong { .. }, _, _) => true,
            (Mark::Silent(_), Some(semantics), Answer::Translated(said))
                if said.ignores.contains(Ignores::RESERVED) =>
            {
                let goes_on = Combined(semantics, &ReservedUnchecked);
                let allowed = goes_on.predict(case).alternatives;
                matches!(mark(case, &allowed, answer), Mark::Wrong { .. })
            }
            _ => false,
        }
    }

    /// Whether the answer shows that the walker does not look for the reserved bits that the deviation is
    /// about, as it says itself.
    pub(super) fn is_unchecked_by(&self, case: &Case, answer: &Answer) -> bool {
        let says_so = matches!(answer, Answer::Translated(said)
            if said.ignores.contains(Ignores::RESERVED));
        says_so && self.aspect.ends_like(End::Reserved) && self.mark(case, answer) == Mark::Right
    }

    /// Whether a walker that gives this answer may deviate all the same: it says what the rights of a page
    /// are, and the deviation is about what they mean for this access. Who reports a page as read-only has
    /// not said what CR0.WP does, nor whether an earlier access has left a right; and who says no more of a
    /// fault than that there is one has not said that it is for rights.
    pub(super) fn is_excused(&self, case: &Case, answer: &Answer) -> bool {
        let leaves_it_open = match answer {
            Answer::Translated(said) => said.page.is_some(),
            Answer::Fault(said) => said.error_code.is_none(),
            Answer::Silent(_) => false,
        };
        let is_about_rights = match self.semantics {
            Some(semantics) => judges_rights_otherwise(semantics, case),
            None => case.is_sequence(),
        };
        leaves_it_open && is_about_rights
    }

    pub(super) const fn cause(&self) -> ConformanceCause {
        ConformanceCause { aspect: self.aspect, instead: Some(self.instead) }
    }
}

/// The reference, but it does not look at reserved bits.
#[derive(Clone, Copy)]
struct ReservedUnchecked;

impl Semantics for ReservedUnchecked {
    fn entry_error(
        &self,
        level: &Level,
        kind: EntryKind,
        entry: u64,
        _reserved: u64,
    ) -> Option<EntryError> {
        Semantics::entry_error(&Reference, level, kind, entry, 0)
    }
}

/// Whether semantics deny a case's access with some rights with which the reference does not, or the other
/// way round.
fn judges_rights_otherwise(semantics: &dyn DynSemantics, case: &Case) -> bool {
    let regime = Regime::new(case.state, case.profile);
    let denial_by = |semantics: &dyn DynSemantics, rights| {
        semantics.denial(rights, rights, 0, &case.access, &regime)
    };
    let all = Rights::WRITE | Rights::USER | Rights::EXECUTE;
    let mut each = (0..=all.bits()).map(Rights::from_bits_retain);
    each.any(|rights| denial_by(semantics, rights) != denial_by(&Reference, rights))
}

/// The cause of a wrong answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ConformanceCause {
    /// What the answer is about.
    pub(super) aspect: Aspect,
    /// What the walker does instead, if that is known.
    pub(super) instead: Option<&'static str>,
}

/// The mutants and omissions that predict other outcomes than the `allowed` ones.
pub(super) fn deviations_in(case: &Case, allowed: &[Alternative]) -> Vec<Deviation> {
    let deviation = |rule: Option<Rule>, instead, walker: &'static dyn Walker, semantics| {
        let predicted = walker.predict(case).alternatives;
        (*predicted != *allowed).then(|| Deviation {
            aspect: Aspect::of(rule),
            instead,
            side: Side::of(allowed, &predicted),
            walker,
            allowed: predicted.to_vec(),
            semantics,
        })
    };

    let omissions = OMISSIONS.iter().filter_map(|omission| {
        deviation(omission.rule, omission.instead, omission.walker, Some(omission.semantics))
    });
    let mutants = MUTANTS.iter().filter_map(|mutant| {
        deviation(mutant.rule, mutant.mistake, mutant.walker, mutant.semantics)
    });

    omissions.chain(mutants).collect()
}

/// The possible causes of a wrong answer, in the order in which they are believed. A rank is asked where
/// there is nothing in those before it, or where right answers speak against all of that.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct PossibleCauses {
    ranks: [BTreeSet<ConformanceCause>; Self::RANKS],
}

impl PossibleCauses {
    /// Number of ranks.
    pub(super) const RANKS: usize = 4;

    /// Those of a rank.
    pub(super) fn of_rank(&self, rank: usize) -> BTreeSet<ConformanceCause> {
        self.ranks.get(rank).cloned().unwrap_or_default()
    }

    /// Those of all ranks.
    pub(super) fn each(&self) -> BTreeSet<ConformanceCause> {
        self.ranks.iter().flatten().copied().collect()
    }
}

/// The possible causes of a wrong answer, by rank:
///
/// 1. the deviations under which the answer is right, and whose rules decide the case;
/// 2. all deviations under which the answer is right;
/// 3. the deviations under which the answer says nothing wrong, and whose rule is a reason for the
///    expected end of the access;
/// 4. every rule that decides the case and is a reason for its expected end, or else the walk: what the
///    walker does instead is not known.
pub(super) fn causes(
    deviations: &[Deviation],
    marked_by: impl Fn(&Deviation) -> Mark,
    case: &Case,
    allowed: &[Alternative],
) -> PossibleCauses {
    let rules = Reference.predict(case).rules;
    let end = allowed.first().map_or(End::Completed, |likeliest| End::of(&likeliest.outcome));
    let marked: Vec<(&Deviation, Mark)> =
        deviations.iter().map(|deviation| (deviation, marked_by(deviation))).collect();

    let right: BTreeSet<_> = marked
        .iter()
        .filter(|(_, mark)| *mark == Mark::Right)
        .map(|(deviation, _)| deviation.cause())
        .collect();
    let deciding =
        right.iter().filter(|cause| cause.aspect.is_decided_by(&rules)).copied().collect();

    let silent = marked
        .iter()
        .filter(|(deviation, mark)| {
            matches!(mark, Mark::Silent(_)) && deviation.aspect.ends_like(end)
        })
        .map(|(deviation, _)| deviation.cause())
        .collect();

    let unexplained = |aspect| ConformanceCause { aspect, instead: None };
    let mut reasons: BTreeSet<_> = rules
        .iter()
        .map(Aspect::Rule)
        .filter(|aspect| aspect.ends_like(end))
        .map(unexplained)
        .collect();
    if reasons.is_empty() {
        reasons.insert(unexplained(Aspect::Walk));
    }

    PossibleCauses { ranks: [deciding, right, silent, reasons] }
}

/// Whether a rule can make an access end like this.
fn ends_like(rule: Rule, end: End) -> bool {
    match end {
        // PSE-36 stores part of the address in other bits of the entry than usual (MODE-5).
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
        End::Misaligned => rule == Rule::Align1,
        End::BadAddress => matches!(rule, Rule::Canon1 | Rule::Canon2 | Rule::Pdpte2),
    }
}
