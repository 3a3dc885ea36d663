//! A test on a machine, and what was seen compared with what is allowed.

use crate::judgement::Judgement;
use crate::test::Litmus;
use crosswalk_machine::litmus::OutcomeCounts;
use std::collections::BTreeMap;

/// How often each outcome was seen, in words.
pub type SeenOutcomes = BTreeMap<String, u64>;

impl Litmus {
    /// The outcomes that a machine showed, in words.
    pub fn seen(&self, counts: &OutcomeCounts) -> SeenOutcomes {
        let mut seen = SeenOutcomes::new();
        for (outcome, count) in counts {
            *seen.entry(self.observation.written(outcome)).or_default() += count;
        }
        seen
    }
}

impl Judgement {
    /// The outcomes that were seen and that no execution leads to.
    pub fn forbidden<'s>(&self, seen: &'s SeenOutcomes) -> impl Iterator<Item = (&'s str, u64)> {
        let seen = seen.iter().filter(|(outcome, _)| !self.outcomes.contains_key(*outcome));
        seen.map(|(outcome, count)| (outcome.as_str(), *count))
    }
}
