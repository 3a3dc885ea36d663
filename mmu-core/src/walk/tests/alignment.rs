//! Alignment checks: ALIGN-1 (SDM "Interrupt 17 - Alignment Check Exception (#AC)", "Priority Among
//! Concurrent Events").

use super::{
    Access, BYTE, CheckedPrediction, Cr0, Cr4, NEXT_PTE, PAGE, PDE, PDPTE, PML4E, PTE, PagingMode,
    Rule, TestMachine, Vector, access, assert_fault, bit, code, on_stack, with_ac,
};
use crate::access::AccessKind;
use crate::access::Ring::{Three, Zero};
use crate::address::{PhysAddr, VirtAddr};
use crate::outcome::Outcome;

/// A misaligned address in the page, for every size.
const ODD: u64 = PAGE + 0x235;
const ODD_FRAME: u64 = 0x1_4000_0235;

/// The machine with CR0.AM=1.
fn checked(mut machine: TestMachine) -> TestMachine {
    machine.state.cr0 |= Cr0::AM;
    machine
}

/// An access of ring 3 with EFLAGS.AC=1.
fn user(kind: AccessKind, address: u64) -> Access {
    with_ac(access(kind, address, Three))
}

#[track_caller]
fn assert_refused(prediction: &CheckedPrediction) {
    prediction.raises(Vector::AlignmentCheck).by(Rule::Align1);
}

/// The first outcome is another fault, the second #AC with these entries that A may be set in.
#[track_caller]
fn assert_either(prediction: &CheckedPrediction, accessed: &[u64]) -> Outcome {
    prediction.by(Rule::Align1).chosen_by(&[Some(Rule::Align1), Some(Rule::Align1)]);
    let [other, check] = prediction.0.alternatives.as_slice() else { panic!("two outcomes") };

    let fault = check.outcome.fault().expect("a fault");
    assert_eq!((fault.vector, fault.error_code, fault.cr2), (Vector::AlignmentCheck, 0, None));
    let updates = check.updates.iter();
    let updates: std::vec::Vec<_> =
        updates.map(|update| (update.at.get(), update.must_set, update.may_set)).collect();
    let expected: std::vec::Vec<_> = accessed.iter().map(|at| (*at, 0, bit::A)).collect();
    assert_eq!(updates, expected);
    other.outcome.clone()
}

/// "Alignment Requirements by Data Type": a word 2, a doubleword 4, a quadword 8, a far pointer of 48
/// bits 4, a double extended-precision number 8. The columns are the offsets that are accepted.
#[test]
fn align_1_the_size_decides() {
    let machine = checked(TestMachine::page_4k());
    for (size, accepted) in [
        (1, &[0, 1, 2, 3, 4, 5, 6, 7][..]),
        (2, &[0, 2, 4, 6]),
        (4, &[0, 4]),
        (6, &[0, 4]),
        (8, &[0]),
        (10, &[0]),
        // Others have no requirement there.
        (3, &[0, 1, 2, 3, 4, 5, 6, 7]),
        (32, &[0, 1, 2, 3, 4, 5, 6, 7]),
        (64, &[0, 1, 2, 3, 4, 5, 6, 7]),
    ] {
        for offset in 0..8 {
            let read = Access { size, ..user(AccessKind::Read, PAGE + offset) };
            let prediction = machine.does(read);
            if accepted.contains(&offset) {
                let spans = [(0x1_4000_0000 + offset, size)];
                prediction.reaches_spans(&spans).not_by(Rule::Align1);
            } else {
                assert_refused(&prediction);
            }
        }
    }
}

/// MOVDQU and its kin: #AC "may or may not be generated depending on processor implementation when data
/// addresses are not aligned on an 8-byte boundary".
#[test]
fn align_1_sixteen_bytes_may_be_checked_for_eight() {
    let machine = checked(TestMachine::page_4k());
    let wide = |offset| Access { size: 16, ..user(AccessKind::Read, PAGE + offset) };
    for offset in [0, 8] {
        let spans = [(0x1_4000_0000 + offset, 16)];
        machine.does(wide(offset)).reaches_spans(&spans).not_by(Rule::Align1);
    }

    let path = [PML4E, PDPTE, PDE, PTE];
    let reached = assert_either(&machine.does(wide(4)), &path);
    assert_eq!(reached.physical_address().map(PhysAddr::get), Some(0x1_4000_0004));
}

#[test]
fn align_1_reads_and_writes_are_checked_and_may_set_a() {
    let machine = checked(TestMachine::page_4k());
    for kind in [AccessKind::Read, AccessKind::Write, AccessKind::ReadModifyWrite] {
        let refused = machine.does(user(kind, ODD));
        assert_refused(&refused);
        refused.not_by(Rule::Ad1);
        // D would tell of a write that was not made.
        let accessed = [PML4E, PDPTE, PDE, PTE].map(|at| (at, 0, bit::A));
        refused.updates(&accessed);

        assert_refused(&machine.does(on_stack(user(kind, ODD))));
    }
}

