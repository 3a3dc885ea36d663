//! One access: an observation compared with one allowed outcome, field by field.

use super::describe::{describe_bytes, describe_fault, describe_places};
use super::{Difference, Field, Verdict, choices_taken};
use crate::walker::value::{Stores, behind, bytes_at, expected_value, mask, result_width, word};
use crosswalk_case::Case;
use crosswalk_case::observation::{Observation, OutsideAccess, Provenance};
use crosswalk_guest::contents;
use crosswalk_guest::stub::Form;
use mmu_core::outcome::Span;
use mmu_core::x86::format::EntryBits;
use mmu_core::{AccessKind, Alternative, EntryUpdate, Fault, Outcome, Prediction};

/// Judges an access before which these bytes were stored.
pub(super) fn judge_access(
    case: &Case,
    prediction: &Prediction,
    observation: &Observation,
    before: &Stores,
) -> Verdict {
    let mut nearest: Option<(&Alternative, Vec<Difference>)> = None;
    for alternative in &prediction.alternatives {
        let differences = compare(case, alternative, observation, before);
        if differences.is_empty() {
            return Verdict::Agree {
                unproved: is_unproved(case, alternative, observation),
                choices: choices_taken(case, alternative, observation),
            };
        }
        if nearest.as_ref().is_none_or(|(_, fewest)| differences.len() < fewest.len()) {
            nearest = Some((alternative, differences));
        }
    }
    let (expected, differences) = nearest.expect("a prediction has an alternative");
    Verdict::Diverge { expected: Box::new(expected.clone()), differences }
}

/// Every field in which an observation differs from one allowed outcome.
pub(super) fn compare(
    case: &Case,
    expected: &Alternative,
    seen: &Observation,
    before: &Stores,
) -> Vec<Difference> {
    let mut differences = Vec::new();
    let mut differ = |field, expected: String, observed: String| {
        differences.push(Difference { field, expected, observed });
    };
    match &expected.outcome {
        Outcome::Fault(fault) => compare_fault(fault, seen, &mut differ),
        Outcome::Translated(spans) => {
            if let Some(fault) = seen.fault {
                differ(Field::Vector, "no exception".into(), describe_fault(fault));
            } else if !is_out_of_sight(case, spans, seen) {
                compare_value(case, spans, seen, before, &mut differ);
            }
        }
    }
    let Effects { stored, mut outside } = Effects::of(case, &expected.outcome, before);
    if !seen.sees_outside {
        outside.clear();
    }
    if seen.stored != stored {
        differ(Field::Stored, describe_bytes(&stored), describe_bytes(&seen.stored));
    }
    let reached: Vec<_> = seen.outside.iter().map(|access| place(*access)).collect();
    if case.access.kind != AccessKind::Clflush && reached != outside {
        differ(Field::Outside, describe_places(&outside), describe_places(&reached));
    }
    for entry in &seen.entries {
        let update = expected.updates.iter().find(|update| update.at.get() == entry.at);
        let allowed = update
            .map_or(entry.after == entry.before, |update| update.allows(entry.after))
            || is_speculation(entry.before, entry.after, seen.provenance);
        if !allowed {
            let wanted = update.map_or(entry.before, |update| update.before | update.must_set);
            let free = update.map_or(0, EntryUpdate::open_bits);
            let free = if free == 0 { String::new() } else { format!(" (bits {free:#x} free)") };
            let expected = format!("{wanted:#x} at {:#x}{free}", entry.at);
            differ(Field::Entry, expected, format!("{:#x}", entry.after));
        }
    }
    differences
}

/// Whether the access was to reach addresses without memory on a machine that does not show it.
pub(super) fn is_out_of_sight(case: &Case, spans: &[Span], seen: &Observation) -> bool {
    !seen.sees_outside && spans.iter().any(|span| case.is_outside(span.address.get()))
}

