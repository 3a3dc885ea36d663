//! Shadow stacks: RIGHT-7 (SDM "Determination of Access Rights", "Page-Fault Exceptions").

use super::{
    Access, BYTE, Cr4, PDE, PDPTE, PML4E, PTE, PagingMode, Rule, TestMachine, access, bit, code,
};
use crate::access::AccessKind::{Fetch, Read, ReadModifyWrite, Write};
use crate::access::Ring::{Three, Zero};
use crate::access::{AccessKind, Ring};

const TABLES: [u64; 3] = [PML4E, PDPTE, PDE];
const AD: u64 = bit::A | bit::D;

/// An access to the shadow stack, as CALL and RET make it.
fn shadow(kind: AccessKind, ring: Ring) -> Access {
    Access { shadow_stack: true, ..access(kind, BYTE, ring) }
}

/// A user shadow stack: R/W=0 and D=1 in the leaf, R/W=1 above.
fn user_stack() -> TestMachine {
    TestMachine::page_4k().cr4(Cr4::CET).clear(PTE, bit::RW).set(PTE, bit::D)
}

/// A supervisor shadow stack.
fn supervisor_stack() -> TestMachine {
    user_stack().clear(PTE, bit::US)
}

#[test]
fn right_7_a_shadow_stack_may_be_read_and_written() {
    for kind in [Read, Write, ReadModifyWrite] {
        user_stack().does(shadow(kind, Three)).reaches(0x1_4000_0234).by(Rule::Right7);
        supervisor_stack().does(shadow(kind, Zero)).reaches(0x1_4000_0234).by(Rule::Right7);
    }
}

#[test]
fn right_7_user_and_supervisor_must_match() {
    let page = user_stack();
    page.does(shadow(Read, Zero)).faults(code::P | code::SS, BYTE).by(Rule::Right7);
    page.does(shadow(Write, Zero)).faults(code::P | code::W | code::SS, BYTE).by(Rule::Right7);

    let page = supervisor_stack();
    let user = code::P | code::U | code::SS;
    page.does(shadow(Read, Three)).faults(user, BYTE).by(Rule::Right7);
    page.does(shadow(Write, Three)).faults(user | code::W, BYTE).by(Rule::Right7);

    // One entry above with U/S=0 makes it a supervisor shadow stack.
    for at in TABLES {
        let page = user_stack().clear(at, bit::US);
        page.does(shadow(Write, Zero)).reaches(0x1_4000_0234);
        page.does(shadow(Read, Three)).faults(user, BYTE);
    }
}

#[test]
fn right_7_a_writable_leaf_is_not_a_shadow_stack() {
    let page = user_stack().set(PTE, bit::RW);
    page.does(shadow(Read, Three)).faults(code::P | code::U | code::SS, BYTE).by(Rule::Right7);
    let write = page.does(shadow(Write, Three));
    write.faults(code::P | code::W | code::U | code::SS, BYTE).by(Rule::Right7);
}

#[test]
fn right_7_a_clean_leaf_is_not_a_shadow_stack() {
    let page = user_stack().clear(PTE, bit::D);
    page.does(shadow(Read, Three)).faults(code::P | code::U | code::SS, BYTE).by(Rule::Right7);

    let write = page.does(shadow(Write, Three));
    write.faults(code::P | code::W | code::U | code::SS, BYTE);

    // D stays clear, A is open.
    write.updates(&[PML4E, PDPTE, PDE, PTE].map(|at| (at, 0, bit::A)));
}

#[test]
fn right_7_every_entry_above_must_be_writable() {
    for at in TABLES {
        let page = user_stack().clear(at, bit::RW);
        page.does(shadow(Read, Three)).faults(code::P | code::U | code::SS, BYTE);
        let page = supervisor_stack().clear(at, bit::RW);
        let write = page.does(shadow(Write, Zero));
        write.faults(code::P | code::W | code::SS, BYTE).by(Rule::Right7);
    }
}

#[test]
fn right_7_ss_is_reported_for_absent_and_reserved_entries_too() {
    let absent = user_stack().clear(PDE, bit::P);
    absent.does(shadow(Read, Three)).faults(code::U | code::SS, BYTE);
    let reserved = supervisor_stack().set(PTE, 1 << 51);
    reserved.does(shadow(Write, Zero)).faults(code::P | code::W | code::RSVD | code::SS, BYTE);
}

#[test]
fn right_7_to_ordinary_accesses_the_page_is_read_only() {
    let page = user_stack();
    page.reads(BYTE, Three).reaches(0x1_4000_0234).not_by(Rule::Right7);
    page.does(access(Fetch, BYTE, Three)).reaches(0x1_4000_0234);

    let write = page.writes(BYTE, Three);
    write.faults(code::P | code::W | code::U, BYTE).not_by(Rule::Right7);
    page.writes(BYTE, Zero).faults(code::P | code::W, BYTE);
    supervisor_stack().writes(BYTE, Zero).faults(code::P | code::W, BYTE);
}

#[test]
fn right_7_accessed_and_dirty_are_as_for_other_accesses() {
    let read = user_stack().does(shadow(Read, Three));
    read.updates(&[PML4E, PDPTE, PDE, PTE].map(|at| (at, bit::A, 0)));

    let write = user_stack().does(shadow(Write, Three));
    let tables = TABLES.map(|at| (at, bit::A, 0));
    write.updates(&[tables[0], tables[1], tables[2], (PTE, AD, 0)]);

    let leaf = write.update_of(PTE);
    assert_eq!(leaf.before, 0x1_4000_0045);
    assert!(leaf.allows(0x1_4000_0065) && !leaf.allows(0x1_4000_0045));
}

#[test]
fn right_7_large_pages_can_be_shadow_stacks() {
    let page = TestMachine::page_2m().clear(PDE, bit::RW).set(PDE, bit::D);
    page.does(shadow(Write, Three)).reaches(0x1_4000_4234).by(Rule::Right7);
    let fault = page.clear(PDPTE, bit::RW).does(shadow(Write, Three));
    fault.faults(code::P | code::W | code::U | code::SS, BYTE);
}

#[test]
fn right_7_holds_in_32_bit_and_pae_paging() {
    // The PDPTE of PAE paging has no R/W bit, and does not deny the access.
    let in_32_bits = [(0x10_008, 0x11_007), (0x11_010, 0x4000_0045)];
    let in_pae = [(0x12_020, 0x13_007), (0x13_020, 0x4000_0045)];

    for (mode, entries) in [(PagingMode::Bits32, in_32_bits), (PagingMode::Pae, in_pae)] {
        let mut page = TestMachine::in_mode(mode, 0x10_000, &entries).cr4(Cr4::CET);
        page.state.pdptes[0] = 0x12_001;
        let at = 0x80_4234;
        let push = Access { shadow_stack: true, ..access(Write, at, Three) };

        page.does(push).reaches(0x4000_0234).by(Rule::Right7);

        let fault = page.clear(entries[1].0, bit::D).does(push);
        fault.faults(code::P | code::W | code::U | code::SS, at).by(Rule::Right7);
    }
}
