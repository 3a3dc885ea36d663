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

/// The size of a page whose offset has so many bits.
pub const fn page_size(offset_bits: u8) -> &'static str {
    match offset_bits {
        12 => "4 KiB",
        21 => "2 MiB",
        22 => "4 MiB",
        _ => "1 GiB",
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

/// Why the tables are not looked at for an access, which is predicted so; `None` if they are: a fault that leaves CR2
/// alone comes before the walk. Where such a fault is one member of CANON-2, the other is a walk.
///
/// The rules must be those of this access alone, without those of the accesses before it.
pub fn why_not_walked(case: &Case, prediction: &Prediction) -> Option<&'static str> {
    let may_be_walked = |way: &Alternative| {
        let is_open = way.choice.is_some_and(|(rule, _)| rule == Rule::Canon2);
        is_open || way.outcome.fault().is_none_or(comes_after_a_walk)
    };
    if prediction.alternatives.iter().all(may_be_walked) {
        return None;
    }

    // The rules of an access include those of the MOVs just before it, so what concerns the access comes first. Where
    // the first MOV to CR3 faults, there are no other rules.
    let is_canonical = case.canonical_ends() == [true; 2];
    let decides = |rule| prediction.rules.contains(rule);
    Some(match case.mode() {
        _ if is_canonical && decides(Rule::Align1) => {
            "not a multiple of 16, which the instruction requires, so there is no walk"
        }
        _ if decides(Rule::Canon5) => {
            "violates LASS: bit 63 of the address is that of the other half, so there is no walk"
        }
        PagingMode::FiveLevel if decides(Rule::Canon1) => {
            "not canonical: bits 63 to 56 are not all equal, so there is no walk"
        }
        _ if decides(Rule::Canon1) => {
            "not canonical: bits 63 to 47 are not all equal, so there is no walk"
        }
        PagingMode::Pae => {
            "a PDPTE has reserved bits set when it is loaded: MOV to CR3 faults, and the access is \
             not made"
        }
        mode if mode.is_long_mode() && decides(Rule::Mode8) => {
            "CR3 has bits set that cannot be loaded: MOV to CR3 faults, and the access is not made"
        }
        _ => "the fault comes before the walk",
    })
}

/// Whether a processor may have walked the tables before this fault.
fn comes_after_a_walk(fault: &Fault) -> bool {
    fault.cr2.is_some() || fault.vector == Vector::AlignmentCheck
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

#[cfg(test)]
mod tests {
    use crate::document::explained;
    use crate::view::View;
    use crosswalk_case::Case;
    use crosswalk_walker::WalkerSpec;
    use serde_json::Value;

    /// Why nothing is walked in a case, as `--json` says it, and as the picture says it.
    fn reasons(case: &Case) -> [String; 2] {
        let document = explained::<()>(case, WalkerSpec::Reference, &|_| None, Vec::new());
        let document: Value = serde_json::to_value(document).expect("plain data");
        let view = View::<()>::new(case, WalkerSpec::Reference, &|_| None, Vec::new());
        let why = document["not_walked"].as_str().expect("a reason");
        [why.to_owned(), view.picture.walks[0].end.words.clone()]
    }

    /// A case in 4-level paging without tables, with LASS where CR4 has bits 27 and 21.
    fn case(cr3: &str, cr4: &str, before: &str, address: &str) -> Case {
        let text = format!(
            r#"{{"mode":"4level","state":{{"cr0":"0x80010011","cr3":"{cr3}","cr4":"{cr4}","efer":"0xd00"}},
            "entries":[],"before":[{before}],
            "access":{{"kind":"read","address":"{address}","size":1,"ring":0}}}}"#
        );
        Case::from_json(&text).expect("a case")
    }

    /// Each reason, whatever the reasons of earlier accesses and the faults of MOVs are.
    #[test]
    fn the_reason_is_that_of_the_access_that_is_explained() {
        let [plain, lass] = ["0x620", "0x8200620"];
        let user = r#"{"access":{"kind":"read","address":"0xffff800000000000","size":1,"ring":3}}"#;
        let misaligned = r#"{"access":{"kind":"write","address":"0x8","size":512,"ring":3,"instruction":"fxsave"}}"#;
        let refused_cr3 = r#"{"mov_cr3":"0x8000000000440000"}"#;

        for (cr3, cr4, before, address, expected) in [
            ("0x440000", plain, "", "0x8000000000000000", "not canonical: bits 63 to 47"),
            ("0x440000", lass, user, "0xffff700000000000", "not canonical: bits 63 to 47"),
            ("0x440000", lass, user, "0x1000", "violates LASS: bit 63"),
            ("0x440000", lass, misaligned, "0x1000", "violates LASS: bit 63"),
            ("0x440000", plain, refused_cr3, "0x8000000000000000", "not canonical: bits 63 to 47"),
            ("0x8000000000440000", plain, "", "0x1000", "CR3 has bits set that cannot be loaded"),
            ("0x8000000000440000", plain, user, "0x1000", "CR3 has bits set that cannot be loaded"),
        ] {
            for reason in reasons(&case(cr3, cr4, before, address)) {
                assert!(reason.starts_with(expected), "{before} {address}: {reason}");
            }
        }
    }
}
