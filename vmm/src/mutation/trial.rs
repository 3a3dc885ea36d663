//! One mutant on trial: what the observations say of it.

use crate::finding::Example;
use crate::verdict::{self, Verdict, judge_prediction};
use crate::walker::{Combined, Mutant, Walker};
use crosswalk_case::Case;
use crosswalk_case::observation::Attempt;
use crosswalk_case::size_of_case;
use mmu_core::{AccessKind, PagingMode, Prediction, Profile, Reference, Rule};
use std::collections::BTreeSet;

/// What a run says of a mutant that predicted this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// The machine proves it wrong.
    Caught,
    /// The machine makes the same mistake.
    MachineHasIt,
    /// The machine lacks what it takes.
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

/// What a case can say of a mutant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// The machine agrees with the reference and not with the mutant.
    Caught,
    /// The machine agrees with the mutant and not with the reference.
    Has,
}

/// What the reference says of a run, for every mutant.
pub struct Verdicts {
    predicted: Prediction,
    verdict: Verdict,
    /// The same where PDPTEs are in registers, which the SDM asks for: a choice (PDPTE-4) can be a
    /// mutant's mistake (M31).
    by_registers: Option<(Case, Verdict)>,
}

impl Verdicts {
    /// Judges a run by the reference.
    pub fn of(case: &Case, run: &Attempt) -> Self {
        let predicted = Reference.predict(case);
        let verdict = judge_prediction(&Reference, case, &predicted, run);
        let by_registers = (case.mode() == PagingMode::Pae).then(|| {
            let mut pinned = case.clone();
            pinned.profile = with_registers(case.profile);
            let verdict = verdict::judge(&Reference, &pinned, run);
            (pinned, verdict)
        });
        Self { predicted, verdict, by_registers }
    }
}

impl Verdicts {
    /// Whether the machine agrees with the reference.
    fn agrees(&self) -> bool {
        matches!(self.verdict, Verdict::Agree { .. })
    }
}

fn with_registers(mut profile: Profile) -> Profile {
    profile.pins.pdptes_are_walked = Some(false);
    profile
}

/// So many cases are kept for each side, the smallest first.
const MAX_EXAMPLES: usize = 12;
/// So many are looked at before the smallest are good enough.
const ENOUGH: u32 = 60;
/// So many cases that another mistake hides are no accident.
const SOME: u32 = 5;

/// A mutant, and what speaks for and against it.
pub(super) struct MutantTrial {
    pub(super) mutant: &'static Mutant,
    /// What the machine lacks for it to show.
    pub(super) lacking: Option<String>,
    /// How many cases it took to catch it.
    pub(super) cases_to_catch: Option<u64>,
    caught: (u32, Vec<Example>),
    has_it: (u32, Vec<Example>),
    /// Cases that it predicts otherwise than the reference.
    told_apart: u64,
    /// The choice of the machine by which such a case agreed with both.
    hidden_by: Option<(Rule, &'static str)>,
    /// The kinds of access that speak for the machine having it.
    kinds: BTreeSet<AccessKind>,
    /// Cases that speak against it beside another mistake, which the machine has.
    refuted: u32,
    beside: Option<&'static Mutant>,
}

impl MutantTrial {
    pub(super) fn new(mutant: &'static Mutant, lacking: Option<String>) -> Self {
        Self {
            mutant,
            lacking,
            cases_to_catch: None,
            caught: (0, Vec::new()),
            has_it: (0, Vec::new()),
            told_apart: 0,
            hidden_by: None,
            kinds: BTreeSet::new(),
            refuted: 0,
            beside: None,
        }
    }

    pub(super) fn is_caught(&self) -> bool {
        self.cases_to_catch.is_some()
    }

    /// Whether it may be caught yet.
    pub(super) fn is_open(&self) -> bool {
        !self.is_caught() && self.lacking.is_none()
    }

    /// Whether this case is not worth the time: enough is known, or it is one of many for a mutant that
    /// should not show here at all.
    fn passes_over(&self, number: u64) -> bool {
        self.caught.0 >= ENOUGH || (self.lacking.is_some() && !number.is_multiple_of(16))
    }

    /// Takes note of a case; `number` cases have been run with it. Returns whether the machine agrees
    /// with this mutant and not with the reference.
    pub(super) fn hold(
        &mut self,
        case: &Case,
        run: &Attempt,
        verdicts: &Verdicts,
        number: u64,
    ) -> bool {
        if self.passes_over(number) {
            return false;
        }
        let predicted = self.mutant.walker.predict(case);
        let is_told_apart = predicted.alternatives != verdicts.predicted.alternatives;
        self.told_apart += u64::from(is_told_apart);
        match side(self.mutant, case, run, verdicts, &predicted) {
            Some((Side::Caught, example)) => {
                self.cases_to_catch.get_or_insert(number);
                keep(&mut self.caught, example);
            }
            Some((Side::Has, example)) => {
                self.kinds.insert(case.access.kind);
                keep(&mut self.has_it, example);
                return !verdicts.agrees();
            }
            None if is_told_apart => {
                if let Verdict::Agree { choices, .. } = &verdicts.verdict {
                    let chosen = choices.iter().find(|choice| choice.level.is_empty());
                    self.hidden_by = self.hidden_by.or(chosen.map(|way| (way.rule, way.member)));
                }
            }
            None => {}
        }
        false
    }

