//! Findings: divergences with one cause, grouped, named, and reduced to their smallest case.

mod explanation;
pub mod known;
pub mod quirks;
pub mod saved;
mod shrink;

pub use shrink::shrink;

use crate::verdict::{
    self, ChoiceTaken, Difference, End, Field, Verdict, describe_expectation, describe_observation,
};
use crate::walker::WalkerSpec;
use crate::walker::quirk::{Quirks, Quirky};
use crosswalk_case::observation::{Attempt, Observation};
use crosswalk_case::{Case, size_of_case};
use crosswalk_machine::Capabilities;
use explanation::{Agreements, Group};
use known::{Kind, KnownFinding};
use mmu_core::{Alternative, Reference, Ring};
use std::collections::BTreeMap;

/// One finding of a run.
#[derive(Clone, Debug)]
pub struct Finding {
    /// The id: of the known finding, of the mutant that explains it, or of its own making.
    pub id: String,
    /// What it is, in a line.
    pub title: String,
    /// The walker that predicts everything that was observed, when there is one.
    pub explained_by: Option<String>,
    /// Cases.
    pub count: u64,
    /// What kind of finding it is.
    pub kind: Kind,
    /// Whether it is known, and this run forgives what is known.
    pub known: bool,
    /// Whether it is about the walker, a mutant: the machine agrees with the reference. All other
    /// findings are about the machine, and held against the reference.
    pub catches_walker: bool,
    /// The quirk that it is, if it is one.
    pub quirk: Quirks,
    /// The smallest case met, and what was seen.
    pub example: Option<Example>,
}

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
    /// The quirks that explain it, if they do; all of the machine's if they do in part.
    pub quirks: Quirks,
}

impl Example {
    /// Puts a divergence into words.
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
            case: case.clone(),
            expected: describe_expectation(expected),
            observed,
            differences: differences.to_vec(),
            quirks: Quirks::empty(),
        }
    }
}

/// What makes two divergences look alike, before a common cause is known.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Signature {
    ring: Ring,
    expected: End,
    /// The vector that was observed, 0 for none.
    observed: u8,
    fields: Vec<Field>,
}

impl Signature {
    fn of(case: &Case, expected: &Alternative, seen: &Observation, found: &[Difference]) -> Self {
        let mut fields: Vec<_> = found.iter().map(|difference| difference.field).collect();
        fields.sort_unstable();
        fields.dedup();
        let observed = seen.fault.map_or(0, |fault| fault.vector);
        let expected = End::of(&expected.outcome);
        Self { ring: case.access.ring, expected, observed, fields }
    }

    fn title(&self) -> String {
        let fields: Vec<_> = self.fields.iter().map(|field| field.name()).collect();
        let ring = if self.ring == Ring::Zero { 0 } else { 3 };
        format!("ring {ring}, expected {}: {} differ", self.expected.name(), fields.join(", "))
    }
}

/// Collects findings while a run goes on.
pub struct Findings {
    walker: WalkerSpec,
    known: Vec<KnownFinding>,
    /// Those of the known findings that are quirks.
    quirks: Quirks,
    /// Whether known findings are forgiven.
    forgives: bool,
    /// Counts and smallest example of each known finding that was met.
    met: BTreeMap<usize, (u64, Option<Example>)>,
    /// The same of the cases on which a mutant is wrong and the reference right.
    caught: (u64, Option<Example>),
    groups: BTreeMap<Signature, Vec<Group>>,
    agreements: Agreements,
}

impl Findings {
    /// For a run of one walker on a machine with these known findings.
    pub fn new(
        walker: WalkerSpec,
        known: Vec<KnownFinding>,
        forgives: bool,
        machine: &Capabilities,
    ) -> Self {
        let mut met = BTreeMap::new();
        if machine.implicit_accesses.is_err() {
            let probes = known.iter().enumerate().filter(|(_, known)| known.kind == Kind::Probe);
            met.extend(probes.map(|(index, _)| (index, (1, None))));
        }
        let quirks = known::quirks(&known);
        let (caught, groups) = ((0, None), BTreeMap::new());
        let agreements = Agreements::default();
        Self { walker, known, quirks, forgives, met, caught, groups, agreements }
    }