pub(super) fn compare_fault(
    fault: &Fault,
    seen: &Observation,
    differ: &mut impl FnMut(Field, String, String),
) {
    let Some(observed) = seen.fault else {
        differ(Field::Vector, fault.to_string(), "no exception".into());
        return;
    };
    if observed.vector != fault.vector as u8 {
        differ(Field::Vector, fault.to_string(), describe_fault(observed));
    }
    if observed.error_code != fault.error_code {
        let (expected, observed) = (fault.error_code, observed.error_code);
        differ(Field::ErrorCode, format!("{expected:#x}"), format!("{observed:#x}"));
    }
    // CANON-1: a fault without a walk leaves CR2 as it was.
    let cr2 = fault.cr2.map_or(observed.cr2_before, mmu_core::VirtAddr::get);
    if observed.cr2 != cr2 {
        differ(Field::Cr2, format!("{cr2:#x}"), format!("{:#x}", observed.cr2));
    }
}

pub(super) fn compare_value(
    case: &Case,
    spans: &[Span],
    seen: &Observation,
    before: &Stores,
    differ: &mut impl FnMut(Field, String, String),
) {
    let Some(expected) = expected_value(case, spans, before) else { return };
    let observed = seen.value & mask(result_width(case));
    if observed != expected {
        let from = spans[0].address;
        differ(
            Field::Value,
            format!("{expected:#x}, which {from} holds"),
            format!("{observed:#x}"),
        );
    }
}

/// What a completed access does to memory.
#[derive(Default)]
pub(super) struct Effects {
    /// Bytes of data memory that hold another value afterwards than at first, by address.
    pub(super) stored: Vec<(u64, u8)>,
    /// Accesses to places without memory: address, bytes, whether a store, the bytes stored.
    outside: Vec<(u64, u16, Option<u64>)>,
}

impl Effects {
    pub(super) fn of(case: &Case, outcome: &Outcome, before: &Stores) -> Self {
        let mut effects = Self::default();
        let mut held = before.clone();
        if let Outcome::Translated(spans) = outcome {
            effects.add(case, spans, &mut held);
        }
        effects.stored =
            held.into_iter().filter(|(at, byte)| contents::byte(*at) != *byte).collect();
        effects
    }

    fn add(&mut self, case: &Case, spans: &[Span], held: &mut Stores) {
        let old = word(&bytes_at(case, spans, held));
        let new = match case.form {
            Form::Store => Some(case.value),
            Form::Exchange | Form::LockedExchange => Some(old.wrapping_add(case.value)),
            // "The destination operand is written back if the comparison fails" (SDM, CMPXCHG; the
            // APM says the same): only a device can tell.
            Form::FailingCompare => Some(old),
            Form::Load | Form::Clflush | Form::Jump | Form::SegmentLimit => None,
        };
        let reads = matches!(case.access.kind, AccessKind::Read | AccessKind::ReadModifyWrite);
        let is_outside = |span: &&Span| case.is_outside(span.address.get());
        if reads {
            let loads = spans.iter().filter(is_outside);
            self.outside.extend(loads.map(|span| (span.address.get(), span.len, None)));
        }
        let Some(new) = new else { return };
        let mut shift = 0;
        for span in spans {
            let part = (new >> shift) & mask(span.len);
            shift += 8 * u32::from(span.len);
            if is_outside(&span) {
                self.outside.push((span.address.get(), span.len, Some(part)));
                continue;
            }
            let first = behind(case, span.address.get());
            held.extend((first..).zip(part.to_le_bytes()).take(span.len.into()));
        }
    }
}

pub(super) fn place(access: OutsideAccess) -> (u64, u16, Option<u64>) {
    (access.address, access.len.into(), access.is_write.then_some(access.data))
}

/// AD-5: a processor that walks by itself may set A without an access; software does not speculate.
pub(super) fn is_speculation(before: u64, after: u64, provenance: Provenance) -> bool {
    let present = before & EntryBits::P.bits() != 0;
    present && after == before | EntryBits::A.bits() && provenance == Provenance::Processor
}

/// Whether an agreement says nothing about the physical address.
pub(super) fn is_unproved(case: &Case, agreed: &Alternative, seen: &Observation) -> bool {
    let Outcome::Translated(spans) = &agreed.outcome else { return false };
    if is_out_of_sight(case, spans, seen) {
        return true;
    }
    let effects = Effects::of(case, &agreed.outcome, &Stores::new());
    expected_value(case, spans, &Stores::new()).is_none()
        && effects.stored.is_empty()
        && effects.outside.is_empty()
}
