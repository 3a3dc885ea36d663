//! The mutation score: one run of a machine, compared with every mutant.

use crate::NestedCase;
use crate::batch;
use crate::generate::CaseBatch;
use crate::known::KnownNested;
use crate::mutants::{MUTANTS, MutantNeed, NestedMutant};
use crate::observation::NestedAttempt;
use crate::verdict::{Difference, Field, NestedVerdict, judge};
use crate::walker::REFERENCE;
use crosswalk_case::observation::Provenance;
use crosswalk_machine::nested::Virtualization;
use crosswalk_machine::{Capabilities, Machine, MachineError};
use mmu_core::nested::EptCapabilities;

/// What became of a mutant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// A case proves it wrong.
    Caught,
    /// The machine makes the same mistake.
    MachineHasIt,
    /// No case on this machine can show it.
    OutOfReach,
    /// It could have been caught, and was not.
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

/// A mutant, and what became of it.
#[derive(Clone, Debug)]
pub struct MutantOutcome {
    /// The mutant.
    pub mutant: &'static NestedMutant,
    /// What became of it.
    pub status: Status,
    /// Of one that was caught: the number of the case, from 1.
    pub cases_to_catch: Option<u64>,
    /// A case that shows it, with what the mutant expects of it, and what the machine did.
    pub example: Option<(NestedCase, String, String)>,
}

/// The score, as far as it is known.
#[derive(Clone, Debug)]
pub struct NestedScore {
    /// Number of cases that were run.
    pub cases: u64,
    /// Every mutant.
    pub outcomes: Vec<MutantOutcome>,
}

impl NestedScore {
    /// Nothing has run on a machine that offers this.
    pub fn new(machine: &Capabilities) -> Self {
        let outcomes = MUTANTS.iter().map(|mutant| MutantOutcome {
            mutant,
            status: if offers(machine, mutant.need) { Status::Missed } else { Status::OutOfReach },
            cases_to_catch: None,
            example: None,
        });
        Self { cases: 0, outcomes: outcomes.collect() }
    }

    /// Number of mutants with a status.
    pub fn count(&self, status: Status) -> usize {
        self.outcomes.iter().filter(|outcome| outcome.status == status).count()
    }

    /// Whether every mutant that can be caught has been.
    pub fn is_complete(&self) -> bool {
        !self.outcomes.iter().any(|outcome| outcome.status == Status::Missed)
    }

    /// Compares a case that has run with every mutant that was not caught.
    pub fn add(&mut self, case: &NestedCase, run: &NestedAttempt, known: &KnownNested) {
        self.cases += 1;
        let NestedAttempt::Observed(seen) = run else { return };
        let evidence = Evidence::new(case, run, known);

        for outcome in &mut self.outcomes {
            if !matches!(outcome.status, Status::Missed | Status::MachineHasIt) {
                continue;
            }
            if let Some(expected) = evidence.against(outcome.mutant) {
                outcome.status = Status::Caught;
                outcome.cases_to_catch = Some(self.cases);
                outcome.example = Some((case.clone(), expected, seen.end.to_string()));
            } else if evidence.shows_on_the_machine(outcome.mutant) {
                outcome.status = Status::MachineHasIt;
            }
        }
    }
}

/// What a case that has run says about mutants.
///
/// A mutant is wrong where the reference is right. Where the machine differs from the reference in a known way, a mutant
/// is wrong that takes it for another end, as far as the reference does not.
pub struct Evidence<'c> {
    case: &'c NestedCase,
    run: &'c NestedAttempt,
    is_right: bool,
    is_near: bool,
    is_wrong: bool,
}

impl<'c> Evidence<'c> {
    /// What a case says that a machine ran of which this is known.
    pub fn new(case: &'c NestedCase, run: &'c NestedAttempt, known: &KnownNested) -> Self {
        let by_reference = judge(&REFERENCE, case, run);
        Self {
            case,
            run,
            is_right: matches!(by_reference, NestedVerdict::Agree { .. }),
            is_near: matches!(&by_reference, NestedVerdict::Diverge { differences, .. }
                if !is_other_end(differences) && !known.recognize(case, run).is_empty()),
            is_wrong: matches!(by_reference, NestedVerdict::Diverge { .. }),
        }
    }

    /// What a mutant expects, if the case proves it wrong.
    pub fn against(&self, mutant: &NestedMutant) -> Option<String> {
        if !self.is_right && !self.is_near {
            return None;
        }
        match judge(mutant.walker, self.case, self.run) {
            NestedVerdict::Diverge { expected, differences }
                if self.is_right || is_other_end(&differences) =>
            {
                Some(expected.to_string())
            }
            // It leads to other memory than the machine went to.
            NestedVerdict::Unpredicted if self.is_right => {
                Some("an access to other memory".to_owned())
            }
            _ => None,
        }
    }

    /// Whether the machine makes the mistake of a mutant.
    fn shows_on_the_machine(&self, mutant: &NestedMutant) -> bool {
        self.is_wrong
            && matches!(judge(mutant.walker, self.case, self.run), NestedVerdict::Agree { .. })
    }
}

/// Whether an outcome differs in how it ends, and not only in what is reported.
fn is_other_end(differences: &[Difference]) -> bool {
    differences.iter().any(|difference| difference.field == Field::End)
}

/// Whether a machine has what a mistake needs to show.
pub fn offers(machine: &Capabilities, need: MutantNeed) -> bool {
    let ept = match &machine.virtualization {
        Err(_) => return false,
        Ok(Virtualization::Svm { .. }) => None,
        Ok(Virtualization::Vmx(vmx)) => Some(crate::generate::ept_capabilities(vmx)),
    };
    match need {
        MutantNeed::Any => true,
        MutantNeed::Npt => ept.is_none(),
        MutantNeed::Ept => ept.is_some(),
        MutantNeed::EptFlags => ept.is_some_and(|ept| ept.contains(EptCapabilities::FLAGS)),
        MutantNeed::ModeBasedExecute => {
            ept.is_some_and(|ept| ept.contains(EptCapabilities::MODE_BASED_EXECUTE))
        }
    }
}

/// Runs batches, and compares them with every mutant that was not caught, as long as `goes_on` says so. It is told the
/// score so far.
///
/// # Errors
/// If the guest or the machine fails.
pub fn run(
    batches: impl Iterator<Item = CaseBatch>,
    machine: &mut dyn Machine,
    provenance: Provenance,
    known: &KnownNested,
    score: &mut NestedScore,
    mut goes_on: impl FnMut(&NestedScore) -> bool,
) -> Result<(), MachineError> {
    for batch in batches {
        if score.is_complete() || !goes_on(score) {
            break;
        }
        let attempts = batch::run(&batch, machine, provenance)?.attempts;
        for (case, attempt) in batch.cases.iter().zip(&attempts) {
            score.add(case, attempt, known);
        }
    }
    Ok(())
}
