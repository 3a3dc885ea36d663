//! Collecting the findings of a run.

use super::example::CountedExample;
use super::explanation::{Explained, explain};
use super::group::Group;
use super::known::{Kind, KnownFinding};
use super::recognizer::Recognizer;
use super::sightings::{Sightings, UnknownDivergence};
use super::signature::Signature;
use super::{Finding, Source};
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
    /// What the cases so far show.
    pub(super) sightings: Sightings,
    /// The divergences that are not known.
    pub(super) groups: BTreeMap<Signature, Vec<Group>>,
}

impl Findings {
    /// Findings of one walker's run on a machine that has these known findings.
    pub fn new(
        walker: WalkerSpec,
        mut known: Vec<KnownFinding>,
        forgives: bool,
        machine: &Capabilities,
    ) -> Self {
        // No case shows what it takes a litmus test to see.
        known.retain(|known| known.litmus.is_none());
        let mut sightings = Sightings::default();
        let limits = [&machine.implicit_accesses, &machine.reserved_movs, &machine.saved_rf];
        let limits: Vec<&String> =
            limits.into_iter().filter_map(|limit| limit.as_ref().err()).collect();
        let is_found = |known: &KnownFinding| limits.iter().any(|why| known.is_limit(why));
        let found = known.iter().enumerate().filter(|(_, known)| is_found(known));
        sightings.known.extend(found.map(|(index, _)| (index, CountedExample::new(1, None))));

        Self {
            recognizer: Arc::new(Recognizer::new(walker, known)),
            forgives,
            sightings,
            groups: BTreeMap::new(),
        }
    }

    /// Adds the verdict on one case.
    pub fn add(&mut self, case: &Case, run: &Attempt, verdict: &Verdict) {
        self.recognizer.recognize(case, run, verdict, &mut self.sightings);
        self.place_unknown();
    }

    /// Adds what later cases show, as [`Self::recognizer`] found it. The order matters: the first
    /// members of a group are kept.
    pub(crate) fn add_sightings(&mut self, later: Sightings) {
        self.sightings.merge(later);
        self.place_unknown();
    }

    /// Puts the divergences that are not known into groups.
    fn place_unknown(&mut self) {
        for UnknownDivergence { signature, example, attempt } in self.sightings.unknown.drain(..) {
            let alike = self.groups.entry(signature).or_default();
            Group::place(alike, example, attempt);
        }
    }

    /// Whether something was met that is not forgiven.
    pub fn has_unknown(&self) -> bool {
        let is_fault = |index: &usize| {
            self.known().get(*index).is_some_and(|known| known.kind == Kind::Divergence)
        };
        let met = self.sightings.known.keys().any(is_fault);
        let is_unknown = !self.groups.is_empty() || !self.sightings.unrun.is_empty();
        if self.recognizer.walker.is_reference() {
            is_unknown || (met && !self.forgives)
        } else {
            self.sightings.wrong_walker.count > 0
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

    /// The known findings that a case shows by the reference's verdict; `None` for a divergence that is
    /// not known.
    pub fn shown(
        &self,
        case: &Case,
        run: &Attempt,
        verdict: &Verdict,
    ) -> Option<Vec<&KnownFinding>> {
        let indices = self.recognizer.shown(case, run, verdict)?;
        Some(indices.into_iter().map(|index| &self.known()[index]).collect())
    }

    /// Number of cases so far that differ and are not known.
    pub fn unknown(&self) -> u64 {
        let groups = self.groups.values().flatten().map(|group| group.found.count);
        let known: u64 = self.sightings.known.values().map(|found| found.count).sum();
        let forgiven = if self.forgives { 0 } else { known };
        groups.sum::<u64>() + self.sightings.wrong_walker.count + forgiven
    }

    /// Number of findings that were met so far, and of those that are not known. In the end groups with one cause
    /// are one finding.
    pub fn numbers(&self) -> (u64, u64) {
        let Sightings { known, wrong_walker, unrun, .. } = &self.sightings;
        let known = known.values().filter(|found| found.count > 0).count();
        let groups: usize = self.groups.values().map(Vec::len).sum();
        let others = groups + unrun.by_reason().count() + usize::from(wrong_walker.count > 0);

        let unknown = if self.forgives { others } else { known + others };
        ((known + others) as u64, unknown as u64)
    }

    /// The findings of the run: the one that catches the walker, then the known findings, whether they
    /// occurred or not, then the others. Groups with one cause are one finding. Last are the reasons
    /// that are not known for which cases were not run.
    pub fn finish(self) -> Vec<Finding> {
        let Sightings { known: mut occurred, wrong_walker, unrun, agreements, .. } = self.sightings;
        let mut findings = Vec::new();
        if wrong_walker.count > 0 {
            findings.push(caught(self.recognizer.walker, wrong_walker));
        }

        for (index, known) in self.recognizer.known.iter().enumerate() {
            let found = occurred.remove(&index).unwrap_or_default();
            findings.push(Finding {
                explained_by: known.explained_by.clone(),
                kind: known.kind,
                source: Some(Source {
                    rule: known.rule,
                    manual: known.manual.clone(),
                    since: known.since.clone(),
                }),
                // A machine that cannot run a case does nothing that could be forgiven.
                known: self.forgives || known.kind == Kind::Unsupported,
                quirk: known.quirk,
                ..Finding::unknown(known.id.clone(), known.title.clone(), found)
            });
        }

        let mut signatures: BTreeMap<_, _> =
            self.groups.keys().map(|signature| (signature.title(), signature.clone())).collect();
        let titled = self.groups.into_iter().flat_map(|(signature, groups)| {
            groups.into_iter().map(move |group| (signature.title(), group))
        });
        let explained = explain(titled.collect(), &agreements);
        let of_groups = explained.len();
        for (number, explained) in (1..).zip(explained) {
            findings.push(match explained {
                Explained::By(cause, found) => machine_with(cause, found),
                Explained::Unexplained(title, found) => Finding {
                    signature: signatures.remove(&title),
                    ..Finding::unknown(format!("F{number}"), title, found)
                },
            });
        }

        for (number, (reason, found)) in (of_groups + 1..).zip(unrun.into_reasons()) {
            let title = format!("not run: {reason}");
            findings.push(Finding {
                kind: Kind::Unsupported,
                ..Finding::unknown(format!("F{number}"), title, found)
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
