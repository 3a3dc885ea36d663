//! Comparing an observation with one allowed outcome, field by field.

use super::describe::{describe_bytes, describe_fault, describe_outside};
use super::effects::{Effects, OutsideEffect};
use super::{Difference, Field};
use crate::walker::value::{Stores, expected_value, low_bytes, result_width};
use crosswalk_case::Case;
use crosswalk_case::observation::{EntryAfter, Observation, Provenance};
use mmu_core::outcome::Span;
use mmu_core::x86::format::EntryBits;
use mmu_core::{AccessKind, Alternative, EntryUpdate, Fault, Outcome, Prediction, VirtAddr};

/// The first alternative without differences, or else the first of those with the fewest.
///
/// # Panics
/// If the prediction has no alternative.
pub(super) fn nearest(
    prediction: &Prediction,
    differences: impl Fn(&Alternative) -> Vec<Difference>,
) -> (&Alternative, Vec<Difference>) {
    let mut nearest: Option<(&Alternative, Vec<Difference>)> = None;

    for alternative in &prediction.alternatives {
        let found = differences(alternative);
        if found.is_empty() {
            return (alternative, found);
        }
        if nearest.as_ref().is_none_or(|(_, fewest)| found.len() < fewest.len()) {
            nearest = Some((alternative, found));
        }
    }
    nearest.expect("a prediction has an alternative")
}

/// Every field in which an observation differs from an allowed outcome. `before` has the bytes that
/// earlier accesses of the sequence stored.
pub(super) fn compare(
    case: &Case,
    expected: &Alternative,
    seen: &Observation,
    before: &Stores,
) -> Vec<Difference> {
    let mut differences = Differences::default();

    let value_is_hidden = match &expected.outcome {
        Outcome::Translated(spans) => seen.fault.is_none() && is_out_of_sight(case, spans, seen),
        Outcome::Fault(_) => false,
    };
    if !value_is_hidden {
        differences.compare_end(case, &expected.outcome, seen, before);
    }
    differences.compare_effects(case, &Effects::of(case, &expected.outcome, before), seen);
    for entry in &seen.entries {
        differences.compare_entry(expected, entry, seen.provenance);
    }
    differences.0
}

/// The same for a record, which has the fault or the value of an access and nothing else.
pub(super) fn compare_record(
    case: &Case,
    expected: &Alternative,
    seen: &Observation,
    before: &Stores,
) -> Vec<Difference> {
    let mut differences = Differences::default();
    differences.compare_end(case, &expected.outcome, seen, before);
    differences.0
}

/// Whether the access should reach addresses without memory on a machine that does not report such
/// accesses.
pub(super) fn is_out_of_sight(case: &Case, spans: &[Span], seen: &Observation) -> bool {
    !seen.sees_outside && spans.iter().any(|span| case.is_outside(span.address.get()))
}

/// The differences found so far.
#[derive(Default)]
struct Differences(Vec<Difference>);

impl Differences {
    fn add(&mut self, field: Field, expected: impl Into<String>, observed: impl Into<String>) {
        self.0.push(Difference { field, expected: expected.into(), observed: observed.into() });
    }

    /// Compares the exception, or the value that was read.
    fn compare_end(
        &mut self,
        case: &Case,
        expected: &Outcome,
        seen: &Observation,
        before: &Stores,
    ) {
        match (expected, seen.fault) {
            (Outcome::Fault(fault), _) => self.compare_fault(fault, seen),
            (Outcome::Translated(_), Some(fault)) => {
                self.add(Field::Vector, "no exception", describe_fault(fault));
            }
            (Outcome::Translated(spans), None) => self.compare_value(case, spans, seen, before),
        }
    }

    fn compare_fault(&mut self, expected: &Fault, seen: &Observation) {
        let Some(observed) = seen.fault else {
            return self.add(Field::Vector, expected.to_string(), "no exception");
        };

        if observed.vector != expected.vector as u8 {
            self.add(Field::Vector, expected.to_string(), describe_fault(observed));
        }
        if observed.error_code != expected.error_code {
            self.add_numbers(
                Field::ErrorCode,
                expected.error_code.into(),
                observed.error_code.into(),
            );
        }
        // CANON-1: a fault without a walk leaves CR2 as it was.
        let cr2 = expected.cr2.map_or(observed.cr2_before, VirtAddr::get);
        if observed.cr2 != cr2 {
            self.add_numbers(Field::Cr2, cr2, observed.cr2);
        }
    }

    fn add_numbers(&mut self, field: Field, expected: u64, observed: u64) {
        self.add(field, format!("{expected:#x}"), format!("{observed:#x}"));
    }

    fn compare_value(&mut self, case: &Case, spans: &[Span], seen: &Observation, before: &Stores) {
        let Some(expected) = expected_value(case, spans, before) else { return };
        let observed = seen.value & low_bytes(result_width(case));
        if observed != expected {
            let expected = format!("{expected:#x}, which {} holds", spans[0].address);
            self.add(Field::Value, expected, format!("{observed:#x}"));
        }
    }

    /// Compares the bytes stored in memory, and the accesses that left it.
    fn compare_effects(&mut self, case: &Case, expected: &Effects, seen: &Observation) {
        if seen.stored != expected.stored {
            let expected = describe_bytes(&expected.stored);
            self.add(Field::Stored, expected, describe_bytes(&seen.stored));
        }

        let visible: &[_] = if seen.sees_outside { &expected.outside } else { &[] };
        let reached: Vec<_> = seen.outside.iter().map(OutsideEffect::from).collect();
        if case.access.kind != AccessKind::Clflush && reached != visible {
            self.add(Field::Outside, describe_outside(visible), describe_outside(&reached));
        }
    }

    /// Compares a table entry after the run with what the outcome does to it.
    fn compare_entry(&mut self, expected: &Alternative, entry: &EntryAfter, who: Provenance) {
        let update = expected.updates.iter().find(|update| update.at.get() == entry.at);
        let is_allowed = match update {
            Some(update) => update.allows(entry.after),
            None => entry.after == entry.before,
        };
        if is_allowed || is_speculation(entry, who) {
            return;
        }

        let wanted = update.map_or(entry.before, |update| update.before | update.must_set);
        let free = match update.map_or(0, EntryUpdate::open_bits) {
            0 => String::new(),
            bits => format!(" (bits {bits:#x} free)"),
        };
        let expected = format!("{wanted:#x} at {:#x}{free}", entry.at);
        self.add(Field::Entry, expected, format!("{:#x}", entry.after));
    }
}

/// AD-5: a processor that walks by itself may set A without an access; software does not speculate.
fn is_speculation(entry: &EntryAfter, who: Provenance) -> bool {
    let is_present = entry.before & EntryBits::P.bits() != 0;
    let sets_accessed = entry.after == entry.before | EntryBits::A.bits();
    is_present && sets_accessed && who == Provenance::Processor
}