    /// Takes note of one verdict.
    pub fn add(&mut self, case: &Case, run: &Attempt, verdict: &Verdict) {
        match verdict {
            Verdict::Agree { choices, .. } => {
                self.add_choices(case, choices);
                if self.walker.is_reference() {
                    self.agreements.add(case, run);
                }
            }
            Verdict::Unsupported(why) => self.add_unsupported(case, why),
            Verdict::Diverge { expected, differences } if self.walker.is_reference() => {
                self.add_machine_fault(case, run, expected, differences);
            }
            Verdict::Diverge { expected, differences } => {
                // Who is wrong, the mutant or the machine?
                let by_reference = verdict::judge(&Reference, case, run);
                if let Verdict::Diverge { expected, differences } = by_reference {
                    self.add_machine_fault(case, run, &expected, &differences);
                } else {
                    count(&mut self.caught, Example::of(case, expected, run, differences));
                }
            }
        }
    }

    /// A case on which the machine differs from the reference: a known finding, or one of a group.
    fn add_machine_fault(
        &mut self,
        case: &Case,
        run: &Attempt,
        expected: &Alternative,
        differences: &[Difference],
    ) {
        let Attempt::Observed(observation) = run else { return };
        let example = Example::of(case, expected, run, differences);
        if let Some((indices, quirks)) = self.known_faults(case, run, expected, differences) {
            for index in indices {
                let example = Example { quirks, ..example.clone() };
                count(self.met.entry(index).or_default(), example);
            }
            return;
        }
        let signature = Signature::of(case, expected, observation, differences);
        let alike = self.groups.entry(signature).or_default();
        Group::place(alike, example, case, run);
    }

    /// The known findings that a divergence from the reference shows, and the quirks that explain it,
    /// if they do; `None` when nothing is known of it.
    fn known_faults(
        &self,
        case: &Case,
        run: &Attempt,
        expected: &Alternative,
        differences: &[Difference],
    ) -> Option<(Vec<usize>, Quirks)> {
        let Attempt::Observed(seen) = run else { return None };
        let covers = |known: &KnownFinding| {
            !known.beside_quirk && known.covers(case, expected, seen, differences)
        };
        if let Some(index) = self.known.iter().position(covers) {
            return Some((vec![index], Quirks::empty()));
        }
        if let Some(quirks) = quirks::explaining(self.quirks, case, run) {
            let known = self.known.iter().enumerate();
            let shown = known.filter(|(_, known)| quirks.intersects(known.quirk));
            return Some((shown.map(|(index, _)| index).collect(), quirks));
        }
        let index = self.known_beside_quirks(case, run, seen)?;
        Some((vec![index], self.quirks))
    }

    /// The ids of the known findings that a case shows by the reference's verdict; `None` for a
    /// divergence of which nothing is known.
    pub fn shown(&self, case: &Case, run: &Attempt, verdict: &Verdict) -> Option<Vec<&str>> {
        let indices = match verdict {
            Verdict::Agree { .. } => Vec::new(),
            Verdict::Unsupported(why) => {
                let covers = |known: &KnownFinding| known.covers_unsupported(case, why);
                self.known.iter().position(covers).into_iter().collect()
            }
            Verdict::Diverge { expected, differences } => {
                self.known_faults(case, run, expected, differences)?.0
            }
        };
        Some(indices.into_iter().map(|index| self.known[index].id.as_str()).collect())
    }

    /// The known finding that a case shows beside quirks: which it is by what differs from the
    /// reference with all of them.
    fn known_beside_quirks(&self, case: &Case, run: &Attempt, seen: &Observation) -> Option<usize> {
        if self.quirks.is_empty() {
            return None;
        }
        match verdict::judge(&Quirky(self.quirks), case, run) {
            Verdict::Diverge { expected, differences } => self
                .known
                .iter()
                .position(|known| known.covers(case, &expected, seen, &differences)),
            _ => None,
        }
    }

