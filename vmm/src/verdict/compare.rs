//! Comparing an observation with allowed outcomes, field by field.

use super::describe::{describe_bytes, describe_fault, describe_moved, describe_outside};
use super::effects::{Effects, OutsideEffect};
use super::value::{Stores, expected_value, low_bytes, result_width};
use super::{Difference, Field};
use crate::walker::{ExpectedFrame, PredictedPrivileged, Walker, saved_frame};
use crosswalk_case::Case;
use crosswalk_case::observation::{
    EntryAfter, Observation, ObservedFault, PrivilegedRecord, Provenance, SavedRip,
};
use mmu_core::outcome::Span;
use mmu_core::x86::format::EntryBits;
use mmu_core::{AccessKind, Alternative, EntryUpdate, Fault, Outcome, Prediction, VirtAddr};
use std::fmt::LowerHex;

/// The first alternative without differences, or else the first of those with the fewest.
///
/// # Panics
/// If the prediction has no alternative.
pub(super) fn nearest<'p>(
    prediction: &'p Prediction,
    comparison: &Comparison<'_>,
) -> (&'p Alternative, Vec<Difference>) {
    let alternatives = &prediction.alternatives;
    if let Some(agreeing) = alternatives.iter().find(|way| comparison.agrees(way)) {
        return (agreeing, Vec::new());
    }

    let compared = alternatives.iter().map(|way| (way, comparison.differences(way)));
    let nearest = compared.min_by_key(|(_, differences)| differences.len());
    nearest.expect("a prediction has an alternative")
}

/// An observation, to be compared with allowed outcomes.
pub(super) struct Comparison<'c> {
    /// Who says what an instruction that faults saves.
    pub(super) walker: &'c dyn Walker,
    pub(super) case: &'c Case,
    pub(super) seen: &'c Observation,
    /// The bytes that earlier accesses of the sequence stored.
    pub(super) before: &'c Stores,
    /// Whether only the record of the access was observed: its fault or its value, and not what it did
    /// to memory.
    pub(super) is_record: bool,
}

impl Comparison<'_> {
    /// Whether the observation is this outcome.
    pub(super) fn agrees(&self, expected: &Alternative) -> bool {
        let mut found = AnyDifference(false);
        self.compare(expected, &mut found);
        !found.0
    }

    /// Every field in which the observation differs from an outcome.
    pub(super) fn differences(&self, expected: &Alternative) -> Vec<Difference> {
        let mut found = Vec::new();
        self.compare(expected, &mut found);
        found
    }

    fn compare(&self, expected: &Alternative, found: &mut impl Differences) {
        let Self { case, seen, before, is_record, .. } = *self;
        if is_record {
            return self.compare_end(&expected.outcome, found);
        }

        let value_is_hidden = match &expected.outcome {
            Outcome::Translated(spans) => {
                seen.fault.is_none() && is_out_of_sight(case, spans, seen)
            }
            Outcome::Fault(_) => false,
        };
        if !value_is_hidden {
            self.compare_end(&expected.outcome, found);
        }
        if found.is_decided() {
            return;
        }
        self.compare_effects(&Effects::of(case, &expected.outcome, before), found);
        for entry in &seen.entries {
            compare_entry(expected, entry, seen.provenance, found);
        }
    }

    /// Compares the exception, or the value that was read.
    fn compare_end(&self, expected: &Outcome, found: &mut impl Differences) {
        match (expected, self.seen.fault) {
            (Outcome::Fault(fault), Some(observed)) => self.compare_fault(fault, observed, found),
            (Outcome::Fault(fault), None) => {
                found.add(Field::Vector, || [fault.to_string(), "no exception".into()]);
            }
            (Outcome::Translated(_), Some(fault)) => {
                found.add(Field::Vector, || ["no exception".into(), describe_fault(fault)]);
            }
            (Outcome::Translated(spans), None) => self.compare_value(spans, found),
        }
        self.compare_operands(expected, found);
    }

    /// Compares how far the operands have moved.
    fn compare_operands(&self, expected: &Outcome, found: &mut impl Differences) {
        let Some(moved) = self.seen.moved else { return };
        let expected = self.walker.moved(self.case, expected);
        if moved != expected {
            let form = self.case.form;
            found.add(Field::Operands, || {
                [expected, moved].map(|moved| describe_moved(form, moved))
            });
        }
    }

    fn compare_fault(
        &self,
        expected: &Fault,
        observed: ObservedFault,
        found: &mut impl Differences,
    ) {
        compare_fault(expected, observed, found);
        if observed.vector == expected.vector as u8 {
            self.compare_saved(expected, observed, found);
        }
    }

    /// Compares what the exception saved, and the registers that it left.
    fn compare_saved(
        &self,
        expected: &Fault,
        observed: ObservedFault,
        found: &mut impl Differences,
    ) {
        if let Some(rip) = observed.rip {
            let saved = self.walker.saved_rip(self.case, expected);
            if rip != saved {
                found.add(Field::SavedRip, || [saved.to_string(), rip.to_string()]);
            }
        }

        let Some(frame) = observed.frame else { return };
        let expected = saved_frame(self.case);
        let found_frame = ExpectedFrame::of(&frame);
        if !expected.allows(found_frame) {
            found.add(Field::SavedFrame, || [expected, found_frame].map(|frame| frame.to_string()));
        }
        if let Some(register) = frame.changed {
            found.add(Field::Register, || {
                [format!("{} as it was", register.name()), "another value".into()]
            });
        }
    }

    fn compare_value(&self, spans: &[Span], found: &mut impl Differences) {
        let Self { case, seen, before, .. } = *self;
        let Some(expected) = expected_value(case, spans, before) else { return };

        let observed = seen.value & low_bytes(result_width(case));
        if observed != expected {
            found.add(Field::Value, || {
                let expected = format!("{expected:#x}, which {} holds", spans[0].address);
                [expected, format!("{observed:#x}")]
            });
        }
    }

    /// Compares the bytes stored in memory, and the accesses that left it.
    fn compare_effects(&self, expected: &Effects, found: &mut impl Differences) {
        let Self { case, seen, .. } = *self;
        if !expected.is_stored(&seen.stored) {
            found.add(Field::Stored, || {
                [describe_bytes(&expected.stored), describe_bytes(&seen.stored)]
            });
        }

        let visible: &[_] = if seen.sees_outside { &expected.outside } else { &[] };
        let reached: Vec<_> = seen.outside.iter().map(OutsideEffect::from).collect();
        if case.access.kind != AccessKind::Clflush && reached != visible {
            found.add(Field::Outside, || [describe_outside(visible), describe_outside(&reached)]);
        }
    }
}

