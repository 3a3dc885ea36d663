//! Cases that show a finding.

use crate::verdict::{Difference, describe_action, describe_expectation, describe_observation};
use crate::walker::quirk::Quirks;
use crosswalk_case::observation::Attempt;
use crosswalk_case::{Case, CaseSize, size_of_case};
use mmu_core::Alternative;
use std::fmt;

/// A case that shows a finding.
#[derive(Clone, Debug)]
pub struct Example {
    /// The case.
    pub case: Case,
    /// What the walker predicted, in words.
    pub expected: String,
    /// What the machine did, in words.
    pub observed: String,
    /// Every field that differs.
    pub differences: Vec<Difference>,
    /// The action that differs, counted from 0: the access comes after all of [`Case::before`].
    pub at: usize,
    /// How often a machine showed it, in how many tries, if it was tried.
    pub shown: Option<Shown>,
    /// The quirks that explain it; all of the machine's if they explain it only in part.
    pub quirks: Quirks,
}

/// How often a case showed a finding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shown {
    /// The number of tries that showed it.
    pub times: u32,
    /// The number of tries.
    pub tries: u32,
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.times, self.tries)
    }
}

impl Example {
    /// A divergence of action `at` in words.
    pub fn of(
        case: &Case,
        at: usize,
        expected: &Alternative,
        run: &Attempt,
        differences: &[Difference],
    ) -> Self {
        let observed = match run {
            Attempt::Observed(observation) => describe_action(case, observation, at)
                .unwrap_or_else(|| describe_observation(case, observation)),
            Attempt::Unsupported(why) => why.clone(),
        };
        Self {
            at,
            differences: differences.to_vec(),
            ..Self::in_words(case, describe_expectation(expected), observed)
        }
    }

    /// A case with what was expected and what was observed in words, without a difference in a field.
    pub(super) fn in_words(case: &Case, expected: String, observed: String) -> Self {
        Self {
            case: case.clone(),
            expected,
            observed,
            differences: Vec::new(),
            at: case.before.len(),
            shown: None,
            quirks: Quirks::empty(),
        }
    }

    /// Which action of a sequence differs, as `action 2 of 4`; `None` if nothing does, or for a single
    /// access.
    pub fn place(&self) -> Option<String> {
        let number = self.at.saturating_add(1);
        let count = self.case.before.len().saturating_add(1);
        let differs = !self.differences.is_empty();
        (differs && self.case.is_sequence()).then(|| format!("action {number} of {count}"))
    }

    fn size(&self) -> ExampleSize {
        ExampleSize::of(&self.case, self.quirks)
    }

    /// The smaller of two examples; the first if they are equal.
    pub(super) fn smaller(first: Option<Self>, second: Option<Self>) -> Option<Self> {
        match (first, second) {
            (Some(first), Some(second)) if second.size() < first.size() => Some(second),
            (first, second) => first.or(second),
        }
    }
}

/// The size of an example. One that shows fewer quirks is smaller, whatever its case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ExampleSize {
    quirks: u32,
    case: CaseSize,
}

impl ExampleSize {
    pub(super) fn of(case: &Case, quirks: Quirks) -> Self {
        Self { quirks: quirks.bits().count_ones(), case: size_of_case(case) }
    }
}

/// A number of cases, and the smallest of them.
#[derive(Clone, Debug, Default)]
pub(super) struct CountedExample {
    pub(super) count: u64,
    smallest: Option<(ExampleSize, Example)>,
}

impl CountedExample {
    pub(super) fn new(count: u64, smallest: Option<Example>) -> Self {
        Self { count, smallest: smallest.map(|example| (example.size(), example)) }
    }

    /// The smallest case.
    pub(super) fn smallest(&self) -> Option<&Example> {
        self.smallest.as_ref().map(|(_, example)| example)
    }

    /// The smallest case, as the result of a run.
    pub(super) fn into_smallest(self) -> Option<Example> {
        self.smallest.map(|(_, example)| example)
    }

    /// Counts a case of this size. Most are not the smallest, so only that one is put into words.
    pub(super) fn add(&mut self, size: ExampleSize, example: impl FnOnce() -> Example) {
        self.count = self.count.saturating_add(1);
        if self.smallest.as_ref().is_none_or(|(smallest, _)| size < *smallest) {
            self.smallest = Some((size, example()));
        }
    }

    /// Counts all cases of another.
    pub(super) fn merge(&mut self, other: Self) {
        self.count = self.count.saturating_add(other.count);
        self.smallest = match (self.smallest.take(), other.smallest) {
            (Some(first), Some(second)) if second.0 < first.0 => Some(second),
            (first, second) => first.or(second),
        };
    }
}
