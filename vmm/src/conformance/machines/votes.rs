//! The votes: who differs from the manuals, and who from the other machines.

use super::column::{MachineColumn, MachineVerdict, observed_in_words};
use super::outcome::{Visibility, VisibleOutcome};
use crate::verdict::{Field, describe_expectation};
use crosswalk_case::observation::{Attempt, EntryAfter};
use crosswalk_case::{Case, CaseSize, size_of_case};
use mmu_core::Prediction;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

/// What one machine did with a case, judged.
pub(super) struct Ballot<'c> {
    pub(super) machine: usize,
    pub(super) case: &'c Case,
    pub(super) attempt: &'c Attempt,
    pub(super) predictions: Vec<Prediction>,
    pub(super) verdict: MachineVerdict,
}

impl Ballot<'_> {
    /// Whether the same machine did the same when it ran the case again.
    pub(super) fn is_alike(&self, case: &Case, attempt: &Attempt, last: &Prediction) -> bool {
        let visibility = Visibility::of(case, last, [self.attempt, attempt].into_iter());
        match (self.attempt, attempt) {
            (Attempt::Observed(first), Attempt::Observed(second)) => {
                visibility.outcome(case, first) == visibility.outcome(case, second)
            }
            (first, second) => first == second,
        }
    }

    /// Whether the manuals allow both machines the same, accesses before the last included.
    fn is_allowed_the_same(&self, other: &Self) -> bool {
        let both = self.predictions.iter().zip(&other.predictions);
        both.into_iter().all(|(own, others)| *own.alternatives == *others.alternatives)
    }
}

/// Who differs from whom in what.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct DisagreementKey {
    is_known: bool,
    wrong: Vec<usize>,
    everyone: bool,
    outvoted: Vec<usize>,
    about: Vec<String>,
}

/// Cases in which the same machines differ in the same.
#[derive(Clone, Debug)]
pub struct Disagreement {
    /// The machines that differ from the manuals, by their index.
    pub wrong: Vec<usize>,
    /// Whether every machine that ran the case differs from the manuals: the machines share a fault, or
    /// the reference has one.
    pub everyone: bool,
    /// The machines that do not do what more than half of the machines do that are allowed the same.
    pub outvoted: Vec<usize>,
    /// What it is about: ids of known findings, names of fields that differ, and otherwise the rules that
    /// leave a choice.
    pub about: Vec<String>,
    /// Whether every difference from the manuals is a known finding.
    pub is_known: bool,
    /// Number of cases.
    pub count: u64,
    /// The smallest of them.
    pub smallest: SharedExample,
}

/// A case that several machines ran.
#[derive(Clone, Debug)]
pub struct SharedExample {
    /// The case, as the first of the machines ran it.
    pub case: Case,
    /// What the manuals allow, in words: the likeliest outcome.
    pub expected: String,
    /// What each machine did, in words, by its index.
    pub observed: Vec<(usize, String)>,
}

/// All votes.
#[derive(Default)]
pub(super) struct Votes {
    pub(super) shared: u64,
    pub(super) unanimous: u64,
    disagreements: BTreeMap<DisagreementKey, (u64, CaseSize, SharedExample)>,
}

