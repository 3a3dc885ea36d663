//! Cases that a machine did not run, for a reason that no known finding gives.

use super::example::{CountedExample, Example};
use std::collections::BTreeMap;

/// Maximum number of reasons that are told apart. A guest may give another one each time.
const MAX_REASONS: usize = 20;

/// All reasons beyond that.
const OTHERS: &str = "other reasons";

/// Cases that were not run, by the reason.
#[derive(Default)]
pub(super) struct Unrun(BTreeMap<String, CountedExample>);

impl Unrun {
    pub(super) fn add(&mut self, reason: &str, example: Example) {
        self.merge(reason, CountedExample::new(1, Some(example)));
    }

    pub(super) fn merge(&mut self, reason: &str, found: CountedExample) {
        let has_room = self.0.len() < MAX_REASONS || self.0.contains_key(reason);
        let reason = if has_room { reason } else { OTHERS };
        self.0.entry(reason.to_owned()).or_default().merge(found);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn into_reasons(self) -> impl Iterator<Item = (String, CountedExample)> {
        self.0.into_iter()
    }

    pub(super) fn by_reason(&self) -> impl Iterator<Item = (&str, &CountedExample)> {
        self.0.iter().map(|(reason, found)| (reason.as_str(), found))
    }
}
