//! Cases that show a finding.

use crate::verdict::{Difference, describe_expectation, describe_observation};
use crate::walker::quirk::Quirks;
use crosswalk_case::observation::Attempt;
use crosswalk_case::{Case, size_of_case};
use mmu_core::Alternative;

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
    /// The quirks that explain it; all of the machine's if they explain it only in part.
    pub quirks: Quirks,
}

impl Example {
    /// A divergence in words.
    pub fn of(
        case: &Case,
        expected: &Alternative,
        run: &Attempt,
        differences: &[Difference],
    ) -> Self {
        let observed = match run {
            Attempt::Observed(observation) => describe_observation(case, observation),
            Attempt::Unsupported(why) => why.clone(),
        };
        Self {
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
            quirks: Quirks::empty(),
        }
    }

    /// The smaller of two examples; the first if they are equal. One that shows fewer quirks is
    /// smaller, whatever its case.
    pub(super) fn smaller(first: Option<Self>, second: Option<Self>) -> Option<Self> {
        let size = |example: &Self| (example.quirks.iter().count(), size_of_case(&example.case));
        match (first, second) {
            (Some(first), Some(second)) if size(&second) < size(&first) => Some(second),
            (first, second) => first.or(second),
        }
    }
}

/// A number of cases, and the smallest of them.
#[derive(Clone, Debug, Default)]
pub(super) struct CountedExample {
    pub(super) count: u64,
    pub(super) smallest: Option<Example>,
}

impl CountedExample {
    /// Counts a case.
    pub(super) fn add(&mut self, example: Example) {
        self.merge(Self { count: 1, smallest: Some(example) });
    }

    /// Counts all cases of another.
    pub(super) fn merge(&mut self, other: Self) {
        self.count = self.count.saturating_add(other.count);
        self.smallest = Example::smaller(self.smallest.take(), other.smallest);
    }
}
