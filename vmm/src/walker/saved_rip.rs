//! The RIP that a fault saves: that of the instruction, which can be executed again once the cause is
//! removed (SDM "Exception Classifications", "Faults"; "Interrupt 14", "Saved Instruction Pointer").

use crosswalk_case::Case;
use crosswalk_case::observation::SavedRip;
use crosswalk_guest::stub::Code;
use mmu_core::{AccessKind, Fault, Vector};

/// What a fault of the case's access saves.
pub(super) fn of_fault(case: &Case, fault: &Fault) -> SavedRip {
    match (case.access.kind, fault.vector) {
        // The jump has been executed; its target has not.
        (AccessKind::Fetch, Vector::PageFault) => SavedRip::Address(fetched_instruction(case, fault)),
        // A near jump to an address that is not canonical does not go there: #GP is the jump's own
        // (SDM, APM "JMP").
        _ => SavedRip::AT_INSTRUCTION,
    }
}

/// The first byte of the instruction that could not be fetched as a whole. In 32-bit code, what crosses
/// into the next page is two instructions (`crosswalk_guest::contents`).
fn fetched_instruction(case: &Case, fault: &Fault) -> u64 {
    /// Bytes of the first of the two: `mov cx, imm16`.
    const FIRST: u64 = 4;

    let first = case.access.address;
    let faults_on_second_page = fault.cr2.is_some_and(|cr2| cr2 != first);
    match Code::of(case.table_use()) {
        Code::Bits32 if faults_on_second_page => first.get().wrapping_add(FIRST),
        _ => first.get(),
    }
}
