//! Accesses to two pages, and addresses that are not canonical: CODE-12, AD-5, AD-7, CANON-1,
//! CANON-2.

use super::{
    FRAME, NEXT_PTE, PAGE, PDE, PDPTE, PML4E, PTE, Rule, TestMachine, access, bit, code, on_stack,
};
use crate::access::AccessKind;
use crate::access::Ring::{Three, Zero};
use crate::x86::fault::Vector;
use std::vec::Vec;

/// The address of eight bytes, four in the mapped page and four in the next.
const EDGE: u64 = 0x80_8060_4ffc;
/// The next page.
const NEXT: u64 = 0x80_8060_5000;
/// Its frame, not next to the first.
const NEXT_FRAME: u64 = 0x1_8000_0000;

const AD: u64 = bit::A | bit::D;

/// Two adjacent 4 KiB pages that allow everything.
fn two_pages() -> TestMachine {
    TestMachine::page_4k().set(NEXT_PTE, NEXT_FRAME | 7)
}

#[test]
fn ad_1_a_write_to_two_pages_dirties_both() {
    assert_eq!(PAGE + 0x1000, NEXT);
    two_pages()
        .writes(EDGE, Three)
        .reaches_spans(&[(0x1_4000_0ffc, 4), (0x1_8000_0000, 4)])
        .updates(&[
            (PML4E, bit::A, 0),
            (PDPTE, bit::A, 0),
            (PDE, bit::A, 0),
            (PTE, AD, 0),
            (NEXT_PTE, AD, 0),
        ]);
}

#[test]
fn ad_1_crossing_4k_inside_a_large_page_updates_each_entry_once() {
    let write = TestMachine::page_2m().writes(EDGE, Zero);
    write.reaches_spans(&[(0x1_4000_4ffc, 4), (0x1_4000_5000, 4)]);
    write.updates(&[(PML4E, bit::A, 0), (PDPTE, bit::A, 0), (PDE, AD, 0)]);
}

#[test]
fn ad_1_crossing_from_one_2m_page_to_another() {
    // Entries 3 and 4 of the directory.
    let machine = TestMachine::page_2m().set(0x12_020, NEXT_FRAME | 0x87);
    let read = machine.reads(0x80_807f_fffc, Three);
    read.reaches_spans(&[(0x1_401f_fffc, 4), (0x1_8000_0000, 4)]);
    read.updates(&[PML4E, PDPTE, PDE, 0x12_020].map(|at| (at, bit::A, 0)));
}

#[test]
fn ad_1_crossing_from_a_large_page_to_a_small_one() {
    let machine = TestMachine::page_2m().set(0x12_020, 0x13_007).set(0x13_000, NEXT_FRAME | 7);
    let read = machine.reads(0x80_807f_fffe, Three);
    read.reaches_spans(&[(0x1_401f_fffe, 2), (0x1_8000_0000, 6)]);
}

#[test]
fn ad_1_crossing_from_one_pml4_entry_to_another() {
    // From the last page under entry 1 to the first page under entry 2.
    let lower = [0x10_008, 0x11_ff8, 0x12_ff8, 0x13_ff8];
    let upper = [0x10_010, 0x21_000, 0x22_000, 0x23_000];
    let targets = [0x11_007, 0x12_007, 0x13_007, FRAME | 7, 0x21_007, 0x22_007, 0x23_007];
    let entries: Vec<_> = lower.into_iter().chain(upper).zip(targets).collect();
    let machine = TestMachine::with_entries(&entries).set(0x23_000, NEXT_FRAME | 7);

    let read = machine.reads(0xff_ffff_fffc, Three);
    read.reaches_spans(&[(0x1_4000_0ffc, 4), (0x1_8000_0000, 4)]);

    let all: Vec<_> = lower.into_iter().chain(upper).map(|at| (at, bit::A, 0)).collect();
    read.updates(&all);
}

/// The last page of the address space is mapped, and the first page if `first_page_too`.
fn both_ends(first_page_too: bool) -> TestMachine {
    let top = [(0x10_ff8, 0x11_007), (0x11_ff8, 0x12_007), (0x12_ff8, 0x13_007)];
    let machine = TestMachine::with_entries(&top).set(0x13_ff8, FRAME | 7);

    if first_page_too { machine.set(0x10_000, 0x21_007).set(0x21_000, 0x87) } else { machine }
}

#[test]
fn code_12_addresses_wrap_at_the_top() {
    let write = both_ends(true).writes(0xffff_ffff_ffff_fffd, Zero);
    write.reaches_spans(&[(0x1_4000_0ffd, 3), (0, 5)]);
    let fault = both_ends(false).writes(0xffff_ffff_ffff_fffd, Zero);
    fault.faults(code::W, 0).by(Rule::Code12);
}

#[test]
fn code_12_cr2_is_the_first_byte_in_the_faulting_page() {
    let second_absent = TestMachine::page_4k();
    second_absent.reads(EDGE, Three).faults(code::U, NEXT).by(Rule::Code12);
    let first_absent = two_pages().clear(PTE, bit::P);
    first_absent.reads(EDGE, Three).faults(code::U, EDGE).by(Rule::Code12);
    second_absent.reads(EDGE - 4, Three).reaches(0x1_4000_0ff8).not_by(Rule::Code12);
}

