//! Naming a cause: the mutant, or the pair of mutants, that predicts every member of a group of
//! divergences, and nothing that the machine does not do. Groups with one cause are one finding.

use super::{Example, count, smaller};
use crate::verdict::{self, Verdict};
use crate::walker::{MUTANTS, PAIRS, WalkerSpec};
use crosswalk_case::Case;
use crosswalk_case::observation::Attempt;
use std::collections::BTreeMap;

/// So many divergences of a group are held against every mutant; after that the answer stands.
const MOST: usize = 200;
/// So many agreements are kept, to be held against what would explain the divergences.
const MAX_AGREEMENTS: usize = 500;
/// One agreement of so many is a candidate.
const AGREEMENTS_APART: u64 = 16;

/// How many divergences, and the smallest.
pub(super) type Occurrence = (u64, Option<Example>);

/// Divergences that look alike, and that the same mutants predict.
pub(super) struct Group {
    met: Occurrence,
    kept: Vec<(Case, Attempt)>,
    /// The mutants that predict all of them.
    explained_by: Vec<WalkerSpec>,
}

impl Group {
    /// Adds a divergence to that of the groups which it fits, or to a new one.
    pub(super) fn place(groups: &mut Vec<Self>, example: Example, case: &Case, run: &Attempt) {
        let fits = |group: &Self| {
            group.explained_by.first().is_some_and(|cause| explains(*cause, case, run))
        };
        if let Some(group) = groups.iter_mut().find(|group| fits(group)) {
            return group.add(example, case, run);
        }
        let mutants = MUTANTS.iter().map(WalkerSpec::Mutant);
        let explained_by: Vec<_> = mutants.filter(|cause| explains(*cause, case, run)).collect();
        let of_nothing = |group: &&mut Self| group.explained_by.is_empty();
        if explained_by.is_empty()
            && let Some(group) = groups.iter_mut().find(of_nothing)
        {
            return group.add(example, case, run);
        }
        let mut group = Self { met: (0, None), kept: Vec::new(), explained_by };
        group.add(example, case, run);
        groups.push(group);
    }

    fn add(&mut self, example: Example, case: &Case, run: &Attempt) {
        count(&mut self.met, example);
        if self.kept.len() < MOST {
            self.explained_by.retain(|cause| explains(*cause, case, run));
            self.kept.push((case.clone(), run.clone()));
        }
    }

    /// What a journal keeps: the mutants that predict all members, how many, and the smallest.
    pub(super) fn to_save(&self) -> (Vec<String>, &Occurrence) {
        (self.explained_by.iter().map(|cause| cause.ids()).collect(), &self.met)
    }

    /// Adds what a journal kept to the first group that some mutant explains together with it, or
    /// none explains either.
    pub(super) fn add_saved(
        groups: &mut Vec<Self>,
        explained_by: &[String],
        (count, example): Occurrence,
    ) -> Result<(), String> {
        let cause = |id: &String| format!("mutant:{id}").parse::<WalkerSpec>();
        let explained_by = explained_by.iter().map(cause).collect::<Result<Vec<_>, _>>()?;
        let common = |group: &Self| -> Vec<WalkerSpec> {
            let has = |cause: &&WalkerSpec| explained_by.iter().any(|one| one.ids() == cause.ids());
            group.explained_by.iter().filter(has).copied().collect()
        };
        let fits = |group: &&mut Self| {
            !common(group).is_empty() || (group.explained_by.is_empty() && explained_by.is_empty())
        };
        let Some(group) = groups.iter_mut().find(fits) else {
            groups.push(Self { met: (count, example), kept: Vec::new(), explained_by });
            return Ok(());
        };
        group.explained_by = common(group);
        group.met = jointly_explain(std::mem::take(&mut group.met), (count, example));
        Ok(())
    }

    /// Every cause that explains all members and is not refuted: single mutants, or else pairs.
    fn causes(&self, agreements: &Agreements) -> Vec<WalkerSpec> {
        let stands = |cause: &WalkerSpec| !agreements.refute(*cause);
        let single: Vec<_> = self.explained_by.iter().copied().filter(stands).collect();
        if !single.is_empty() {
            return single;
        }
        if self.kept.is_empty() {
            // A journal keeps no members to hold pairs against.
            return Vec::new();
        }
        let all =
            |pair: &WalkerSpec| self.kept.iter().all(|(case, run)| explains(*pair, case, run));
        PAIRS.iter().map(WalkerSpec::Pair).filter(all).filter(stands).collect()
    }
}

fn explains(mistake: WalkerSpec, case: &Case, run: &Attempt) -> bool {
    matches!(verdict::judge(mistake.walker(), case, run), Verdict::Agree { .. })
}

