//! Collecting the findings of a run.

use super::Finding;
use super::example::{CountedExample, Example};
use super::explanation::{Explained, explain};
use super::group::{Agreements, Group};
use super::known::{self, Kind, KnownFinding};
use super::quirks;
use super::signature::Signature;
use super::unrun::Unrun;
use crate::verdict::{self, ChoiceTaken, Difference, Verdict};
use crate::walker::WalkerSpec;
use crate::walker::quirk::{Quirks, Quirky};
use crosswalk_case::Case;
use crosswalk_case::observation::{Attempt, Observation};
use crosswalk_machine::Capabilities;
use mmu_core::{Alternative, Reference};
use std::collections::BTreeMap;

/// The findings of a run, collected case by case.
pub struct Findings {
    walker: WalkerSpec,
    pub(super) known: Vec<KnownFinding>,
    /// The known findings that are quirks.
    quirks: Quirks,
    /// Whether known findings are forgiven.
    forgives: bool,
    /// The known findings that occurred, by their index.
    pub(super) occurred: BTreeMap<usize, CountedExample>,
    /// The cases on which a mutant is wrong and the reference agrees with the machine.
    pub(super) caught: CountedExample,
    /// The other divergences.
    pub(super) groups: BTreeMap<Signature, Vec<Group>>,
    /// The cases that were not run for a reason that is not known.
    pub(super) unrun: Unrun,
    agreements: Agreements,
}

/// The known findings that explain a divergence.
struct KnownCause {
    /// Their indices.
    indices: Vec<usize>,
    /// The quirks that explain it.
    quirks: Quirks,
}

impl Findings {
    /// Findings of one walker's run on a machine that has these known findings.
    pub fn new(
        walker: WalkerSpec,
        known: Vec<KnownFinding>,
        forgives: bool,
        machine: &Capabilities,
    ) -> Self {
        let mut occurred = BTreeMap::new();
        if machine.implicit_accesses.is_err() {
            let probes = known.iter().enumerate().filter(|(_, known)| known.kind == Kind::Probe);
            let once = CountedExample { count: 1, smallest: None };
            occurred.extend(probes.map(|(index, _)| (index, once.clone())));
        }

        Self {
            walker,
            quirks: known::quirks(&known),
            known,
            forgives,
            occurred,
            caught: CountedExample::default(),
            groups: BTreeMap::new(),
            unrun: Unrun::default(),
            agreements: Agreements::default(),
        }
    }