#[test]
fn code_12_either_page_may_be_reported_when_both_fault() {
    let lower_absent = two_pages().clear(PTE, bit::P).clear(NEXT_PTE, bit::RW);
    let fault = lower_absent.writes(EDGE, Three);
    let absent = code::W | code::U;
    let read_only = code::P | code::W | code::U;

    fault.faults_in_one_of(&[(absent, EDGE), (read_only, NEXT)]);
    fault.chosen_by(&[Some(Rule::Code12), Some(Rule::Code12)]).by(Rule::Code12);
}

#[test]
fn code_12_a_denying_large_page_faults_at_both_addresses() {
    let fault = TestMachine::page_2m().clear(PDE, bit::US).reads(EDGE, Three);
    fault.faults_in_one_of(&[(code::P | code::U, EDGE), (code::P | code::U, NEXT)]);
    fault.by(Rule::Code12).updates(&[PML4E, PDPTE, PDE].map(|at| (at, 0, bit::A)));
}

#[test]
fn ad_5_a_page_after_the_faulting_one_may_be_accessed_but_not_dirtied() {
    let fault = two_pages().clear(PTE, bit::P).writes(EDGE, Zero);
    fault.faults(code::W, EDGE).by(Rule::Ad5).not_by(Rule::Ad7);
    fault.updates(&[PML4E, PDPTE, PDE, NEXT_PTE].map(|at| (at, 0, bit::A)));
    assert_eq!(fault.update_of(NEXT_PTE).open_by, Rule::Ad5);
}

#[test]
fn ad_7_the_first_page_of_a_faulting_write_may_be_dirty() {
    let fault = TestMachine::page_4k().writes(EDGE, Three);
    fault.faults(code::W | code::U, NEXT).by(Rule::Ad7);
    let tables = [PML4E, PDPTE, PDE].map(|at| (at, 0, bit::A));
    fault.updates(&[tables[0], tables[1], tables[2], (PTE, 0, AD)]);
    assert_eq!(fault.update_of(PTE).open_by, Rule::Ad7);
}

#[test]
fn ad_7_does_not_apply_to_reads() {
    let fault = TestMachine::page_4k().reads(EDGE, Three);
    fault.faults(code::U, NEXT).not_by(Rule::Ad7);
    fault.updates(&[PML4E, PDPTE, PDE, PTE].map(|at| (at, 0, bit::A)));
}

#[test]
fn ad_7_the_denying_second_page_stays_clean() {
    let fault = two_pages().clear(NEXT_PTE, bit::RW).writes(EDGE, Zero);
    fault.faults(code::P | code::W, NEXT).by(Rule::Ad7).by(Rule::Ad3);
    let tables = [PML4E, PDPTE, PDE].map(|at| (at, 0, bit::A));
    let leaves = [(PTE, 0, AD), (NEXT_PTE, 0, bit::A)];
    fault.updates(&[tables[0], tables[1], tables[2], leaves[0], leaves[1]]);
}

#[test]
fn canon_1_a_non_canonical_address_is_not_walked() {
    for address in [0x8000_0000_0000, 0xffff_7fff_ffff_fff0, 0x0123_0080_8060_4234] {
        let machine = TestMachine::page_4k();
        for kind in AccessKind::ALL {
            let bad = machine.does(access(kind, address, Three));
            bad.raises(Vector::GeneralProtection).by(Rule::Canon1).updates(&[]);
        }

        let bad = machine.does(on_stack(access(AccessKind::Read, address, Zero)));
        bad.raises(Vector::StackFault).by(Rule::Canon1).updates(&[]);

        // Code is in CS, whatever the segment of the access says.
        let bad = machine.does(on_stack(access(AccessKind::Fetch, address, Zero)));
        bad.raises(Vector::GeneralProtection).by(Rule::Canon1).updates(&[]);
    }
}

#[test]
fn canon_1_the_edges_are_canonical() {
    // They are walked, and the entries are absent.
    let machine = TestMachine::page_4k();
    machine.reads(0x7fff_ffff_fff8, Three).faults(code::U, 0x7fff_ffff_fff8).not_by(Rule::Canon1);
    let bottom = 0xffff_8000_0000_0000;
    machine.reads(bottom, Three).faults(code::U, bottom).not_by(Rule::Canon1);
}

#[test]
fn canon_2_one_non_canonical_byte_is_enough() {
    // Across either edge of the non-canonical range. Below the lower edge a page is mapped, and its
    // entries are not updated.
    let tables = [(0x10_7f8, 0x11_007), (0x11_ff8, 0x12_007), (0x12_ff8, 0x13_007)];
    let machine = TestMachine::with_entries(&tables).set(0x13_ff8, FRAME | 7);
    machine.reads(0x7fff_ffff_fff8, Three).reaches(0x1_4000_0ff8);

    for address in [0x7fff_ffff_fff9, 0xffff_7fff_ffff_ffff] {
        let bad = machine.writes(address, Zero);
        bad.raises(Vector::GeneralProtection).by(Rule::Canon2).updates(&[]);
        let bad = machine.does(on_stack(access(AccessKind::Write, address, Zero)));
        bad.raises(Vector::StackFault).by(Rule::Canon2).updates(&[]);
    }
}
