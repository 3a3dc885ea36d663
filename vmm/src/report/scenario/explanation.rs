//! What an entry of the timeline means, in a sentence for learners.

use crate::scenario::story::Happened;
use mmu_core::space::{Decision, Invalid, Minor};
use mmu_core::{Fault, PageFaultCode, Vector};

/// What happened and why; empty where the words of the story say all.
pub(super) fn explanation(what: &Happened) -> String {
    match what {
        Happened::Did(_) => String::new(),
        Happened::Fault { fault, decision, .. } => {
            format!("{} {}", of_fault(fault), of_decision(*decision))
        }
        Happened::Grown(_) => {
            "The access is below the stack and within its limit: the region grows to hold it.".into()
        }
        Happened::SecondChances(_) => "A frame is needed, and none is free. The clock's hand passes frames \
            that were accessed since it came by (A=1). It clears A, and they stay: a second chance."
            .into(),
        Happened::Evicted { written: Some(_), .. } => "The frame at the clock's hand was not accessed lately \
            (A=0), so it is taken. It is dirty, and goes to the store first."
            .into(),
        Happened::Evicted { written: None, .. } => "The frame at the clock's hand was not accessed lately \
            (A=0), so it is taken. It is clean: what it holds can be had again, and nothing is written."
            .into(),
    }
}

/// What the processor reports, bit by bit of the error code.
fn of_fault(fault: &Fault) -> String {
    if fault.vector != Vector::PageFault {
        return "The processor refuses the access before it looks at a table.".into();
    }
    let code = PageFaultCode::from_bits_retain(fault.error_code);

    let who = if code.contains(PageFaultCode::U) {
        "in user mode (U=1)"
    } else {
        "in supervisor mode (U=0)"
    };
    let did = if code.contains(PageFaultCode::I) {
        "An instruction was fetched (I=1)"
    } else if code.contains(PageFaultCode::W) {
        "A store was made (W=1)"
    } else {
        "A load was made (W=0)"
    };
    let found = if code.contains(PageFaultCode::P) {
        "the page is there, and its entries do not allow it (P=1)"
    } else {
        "an entry on the way is not present (P=0)"
    };
    format!("{did} {who}: {found}.")
}

/// What the system does about it.
fn of_decision(decision: Decision) -> String {
    let sentence = match decision {
        Decision::Major(slot) => {
            return format!(
                "Major: the page is in slot {} of the store, and is read from there.",
                slot.0
            );
        }
        Decision::Minor(Minor::ZeroFill) => {
            "Minor: the page is touched for the first time, and gets a frame of zeros."
        }
        Decision::Minor(Minor::MapShared) => {
            "Minor: the page is in memory for another process that shares it, so its frame is mapped here, too."
        }
        Decision::Minor(Minor::Copy) => {
            "Minor: copy-on-write. Others still have the frame, so the writer gets a copy of its own."
        }
        Decision::Minor(Minor::Reuse) => {
            "Minor: copy-on-write. No other process has the frame any more, so it is made writable and not copied."
        }
        Decision::Minor(Minor::Spurious) => {
            "Minor: the tables allow the access; an old translation was cached, and is gone now."
        }
        Decision::Invalid(invalid) => {
            return format!("Invalid: {}. The process is ended.", of_denial(invalid));
        }
    };
    sentence.into()
}

const fn of_denial(invalid: Invalid) -> &'static str {
    match invalid {
        Invalid::NoRegion => "no region holds the address",
        Invalid::Guard => "it is a guard page, which must not be touched",
        Invalid::ReadOnly => "the region may not be written",
        Invalid::NoExecute => "the region may not be executed (XD=1)",
        Invalid::Supervisor => "the page is the supervisor's (U/S=0)",
        Invalid::NotCanonical => "the address is not canonical",
        Invalid::Misaligned => "the access is misaligned",
        Invalid::Reserved => "a reserved bit is set in an entry",
        Invalid::ProtectionKey => "a protection key forbids it",
        Invalid::ShadowStack => "no region is a shadow stack",
        Invalid::Processor => "the processor denies what the tables allow",
    }
}