    /// Adds the verdict on one case.
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
                self.add_divergence_of_mutant(case, run, expected, differences);
            }
        }
    }

    /// Counts the known findings that are choices of these.
    fn add_choices(&mut self, case: &Case, choices: &[ChoiceTaken]) {
        for (index, known) in self.known.iter().enumerate() {
            let covered = choices.iter().find(|choice| known.covers_choice(case, choice));
            if let Some(choice) = covered {
                let expected = format!("any member of {}", choice.rule);
                let example = Example::in_words(case, expected, choice.member.to_owned());
                self.occurred.entry(index).or_default().add(example);
            }
        }
    }

    /// Counts the known finding that explains why a case could not be run, or else the reason.
    fn add_unsupported(&mut self, case: &Case, why: &str) {
        let example = Example::in_words(case, "the case runs".into(), why.to_owned());

        match self.known_limit(case, why) {
            Some(index) => self.occurred.entry(index).or_default().add(example),
            None => self.unrun.add(why, example),
        }
    }

    /// A case on which a mutant differs from the machine. Either the mutant is wrong, or the machine
    /// differs from the reference as well.
    fn add_divergence_of_mutant(
        &mut self,
        case: &Case,
        run: &Attempt,
        expected: &Alternative,
        differences: &[Difference],
    ) {
        let by_reference = verdict::judge(&Reference, case, run);
        if let Verdict::Diverge { expected, differences } = by_reference {
            self.add_machine_fault(case, run, &expected, &differences);
        } else {
            self.caught.add(Example::of(case, expected, run, differences));
        }
    }

    /// A case on which the machine differs from the reference: known findings, or a member of a group.
    fn add_machine_fault(
        &mut self,
        case: &Case,
        run: &Attempt,
        expected: &Alternative,
        differences: &[Difference],
    ) {
        let Attempt::Observed(observation) = run else { return };
        let example = Example::of(case, expected, run, differences);

        if let Some(KnownCause { indices, quirks }) =
            self.known_cause(case, run, expected, differences)
        {
            for index in indices {
                let example = Example { quirks, ..example.clone() };
                self.occurred.entry(index).or_default().add(example);
            }
        } else {
            let signature = Signature::of(case, expected, observation, differences);
            let alike = self.groups.entry(signature).or_default();
            Group::place(alike, example, case, run);
        }
    }

    /// The ids of the known findings that a case shows by the reference's verdict; `None` for a
    /// divergence that is not known.
    pub fn shown(&self, case: &Case, run: &Attempt, verdict: &Verdict) -> Option<Vec<&str>> {
        let indices = match verdict {
            Verdict::Agree { .. } => Vec::new(),
            Verdict::Unsupported(why) => self.known_limit(case, why).into_iter().collect(),
            Verdict::Diverge { expected, differences } => {
                self.known_cause(case, run, expected, differences)?.indices
            }
        };
        Some(indices.into_iter().map(|index| self.known[index].id.as_str()).collect())
    }

    /// The known finding that explains why a case could not be run.
    fn known_limit(&self, case: &Case, why: &str) -> Option<usize> {
        self.known.iter().position(|known| known.covers_unsupported(case, why))
    }

    /// The known findings that a divergence from the reference shows: one that covers it, or those
    /// whose quirks explain it, or one that covers what the quirks leave.
    fn known_cause(
        &self,
        case: &Case,
        run: &Attempt,
        expected: &Alternative,
        differences: &[Difference],
    ) -> Option<KnownCause> {
        let Attempt::Observed(seen) = run else { return None };

        let covers = |known: &KnownFinding| {
            !known.beside_quirk && known.covers(case, expected, seen, differences)
        };
        if let Some(index) = self.known.iter().position(covers) {
            return Some(KnownCause { indices: vec![index], quirks: Quirks::empty() });
        }

        if let Some(quirks) = quirks::explaining(self.quirks, case, run) {
            let known = self.known.iter().enumerate();
            let shown = known.filter(|(_, known)| quirks.intersects(known.quirk));
            let indices = shown.map(|(index, _)| index).collect();
            return Some(KnownCause { indices, quirks });
        }

        let index = self.known_beside_quirks(case, run, seen)?;
        Some(KnownCause { indices: vec![index], quirks: self.quirks })
    }

    /// The known finding that covers how the machine differs from the reference with all its quirks.
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

    /// The findings of the run: the one that catches the walker, then the known findings, whether they
    /// occurred or not, then the others. Groups with one cause are one finding. Last are the reasons
    /// that are not known for which cases were not run.
    pub fn finish(self) -> Vec<Finding> {
        let mut findings = Vec::new();
        if self.caught.count > 0 {
            findings.push(caught(self.walker, self.caught));
        }

        for (index, known) in self.known.into_iter().enumerate() {
            let found = self.occurred.get(&index).cloned().unwrap_or_default();
            findings.push(Finding {
                explained_by: known.explained_by,
                kind: known.kind,
                // A machine that cannot run a case does nothing that could be forgiven.
                known: self.forgives || known.kind == Kind::Unsupported,
                quirk: known.quirk,
                ..Finding::unknown(known.id, known.title, found)
            });
        }

        let titled = self.groups.into_iter().flat_map(|(signature, groups)| {
            groups.into_iter().map(move |group| (signature.title(), group))
        });
        let explained = explain(titled.collect(), &self.agreements);
        let of_groups = explained.len();
        for (number, explained) in (1..).zip(explained) {
            findings.push(match explained {
                Explained::By(cause, found) => machine_with(cause, found),
                Explained::Unexplained(title, found) => {
                    Finding::unknown(format!("F{number}"), title, found)
                }
            });
        }

        for (number, (reason, found)) in (of_groups + 1..).zip(self.unrun.by_reason()) {
            let title = format!("not run: {reason}");
            findings.push(Finding {
                kind: Kind::Unsupported,
                ..Finding::unknown(format!("F{number}"), title, found.clone())
            });
        }
        findings
    }
}

/// The finding that a mutant is wrong.
fn caught(walker: WalkerSpec, found: CountedExample) -> Finding {
    let mistakes = walker.mistakes();
    let title = format!("caught: {mistakes}; the machine agrees with the reference");
    Finding {
        explained_by: Some(WalkerSpec::Reference.to_string()),
        catches_walker: true,
        ..Finding::unknown(walker.ids(), title, found)
    }
}

/// The finding that a machine has the mistakes of mutants.
fn machine_with(cause: WalkerSpec, found: CountedExample) -> Finding {
    let title = format!(
        "this machine behaves like the reference with {}: {} (as in {})",
        cause.ids(),
        cause.mistakes(),
        cause.origins()
    );
    Finding {
        explained_by: Some(cause.to_string()),
        ..Finding::unknown(cause.to_string(), title, found)
    }
}
