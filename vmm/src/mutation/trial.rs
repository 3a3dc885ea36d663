//! One mutant on trial: the evidence that the observations give for and against it.

use crate::finding::Example;
use crate::verdict::{self, Verdict, judge_prediction};
use crate::walker::{Combined, Erased, Mutant, Walker};
use crosswalk_case::Case;
use crosswalk_case::observation::Attempt;
use crosswalk_case::size_of_case;
use mmu_core::{AccessKind, PagingMode, Prediction, Profile, Reference, Rule};
use std::collections::BTreeSet;

/// The status of a mutant after a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// The machine proves it wrong.
    Caught,
    /// The machine makes the same mistake.
    MachineHasIt,
    /// The machine cannot show the mistake.
    OutOfReach,
    /// None of these.
    Missed,
}

impl Status {
    /// The name used in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Caught => "caught",
            Self::MachineHasIt => "machine_has_it",
            Self::OutOfReach => "out_of_reach",
            Self::Missed => "missed",
        }
    }
}

/// What a case is evidence for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// The machine agrees with the reference and not with the mutant.
    Caught,
    /// The machine agrees with the mutant and not with the reference.
    MachineHasIt,
}

/// The verdicts of the reference on a case. They are the same for every mutant.
pub(super) struct ReferenceVerdicts {
    prediction: Prediction,
    verdict: Verdict,
    /// In PAE paging: the same case with the PDPTEs in registers, as the SDM has them, and its
    /// verdict. What the rules leave open here (PDPTE-4) can be a mutant's mistake (M31).
    in_registers: Option<(Case, Verdict)>,
}

impl ReferenceVerdicts {
    pub(super) fn of(case: &Case, attempt: &Attempt) -> Self {
        let prediction = Reference.predict(case);
        let verdict = judge_prediction(&Reference, case, &prediction, attempt);

        let in_registers = (case.mode() == PagingMode::Pae).then(|| {
            let pinned = Case { profile: with_registers(case.profile), ..case.clone() };
            let verdict = verdict::judge(&Reference, &pinned, attempt);
            (pinned, verdict)
        });

        Self { prediction, verdict, in_registers }
    }

    /// Whether the machine agrees with the reference.
    const fn agrees(&self) -> bool {
        matches!(self.verdict, Verdict::Agree { .. })
    }
}

const fn with_registers(mut profile: Profile) -> Profile {
    profile.pins.pdptes_are_walked = Some(false);
    profile
}

/// Number of examples that are kept for each side, the smallest first.
const MAX_EXAMPLES: usize = 12;
/// Number of cases of a kind after which no more are looked at.
const ENOUGH: u32 = 60;
/// Minimum number of cases that another mistake must hide for this not to be an accident.
const MIN_HIDDEN: u32 = 5;
/// A mutant that this machine should not be able to show is judged by one in this many cases.
const SAMPLING: u64 = 16;

/// The cases that are evidence for one side.
#[derive(Default)]
struct Evidence {
    cases: u32,
    /// The smallest of the cases.
    examples: Vec<Example>,
}

impl Evidence {
    fn add(&mut self, example: Example) {
        self.cases += 1;

        let size = size_of_case(&example.case);
        let place = self.examples.partition_point(|known| size_of_case(&known.case) <= size);
        self.examples.insert(place, example);
        self.examples.truncate(MAX_EXAMPLES);
    }
}

/// A mutant, and the evidence for and against it.
pub(super) struct MutantTrial {
    mutant: &'static Mutant,
    /// The requirements that the machine does not meet.
    unmet: Option<String>,
    /// Number of cases it took to catch the mutant.
    cases_to_catch: Option<u64>,
    caught: Evidence,
    machine_has_it: Evidence,
    /// The kinds of access on which the machine makes the mistake.
    kinds: BTreeSet<AccessKind>,
    /// Number of cases for which its prediction differs from the reference's.
    distinguished: u64,
    /// The choice by which the machine agreed with both in such a case.
    hidden_by_choice: Option<(Rule, &'static str)>,
    /// Number of cases that refute the mutant combined with another one, whose mistake the machine
    /// makes.
    refuted: u32,
    /// The other mutant.
    hidden_by_mutant: Option<&'static Mutant>,
}

impl MutantTrial {
    pub(super) fn new(mutant: &'static Mutant, unmet: Option<String>) -> Self {
        Self {
            mutant,
            unmet,
            cases_to_catch: None,
            caught: Evidence::default(),
            machine_has_it: Evidence::default(),
            kinds: BTreeSet::new(),
            distinguished: 0,
            hidden_by_choice: None,
            refuted: 0,
            hidden_by_mutant: None,
        }
    }

    pub(super) const fn mutant(&self) -> &'static Mutant {
        self.mutant
    }

    pub(super) const fn cases_to_catch(&self) -> Option<u64> {
        self.cases_to_catch
    }

    pub(super) const fn is_caught(&self) -> bool {
        self.cases_to_catch.is_some()
    }

    /// Whether it can still be caught.
    pub(super) const fn is_open(&self) -> bool {
        !self.is_caught() && self.unmet.is_none()
    }

    /// Whether a case is not worth the time: there is enough evidence, or this machine should not be
    /// able to show the mistake at all.
    fn skips(&self, number: u64) -> bool {
        let is_sampled = number.is_multiple_of(SAMPLING);
        self.caught.cases >= ENOUGH || (self.unmet.is_some() && !is_sampled)
    }

