//! Findings: divergences with one cause, grouped, named, and reduced to their smallest case.

pub mod known;
mod shrink;

pub use shrink::shrink;

use crate::case::Case;
use crate::machine::Capabilities;
use crate::observation::{Observation, Run};
use crate::verdict::{ChoiceTaken, Difference, End, Field, Verdict, describe_observation, judge};
use crate::walker::{Choice, MUTANTS, Walker};
use known::{Kind, Known};
use mmu_core::{Alternative, Outcome, Reference, Ring};
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
}

impl Example {
    /// Puts a divergence into words.
    pub fn of(
        case: &Case,
        expected: &Alternative,
        run: &Run,
        differences: &[Difference],
    ) -> Self {
        let observed = match run {
            Run::Observed(observation) => describe_observation(case, observation),
            Run::Unsupported(why) => why.clone(),
        };
        Self {
            case: case.clone(),
            expected: describe_expectation(expected),
            observed,
            differences: differences.to_vec(),
        }
    }
}

/// The end of an alternative in a few words.
pub fn describe_expectation(expected: &Alternative) -> String {
    match &expected.outcome {
        Outcome::Fault(fault) => fault.to_string(),
        Outcome::Translated(spans) => {
            let spans: Vec<_> =
                spans.iter().map(|span| format!("{} bytes at {}", span.len, span.address)).collect();
            format!("completed: {}", spans.join(", then "))
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

/// Divergences that look alike.
#[derive(Debug)]
struct Group {
    count: u64,
    /// Indices into `Findings::explanations` of those that explain every sample so far.
    explained_by: Vec<usize>,
    samples: u32,
    smallest: Example,
}

/// So many divergences of a group are held against every mutant; after that the answer stands.
const MOST_SAMPLES: u32 = 200;

/// Collects findings while a run goes on.
pub struct Findings {
    known: Vec<Known>,
    /// Whether known findings are forgiven.
    forgives: bool,
    /// Counts and smallest example of each known finding that was met.
    met: BTreeMap<usize, (u64, Option<Example>)>,
    groups: BTreeMap<Signature, Group>,
    /// Walkers that may explain a divergence, by name.
    explanations: Vec<(String, &'static dyn Walker)>,
}

impl Findings {
    /// For a run of one walker on a machine with these known findings.
    pub fn new(walker: Choice, known: Vec<Known>, forgives: bool, machine: &Capabilities) -> Self {
        let mut explanations: Vec<(String, &'static dyn Walker)> = Vec::new();
        if !walker.is_reference() {
            explanations.push(("reference".into(), &Reference));
        }
        explanations.extend(
            MUTANTS.iter().map(|mutant| (format!("mutant:{}", mutant.id), mutant.walker)),
        );
        // Known findings are about the reference; a mutant's divergences are its own.
        let known = if walker.is_reference() { known } else { Vec::new() };
        let mut findings = Self {
            known,
            forgives,
            met: BTreeMap::new(),
            groups: BTreeMap::new(),
            explanations,
        };
        if machine.implicit_accesses.is_err() {
            findings.meet_where(|known| known.kind == Kind::Probe, 1);
        }
        findings
    }

    /// Takes note of one verdict.
    pub fn add(&mut self, case: &Case, run: &Run, verdict: &Verdict) {
        match verdict {
            Verdict::Agree { choices, .. } => {
                if !choices.is_empty() {
                    self.add_choices(case, choices);
                }
            }
            Verdict::Unsupported(why) => {
                let known = self.known.iter().position(|known| known.covers_unsupported(case, why));
                if let Some(index) = known {
                    let example = Example {
                        case: case.clone(),
                        expected: "the case runs".into(),
                        observed: why.clone(),
                        differences: Vec::new(),
                    };
                    self.meet(index, example);
                }
            }
            Verdict::Diverge { expected, differences } => {
                let Run::Observed(observation) = run else { return };
                let covers = |known: &Known| known.covers(case, expected, observation, differences);
                let example = Example::of(case, expected, run, differences);
                if let Some(index) = self.known.iter().position(covers) {
                    self.meet(index, example);
                    return;
                }
                let signature = Signature::of(case, expected, observation, differences);
                let smaller = |old: &Example| size_of_case(case) < size_of_case(&old.case);
                let group = self.groups.entry(signature).or_insert_with(|| Group {
                    count: 0,
                    explained_by: (0..self.explanations.len()).collect(),
                    samples: 0,
                    smallest: example.clone(),
                });
                group.count += 1;
                if smaller(&group.smallest) {
                    group.smallest = example;
                }
                if group.samples < MOST_SAMPLES {
                    group.samples += 1;
                    let explanations = &self.explanations;
                    group.explained_by.retain(|index| {
                        let prediction = explanations[*index].1.predict(case);
                        matches!(judge(case, &prediction, run), Verdict::Agree { .. })
                    });
                }
            }
        }
    }

    fn add_choices(&mut self, case: &Case, choices: &[ChoiceTaken]) {
        for index in 0..self.known.len() {
            if !choices.iter().any(|choice| self.known[index].covers_choice(case, choice)) {
                continue;
            }
            let example = Example {
                case: case.clone(),
                expected: "a choice".into(),
                observed: self.known[index].title.clone(),
                differences: Vec::new(),
            };
            self.meet(index, example);
        }
    }

    /// Counts a known finding and keeps its smallest example.
    fn meet(&mut self, index: usize, example: Example) {
        let (count, smallest) = self.met.entry(index).or_default();
        *count += 1;
        if smallest.as_ref().is_none_or(|old| size_of_case(&example.case) < size_of_case(&old.case))
        {
            *smallest = Some(example);
        }
    }

    fn meet_where(&mut self, is_met: impl Fn(&Known) -> bool, count: u64) {
        for (index, known) in self.known.iter().enumerate() {
            if is_met(known) {
                self.met.insert(index, (count, None));
            }
        }
    }

    /// The findings of the run: the known ones, met or not, then the others, each group with the
    /// walker that explains it; groups that one walker explains are one finding.
    pub fn finish(self) -> Vec<Finding> {
        let mut findings = Vec::new();
        for (index, known) in self.known.iter().enumerate() {
            let (count, example) = self.met.get(&index).cloned().unwrap_or_default();
            findings.push(Finding {
                id: known.id.clone(),
                title: known.title.clone(),
                explained_by: known.explained_by.clone(),
                count,
                kind: known.kind,
                known: self.forgives,
                example,
            });
        }
        let mut others: Vec<Finding> = Vec::new();
        for (signature, group) in self.groups {
            let explanation = group.explained_by.first().map(|index| &self.explanations[*index].0);
            let merged = others
                .iter_mut()
                .find(|other| explanation.is_some() && other.explained_by.as_ref() == explanation);
            if let Some(other) = merged {
                other.count += group.count;
                let old = other.example.as_ref().expect("every group has an example");
                if size_of_case(&group.smallest.case) < size_of_case(&old.case) {
                    other.example = Some(group.smallest);
                }
                continue;
            }
            let id = match explanation {
                Some(name) => name.clone(),
                None => format!("F{}", others.len() + 1),
            };
            let title = match explanation {
                Some(name) => format!("the machine does what {name} predicts"),
                None => signature.title(),
            };
            others.push(Finding {
                id,
                title,
                explained_by: explanation.cloned(),
                count: group.count,
                kind: Kind::Divergence,
                known: false,
                example: Some(group.smallest),
            });
        }
        findings.extend(others);
        findings
    }
}

/// Orders cases from simple to complicated.
pub(crate) fn size_of_case(case: &Case) -> (u32, bool, usize, u32, u16) {
    let state_bits = (case.state.cr4.bits() & 0x0070_0080).count_ones()
        + u32::from(case.state.pkru != 0)
        + u32::from(case.state.ac);
    (
        case.unusual_bits(),
        case.access.crosses_page(),
        case.entries.len(),
        state_bits + case.access.kind as u32,
        case.access.size,
    )
}