impl Votes {
    /// Counts the votes on a case.
    pub(super) fn count(&mut self, ballots: &[Ballot<'_>], machines: &mut [MachineColumn]) {
        let cast: Vec<_> = ballots
            .iter()
            .filter(|ballot| matches!(ballot.attempt, Attempt::Observed(_)))
            .collect();
        let [first, _, ..] = cast.as_slice() else { return };
        self.shared += 1;

        let Outvoted { machines: outvoted, fields } = outvoted(&cast);
        for ballot in &cast {
            if let Some(column) = machines.get_mut(ballot.machine) {
                column.shared += 1;
                column.outvoted += u64::from(outvoted.contains(&ballot.machine));
            }
        }

        let wrong = |ballot: &&&Ballot<'_>| matches!(ballot.verdict, MachineVerdict::Wrong { .. });
        let wrong: Vec<_> = cast.iter().filter(wrong).map(|ballot| ballot.machine).collect();
        if wrong.is_empty() && outvoted.is_empty() {
            self.unanimous += 1;
            return;
        }

        let key = DisagreementKey {
            is_known: !cast.iter().any(|ballot| {
                matches!(ballot.verdict, MachineVerdict::Wrong { is_known: false, .. })
            }),
            everyone: wrong.len() == cast.len(),
            wrong,
            outvoted: outvoted.into_iter().collect(),
            about: about(&cast, &fields),
        };
        let size = size_of_case(first.case);
        let example = || SharedExample::of(&cast, first);
        let known = self.disagreements.entry(key).or_insert_with(|| (0, size, example()));
        known.0 += 1;
        if size < known.1 {
            *known = (known.0, size, example());
        }
    }

    /// The disagreements: what is not known first, then what is most frequent.
    pub(super) fn into_ordered(self) -> Vec<Disagreement> {
        let mut ordered: Vec<_> = self
            .disagreements
            .into_iter()
            .map(|(key, (count, _, smallest))| {
                let DisagreementKey { is_known, wrong, everyone, outvoted, about } = key;
                Disagreement { wrong, everyone, outvoted, about, is_known, count, smallest }
            })
            .collect();
        ordered.sort_by_key(|found| (found.is_known, u64::MAX - found.count));
        ordered
    }
}

/// The machines that did not do what more than half of those did that are allowed the same, and the fields
/// in which these differ.
#[derive(Default)]
struct Outvoted {
    machines: BTreeSet<usize>,
    fields: BTreeSet<Field>,
}

fn outvoted(cast: &[&Ballot<'_>]) -> Outvoted {
    let mut outvoted = Outvoted::default();
    let mut left: Vec<&Ballot<'_>> = cast.to_vec();

    while let Some(first) = left.first().copied() {
        let (voters, others): (Vec<_>, Vec<_>) =
            left.into_iter().partition(|ballot| ballot.is_allowed_the_same(first));
        left = others;

        let Some(last) = first.predictions.last() else { continue };
        let attempts = voters.iter().map(|ballot| ballot.attempt);
        let visibility = Visibility::of(first.case, last, attempts);
        let outcomes: Vec<(usize, VisibleOutcome)> = voters
            .iter()
            .filter_map(|ballot| match ballot.attempt {
                Attempt::Observed(seen) => {
                    Some((ballot.machine, visibility.outcome(ballot.case, seen)))
                }
                Attempt::Unsupported(_) => None,
            })
            .collect();
        for (machine, outcome) in &outcomes {
            let alike = outcomes.iter().filter(|(_, other)| other == outcome).count();
            if alike * 2 <= outcomes.len() && outcomes.len() > 1 {
                outvoted.machines.insert(*machine);
                let differing = outcomes.iter().flat_map(|(_, other)| outcome.differences(other));
                outvoted.fields.extend(differing);
            }
        }
    }
    outvoted
}

/// What a disagreement is about: known findings, or choices, or else the fields that differ.
fn about(cast: &[&Ballot<'_>], fields: &BTreeSet<Field>) -> Vec<String> {
    let mut faults = BTreeSet::new();
    let mut choices: Vec<&BTreeSet<_>> = Vec::new();
    for ballot in cast {
        match &ballot.verdict {
            MachineVerdict::Wrong { about, .. } => faults.extend(about.iter().cloned()),
            MachineVerdict::Right(taken) => choices.push(taken),
            MachineVerdict::Unsupported => {}
        }
    }
    if !faults.is_empty() {
        return faults.into_iter().collect();
    }

    let all: BTreeSet<_> = choices.iter().flat_map(|taken| taken.iter()).collect();
    let differing =
        all.into_iter().filter(|choice| !choices.iter().all(|one| one.contains(choice)));
    let rules: BTreeSet<_> = differing.map(|(rule, _)| rule.id().to_owned()).collect();
    if rules.is_empty() {
        return fields.iter().map(|field| field.name().to_owned()).collect();
    }
    rules.into_iter().collect()
}

impl SharedExample {
    fn of(cast: &[&Ballot<'_>], first: &Ballot<'_>) -> Self {
        let wrong = cast.iter().find_map(|ballot| match &ballot.verdict {
            MachineVerdict::Wrong { expected, .. } => Some(expected.clone()),
            _ => None,
        });
        let likeliest = || {
            let last = first.predictions.last()?;
            last.alternatives.first().map(describe_expectation)
        };

        Self {
            case: first.case.clone(),
            expected: wrong.or_else(likeliest).unwrap_or_default(),
            observed: cast.iter().map(|ballot| (ballot.machine, in_words(ballot))).collect(),
        }
    }
}

/// What a machine did, with the entries that it changed.
fn in_words(ballot: &Ballot<'_>) -> String {
    let Attempt::Observed(seen) = ballot.attempt else { return String::new() };
    let mut words = observed_in_words(ballot.case, ballot.attempt, ballot.case.before.len(), &[]);
    for EntryAfter { at, before, after } in &seen.entries {
        if before != after {
            let _ = write!(words, "; {before:#x} at {at:#x} became {after:#x}");
        }
    }
    words
}
