//! Collecting the findings of a run.

use super::Finding;
use super::example::{CountedExample, Example};
use super::explanation::{Explained, explain};
use super::group::{Agreements, Group};
use super::known::{Kind, KnownFinding};
use super::recognizer::{Recognizer, ShownByCase};
use super::signature::Signature;
use super::unrun::Unrun;
use crate::verdict::Verdict;
use crate::walker::WalkerSpec;
use crosswalk_case::Case;
use crosswalk_case::observation::Attempt;
use crosswalk_machine::Capabilities;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The findings of a run, collected case by case.
pub struct Findings {
    recognizer: Arc<Recognizer>,
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
            recognizer: Arc::new(Recognizer::new(walker, known)),
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
        let shown = self.recognizer.recognize(case, run, verdict);
        self.add_recognized(case, run, shown);
    }

    /// Adds what a case shows, as [`Self::recognizer`] found it. The order of cases matters: the first
    /// members of a group are kept.
    pub(crate) fn add_recognized(&mut self, case: &Case, run: &Attempt, shown: ShownByCase) {
        match shown {
            ShownByCase::Agreement(choices) => {
                self.add_known_examples(choices);
                if self.recognizer.walker.is_reference() {
                    self.agreements.add(case, run);
                }
            }
            ShownByCase::Known(examples) => self.add_known_examples(examples),
            ShownByCase::Unrun { reason, example } => self.unrun.add(&reason, *example),
            ShownByCase::WrongWalker(example) => self.caught.add(*example),
            ShownByCase::Unknown { signature, example } => {
                let alike = self.groups.entry(signature).or_default();
                Group::place(alike, *example, case, run);
            }
        }
    }

    fn add_known_examples(&mut self, examples: Vec<(usize, Example)>) {
        for (index, example) in examples {
            self.occurred.entry(index).or_default().add(example);
        }
    }

    /// What recognizes findings. It can serve several threads.
    pub(crate) fn recognizer(&self) -> Arc<Recognizer> {
        self.recognizer.clone()
    }

    /// The known findings of the machine.
    pub(super) fn known(&self) -> &[KnownFinding] {
        &self.recognizer.known
    }

    /// The ids of the known findings that a case shows by the reference's verdict; `None` for a
    /// divergence that is not known.
    pub fn shown(&self, case: &Case, run: &Attempt, verdict: &Verdict) -> Option<Vec<&str>> {
        let indices = self.recognizer.shown(case, run, verdict)?;
        Some(indices.into_iter().map(|index| self.known()[index].id.as_str()).collect())
    }

    /// The findings of the run: the one that catches the walker, then the known findings, whether they
    /// occurred or not, then the others. Groups with one cause are one finding. Last are the reasons
    /// that are not known for which cases were not run.
    pub fn finish(self) -> Vec<Finding> {
        let mut findings = Vec::new();
        if self.caught.count > 0 {
            findings.push(caught(self.recognizer.walker, self.caught));
        }

        for (index, known) in self.recognizer.known.iter().enumerate() {
            let found = self.occurred.get(&index).cloned().unwrap_or_default();
            findings.push(Finding {
                explained_by: known.explained_by.clone(),
                kind: known.kind,
                // A machine that cannot run a case does nothing that could be forgiven.
                known: self.forgives || known.kind == Kind::Unsupported,
                quirk: known.quirk,
                ..Finding::unknown(known.id.clone(), known.title.clone(), found)
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
