//! Observations and allowed outcomes in a few words.

use super::effects::OutsideEffect;
use super::value::{low_bytes, result_width};
use crosswalk_case::observation::{Observation, ObservedFault, PrivilegedRecord, name_of_fault};
use crosswalk_case::{Case, Moved};
use crosswalk_guest::stub::Form;
use mmu_core::{AccessKind, Vector};

/// How far an instruction has moved its operands.
pub(super) fn describe_moved(form: Form, moved: Moved) -> String {
    let Moved { rsi, rdi, rcx } = moved;
    let second = if form.moves_stack() { "RSP" } else { "RDI" };
    format!("RSI {rsi:+}, {second} {rdi:+}, RCX {rcx:+}")
}

/// What the machine did: the exception, or what the instruction read and stored.
pub fn describe_observation(case: &Case, seen: &Observation) -> String {
    let mut parts = Vec::new();
    if let Some(fault) = seen.fault {
        parts.push(describe_fault(fault));
        // A repeated instruction may have done a part.
        let Some(moved) = seen.moved.filter(|moved| *moved != Moved::default()) else {
            return parts.concat();
        };
        parts.push(describe_moved(case.form, moved));
    }
    if let Some(value) = result_of(case, seen) {
        parts.push(format!("value {value:#x}"));
    }
    if !seen.stored.is_empty() {
        parts.push(format!("stored {}", describe_bytes(&seen.stored)));
    }
    if !seen.outside.is_empty() {
        let reached: Vec<_> = seen.outside.iter().map(OutsideEffect::from).collect();
        parts.push(describe_outside(&reached));
    }
    if parts.is_empty() { "completed".into() } else { parts.join(", ") }
}

/// What a machine did with a privileged instruction.
pub(super) fn describe_privileged(record: &PrivilegedRecord) -> String {
    let end = record.fault.map_or_else(|| "completed".into(), describe_fault);
    match record.register {
        Some(register) => format!("{end}, and the register holds {register:#x}"),
        None => end,
    }
}

/// What the instruction read, if it reads and did not fault.
pub fn result_of(case: &Case, seen: &Observation) -> Option<u64> {
    let reads = matches!(
        case.access.kind,
        AccessKind::Read | AccessKind::ReadModifyWrite | AccessKind::Fetch
    );
    (reads && seen.fault.is_none()).then(|| seen.value & low_bytes(result_width(case)))
}

/// An exception, with the address if it is a page fault.
pub(super) fn describe_fault(fault: ObservedFault) -> String {
    let name = name_of_fault(fault.vector, fault.error_code);
    if fault.vector == Vector::PageFault as u8 {
        format!("{name} at {:#x}", fault.cr2)
    } else {
        name
    }
}

/// Bytes of memory with their addresses, the first few of them.
pub(super) fn describe_bytes(bytes: &[(u64, u8)]) -> String {
    const MAX_SHOWN: usize = 10;
    if bytes.is_empty() {
        return "nothing".into();
    }

    let shown: Vec<_> =
        bytes.iter().take(MAX_SHOWN).map(|(at, byte)| format!("{at:#x}={byte:02x}")).collect();
    let more = match bytes.len().saturating_sub(MAX_SHOWN) {
        0 => String::new(),
        1 => " and 1 more byte".into(),
        more => format!(" and {more} more bytes"),
    };
    format!("{}{more}", shown.join(" "))
}

/// Accesses to addresses without memory, in order.
pub(super) fn describe_outside(accesses: &[OutsideEffect]) -> String {
    if accesses.is_empty() {
        return "none".into();
    }

    let described = accesses.iter().map(|OutsideEffect { address, len, stored }| match stored {
        None => format!("load of {len} at {address:#x}"),
        Some(data) => format!("store of {len} at {address:#x} of {data:#x}"),
    });
    described.collect::<Vec<_>>().join(", ")
}
