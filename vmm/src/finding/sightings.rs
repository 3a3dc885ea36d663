//! What cases show, as it is recognized. The sightings of the parts of a run are merged in order.

use super::example::{CountedExample, Example};
use super::group::Agreements;
use super::signature::Signature;
use super::unrun::Unrun;
use crosswalk_case::observation::Attempt;
use std::collections::BTreeMap;

/// What a number of cases show.
#[derive(Default)]
pub(crate) struct Sightings {
    /// The known findings, by their index.
    pub(super) known: BTreeMap<usize, CountedExample>,
    /// The cases on which a mutant is wrong and the reference agrees with the machine.
    pub(super) wrong_walker: CountedExample,
    /// The cases that were not run for a reason that is not known.
    pub(super) unrun: Unrun,
    /// Some of the cases on which the machine agrees with the reference.
    pub(super) agreements: Agreements,
    /// The divergences of the machine from the reference that are not known, in order.
    pub(super) unknown: Vec<UnknownDivergence>,
}

/// A divergence of the machine from the reference that is not known.
pub(super) struct UnknownDivergence {
    /// What it has in common with others.
    pub(super) signature: Signature,
    /// The case.
    pub(super) example: Example,
    /// What was observed.
    pub(super) attempt: Attempt,
}

impl Sightings {
    /// Adds those of later cases.
    pub(super) fn merge(&mut self, later: Self) {
        for (index, found) in later.known {
            self.known.entry(index).or_default().merge(found);
        }
        self.wrong_walker.merge(later.wrong_walker);
        for (reason, found) in later.unrun.into_reasons() {
            self.unrun.merge(&reason, found);
        }
        self.agreements.merge(later.agreements);
        self.unknown.extend(later.unknown);
    }
}
