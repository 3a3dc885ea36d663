//! The error code: CODE-8 to CODE-11 (SDM "Page-Fault Exceptions").

use super::{
    Access, BYTE, Cr4, PDE, PDPTE, PML4E, PTE, Rule, TestMachine, VirtAddr, access, bit, code,
};
use crate::access::AccessKind;
use crate::access::Ring::{Three, Zero};

#[test]
fn code_8_fetches_are_reported_with_nxe() {
    let no_code = TestMachine::page_4k().set(PTE, bit::XD);
    no_code.fetches(BYTE, Zero).faults(code::P | code::I, BYTE).by(Rule::Code8);
    no_code.fetches(BYTE, Three).faults(code::P | code::U | code::I, BYTE).by(Rule::Code8);

    let absent = TestMachine::page_4k().clear(PTE, bit::P);
    absent.fetches(BYTE, Zero).faults(code::I, BYTE).by(Rule::Code8);
    absent.reads(BYTE, Zero).faults(0, BYTE).not_by(Rule::Code8);
}

#[test]
fn code_8_fetches_are_not_reported_without_nxe_and_smep() {
    let absent = TestMachine::page_4k().without_nxe().clear(PTE, bit::P);
    absent.fetches(BYTE, Three).faults(code::U, BYTE).by(Rule::Code8);
    let supervisor = TestMachine::page_4k().without_nxe().clear(PDE, bit::US);
    supervisor.fetches(BYTE, Three).faults(code::P | code::U, BYTE).by(Rule::Code8);
}

#[test]
fn code_8_fetches_are_reported_with_smep_alone_on_intel() {
    // User fetches too: SMEP decides whether I/D is reported, even where it denies nothing.
    let absent = TestMachine::page_4k().without_nxe().cr4(Cr4::SMEP).clear(PTE, bit::P);
    absent.fetches(BYTE, Three).faults(code::U | code::I, BYTE).by(Rule::Code8);
    absent.fetches(BYTE, Zero).faults(code::I, BYTE).by(Rule::Code8);
}

#[test]
fn code_9_a_user_access_is_reported() {
    let supervisor = TestMachine::page_4k().clear(PTE, bit::US);
    supervisor.reads(BYTE, Three).faults(code::P | code::U, BYTE).by(Rule::Code9);
    let absent = TestMachine::page_4k().clear(PTE, bit::P);
    absent.reads(BYTE, Three).faults(code::U, BYTE).by(Rule::Code9);
    absent.reads(BYTE, Zero).faults(0, BYTE).by(Rule::Code9);
}

#[test]
fn code_9_an_implicit_access_in_ring_3_is_a_supervisor_access() {
    let implicit = Access { implicit: true, ..access(AccessKind::Read, BYTE, Three) };
    let absent = TestMachine::page_4k().clear(PTE, bit::P);
    absent.does(implicit).faults(0, BYTE).by(Rule::Code9);
    TestMachine::page_4k().clear(PTE, bit::US).does(implicit).reaches(0x1_4000_0234);
}

#[test]
fn code_10_a_read_modify_write_is_a_write() {
    let page = TestMachine::page_4k();
    let user = access(AccessKind::ReadModifyWrite, BYTE, Three);
    let read_only = page.clone().clear(PTE, bit::RW);
    read_only.does(user).faults(code::P | code::W | code::U, BYTE).by(Rule::Code10);

    // The access is denied: A may be set, D may not.
    let open = [PML4E, PDPTE, PDE, PTE].map(|at| (at, 0, bit::A));
    read_only.does(user).updates(&open);
    page.clone().clear(PDE, bit::P).does(user).faults(code::W | code::U, BYTE).by(Rule::Code10);
    assert_eq!(page.does(user).reaches(0x1_4000_0234).update_of(PTE).must_set, bit::A | bit::D);
}

/// A user page whose leaf has key 5, to which PKRU denies all access.
fn denied_by_key() -> TestMachine {
    let mut page = TestMachine::page_4k().cr4(Cr4::PKE).set(PTE, 5 << 59);
    page.state.pkru = 1 << 10;
    page
}

#[test]
fn code_11_a_denying_key_is_reported() {
    let page = denied_by_key();
    page.reads(BYTE, Three).faults(code::P | code::U | code::PK, BYTE).by(Rule::Code11);
    page.reads(BYTE, Zero).faults(code::P | code::PK, BYTE).by(Rule::Code11);

    // D stays clear, A is open.
    let open = [PML4E, PDPTE, PDE, PTE].map(|at| (at, 0, bit::A));
    page.writes(BYTE, Three).updates(&open);
}

#[test]
fn code_11_a_key_is_reported_even_if_ordinary_rights_deny_too() {
    let read_only = denied_by_key().clear(PTE, bit::RW);
    let all = code::P | code::W | code::U | code::PK;
    read_only.writes(BYTE, Three).faults(all, BYTE).by(Rule::Code11);
    let smap = denied_by_key().cr4(Cr4::SMAP);
    smap.reads(BYTE, Zero).faults(code::P | code::PK, BYTE).by(Rule::Code11);
}

#[test]
fn code_11_a_key_needs_a_translation() {
    let absent = denied_by_key().clear(PTE, bit::P);
    absent.reads(BYTE, Three).faults(code::U, BYTE).not_by(Rule::Code11);
    let reserved = denied_by_key().set(PTE, 1 << 51);
    let fault = reserved.reads(BYTE, Three);
    fault.faults(code::P | code::U | code::RSVD, BYTE).not_by(Rule::Code11);
}

#[test]
fn code_12_cr2_is_the_full_address_of_the_first_byte() {
    let absent = TestMachine::page_4k().clear(PTE, bit::P);
    for size in [1, 2, 4, 8] {
        let read = Access::read(VirtAddr::new(BYTE + 1), size, Zero);
        absent.does(read).faults(0, 0x80_8060_4235);
    }
}
