//! What a walk consists of, in words: accesses, actions, entries, rights, faults, and how it ends.

use crosswalk_case::{AccessStep, Action, Case};
use crosswalk_guest::stub::Form;
use crosswalk_walker::PredictedPrivileged;
use mmu_core::walk::{Step, WalkError};
use mmu_core::x86::format::{EntryBits, EntryKind};
use mmu_core::x86::semantics::{Cause, Denial, EntryError, Rights};
use mmu_core::{
    Access, AccessKind, Alternative, ControlState, Cr4, Fault, Outcome, PagingMode, Prediction,
    Rule, Segment, Translation, Vector,
};
use std::fmt;

/// A number with its noun: 1 bit, 2 bits.
pub fn counted(number: impl Into<u128>, what: &str) -> String {
    match number.into() {
        1 => format!("1 {what}"),
        number => format!("{number} {what}s"),
    }
}

/// An allowed outcome: the fault, or the physical addresses reached.
pub fn describe_expectation(expected: &Alternative) -> String {
    match &expected.outcome {
        Outcome::Fault(fault) => fault.to_string(),
        // A privileged instruction reaches nothing.
        Outcome::Translated(spans) if spans.is_empty() => "completed".into(),
        Outcome::Translated(spans) => {
            let spans: Vec<_> = spans
                .iter()
                .map(|span| format!("{} at {}", counted(span.len, "byte"), span.address))
                .collect();
            format!("completed: {}", spans.join(", then "))
        }
    }
}

/// Whether the walker looks at the tables at all: a fault that leaves CR2 alone comes before the walk.
/// Where such a fault is one member of CANON-2, the other is a walk.
pub fn is_walked(prediction: &Prediction) -> bool {
    prediction.alternatives.iter().all(|alternative| {
        let is_open = alternative.choice.is_some_and(|(rule, _)| rule == Rule::Canon2);
        is_open || alternative.outcome.fault().is_none_or(comes_after_a_walk)
    })
}

/// Whether a processor may have walked the tables before this fault.
fn comes_after_a_walk(fault: &Fault) -> bool {
    fault.cr2.is_some() || fault.vector == Vector::AlignmentCheck
}

/// Why the walker does not look at the tables.
pub fn why_not_walked(case: &Case, prediction: &Prediction) -> &'static str {
    let is_canonical = case.canonical_ends() == [true; 2];
    match case.mode() {
        _ if is_canonical && prediction.rules.contains(Rule::Align1) => {
            "not a multiple of 16, which the instruction requires, so there is no walk"
        }
        _ if prediction.rules.contains(Rule::Canon5) => {
            "violates LASS: bit 63 of the address is that of the other half, so there is no walk"
        }
        mode if mode.is_long_mode() && prediction.rules.contains(Rule::Mode8) => {
            "CR3 has bits set that cannot be loaded: MOV to CR3 faults, and the access is not made"
        }
        PagingMode::Pae => {
            "a PDPTE has reserved bits set when it is loaded: MOV to CR3 faults, and the access is \
             not made"
        }
        PagingMode::FiveLevel => {
            "not canonical: bits 63 to 56 are not all equal, so there is no walk"
        }
        _ => "not canonical: bits 63 to 47 are not all equal, so there is no walk",
    }
}

/// An action in a line.
pub fn action_in_words(action: &Action) -> String {
    match action {
        Action::Access(step) => step_in_words(step),
        other => other.to_string(),
    }
}

/// An instruction in a line: one with a source by its name.
pub fn step_in_words(step: &AccessStep) -> String {
    let AccessStep { access, form, .. } = step;
    let Some(source) = step.source() else { return in_words(access) };
    let Access { size, address, .. } = access;
    let name = step.instruction();
    let ring = access.ring.cpl();
    let reads = Access { address: source, ..*access };
    let crosses = access.crosses_page() || reads.crosses_page();
    let crossing = if crosses { ", across a page boundary" } else { "" };
    let size = counted(*size, "byte");
    match form {
        Form::CompareStrings => {
            format!("{name} of {size} at {source} and at {address}, ring {ring}{crossing}")
        }
        _ => format!("{name} of {size} from {source} to {address}, ring {ring}{crossing}"),
    }
}

/// How a privileged instruction ends: `#GP(0), and CR3 holds 0x440000`. The register is not mentioned where it
/// holds what was moved to it.
pub fn ending_in_words(predicted: &PredictedPrivileged) -> String {
    let holds = match predicted.mov.zip(predicted.register) {
        Some((mov, register)) if predicted.fault.is_some() || register != mov.value() => {
            format!(", and {} holds {register:#x}", mov.register())
        }
        _ => String::new(),
    };
    match predicted.fault {
        Some(fault) => format!("{fault}{holds}"),
        None => format!("completed{holds}"),
    }
}