#[test]
fn align_1_am_ac_and_ring_3_turn_it_on() {
    let on = checked(TestMachine::page_4k());
    let read = user(AccessKind::Read, ODD);
    assert_refused(&on.does(read));

    for (machine, access) in [
        (TestMachine::page_4k(), read),
        (on.clone(), Access { ac: false, ..read }),
        (on.clone(), Access { ring: Zero, ..read }),
        // "Memory references that default to privilege level 0, such as segment descriptor loads".
        (on, Access { implicit: true, ..read }),
    ] {
        machine.does(access).reaches(ODD_FRAME).not_by(Rule::Align1);
    }
}

#[test]
fn align_1_fetches_and_clflush_are_not_checked() {
    let machine = checked(TestMachine::page_4k());
    for kind in [AccessKind::Fetch, AccessKind::Clflush] {
        machine.does(user(kind, ODD)).reaches(ODD_FRAME).not_by(Rule::Align1);
    }

    let shadow_stack = checked(TestMachine::page_4k().clear(PTE, bit::RW).set(PTE, bit::D));
    let push = Access { shadow_stack: true, ..user(AccessKind::Write, ODD) };
    shadow_stack.does(push).reaches(ODD_FRAME).not_by(Rule::Align1);
}

/// "Exceptions within each class are implementation-dependent": data page faults and alignment checks
/// are in one class, that of faults on executing an instruction.
#[test]
fn align_1_which_of_two_faults_comes_first_is_a_choice() {
    let absent = checked(TestMachine::page_4k().clear(PDE, bit::P));
    let fault = assert_either(&absent.does(user(AccessKind::Write, ODD)), &[PML4E, PDPTE]);
    assert_fault(&fault, code::W | code::U, ODD);

    let denied = checked(TestMachine::page_4k().clear(PTE, bit::RW));
    let path = [PML4E, PDPTE, PDE, PTE];
    let fault = assert_either(&denied.does(user(AccessKind::Write, ODD)), &path);
    assert_fault(&fault, code::P | code::W | code::U, ODD);

    let reserved = checked(TestMachine::page_4k().set(PTE, 1 << 51));
    let fault = assert_either(&reserved.does(user(AccessKind::Read, ODD)), &[PML4E, PDPTE, PDE]);
    assert_fault(&fault, code::P | code::U | code::RSVD, ODD);
}

/// #GP and #SS are in that class as well.
#[test]
fn align_1_an_address_fault_may_come_before_or_after() {
    let machine = checked(TestMachine::page_4k());
    let beyond = user(AccessKind::Read, 0x8000_0000_0001);
    for (access, vector) in
        [(beyond, Vector::GeneralProtection), (on_stack(beyond), Vector::StackFault)]
    {
        let other = assert_either(&machine.does(access), &[]);
        assert_eq!(other.fault().map(|fault| fault.vector), Some(vector));
    }

    let separated = machine.cr4(Cr4::LASS);
    let other = assert_either(&separated.does(user(AccessKind::Read, u64::MAX - 8)), &[]);
    assert_eq!(other.fault().map(|fault| fault.vector), Some(Vector::GeneralProtection));
}

#[test]
fn align_1_a_misaligned_access_to_two_pages_may_set_a_in_both() {
    let machine = checked(TestMachine::page_4k().set(NEXT_PTE, 0x9007));
    let across = user(AccessKind::Write, PAGE + 0xffc);
    let refused = machine.does(across);
    assert_refused(&refused);
    refused.updates(&[PML4E, PDPTE, PDE, PTE, NEXT_PTE].map(|at| (at, 0, bit::A)));

    // The second page is absent. Nothing is written, so D stays as it was even in the first.
    let absent = machine.clear(NEXT_PTE, bit::P);
    let fault = assert_either(&absent.does(across), &[PML4E, PDPTE, PDE, PTE]);
    assert_fault(&fault, code::W | code::U, PAGE + 0x1000);
}

#[test]
fn align_1_applies_in_every_mode() {
    let five = checked(TestMachine::page_4k().five_levels());
    assert_refused(&five.does(user(AccessKind::Read, super::BYTE_5 + 1)));

    let unpaged = checked(TestMachine::in_mode(PagingMode::Unpaged, 0, &[]));
    let entries = [(0x1000, 0x2007), (0x2014, 0x7007)];
    let bits32 = checked(TestMachine::in_mode(PagingMode::Bits32, 0x1000, &entries));
    let mut pae = TestMachine::in_mode(PagingMode::Pae, 0, &[(0x2000, 0x3007), (0x3028, 0x7007)]);
    pae.state.pdptes[0] = 0x2001;

    for machine in [unpaged, bits32, checked(pae)] {
        for (offset, is_aligned) in [(0, true), (4, true), (2, false), (7, false)] {
            let read = Access { size: 4, ..user(AccessKind::Read, 0x5000 + offset) };
            let prediction = machine.does(read);
            if is_aligned {
                prediction.not_by(Rule::Align1);
                assert!(prediction.only_outcome().fault().is_none());
            } else {
                assert_refused(&prediction);
            }
        }
    }
}

/// Masked bits are not among those that count.
#[test]
fn align_1_a_tag_does_not_matter() {
    let masked = checked(TestMachine::page_4k()).cr3(0x10_000 | 1 << 61);
    let tag = 0x2a << 57;
    let aligned = VirtAddr::new((PAGE + 0x230) | tag);
    let read = Access { address: aligned, ..user(AccessKind::Read, BYTE) };
    masked.does(read).reaches(0x1_4000_0230);
    assert_refused(&masked.does(user(AccessKind::Read, ODD | tag)));
}
