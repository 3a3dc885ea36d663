//! What a corpus consists of, counted.

use super::filter::{FoundCase, outcome_name};
use crate::verdict::Verdict;
use crosswalk_case::observation::Attempt;
use mmu_core::{PagingMode, Rule};
use std::collections::BTreeMap;

/// Maximum number of machines, outcomes and findings, which a corpus can make up. Those beyond are in the total only.
const MAX_KEYS: usize = 1000;

/// Counts of the cases of a corpus.
#[derive(Clone, Debug, Default)]
pub struct CorpusStatistics {
    /// All of them.
    pub total: CaseCounts,
    /// Those of each paging mode.
    pub modes: BTreeMap<PagingMode, CaseCounts>,
    /// Those of each machine.
    pub machines: BTreeMap<String, CaseCounts>,
    /// Those that each rule decided.
    pub rules: BTreeMap<Rule, CaseCounts>,
    /// Those that ended so.
    pub outcomes: BTreeMap<String, CaseCounts>,
    /// Those that each provenance decided.
    pub provenances: BTreeMap<&'static str, CaseCounts>,
    /// Those with this number of actions before the access.
    pub actions: BTreeMap<usize, CaseCounts>,
    /// Those that show each known finding of a flavour of machines.
    pub findings: BTreeMap<FindingKey, CaseCounts>,
}

/// Numbers of cases.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CaseCounts {
    /// All of them.
    pub cases: u64,
    /// Those whose last access completed.
    pub completed: u64,
    /// Those whose last access faulted.
    pub faulted: u64,
    /// Those that the machine could not run.
    pub unsupported: u64,
    /// Those in which the machine did something that the manuals do not allow.
    pub diverged: u64,
}

impl CorpusStatistics {
    /// Counts a case.
    pub fn add(&mut self, found: &FoundCase<'_>) {
        let recorded = found.recorded;
        let one = CaseCounts::of(found);

        self.total.add(one);
        self.modes.entry(recorded.case.mode()).or_default().add(one);
        self.actions.entry(recorded.case.before.len()).or_default().add(one);
        add_to(&mut self.machines, found.machine.source.machine.describe(), one);
        add_to(&mut self.outcomes, outcome_name(&recorded.attempt).into_owned(), one);
        if let Attempt::Observed(seen) = &recorded.attempt {
            self.provenances.entry(seen.provenance.name()).or_default().add(one);
        }

        for rule in Rule::ALL.iter().filter(|rule| recorded.rules.iter().any(|id| id == rule.id()))
        {
            self.rules.entry(*rule).or_default().add(one);
        }
        for id in found.findings.unwrap_or(&["unknown"]) {
            let key = FindingKey::new(id, &found.machine.identity.flavour);
            add_to(&mut self.findings, key, one);
        }
    }
}

impl CaseCounts {
    fn of(found: &FoundCase<'_>) -> Self {
        let (completed, faulted) = match &found.recorded.attempt {
            Attempt::Observed(seen) => (seen.fault.is_none(), seen.fault.is_some()),
            Attempt::Unsupported(_) => (false, false),
        };

        Self {
            cases: 1,
            completed: completed.into(),
            faulted: faulted.into(),
            unsupported: matches!(found.verdict, Verdict::Unsupported(_)).into(),
            diverged: matches!(found.verdict, Verdict::Diverge { .. }).into(),
        }
    }

    fn add(&mut self, other: Self) {
        let Self { cases, completed, faulted, unsupported, diverged } = other;
        for (sum, count) in [
            (&mut self.cases, cases),
            (&mut self.completed, completed),
            (&mut self.faulted, faulted),
            (&mut self.unsupported, unsupported),
            (&mut self.diverged, diverged),
        ] {
            *sum = sum.saturating_add(count);
        }
    }
}

/// A finding of a flavour of machines. The same id may mean others on other machines. They come in the order of
/// flavours, and T9 before T12.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct FindingKey {
    flavour: String,
    letters: String,
    number: Option<u64>,
}

impl FindingKey {
    fn new(id: &str, flavour: &str) -> Self {
        let letters = id.trim_end_matches(|letter: char| letter.is_ascii_digit());
        let number = id.strip_prefix(letters).and_then(|digits| digits.parse().ok());
        Self { flavour: flavour.to_owned(), letters: letters.to_owned(), number }
    }

    /// In words: `T1 of tcg`.
    pub fn shown(&self) -> String {
        let Self { flavour, letters, number } = self;
        let number = number.map_or_else(String::new, |number| number.to_string());
        format!("{letters}{number} of {flavour}")
    }
}

/// Adds to what has this key, unless there are too many.
fn add_to<K: Ord>(counts: &mut BTreeMap<K, CaseCounts>, key: K, one: CaseCounts) {
    let is_full = counts.len() >= MAX_KEYS && !counts.contains_key(&key);
    if !is_full {
        counts.entry(key).or_default().add(one);
    }
}