    fn add_unsupported(&mut self, case: &Case, why: &str) {
        let covers = |known: &KnownFinding| known.covers_unsupported(case, why);
        let Some(index) = self.known.iter().position(covers) else { return };
        let example = Example {
            case: case.clone(),
            expected: "the case runs".into(),
            observed: why.to_owned(),
            differences: Vec::new(),
            quirks: Quirks::empty(),
        };
        count(self.met.entry(index).or_default(), example);
    }

    fn add_choices(&mut self, case: &Case, choices: &[ChoiceTaken]) {
        for (index, known) in self.known.iter().enumerate() {
            let Some(choice) = choices.iter().find(|choice| known.covers_choice(case, choice))
            else {
                continue;
            };
            let example = Example {
                case: case.clone(),
                expected: format!("any member of {}", choice.rule),
                observed: choice.member.to_owned(),
                differences: Vec::new(),
                quirks: Quirks::empty(),
            };
            count(self.met.entry(index).or_default(), example);
        }
    }

    /// The findings of the run: what catches the walker, the known ones, met or not, then the
    /// others. Groups with one cause are one finding.
    pub fn finish(self) -> Vec<Finding> {
        let mut findings = Vec::new();
        if let (count @ 1.., example) = self.caught {
            let mistakes = self.walker.mistakes();
            findings.push(Finding {
                explained_by: Some("reference".into()),
                catches_walker: true,
                ..Finding::diverges(
                    self.walker.ids(),
                    format!("caught: {mistakes}; the machine agrees with the reference"),
                    (count, example),
                )
            });
        }
        for (index, known) in self.known.iter().enumerate() {
            let (count, example) = self.met.get(&index).cloned().unwrap_or_default();
            findings.push(Finding {
                id: known.id.clone(),
                title: known.title.clone(),
                explained_by: known.explained_by.clone(),
                count,
                kind: known.kind,
                known: self.forgives,
                catches_walker: false,
                quirk: known.quirk,
                example,
            });
        }
        let groups = self.groups.into_iter();
        let titled = groups.flat_map(|(signature, groups)| {
            groups.into_iter().map(move |group| (signature.title(), group))
        });
        let named = explanation::name(titled.collect(), &self.agreements);
        for (number, named) in named.into_iter().enumerate() {
            findings.push(match named.cause {
                Some(cause) => Finding {
                    explained_by: Some(cause.to_string()),
                    ..Finding::diverges(cause.to_string(), cause_in_words(cause), named.met)
                },
                None => Finding::diverges(format!("F{}", number + 1), named.title, named.met),
            });
        }
        findings
    }
}

impl Finding {
    /// A divergence of which nothing is known.
    fn diverges(id: String, title: String, (count, example): (u64, Option<Example>)) -> Self {
        Self {
            id,
            title,
            explained_by: None,
            count,
            kind: Kind::Divergence,
            known: false,
            catches_walker: false,
            quirk: Quirks::empty(),
            example,
        }
    }
}

/// What it means that a walker explains what a machine did.
fn cause_in_words(cause: WalkerSpec) -> String {
    let (ids, mistakes) = (cause.ids(), cause.mistakes());
    let origins: Vec<_> = cause.mutants().into_iter().map(|mutant| mutant.origin).collect();
    let origins = origins.join(", and ");
    format!("this machine behaves like the reference with {ids}: {mistakes} (as in {origins})")
}

/// Counts an example and keeps the smallest.
fn count((count, smallest): &mut (u64, Option<Example>), example: Example) {
    *count += 1;
    *smallest = smaller(smallest.take(), Some(example));
}

/// The smaller of two examples; the first of equals. One that shows a quirk alone is smaller than any
/// that shows it among others.
fn smaller(first: Option<Example>, second: Option<Example>) -> Option<Example> {
    let size = |example: &Example| (example.quirks.iter().count(), size_of_case(&example.case));
    match (first, second) {
        (Some(first), Some(second)) if size(&second) < size(&first) => Some(second),
        (first, second) => first.or(second),
    }
}
