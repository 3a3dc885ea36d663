//! Groups of divergences that the same mutants predict.

use super::example::{CountedExample, Example};
use crate::verdict;
use crate::walker::{MUTANTS, PAIRS, WalkerSpec};
use crosswalk_case::Case;
use crosswalk_case::observation::Attempt;

/// Maximum number of members of a group that are checked against its mutants, and kept.
const MAX_MEMBERS: usize = 200;
/// Maximum number of agreements that are kept, to refute what would explain divergences.
const MAX_AGREEMENTS: usize = 500;
/// One in so many agreements is kept.
const AGREEMENTS_APART: u64 = 16;

/// A case with what the machine did.
pub(super) type GroupMember = (Case, Attempt);

/// Divergences that look alike, and that the same mutants predict.
pub(super) struct Group {
    /// The number of divergences, and the smallest.
    pub(super) found: CountedExample,
    /// The first members. A group that was read from a journal has none.
    pub(super) members: Vec<GroupMember>,
    /// The mutants that predict all members.
    explained_by: Vec<WalkerSpec>,
}

impl Group {
    /// Adds a divergence to the group that it fits, or to a new one.
    pub(super) fn place(groups: &mut Vec<Self>, example: Example, run: Attempt) {
        let fits = |group: &&mut Self| {
            group.explained_by.first().is_some_and(|cause| explains(*cause, &example.case, &run))
        };
        if let Some(group) = groups.iter_mut().find(fits) {
            return group.add(example, run);
        }

        let mutants = MUTANTS.iter().map(WalkerSpec::Mutant);
        let explains = |cause: &WalkerSpec| explains(*cause, &example.case, &run);
        let explained_by: Vec<_> = mutants.filter(explains).collect();
        let is_unexplained = |group: &&mut Self| group.explained_by.is_empty();
        if explained_by.is_empty()
            && let Some(group) = groups.iter_mut().find(is_unexplained)
        {
            return group.add(example, run);
        }

        let mut group =
            Self { found: CountedExample::default(), members: Vec::new(), explained_by };
        group.add(example, run);
        groups.push(group);
    }

    fn add(&mut self, example: Example, run: Attempt) {
        if self.members.len() < MAX_MEMBERS {
            self.explained_by.retain(|cause| explains(*cause, &example.case, &run));
            self.members.push((example.case.clone(), run));
        }
        self.found.merge(CountedExample::new(1, Some(example)));
    }

    /// The ids of the mutants that predict all members, for a journal.
    pub(super) fn ids(&self) -> Vec<String> {
        self.explained_by.iter().map(|cause| cause.ids()).collect()
    }

    /// Adds a group that a journal kept, with the ids of its mutants: to the first group that some of
    /// its mutants explain as well, or that no mutant explains either.
    ///
    /// # Errors
    /// If there is no mutant with such an id.
    pub(super) fn add_saved(
        groups: &mut Vec<Self>,
        ids: &[String],
        found: CountedExample,
    ) -> Result<(), String> {
        let cause = |id: &String| format!("mutant:{id}").parse::<WalkerSpec>();
        let explained_by = ids.iter().map(cause).collect::<Result<Vec<_>, _>>()?;

        let in_common = |group: &Self| -> Vec<WalkerSpec> {
            let causes = group.explained_by.iter();
            causes.filter(|cause| explained_by.contains(cause)).copied().collect()
        };
        let fits = |group: &&mut Self| {
            let both_unexplained = group.explained_by.is_empty() && explained_by.is_empty();
            both_unexplained || !in_common(group).is_empty()
        };
        match groups.iter_mut().find(fits) {
            Some(group) => {
                group.explained_by = in_common(group);
                group.found.merge(found);
            }
            None => groups.push(Self { found, members: Vec::new(), explained_by }),
        }
        Ok(())
    }

    /// Everything that explains all members and that no agreement refutes: single mutants, or if there
    /// are none, pairs.
    pub(super) fn causes(&self, agreements: &Agreements) -> Vec<WalkerSpec> {
        let is_possible = |cause: &WalkerSpec| !agreements.refute(*cause);
        let single: Vec<_> = self.explained_by.iter().copied().filter(is_possible).collect();
        if !single.is_empty() || self.members.is_empty() {
            return single;
        }

        let explains_all =
            |pair: &WalkerSpec| self.members.iter().all(|(case, run)| explains(*pair, case, run));
        PAIRS.iter().map(WalkerSpec::Pair).filter(explains_all).filter(is_possible).collect()
    }
}

/// Whether a walker predicts what the machine did with a case.
pub(super) fn explains(walker: WalkerSpec, case: &Case, run: &Attempt) -> bool {
    verdict::agrees(walker.walker(), case, run)
}

/// Some of the cases on which the machine and the reference agree. Whatever explains how the machine
/// differs elsewhere must agree on these, too.
#[derive(Default)]
pub(super) struct Agreements {
    count: u64,
    kept: Vec<GroupMember>,
}

impl Agreements {
    /// Counts an agreement, and keeps some of them.
    pub(super) fn add(&mut self, case: &Case, run: &Attempt) {
        self.count += 1;
        if self.count.is_multiple_of(AGREEMENTS_APART) && self.kept.len() < MAX_AGREEMENTS {
            self.kept.push((case.clone(), run.clone()));
        }
    }

    /// Adds those of later cases.
    pub(super) fn merge(&mut self, later: Self) {
        self.count += later.count;
        let room = MAX_AGREEMENTS.saturating_sub(self.kept.len());
        self.kept.extend(later.kept.into_iter().take(room));
    }

    fn refute(&self, cause: WalkerSpec) -> bool {
        self.kept.iter().any(|(case, run)| !explains(cause, case, run))
    }
}
