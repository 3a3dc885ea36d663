//! Choices, on which processors and machines legally differ: CODE-7, CODE-8, OUT-1, and their
//! combinations.

use super::{
    BYTE, Cr4, NEXT_PTE, PDE, PDPTE, PML4E, PTE, Rule, TestMachine, Vendor, assert_fault, bit, code,
};
use crate::access::Ring::{Three, Zero};
use crate::address::PhysAddr;

#[test]
fn code_7_global_in_a_pml4e_is_open_for_an_unknown_vendor() {
    let page = TestMachine::page_4k().vendor(Vendor::Unknown).set(PML4E, bit::G);
    let read = page.reads(BYTE, Three);
    read.chosen_by(&[Some(Rule::Code7), Some(Rule::Code7)]).by(Rule::Code7);

    let [ignored, reserved] = read.0.alternatives.as_slice() else { panic!("not two") };
    assert_eq!(ignored.outcome.physical_address().map(PhysAddr::get), Some(0x1_4000_0234));
    assert_eq!(ignored.updates.len(), 4);
    assert_fault(&reserved.outcome, code::P | code::U | code::RSVD, BYTE);
    assert!(reserved.updates.is_empty());
}

#[test]
fn code_7_does_not_matter_while_global_is_clear() {
    let page = TestMachine::page_4k().vendor(Vendor::Unknown);
    page.reads(BYTE, Three).reaches(0x1_4000_0234).not_by(Rule::Code7);
    // Nor in an absent entry.
    let absent = page.set(PML4E, bit::G).clear(PML4E, bit::P);
    absent.reads(BYTE, Three).faults(code::U, BYTE).not_by(Rule::Code7);
}

#[test]
fn code_8_smep_alone_may_report_a_fetch_on_amd() {
    let page = TestMachine::page_4k().vendor(Vendor::Amd).cr4(Cr4::SMEP).without_nxe();
    let fault = page.fetches(BYTE, Zero);
    fault.faults_in_one_of(&[(code::P | code::I, BYTE), (code::P, BYTE)]);
    fault.chosen_by(&[Some(Rule::Code8), Some(Rule::Code8)]).by(Rule::Code8);
    fault.updates(&[PML4E, PDPTE, PDE, PTE].map(|at| (at, 0, bit::A)));
}

#[test]
fn code_8_is_settled_by_nxe_or_a_completed_fetch() {
    let smep = TestMachine::page_4k().vendor(Vendor::Amd).cr4(Cr4::SMEP);
    smep.fetches(BYTE, Zero).faults(code::P | code::I, BYTE);
    smep.without_nxe().fetches(BYTE, Three).reaches(0x1_4000_0234);
}

#[test]
fn code_8_is_open_for_an_unknown_vendor_too() {
    let page = TestMachine::page_4k().vendor(Vendor::Unknown).cr4(Cr4::SMEP).without_nxe();
    let fault = page.fetches(BYTE, Zero);
    fault.faults_in_one_of(&[(code::P | code::I, BYTE), (code::P, BYTE)]).by(Rule::Code8);
}

#[test]
fn code_7_and_code_8_are_chosen_independently() {
    let page = TestMachine::page_4k().vendor(Vendor::Unknown).cr4(Cr4::SMEP).without_nxe();
    page.set(PML4E, bit::G).fetches(BYTE, Zero).faults_in_one_of(&[
        (code::P | code::I, BYTE),
        (code::P | code::RSVD | code::I, BYTE),
        (code::P, BYTE),
        (code::P | code::RSVD, BYTE),
    ]);
}

/// The directory is outside memory.
fn table_outside() -> TestMachine {
    TestMachine::with_entries(&[(PML4E, 0x11_007), (PDPTE, 0x70_007)])
}

#[test]
fn out_1_a_table_outside_memory_reads_as_zeros_or_ones() {
    let fault = table_outside().reads(BYTE, Three);
    fault.faults_in_one_of(&[(code::U, BYTE), (code::P | code::U | code::RSVD, BYTE)]);
    fault.chosen_by(&[Some(Rule::Out1), Some(Rule::Out1)]).by(Rule::Out1);
    fault.updates(&[(PML4E, 0, bit::A), (PDPTE, 0, bit::A)]);
}

#[test]
fn out_1_ones_may_be_a_page() {
    // The PTE is outside memory. With 52 address bits and NXE, all ones are a valid PTE: a
    // writable, execute-disabled user page in the highest frame, with A and D set.
    let page =
        TestMachine::page_4k().physical_address_bits(52).set(PDE, 0x70_000).clear(PDE, 0x3_000);
    let write = page.writes(BYTE, Three);
    write.chosen_by(&[Some(Rule::Out1), Some(Rule::Out1)]).by(Rule::Out1);

    let [zeros, ones] = write.0.alternatives.as_slice() else { panic!("not two") };
    assert_fault(&zeros.outcome, code::W | code::U, BYTE);
    assert_eq!(ones.outcome.physical_address().map(PhysAddr::get), Some(0x000f_ffff_ffff_f234));
}

#[test]
fn out_1_the_root_may_be_outside_memory() {
    let fault = TestMachine::page_4k().cr3(0x70_000).reads(BYTE, Zero);
    fault.faults_in_one_of(&[(0, BYTE), (code::P | code::RSVD, BYTE)]).by(Rule::Out1).updates(&[]);
}

#[test]
fn out_1_no_alternative_is_lost_when_every_choice_is_open() {
    // The last fetch under entry 1 of the PML4, where G is set, reaches entry 2, whose table is
    // outside memory.
    let lower = [(0x10_008, 0x11_107), (0x11_ff8, 0x12_007), (0x12_ff8, 0x13_007)];
    let tables = TestMachine::with_entries(&lower).set(0x13_ff8, 7).set(0x10_010, 0x70_007);
    let machine = tables.vendor(Vendor::Unknown).cr4(Cr4::SMEP).without_nxe();
    let low = 0xff_ffff_fffc;
    let high = 0x100_0000_0000;

    // The lower page is denied by SMEP, or its G is reserved. The upper page is absent, or has
    // reserved bits set.
    machine.fetches(low, Zero).faults_in_one_of(&[
        (code::P | code::I, low),
        (code::I, high),
        (code::P | code::RSVD | code::I, high),
        (code::P | code::RSVD | code::I, low),
        (code::I, high),
        (code::P | code::RSVD | code::I, high),
        (code::P, low),
        (0, high),
        (code::P | code::RSVD, high),
        (code::P | code::RSVD, low),
        (0, high),
        (code::P | code::RSVD, high),
    ]);
}

#[test]
fn out_1_a_table_behind_a_bad_entry_is_not_read() {
    let absent = table_outside().clear(PDPTE, bit::P).set(NEXT_PTE, 0);
    absent.reads(BYTE, Zero).faults(0, BYTE).not_by(Rule::Out1);
}
