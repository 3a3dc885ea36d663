//! What a case shows: which known finding, or something new. It follows from the case alone, so that the
//! cases of a run can be looked at in any order, and by several threads.

use super::example::{Example, ExampleSize};
use super::known::{self, KnownFinding};
use super::quirks;
use super::sightings::{Sightings, UnknownDivergence};
use super::signature::Signature;
use crate::verdict::{self, ChoiceTaken, Difference, Verdict, observed_until};
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

/// A divergence: the action that differs, the nearest allowed outcome, and how it differs from that.
type Divergence<'d> = (usize, &'d Alternative, &'d [Difference]);

/// The signature of a divergence, as of a case that ends with the action that differs.
fn signature(
    case: &Case,
    seen: &Observation,
    (at, expected, differences): Divergence<'_>,
) -> Signature {
    match observed_until(case, seen, at) {
        Some((until, seen)) => {
            Signature::of(&until, case.is_sequence(), expected, &seen, differences)
        }
        None => Signature::of(case, case.is_sequence(), expected, seen, differences),
    }
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

    /// Adds what a case shows by its verdict.
    pub(crate) fn recognize(
        &self,
        case: &Case,
        run: &Attempt,
        verdict: &Verdict,
        sightings: &mut Sightings,
    ) {
        match verdict {
            Verdict::Agree { choices, .. } => {
                self.add_choices(case, choices, sightings);
                if self.walker.is_reference() {
                    sightings.agreements.add(case, run);
                }
            }
            Verdict::Unsupported(why) => self.add_unsupported(case, why, sightings),
            Verdict::Diverge { at, expected, differences } if self.walker.is_reference() => {
                self.add_machine_fault(case, run, (*at, expected, differences), sightings);
            }
            Verdict::Diverge { at, expected, differences } => {
                self.add_divergence_of_mutant(case, run, (*at, expected, differences), sightings);
            }
        }
    }

    /// Adds the known findings that are choices of these.
    fn add_choices(&self, case: &Case, choices: &[ChoiceTaken], sightings: &mut Sightings) {
        if choices.is_empty() {
            return;
        }

        let size = ExampleSize::of(case, Quirks::empty());
        for (index, known) in self.known.iter().enumerate() {
            let covered = choices.iter().find(|choice| known.covers_choice(case, choice));
            let Some(choice) = covered else { continue };
            sightings.known.entry(index).or_default().add(size, || {
                let expected = format!("any member of {}", choice.rule);
                Example::in_words(case, expected, choice.member.to_owned())
            });
        }
    }

    /// Adds the known finding that explains why a case could not be run, or else the reason.
    fn add_unsupported(&self, case: &Case, why: &str, sightings: &mut Sightings) {
        let example = || Example::in_words(case, "the case runs".into(), why.to_owned());

        match self.known_limit(case, why) {
            Some(index) => {
                let size = ExampleSize::of(case, Quirks::empty());
                sightings.known.entry(index).or_default().add(size, example);
            }
            None => sightings.unrun.add(why, example()),
        }
    }

    /// Adds a case on which a mutant differs from the machine. Either the mutant is wrong, or the
    /// machine differs from the reference as well.
    fn add_divergence_of_mutant(
        &self,
        case: &Case,
        run: &Attempt,
        (at, expected, differences): Divergence<'_>,
        sightings: &mut Sightings,
    ) {
        let by_reference = verdict::judge(&Reference, case, run);
        if let Verdict::Diverge { at, expected, differences } = by_reference {
            return self.add_machine_fault(case, run, (at, &expected, &differences), sightings);
        }

        let size = ExampleSize::of(case, Quirks::empty());
        sightings.wrong_walker.add(size, || Example::of(case, at, expected, run, differences));
    }

    /// Adds a case on which the machine differs from the reference.
    fn add_machine_fault(
        &self,
        case: &Case,
        run: &Attempt,
        (at, expected, differences): Divergence<'_>,
        sightings: &mut Sightings,
    ) {
        let Attempt::Observed(observation) = run else { return };
        let example = || Example::of(case, at, expected, run, differences);

        match self.known_cause(case, run, (at, expected, differences)) {
            Some(KnownCause { indices, quirks }) => {
                let size = ExampleSize::of(case, quirks);
                for index in indices {
                    let known = sightings.known.entry(index).or_default();
                    known.add(size, || Example { quirks, ..example() });
                }
            }
            None => sightings.unknown.push(UnknownDivergence {
                signature: signature(case, observation, (at, expected, differences)),
                example: example(),
                attempt: run.clone(),
            }),
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
            Verdict::Diverge { at, expected, differences } => {
                self.known_cause(case, run, (*at, expected, differences))?.indices
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
        (at, expected, differences): Divergence<'_>,
    ) -> Option<KnownCause> {
        let Attempt::Observed(seen) = run else { return None };

        // What is known without a quirk is about accesses.
        if let Some((until, seen_until)) = observed_until(case, seen, at) {
            let covers = |known: &KnownFinding| {
                !known.beside_quirk && known.covers(&until, expected, &seen_until, differences)
            };
            if let Some(index) = self.known.iter().position(covers) {
                return Some(KnownCause { indices: vec![index], quirks: Quirks::empty() });
            }
        } else {
            let covers = |known: &KnownFinding| {
                known.accepted && known.covers(case, expected, seen, differences)
            };
            if let Some(index) = self.known.iter().position(covers) {
                return Some(KnownCause { indices: vec![index], quirks: Quirks::empty() });
            }
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
            Verdict::Diverge { at, expected, differences } => {
                let (until, seen) = observed_until(case, seen, at)?;
                let covers =
                    |known: &KnownFinding| known.covers(&until, &expected, &seen, &differences);
                self.known.iter().position(covers)
            }
            _ => None,
        }
    }
}