    /// Takes note of a case on which the machine agrees with other mutants and not with the
    /// reference: does it make this mistake beside the other?
    pub(super) fn hold_beside(
        &mut self,
        others: &[&'static Mutant],
        case: &Case,
        run: &Attempt,
        verdicts: &Verdicts,
    ) {
        let Some(rules) = self.mutant.semantics.filter(|_| self.refuted < ENOUGH && self.is_open())
        else {
            return;
        };
        let predicted = self.mutant.walker.predict(case);
        if predicted.alternatives == verdicts.predicted.alternatives {
            return;
        }
        let others = others.iter().filter(|other| other.id != self.mutant.id);
        for (other, its) in others.filter_map(|other| Some((*other, other.semantics?))) {
            let both = verdict::judge(&Combined(rules, its), case, run);
            if matches!(both, Verdict::Diverge { .. }) {
                self.refuted += 1;
                self.beside = Some(other);
            }
        }
    }

    /// Whether what agrees with it shows that the machine makes the mistake. One kind of access alone
    /// may show another fault of the machine, if elsewhere the machine makes no such mistake.
    fn machine_has_it(&self) -> bool {
        self.refuted == 0 || self.kinds.len() > 1
    }

    /// The cases that speak for one side, the smallest first.
    pub(super) fn examples(&self, side: Side) -> Vec<Example> {
        match side {
            Side::Caught => self.caught.1.clone(),
            Side::Has if self.machine_has_it() => self.has_it.1.clone(),
            Side::Has => Vec::new(),
        }
    }

    /// What a run shows, if it speaks for this side.
    pub(super) fn shows(&self, wanted: Side, case: &Case, run: &Attempt) -> Option<Example> {
        let Attempt::Observed(_) = run else { return None };
        let verdicts = Verdicts::of(case, run);
        let predicted = self.mutant.walker.predict(case);
        let (side, example) = side(self.mutant, case, run, &verdicts, &predicted)?;
        (side == wanted).then_some(example)
    }

    /// What hides the mistake on this machine, if something does.
    pub(super) fn hidden(&self) -> Option<String> {
        if let Some(Mutant { id, mistake, .. }) = self.beside.filter(|_| self.refuted >= SOME) {
            return Some(format!(
                "every case that shows it shows {id}, too, which the machine has: {mistake}"
            ));
        }
        let (rule, member) = self.hidden_by?;
        Some(format!("{rule} leaves a choice, and what the machine chose hides it: {member}"))
    }

    /// Why it is missed.
    pub(super) fn missed(&self) -> String {
        match self.told_apart {
            0 => "no case was met that tells it from the reference".into(),
            cases => {
                format!("{cases} cases tell it from the reference, and none speaks against it")
            }
        }
    }
}

/// Keeps the smallest examples.
fn keep((count, examples): &mut (u32, Vec<Example>), example: Example) {
    *count += 1;
    let size = size_of_case(&example.case);
    let place = examples.partition_point(|known| size_of_case(&known.case) <= size);
    examples.insert(place, example);
    examples.truncate(MAX_EXAMPLES);
}

/// What a run says of a mutant that predicted this.
fn side(
    mutant: &Mutant,
    case: &Case,
    run: &Attempt,
    verdicts: &Verdicts,
    predicted: &Prediction,
) -> Option<(Side, Example)> {
    match (&verdicts.verdict, judge_prediction(mutant.walker, case, predicted, run)) {
        (Verdict::Agree { .. }, Verdict::Diverge { expected, differences }) => {
            Some((Side::Caught, Example::of(case, &expected, run, &differences)))
        }
        (Verdict::Diverge { expected, differences }, Verdict::Agree { .. }) => {
            Some((Side::Has, Example::of(case, expected, run, differences)))
        }
        _ => {
            let (pinned, by_reference) = verdicts.by_registers.as_ref()?;
            let Verdict::Diverge { expected, differences } = by_reference else { return None };
            let by_mutant = verdict::judge(mutant.walker, pinned, run);
            matches!(by_mutant, Verdict::Agree { .. })
                .then(|| (Side::Has, Example::of(pinned, expected, run, differences)))
        }
    }
}
