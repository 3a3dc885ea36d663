//! Explaining groups of divergences: the mutant, or the pair of mutants, that predicts every member of
//! a group, and nothing that the machine does not do. Groups with one cause are one finding.

use super::example::CountedExample;
use super::group::{Agreements, Group, GroupMember, explains};
use crate::walker::{PAIRS, WalkerSpec};
use std::collections::BTreeMap;

/// Divergences with a common cause, or with a common title if no cause is known.
pub(super) enum Explained {
    /// The walker that explains the divergences.
    By(WalkerSpec, CountedExample),
    /// The title that they have in common.
    Unexplained(String, CountedExample),
}

/// Explains groups, each given with its title. Of the causes that explain a group, the one is chosen
/// that explains the most divergences of all groups that are left, and a single mutant before a pair;
/// so again, until the groups left have no cause.
pub(super) fn explain(groups: Vec<(String, Group)>, agreements: &Agreements) -> Vec<Explained> {
    let mut open: Vec<OpenGroup> =
        groups.into_iter().map(|(title, group)| OpenGroup::new(title, group, agreements)).collect();
    let mut explained = Vec::new();

    while let Some(cause) = best_explanation(&open) {
        let (members, others): (Vec<_>, Vec<_>) =
            open.into_iter().partition(|group| group.causes.contains(&cause));
        open = others;

        let examples: Vec<&GroupMember> = members.iter().flat_map(|group| &group.members).collect();
        for group in &mut open {
            group.causes.retain(|other| can_coexist(*other, cause, &examples));
        }
        let mut found = CountedExample::default();
        for group in members {
            found.merge(group.found);
        }
        explained.push(Explained::By(cause, found));
    }

    let mut by_title: BTreeMap<String, CountedExample> = BTreeMap::new();
    for group in open {
        by_title.entry(group.title).or_default().merge(group.found);
    }
    let unexplained = by_title.into_iter();
    explained.extend(unexplained.map(|(title, found)| Explained::Unexplained(title, found)));
    explained
}

/// A group that is not explained yet.
struct OpenGroup {
    title: String,
    found: CountedExample,
    members: Vec<GroupMember>,
    /// What may explain it.
    causes: Vec<WalkerSpec>,
}

impl OpenGroup {
    fn new(title: String, group: Group, agreements: &Agreements) -> Self {
        let causes = group.causes(agreements);
        Self { title, found: group.found, members: group.members, causes }
    }
}

/// The cause that explains the most divergences; of those that explain as many, a single mutant before
/// a pair, and then the first.
fn best_explanation(groups: &[OpenGroup]) -> Option<WalkerSpec> {
    let mut best: Option<(WalkerSpec, (u64, bool))> = None;

    for cause in groups.iter().flat_map(|group| &group.causes) {
        let members = groups.iter().filter(|group| group.causes.contains(cause));
        let explained = members.map(|group| group.found.count).fold(0, u64::saturating_add);
        let rank = (explained, matches!(cause, WalkerSpec::Mutant(_)));
        if best.is_none_or(|(_, highest)| rank > highest) {
            best = Some((*cause, rank));
        }
    }
    best.map(|(cause, _)| cause)
}

