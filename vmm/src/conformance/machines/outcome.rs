//! What two machines must have done alike to have done the same.

use crate::verdict::{Field, result_of};
use crate::walker::ExpectedFrame;
use crosswalk_case::observation::{
    Attempt, EarlierAccess, Observation, ObservedFault, Register, SavedRip,
};
use crosswalk_case::{Case, Moved};
use mmu_core::{Outcome, Prediction, Vector};

/// What every machine of a vote shows of a case.
#[derive(Clone, Copy, Debug)]
pub(super) struct Visibility {
    /// Each machine shows the RIP that an exception saved.
    saved_rip: bool,
    /// Each shows what else was saved.
    saved_frame: bool,
    /// The access stays within memory. What is outside answers as each machine likes.
    value: bool,
}

impl Visibility {
    /// What these attempts at a case all show, if the last access is predicted like this.
    pub(super) fn of<'a>(
        case: &Case,
        last: &Prediction,
        attempts: impl Iterator<Item = &'a Attempt> + Clone,
    ) -> Self {
        let leaves_memory = last.alternatives.iter().any(|way| match &way.outcome {
            Outcome::Translated(spans) => {
                spans.iter().any(|span| case.is_outside(span.address.get()))
            }
            Outcome::Fault(_) => false,
        });
        let observations = attempts.filter_map(|attempt| match attempt {
            Attempt::Observed(seen) => Some(seen),
            Attempt::Unsupported(_) => None,
        });
        let each_fault = |shows: fn(&ObservedFault) -> bool| {
            observations.clone().all(|seen| faults(seen).all(|fault| shows(&fault)))
        };

        Self {
            saved_rip: each_fault(|fault| fault.rip.is_some()),
            saved_frame: each_fault(|fault| fault.frame.is_some()),
            value: !leaves_memory && observations.clone().all(|seen| seen.outside.is_empty()),
        }
    }

    /// The outcome of a case, as far as it is visible.
    pub(super) fn outcome(self, case: &Case, seen: &Observation) -> VisibleOutcome {
        let changed = seen.entries.iter().filter(|entry| entry.before != entry.after);
        let earlier = seen.earlier.iter().map(|EarlierAccess { fault, value, moved }| {
            let fault = fault.map(|fault| self.fault(&fault));
            let value = (self.value && fault.is_none()).then_some(*value);
            (fault, value, *moved)
        });

        VisibleOutcome {
            fault: seen.fault.map(|fault| self.fault(&fault)),
            value: if self.value { result_of(case, seen) } else { None },
            stored: if self.value { seen.stored.clone() } else { Vec::new() },
            changed: changed.map(|entry| (entry.at, entry.after)).collect(),
            earlier: earlier.collect(),
        }
    }

    fn fault(self, fault: &ObservedFault) -> VisibleFault {
        let is_written = fault.vector == Vector::PageFault as u8 || fault.cr2 != fault.cr2_before;
        VisibleFault {
            vector: fault.vector,
            error_code: fault.error_code,
            cr2: is_written.then_some(fault.cr2),
            rip: fault.rip.filter(|_| self.saved_rip),
            frame: fault
                .frame
                .filter(|_| self.saved_frame)
                .map(|frame| (ExpectedFrame::of(&frame).without_rf(), frame.changed)),
        }
    }
}

/// Every fault of an observation.
fn faults(seen: &Observation) -> impl Iterator<Item = ObservedFault> {
    let earlier = seen.earlier.iter().filter_map(|access| access.fault);
    earlier.chain(seen.fault)
}

/// The outcome of a case, as far as every machine of a vote shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct VisibleOutcome {
    fault: Option<VisibleFault>,
    value: Option<u64>,
    stored: Vec<(u64, u8)>,
    /// The entries that changed, with their new values.
    changed: Vec<(u64, u64)>,
    /// The faults and values of the accesses before the last.
    earlier: Vec<(Option<VisibleFault>, Option<u64>, Option<Moved>)>,
}

impl VisibleOutcome {
    /// The fields in which two outcomes differ.
    pub(super) fn differences(&self, other: &Self) -> Vec<Field> {
        let fault = |field: fn(&VisibleFault) -> u64| {
            self.fault.as_ref().map(field) != other.fault.as_ref().map(field)
        };
        let saved = |outcome: &Self| outcome.fault.map(|fault| (fault.rip, fault.frame));
        let cr2 = |outcome: &Self| outcome.fault.map(|fault| fault.cr2);

        let all = [
            (Field::Vector, fault(|fault| fault.vector.into())),
            (Field::ErrorCode, fault(|fault| fault.error_code.into())),
            (Field::Cr2, cr2(self) != cr2(other)),
            (Field::SavedFrame, saved(self) != saved(other)),
            (Field::Value, self.value != other.value || self.earlier != other.earlier),
            (Field::Stored, self.stored != other.stored),
            (Field::Entry, self.changed != other.changed),
        ];
        all.into_iter().filter(|(_, differs)| *differs).map(|(field, _)| field).collect()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct VisibleFault {
    vector: u8,
    error_code: u32,
    /// `None` if CR2 kept its value, which depends on what ran before.
    cr2: Option<u64>,
    rip: Option<SavedRip>,
    /// What was saved beside RIP, and the first register that the fault left changed.
    frame: Option<(ExpectedFrame, Option<Register>)>,
}
