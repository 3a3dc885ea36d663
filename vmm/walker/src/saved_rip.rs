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
        (AccessKind::Fetch, Vector::PageFault) => {
            SavedRip::Address(fetched_instruction(case, fault))
        }
        // A near jump to an address that is not canonical does not go there: #GP is the jump's own
        // (SDM, APM "JMP").
        _ => SavedRip::AT_INSTRUCTION,
    }
}

/// In 32-bit code, what crosses into the next page is two instructions (`crosswalk_guest::contents`): the
/// bytes of the first of them, `mov cx, imm16`.
pub(super) const FIRST_OF_CROSSING: u64 = 4;

/// The first byte of the instruction that could not be fetched as a whole.
fn fetched_instruction(case: &Case, fault: &Fault) -> u64 {
    let first = case.access.address;
    let faults_on_second_page = fault.cr2.is_some_and(|cr2| cr2 != first);
    match Code::of(case.table_use()) {
        Code::Bits32 if faults_on_second_page => first.get().wrapping_add(FIRST_OF_CROSSING),
        _ => first.get(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Walker;
    use crosswalk_guest::layout::Arena;
    use mmu_core::{Access, PagingMode, Profile, Reference, Ring, VirtAddr};

    /// What the reference expects of a case whose outcome is one fault.
    fn saved(case: &Case) -> SavedRip {
        let prediction = Reference.predict(case);
        let fault = prediction.alternatives[0].outcome.fault().expect("it faults");
        Reference.saved_rip(case, fault)
    }

    fn plain(mode: PagingMode) -> Case {
        Case::plain_in(mode, Arena::ALL[0], 3, Ring::Three, Profile::default())
    }

    /// SDM "Interrupt 14", "Saved Instruction Pointer": the instruction that generated the exception.
    #[test]
    fn a_fault_of_data_saves_the_instruction() {
        let mut case = plain(PagingMode::FourLevel);
        case.entries[3].value = 0;
        assert_eq!(saved(&case), SavedRip::AT_INSTRUCTION);
    }

    /// Where code is absent, the instruction that caused the fault is there.
    #[test]
    fn a_page_fault_of_a_fetch_saves_its_target() {
        let mut case = plain(PagingMode::FourLevel);
        case.access = Access::fetch(case.access.address, 8, Ring::Three);
        case.entries[3].value = 0;
        assert_eq!(saved(&case), SavedRip::Address(case.access.address.get()));

        // The jump itself is refused.
        case.access.address = VirtAddr::new(case.access.address.get() ^ 1 << 60);
        assert_eq!(saved(&case), SavedRip::AT_INSTRUCTION);
    }

    /// The crossing code is one instruction of ten bytes in 64-bit code, and two of four in 32-bit code.
    #[test]
    fn a_fetch_across_pages_saves_the_instruction_that_is_cut() {
        for (mode, offset, size, expected) in
            [(PagingMode::FourLevel, 0xff8, 10, 0xff8), (PagingMode::Pae, 0xffa, 8, 0xffe)]
        {
            let mut case = plain(mode);
            let page = case.access.address.get() & !0xfff;
            case.access = Access::fetch(VirtAddr::new(page + offset), size, Ring::Three);
            // The page after it is not mapped.
            assert_eq!(saved(&case), SavedRip::Address(page + expected), "{mode}");
        }
    }
}