/// Whether a machine that makes a mistake which explains these divergences can make another one, too:
/// the pair of both explains them as well.
fn can_coexist(cause: WalkerSpec, other: WalkerSpec, explained: &[&GroupMember]) -> bool {
    let (WalkerSpec::Mutant(cause), WalkerSpec::Mutant(other)) = (cause, other) else {
        return true;
    };

    let mut ids = [cause.id, other.id];
    ids.sort_unstable();
    let pair = PAIRS.iter().find(|pair| [pair.first.id, pair.second.id] == ids);
    pair.is_none_or(|pair| {
        explained.iter().all(|(case, run)| explains(WalkerSpec::Pair(pair), case, run))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::Example;
    use crate::walker::Walker;
    use crosswalk_case::observation::{
        Attempt, EntryAfter, Observation, ObservedFault, Provenance,
    };
    use crosswalk_case::{Case, TableEntry};
    use crosswalk_guest::layout::Arena;
    use mmu_core::{AccessKind, Profile, Reference, Ring, VirtAddr};

    /// What a machine that behaves like this walker does with a case that faults.
    fn run_by(walker: &dyn Walker, case: &Case) -> Attempt {
        let way = &walker.predict(case).alternatives[0];
        let fault = way.outcome.fault().expect("the case faults");
        let seen = ObservedFault {
            vector: fault.vector as u8,
            error_code: fault.error_code,
            cr2: fault.cr2.map_or(0, VirtAddr::get),
            cr2_before: 0,
            rip: None,
            frame: None,
        };

        let mut observation = Observation::new(Some(seen), 0, Provenance::Tcg);
        let unchanged = |entry: &TableEntry| EntryAfter {
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

    /// Reads through a PDE with a reserved bit (M13b), flushes of a read-only page (M36), or both in one
    /// case.
    fn cases(reserved: bool, flush: bool) -> Vec<Case> {
        let case = |lane| {
            let mut case = plain(lane);
            if reserved {
                case.entries[2].value |= 1 << 45;
            }
            if flush {
                case.access.kind = AccessKind::Clflush;
                case.access.size = 1;
                case.form = Case::default_form(AccessKind::Clflush);
                case.entries[3].value &= !2;
            }
            case
        };
        (1..20).map(case).collect()
    }

    fn runs(walker: &dyn Walker, cases: Vec<Case>) -> Vec<GroupMember> {
        let run = |case: Case| {
            let run = run_by(walker, &case);
            (case, run)
        };
        cases.into_iter().map(run).collect()
    }

    fn groups(runs: &[GroupMember]) -> Vec<(String, Group)> {
        let mut groups = Vec::new();
        for (case, run) in runs {
            let way = &Reference.predict(case).alternatives[0];
            Group::place(&mut groups, Example::of(case, 0, way, run, &[]), run.clone());
        }
        groups.into_iter().map(|group| ("alike".to_owned(), group)).collect()
    }

    /// The cause of each finding, and its number of cases.
    fn causes_of(runs: &[GroupMember], agreements: &Agreements) -> Vec<(Option<String>, u64)> {
        let cause = |explained| match explained {
            Explained::By(cause, found) => (Some(cause.to_string()), found.count),
            Explained::Unexplained(_, found) => (None, found.count),
        };
        explain(groups(runs), agreements).into_iter().map(cause).collect()
    }

    fn walker(name: &str) -> &'static dyn Walker {
        name.parse::<WalkerSpec>().expect("a walker").walker()
    }

    #[test]
    fn groups_with_one_cause_are_one_finding() {
        let m13b = walker("mutant:M13b");
        let all = [runs(m13b, cases(true, false)), runs(m13b, cases(true, true))].concat();
        let named = causes_of(&all, &Agreements::default());
        assert_eq!(named, [(Some("mutant:M13b".into()), 38)]);
    }

    #[test]
    fn a_pair_explains_what_no_single_mutant_does() {
        let pair = walker("mutant:M13b+M36");
        // CLFLUSH judged as a write, which reports RSVD without P.
        let both = runs(pair, cases(true, true));
        let named = causes_of(&both, &Agreements::default());
        assert_eq!(named, [(Some("mutant:M13b+M36".into()), 19)]);

        // Each mistake alone is explained by one mutant.
        let each = [runs(pair, cases(true, false)), runs(pair, cases(false, true))].concat();
        let alone = [(Some("mutant:M13b".into()), 19), (Some("mutant:M36".into()), 19)];
        assert_eq!(causes_of(&each, &Agreements::default()), alone);
    }

    #[test]
    fn an_agreement_refutes_a_cause() {
        let m13b = walker("mutant:M13b");
        let mut agreements = Agreements::default();
        let correct = runs(&Reference, cases(true, false));
        for (case, run) in &correct[..16] {
            agreements.add(case, run);
        }

        assert_eq!(causes_of(&runs(m13b, cases(true, false)), &agreements), [(None, 19)]);
    }

    #[test]
    fn a_fault_that_no_walker_predicts_has_no_cause() {
        let mut wrong = runs(&Reference, cases(true, false));
        for (_, run) in &mut wrong {
            let Attempt::Observed(seen) = run else { continue };
            seen.fault = Some(ObservedFault {
                vector: 13,
                error_code: 7,
                cr2: 0,
                cr2_before: 0,
                rip: None,
                frame: None,
            });
        }

        assert_eq!(causes_of(&wrong, &Agreements::default()), [(None, 19)]);
    }
}