/// What becomes of the fields that differ. Most outcomes are compared only to see whether any does.
trait Differences {
    /// Adds a field with what was expected and what was observed, in words.
    fn add(&mut self, field: Field, words: impl FnOnce() -> [String; 2]);

    /// Whether further fields do not matter any more.
    fn is_decided(&self) -> bool {
        false
    }
}

impl Differences for Vec<Difference> {
    fn add(&mut self, field: Field, words: impl FnOnce() -> [String; 2]) {
        let [expected, observed] = words();
        self.push(Difference { field, expected, observed });
    }
}

/// Whether any field differs.
struct AnyDifference(bool);

impl Differences for AnyDifference {
    fn add(&mut self, _: Field, _: impl FnOnce() -> [String; 2]) {
        self.0 = true;
    }

    fn is_decided(&self) -> bool {
        self.0
    }
}

/// Compares an exception with the expected one, without what it saved.
fn compare_fault(expected: &Fault, observed: ObservedFault, found: &mut impl Differences) {
    if observed.vector != expected.vector as u8 {
        found.add(Field::Vector, || [expected.to_string(), describe_fault(observed)]);
    }
    if observed.error_code != expected.error_code {
        found.add(Field::ErrorCode, || [expected.error_code, observed.error_code].map(in_hex));
    }

    // CANON-1: a fault without a walk leaves CR2 as it was.
    let cr2 = expected.cr2.map_or(observed.cr2_before, VirtAddr::get);
    if observed.cr2 != cr2 {
        found.add(Field::Cr2, || [cr2, observed.cr2].map(in_hex));
    }
}

/// Every field in which what was observed of a privileged instruction differs from what is expected.
pub(super) fn privileged_differences(
    expected: &PredictedPrivileged,
    seen: &PrivilegedRecord,
) -> Vec<Difference> {
    let mut found = Vec::new();
    match (&expected.fault, seen.fault) {
        (Some(fault), Some(observed)) => {
            compare_fault(fault, observed, &mut found);
            let saved = SavedRip::AT_INSTRUCTION;
            if observed.vector == fault.vector as u8
                && let Some(rip) = observed.rip.filter(|rip| *rip != saved)
            {
                found.add(Field::SavedRip, || [saved.to_string(), rip.to_string()]);
            }
        }
        (Some(fault), None) => {
            found.add(Field::Vector, || [fault.to_string(), "no exception".into()]);
        }
        (None, Some(fault)) => {
            found.add(Field::Vector, || ["no exception".into(), describe_fault(fault)]);
        }
        (None, None) => {}
    }

    if let (Some(wanted), Some(held)) = (expected.register, seen.register)
        && wanted != held
    {
        found.add(Field::ControlRegister, || [wanted, held].map(in_hex));
    }
    for difference in &mut found {
        difference.expected = format!("{} of the {}", difference.expected, expected.action);
    }
    found
}

/// Whether the access should reach addresses without memory on a machine that does not report such
/// accesses.
pub(super) fn is_out_of_sight(case: &Case, spans: &[Span], seen: &Observation) -> bool {
    !seen.sees_outside && spans.iter().any(|span| case.is_outside(span.address.get()))
}

fn in_hex(number: impl LowerHex) -> String {
    format!("{number:#x}")
}

/// Compares a table entry after the run with what the outcome does to it.
fn compare_entry(
    expected: &Alternative,
    entry: &EntryAfter,
    who: Provenance,
    found: &mut impl Differences,
) {
    let update = expected.updates.iter().find(|update| update.at.get() == entry.at);
    let is_allowed = match update {
        Some(update) => update.allows(entry.after),
        None => entry.after == entry.before,
    };
    if is_allowed || is_speculation(entry, who) {
        return;
    }

    found.add(Field::Entry, || {
        let wanted = update.map_or(entry.before, |update| update.before | update.must_set);
        let free = match update.map_or(0, EntryUpdate::open_bits) {
            0 => String::new(),
            bits => format!(" (bits {bits:#x} free)"),
        };
        [format!("{wanted:#x} at {:#x}{free}", entry.at), in_hex(entry.after)]
    });
}

/// AD-5: a processor that walks by itself may set A without an access; software does not speculate.
fn is_speculation(entry: &EntryAfter, who: Provenance) -> bool {
    let is_present = entry.before & EntryBits::P.bits() != 0;
    let sets_accessed = entry.after == entry.before | EntryBits::A.bits();
    is_present && sets_accessed && who == Provenance::Processor
}
