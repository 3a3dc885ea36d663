//! What is compared, in a few words.

use super::compare::place;
use crate::walker::value::{mask, result_width};
use crosswalk_case::Case;
use crosswalk_case::observation::{Observation, ObservedFault, name_of_fault};
use mmu_core::{AccessKind, Alternative, Outcome, Vector};

pub(super) fn describe_fault(fault: ObservedFault) -> String {
    let place = if fault.vector == Vector::PageFault as u8 {
        format!(" at {:#x}", fault.cr2)
    } else {
        String::new()
    };
    name_of_fault(fault.vector, fault.error_code) + &place
}

pub(super) fn describe_bytes(bytes: &[(u64, u8)]) -> String {
    const MOST: usize = 10;
    if bytes.is_empty() {
        return "nothing".into();
    }
    let shown = bytes.iter().take(MOST).map(|(at, byte)| format!("{at:#x}={byte:02x}"));
    let shown: Vec<_> = shown.collect();
    let more = bytes.len().saturating_sub(MOST);
    let more = if more == 0 { String::new() } else { format!(" and {more} more bytes") };
    format!("{}{more}", shown.join(" "))
}

pub(super) fn describe_places(places: &[(u64, u16, Option<u64>)]) -> String {
    if places.is_empty() {
        return "none".into();
    }
    let shown = places.iter().map(|(address, len, stored)| match stored {
        None => format!("load of {len} at {address:#x}"),
        Some(data) => format!("store of {len} at {address:#x} of {data:#x}"),
    });
    shown.collect::<Vec<_>>().join(", ")
}

/// An observation's end in a few words, as a prediction would have it.
pub fn describe_observation(case: &Case, seen: &Observation) -> String {
    if let Some(fault) = seen.fault {
        return describe_fault(fault);
    }
    let mut parts = Vec::new();
    if matches!(
        case.access.kind,
        AccessKind::Read | AccessKind::ReadModifyWrite | AccessKind::Fetch
    ) {
        parts.push(format!("value {:#x}", seen.value & mask(result_width(case))));
    }
    if !seen.stored.is_empty() {
        parts.push(format!("stored {}", describe_bytes(&seen.stored)));
    }
    if !seen.outside.is_empty() {
        let places: Vec<_> = seen.outside.iter().map(|access| place(*access)).collect();
        parts.push(describe_places(&places));
    }
    if parts.is_empty() { "completed".into() } else { parts.join(", ") }
}

/// The end of an alternative in a few words.
pub fn describe_expectation(expected: &Alternative) -> String {
    match &expected.outcome {
        Outcome::Fault(fault) => fault.to_string(),
        Outcome::Translated(spans) => {
            let spans: Vec<_> = spans
                .iter()
                .map(|span| format!("{} bytes at {}", span.len, span.address))
                .collect();
            format!("completed: {}", spans.join(", then "))
        }
    }
}
