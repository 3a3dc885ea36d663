//! What a case shows: which known finding, or something new. It follows from the case alone, so that the
//! cases of a run can be looked at in any order, and by several threads.

use super::example::Example;
use super::known::{self, KnownFinding};
use super::quirks;
use super::signature::Signature;
use crate::verdict::{self, ChoiceTaken, Difference, Verdict};
use crate::walker::WalkerSpec;
use crate::walker::quirk::{Quirks, Quirky};
use crosswalk_case::Case;
use crosswalk_case::observation::{Attempt, Observation};
use mmu_core::{Alternative, Reference};

/// Recognizes the findings of one walker's run.
#[derive(Debug)]
pub(crate) struct Recognizer {
    pub(super) walker: WalkerSpec,
    /// The known findings of the machine.
    pub(super) known: Vec<KnownFinding>,
    /// Those of them that are quirks.
    quirks: Quirks,
}

/// What a case shows.
#[derive(Debug)]
pub(crate) enum ShownByCase {
    /// The machine agrees with the walker. With the known findings that are choices which it made, by
    /// their index.
    Agreement(Vec<(usize, Example)>),
    /// Known findings, by their index.
    Known(Vec<(usize, Example)>),
    /// The case was not run, for a reason that is not known.
    Unrun {
        /// The reason.
        reason: String,
        /// The case.
        example: Box<Example>,
    },
    /// A mutant is wrong: the machine agrees with the reference.
    WrongWalker(Box<Example>),
    /// A divergence of the machine from the reference that is not known.
    Unknown {
        /// What it has in common with others.
        signature: Signature,
        /// The case.
        example: Box<Example>,
    },
}

/// The known findings that explain a divergence.
struct KnownCause {
    /// Their indices.
    indices: Vec<usize>,
    /// The quirks that explain it.
    quirks: Quirks,
}

impl Recognizer {
    pub(super) fn new(walker: WalkerSpec, known: Vec<KnownFinding>) -> Self {
        Self { walker, quirks: known::quirks(&known), known }
    }

    /// What a case shows by its verdict.
    pub(crate) fn recognize(&self, case: &Case, run: &Attempt, verdict: &Verdict) -> ShownByCase {
        match verdict {
            Verdict::Agree { choices, .. } => ShownByCase::Agreement(self.choices(case, choices)),
            Verdict::Unsupported(why) => self.unsupported(case, why),
            Verdict::Diverge { expected, differences } if self.walker.is_reference() => {
                self.machine_fault(case, run, expected, differences)
            }
            Verdict::Diverge { expected, differences } => {
                self.divergence_of_mutant(case, run, expected, differences)
            }
        }
    }

    /// The known findings that are choices of these.
    fn choices(&self, case: &Case, choices: &[ChoiceTaken]) -> Vec<(usize, Example)> {
        if choices.is_empty() {
            return Vec::new();
        }

        let known = self.known.iter().enumerate();
        let covered = known.filter_map(|(index, known)| {
            let choice = choices.iter().find(|choice| known.covers_choice(case, choice))?;
            let expected = format!("any member of {}", choice.rule);
            Some((index, Example::in_words(case, expected, choice.member.to_owned())))
        });
        covered.collect()
    }

    /// The known finding that explains why a case could not be run, or else the reason.
    fn unsupported(&self, case: &Case, why: &str) -> ShownByCase {
        let example = Example::in_words(case, "the case runs".into(), why.to_owned());

        match self.known_limit(case, why) {
            Some(index) => ShownByCase::Known(vec![(index, example)]),
            None => ShownByCase::Unrun { reason: why.to_owned(), example: Box::new(example) },
        }
    }

    /// A case on which a mutant differs from the machine. Either the mutant is wrong, or the machine
    /// differs from the reference as well.
    fn divergence_of_mutant(
        &self,
        case: &Case,
        run: &Attempt,
        expected: &Alternative,
        differences: &[Difference],
    ) -> ShownByCase {
        let by_reference = verdict::judge(&Reference, case, run);
        if let Verdict::Diverge { expected, differences } = by_reference {
            self.machine_fault(case, run, &expected, &differences)
        } else {
            ShownByCase::WrongWalker(Box::new(Example::of(case, expected, run, differences)))
        }
    }

    /// A case on which the machine differs from the reference.
    fn machine_fault(
        &self,
        case: &Case,
        run: &Attempt,
        expected: &Alternative,
        differences: &[Difference],
    ) -> ShownByCase {
        let Attempt::Observed(observation) = run else { return ShownByCase::Known(Vec::new()) };
        let example = Example::of(case, expected, run, differences);

        match self.known_cause(case, run, expected, differences) {
            Some(KnownCause { indices, quirks }) => {
                let of_each = |index| (index, Example { quirks, ..example.clone() });
                ShownByCase::Known(indices.into_iter().map(of_each).collect())
            }
            None => ShownByCase::Unknown {
                signature: Signature::of(case, expected, observation, differences),
                example: Box::new(example),
            },
        }
    }

    /// The known findings that a case shows by the reference's verdict, by their index; `None` for a
    /// divergence that is not known.
    pub(super) fn shown(
        &self,
        case: &Case,
        run: &Attempt,
        verdict: &Verdict,
    ) -> Option<Vec<usize>> {
        Some(match verdict {
            Verdict::Agree { .. } => Vec::new(),
            Verdict::Unsupported(why) => self.known_limit(case, why).into_iter().collect(),
            Verdict::Diverge { expected, differences } => {
                self.known_cause(case, run, expected, differences)?.indices
            }
        })
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
}