/// Some of the cases on which the machine and the reference agree: so does whatever explains how the
/// machine differs elsewhere.
#[derive(Default)]
pub(super) struct Agreements {
    met: u64,
    kept: Vec<(Case, Attempt)>,
}

impl Agreements {
    pub(super) fn add(&mut self, case: &Case, run: &Attempt) {
        self.met += 1;
        if self.met.is_multiple_of(AGREEMENTS_APART) && self.kept.len() < MAX_AGREEMENTS {
            self.kept.push((case.clone(), run.clone()));
        }
    }

    fn refute(&self, cause: WalkerSpec) -> bool {
        self.kept.iter().any(|(case, run)| !explains(cause, case, run))
    }
}

/// Divergences with one cause, or with none that is known.
pub(super) struct NamedCause {
    /// What explains them.
    pub(super) cause: Option<WalkerSpec>,
    /// What they look like.
    pub(super) title: String,
    /// How many, and the smallest.
    pub(super) met: Occurrence,
}

/// A group whose causes have been sought.
struct Query {
    title: String,
    met: Occurrence,
    kept: Vec<(Case, Attempt)>,
    causes: Vec<WalkerSpec>,
}

impl Query {
    fn has(&self, cause: WalkerSpec) -> bool {
        self.causes.iter().any(|one| one.ids() == cause.ids())
    }
}

/// Names the causes of groups, each with its looks: again and again the cause that explains the most
/// divergences of what is left, a single mutant before a pair. What has no cause is told by its looks.
pub(super) fn name(groups: Vec<(String, Group)>, agreements: &Agreements) -> Vec<NamedCause> {
    let seek = |(title, group): (String, Group)| {
        let causes = group.causes(agreements);
        Query { title, met: group.met, kept: group.kept, causes }
    };
    let mut left: Vec<Query> = groups.into_iter().map(seek).collect();
    let mut named = Vec::new();
    while let Some(cause) = best(&left) {
        let (members, others): (Vec<_>, Vec<_>) =
            left.into_iter().partition(|group| group.has(cause));
        left = others;
        let kept = members.iter().flat_map(|group| &group.kept);
        for group in &mut left {
            group.causes.retain(|other| coexists_with(*other, cause, kept.clone()));
        }
        let met = members.into_iter().fold((0, None), |all, group| jointly_explain(all, group.met));
        named.push(NamedCause { cause: Some(cause), title: String::new(), met });
    }
    let mut by_looks: BTreeMap<String, Occurrence> = BTreeMap::new();
    for Query { title, met, .. } in left {
        let known = by_looks.entry(title).or_default();
        *known = jointly_explain(std::mem::take(known), met);
    }
    named.extend(by_looks.into_iter().map(|(title, met)| NamedCause { cause: None, title, met }));
    named
}

/// Whether a machine may make a mistake beside another that explains these divergences: both together
/// explain them, too.
fn coexists_with<'m>(
    cause: WalkerSpec,
    other: WalkerSpec,
    mut explained: impl Iterator<Item = &'m (Case, Attempt)>,
) -> bool {
    let (WalkerSpec::Mutant(cause), WalkerSpec::Mutant(other)) = (cause, other) else {
        return true;
    };
    let mut ids = [cause.id, other.id];
    ids.sort_unstable();
    let both = PAIRS.iter().find(|pair| [pair.first.id, pair.second.id] == ids);
    both.is_none_or(|both| explained.all(|(case, run)| explains(WalkerSpec::Pair(both), case, run)))
}

fn jointly_explain((count, smallest): Occurrence, (more, example): Occurrence) -> Occurrence {
    (count + more, smaller(smallest, example))
}