    /// Adds the evidence of a case; `number` is the number of cases so far. Returns whether the
    /// machine agrees with this mutant and not with the reference.
    pub(super) fn add(
        &mut self,
        case: &Case,
        attempt: &Attempt,
        verdicts: &ReferenceVerdicts,
        number: u64,
    ) -> bool {
        if self.skips(number) {
            return false;
        }

        let prediction = self.mutant.walker.predict(case);
        let is_distinguished = prediction.alternatives != verdicts.prediction.alternatives;
        self.distinguished += u64::from(is_distinguished);

        match evidence(self.mutant, case, attempt, verdicts, &prediction) {
            Some((Side::Caught, example)) => {
                self.cases_to_catch.get_or_insert(number);
                self.caught.add(example);
                false
            }
            Some((Side::MachineHasIt, example)) => {
                self.kinds.insert(case.access.kind);
                self.machine_has_it.add(example);
                !verdicts.agrees()
            }
            None => {
                if is_distinguished {
                    self.note_choice(&verdicts.verdict);
                }
                false
            }
        }
    }

    /// Notes the choice by which the machine agrees with both the mutant and the reference.
    fn note_choice(&mut self, by_reference: &Verdict) {
        if let Verdict::Agree { choices, .. } = by_reference
            && self.hidden_by_choice.is_none()
        {
            let of_outcome = choices.iter().find(|choice| choice.level.is_empty());
            self.hidden_by_choice = of_outcome.map(|choice| (choice.rule, choice.member));
        }
    }

    /// Adds the evidence of a case on which the machine makes the mistakes of other mutants: does it
    /// make this mistake as well?
    pub(super) fn add_combined(
        &mut self,
        others: &[&'static Mutant],
        case: &Case,
        attempt: &Attempt,
        verdicts: &ReferenceVerdicts,
    ) {
        if self.refuted >= ENOUGH || !self.is_open() {
            return;
        }
        let Some(rules) = self.mutant.semantics else { return };
        if self.mutant.walker.predict(case).alternatives == verdicts.prediction.alternatives {
            return;
        }

        for other in others.iter().filter(|other| other.id != self.mutant.id) {
            let Some(other_rules) = other.semantics else { continue };
            let both = Combined(rules, other_rules);
            let by_both = verdict::judge(&Erased(&both), case, attempt);
            if matches!(by_both, Verdict::Diverge { .. }) {
                self.refuted += 1;
                self.hidden_by_mutant = Some(other);
            }
        }
    }

    /// Whether the evidence shows that the machine makes the mistake. A single kind of access may
    /// show a different fault of the machine, if other cases refute the mistake.
    fn machine_makes_it(&self) -> bool {
        self.refuted == 0 || self.kinds.len() > 1
    }

    /// The cases that are evidence for a side, the smallest first.
    pub(super) fn examples(&self, side: Side) -> Vec<Example> {
        match side {
            Side::Caught => self.caught.examples.clone(),
            Side::MachineHasIt if self.machine_makes_it() => self.machine_has_it.examples.clone(),
            Side::MachineHasIt => Vec::new(),
        }
    }

    /// The example that a case gives, if it is evidence for this side.
    pub(super) fn shows(&self, wanted: Side, case: &Case, attempt: &Attempt) -> Option<Example> {
        let Attempt::Observed(_) = attempt else { return None };
        let verdicts = ReferenceVerdicts::of(case, attempt);
        let prediction = self.mutant.walker.predict(case);

        let (side, example) = evidence(self.mutant, case, attempt, &verdicts, &prediction)?;
        (side == wanted).then_some(example)
    }

    /// Why this machine cannot show the mistake, if it cannot.
    pub(super) fn why_out_of_reach(&self) -> Option<String> {
        self.unmet.clone().or_else(|| self.why_hidden())
    }

    /// What hides the mistake on this machine, if something does.
    fn why_hidden(&self) -> Option<String> {
        if self.refuted >= MIN_HIDDEN
            && let Some(Mutant { id, mistake, .. }) = self.hidden_by_mutant
        {
            return Some(format!(
                "every case that shows it shows {id}, too, which the machine has: {mistake}"
            ));
        }

        let (rule, member) = self.hidden_by_choice?;
        Some(format!("{rule} leaves a choice, and the machine's choice hides it: {member}"))
    }

    /// Why it is missed.
    pub(super) fn why_missed(&self) -> String {
        match self.distinguished {
            0 => "no case distinguishes it from the reference".into(),
            cases => format!(
                "{cases} cases distinguish it from the reference, but none is evidence against it"
            ),
        }
    }
}

/// The side for which a case is evidence, if it is. `prediction` is the mutant's.
fn evidence(
    mutant: &Mutant,
    case: &Case,
    attempt: &Attempt,
    verdicts: &ReferenceVerdicts,
    prediction: &Prediction,
) -> Option<(Side, Example)> {
    let by_mutant = judge_prediction(mutant.walker, case, prediction, attempt);

    match (&verdicts.verdict, by_mutant) {
        (Verdict::Agree { .. }, Verdict::Diverge { at, expected, differences }) => {
            Some((Side::Caught, Example::of(case, at, &expected, attempt, &differences)))
        }
        (Verdict::Diverge { at, expected, differences }, Verdict::Agree { .. }) => {
            Some((Side::MachineHasIt, Example::of(case, *at, expected, attempt, differences)))
        }
        _ => {
            let (pinned, by_reference) = verdicts.in_registers.as_ref()?;
            let Verdict::Diverge { at, expected, differences } = by_reference else { return None };
            let by_mutant = verdict::judge(mutant.walker, pinned, attempt);
            matches!(by_mutant, Verdict::Agree { .. }).then(|| {
                (Side::MachineHasIt, Example::of(pinned, *at, expected, attempt, differences))
            })
        }
    }
}