/// An access in a line.
fn in_words(access: &Access) -> String {
    let kind = match access.kind {
        AccessKind::ReadModifyWrite => "read-modify-write",
        other => other.name(),
    };
    let ring = access.ring.cpl();
    let segment = match access.segment {
        Segment::Data => "",
        Segment::Stack => ", stack segment",
        Segment::Fs => ", through FS",
        Segment::Gs => ", through GS",
    };
    let implicit = if access.implicit { ", implicit" } else { "" };
    let submode = if access.compatibility { ", in compatibility mode" } else { "" };
    let crossing = if access.crosses_page() { ", across a page boundary" } else { "" };

    let Access { size, address, .. } = access;
    let size = counted(*size, "byte");
    format!("{kind} of {size} at {address}, ring {ring}{segment}{implicit}{submode}{crossing}")
}

/// How a walk ended.
pub fn end_in_words<E: fmt::Display>(end: &Result<Translation, WalkError<E>>) -> String {
    match end {
        Ok(translation) => format!("reaches {}", translation.address),
        Err(WalkError::Memory(outside)) => format!("stops: {outside} (OUT-1)"),
        Err(WalkError::Fault(Cause::Entry(EntryError::NotPresent))) => {
            "stops: the entry is not present".into()
        }
        Err(WalkError::Fault(Cause::Entry(EntryError::Reserved(bits)))) => {
            format!("stops: reserved bits {bits:#x} are set")
        }
        Err(WalkError::Fault(Cause::Denied(denial))) => format!("denied: {}", reasons(*denial)),
    }
}

/// The flags of an entry that have a meaning at its level.
pub fn flags(state: &ControlState, step: &Step) -> String {
    let mut names = Vec::new();
    let bits = EntryBits::from_bits_retain(step.entry);
    for (flag, name) in [
        (EntryBits::P, "P"),
        (EntryBits::RW, "RW"),
        (EntryBits::US, "US"),
        (EntryBits::PWT, "PWT"),
        (EntryBits::PCD, "PCD"),
        (EntryBits::A, "A"),
        (EntryBits::D, if step.kind == EntryKind::Leaf { "D" } else { "" }),
        (EntryBits::PS, if step.level.number == 1 { "PAT" } else { "PS" }),
        (EntryBits::G, "G"),
        (EntryBits::XD, "XD"),
    ] {
        if bits.contains(flag) && !name.is_empty() {
            names.push(name.to_owned());
        }
    }

    let is_large = step.kind == EntryKind::Leaf && step.level.number > 1;
    if is_large && bits.contains(EntryBits::LARGE_PAT) {
        names.push("PAT".into());
    }
    let keys_are_on = state.cr4.intersects(Cr4::PKE | Cr4::PKS);
    if step.kind == EntryKind::Leaf && keys_are_on {
        names.push(format!("key {}", EntryBits::key_of(step.entry)));
    }

    if names.is_empty() { "(no flags)".into() } else { names.join(" ") }
}

/// What a path allows.
pub fn rights(rights: Rights) -> String {
    let has = |right, yes, no| if rights.contains(right) { yes } else { no };
    [
        has(Rights::USER, "user", "supervisor"),
        has(Rights::WRITE, "writable", "read-only"),
        has(Rights::EXECUTE, "executable", "not executable"),
    ]
    .join(", ")
}

fn reasons(denial: Denial) -> String {
    let reasons = [
        (Denial::SUPERVISOR_PAGE, "a user access to a supervisor page (RIGHT-1)"),
        (Denial::READ_ONLY, "a write to a read-only page (RIGHT-1, RIGHT-2)"),
        (Denial::EXECUTE_DISABLED, "a fetch from an execute-disabled page (RIGHT-1)"),
        (Denial::SMEP, "SMEP forbids a supervisor fetch from a user page (RIGHT-3)"),
        (Denial::SMAP, "SMAP forbids a supervisor access to a user page (RIGHT-4)"),
        (Denial::KEY, "the protection key forbids it (RIGHT-5)"),
        (Denial::SHADOW_STACK, "the page is not a shadow stack of this kind (RIGHT-7)"),
    ];
    let reasons = reasons.into_iter().filter(|(reason, _)| denial.contains(*reason));
    reasons.map(|(_, words)| words).collect::<Vec<_>>().join("; ")
}