/// The cause that explains the most; of those that explain as much, a single one, and the first.
fn best(groups: &[Query]) -> Option<WalkerSpec> {
    let mut best: Option<(WalkerSpec, (u64, bool))> = None;
    for cause in groups.iter().flat_map(|group| &group.causes) {
        let members = groups.iter().filter(|group| group.has(*cause));
        let explained = members.map(|group| group.met.0).sum();
        let rank = (explained, matches!(cause, WalkerSpec::Mutant(_)));
        if best.is_none_or(|(_, most)| rank > most) {
            best = Some((*cause, rank));
        }
    }
    best.map(|(cause, _)| cause)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::walker::Walker;
    use crosswalk_case::observation::{EntryAfter, Observation, ObservedFault, Provenance};
    use crosswalk_guest::layout::Arena;
    use mmu_core::{AccessKind, Profile, Ring};

    /// What a machine that is this walker does with a case that faults.
    fn run_by(walker: &dyn Walker, case: &Case) -> Attempt {
        let way = &walker.predict(case).alternatives[0];
        let fault = way.outcome.fault().expect("the case faults");
        let cr2 = fault.cr2.map_or(0, mmu_core::VirtAddr::get);
        let (vector, error_code) = (fault.vector as u8, fault.error_code);
        let seen = ObservedFault { vector, error_code, cr2, cr2_before: 0 };
        let mut observation = Observation::new(Some(seen), 0, Provenance::Tcg);
        let unchanged = |entry: &crosswalk_case::TableEntry| EntryAfter {
            at: entry.at,
            before: entry.value,
            after: entry.value,
        };
        observation.entries = case.entries.iter().map(unchanged).collect();
        Attempt::Observed(observation)
    }

    fn plain(lane: usize) -> Case {
        let profile = Profile { physical_address_bits: 40, ..Profile::default() };
        Case::plain(Arena::ALL[0], lane, Ring::Three, profile)
    }

    /// A read through a PDE with a reserved bit (M13b), a CLFLUSH of a read-only page (M36), or both.
    fn cases(reserved: bool, flush: bool) -> Vec<Case> {
        let make = |lane| {
            let mut case = plain(lane);
            if reserved {
                case.entries[2].value |= 1 << 45;
            }
            if flush {
                (case.access.kind, case.access.size) = (AccessKind::Clflush, 1);
                case.form = Case::default_form(AccessKind::Clflush);
                case.entries[3].value &= !2;
            }
            case
        };
        (1..20).map(make).collect()
    }

    fn groups(runs: &[(Case, Attempt)]) -> Vec<(String, Group)> {
        let mut groups = Vec::new();
        for (case, run) in runs {
            let way = &mmu_core::Reference.predict(case).alternatives[0];
            Group::place(&mut groups, Example::of(case, way, run, &[]), case, run);
        }
        groups.into_iter().map(|group| ("looks".to_owned(), group)).collect()
    }

    fn runs(walker: &dyn Walker, cases: Vec<Case>) -> Vec<(Case, Attempt)> {
        let runs = cases.into_iter().map(|case| (run_by(walker, &case), case));
        runs.map(|(run, case)| (case, run)).collect()
    }

    fn causes_of(runs: &[(Case, Attempt)], agreements: &Agreements) -> Vec<(Option<String>, u64)> {
        let name = |named: NamedCause| (named.cause.map(|cause| cause.to_string()), named.met.0);
        super::name(groups(runs), agreements).into_iter().map(name).collect()
    }

    fn walker(name: &str) -> &'static dyn Walker {
        name.parse::<WalkerSpec>().expect("a walker").walker()
    }

    #[test]
    fn one_mutant_explains_all_in_one_line() {
        let m13b = walker("mutant:M13b");
        let all = [runs(m13b, cases(true, false)), runs(m13b, cases(true, true))].concat();
        let named = causes_of(&all, &Agreements::default());
        assert_eq!(named, [(Some("mutant:M13b".into()), 38)]);
    }

    #[test]
    fn where_no_mutant_does_a_pair_explains() {
        let pair = walker("mutant:M13b+M36");
        // CLFLUSH judged as a write, which reports RSVD without P.
        let both = runs(pair, cases(true, true));
        let named = causes_of(&both, &Agreements::default());
        assert_eq!(named, [(Some("mutant:M13b+M36".into()), 19)]);
        // Each alone is explained by the one.
        let each = [runs(pair, cases(true, false)), runs(pair, cases(false, true))].concat();
        let alone = [(Some("mutant:M13b".into()), 19), (Some("mutant:M36".into()), 19)];
        assert_eq!(causes_of(&each, &Agreements::default()), alone);
    }

    #[test]
    fn what_agrees_elsewhere_refutes_a_cause() {
        let m13b = walker("mutant:M13b");
        let mut agreements = Agreements::default();
        let right = runs(&mmu_core::Reference, cases(true, false));
        for (case, run) in &right[..16] {
            agreements.add(case, run);
        }
        assert_eq!(causes_of(&runs(m13b, cases(true, false)), &agreements), [(None, 19)]);
    }

    #[test]
    fn what_nothing_explains_has_no_cause() {
        let mut wrong = runs(&mmu_core::Reference, cases(true, false));
        for (_, run) in &mut wrong {
            let Attempt::Observed(seen) = run else { continue };
            seen.fault = Some(ObservedFault { vector: 13, error_code: 7, cr2: 0, cr2_before: 0 });
        }
        assert_eq!(causes_of(&wrong, &Agreements::default()), [(None, 19)]);
    }
}
