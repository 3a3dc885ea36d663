//! R/W, U/S, XD, WP, SMEP and SMAP: RIGHT-1 to RIGHT-4, RIGHT-8
//! (SDM "Determination of Access Rights").

use super::{
    Access, BYTE, Cr4, PDE, PDPTE, PML4E, PTE, Rule, TestMachine, Vendor, access, bit, code,
    with_ac,
};
use crate::access::AccessKind;
use crate::access::Ring::{Three, Zero};

/// The entries above the leaf.
const TABLES: [u64; 3] = [PML4E, PDPTE, PDE];

#[test]
fn right_1_one_read_only_entry_denies_writes() {
    for at in TABLES {
        let page = TestMachine::page_4k().clear(at, bit::RW);
        page.reads(BYTE, Three).reaches(0x1_4000_0234);
        page.writes(BYTE, Three).faults(code::P | code::W | code::U, BYTE).by(Rule::Right1);
        page.writes(BYTE, Zero).faults(code::P | code::W, BYTE).by(Rule::Right1);
    }

    // An access that every level allows is not decided by RIGHT-1.
    TestMachine::page_4k().writes(BYTE, Three).reaches(0x1_4000_0234).not_by(Rule::Right1);
}

#[test]
fn right_1_one_supervisor_entry_denies_users() {
    for at in TABLES {
        let page = TestMachine::page_4k().clear(at, bit::US);
        page.reads(BYTE, Zero).reaches(0x1_4000_0234);
        page.reads(BYTE, Three).faults(code::P | code::U, BYTE).by(Rule::Right1);
    }
}

#[test]
fn right_1_one_execute_disabled_entry_denies_fetches() {
    for at in TABLES {
        let page = TestMachine::page_4k().set(at, bit::XD);
        page.reads(BYTE, Three).reaches(0x1_4000_0234);
        page.fetches(BYTE, Zero).faults(code::P | code::I, BYTE).by(Rule::Right1);
    }
}

#[test]
fn right_1_holds_for_large_pages() {
    let large = TestMachine::page_2m().clear(PML4E, bit::RW);
    large.writes(BYTE, Zero).faults(code::P | code::W, BYTE).by(Rule::Right1);
    let huge = TestMachine::page_1g().clear(PML4E, bit::US);
    huge.reads(BYTE, Three).faults(code::P | code::U, BYTE).by(Rule::Right1);
}

#[test]
fn right_2_without_wp_the_supervisor_writes_read_only_pages() {
    let user_page = TestMachine::page_4k().without_wp().clear(PTE, bit::RW);
    let supervisor_page = user_page.clone().clear(PTE, bit::US);

    for page in [user_page, supervisor_page] {
        let write = page.writes(BYTE, Zero);
        write.reaches(0x1_4000_0234).by(Rule::Right2);
        assert_eq!(write.update_of(PTE).must_set, bit::A | bit::D, "D is set nevertheless");
    }
}

#[test]
fn right_2_does_not_help_users() {
    let page = TestMachine::page_4k().without_wp().clear(PTE, bit::RW);
    let fault = page.writes(BYTE, Three);
    fault.faults(code::P | code::W | code::U, BYTE).not_by(Rule::Right2);

    // With WP=1 the supervisor is denied too.
    let protected = TestMachine::page_4k().clear(PTE, bit::RW);
    protected.writes(BYTE, Zero).faults(code::P | code::W, BYTE).by(Rule::Right2);
}

#[test]
fn right_3_smep_denies_supervisor_fetches_from_user_pages() {
    let page = TestMachine::page_4k().cr4(Cr4::SMEP);
    page.fetches(BYTE, Zero)
        .faults(code::P | code::I, BYTE)
        .by(Rule::Right3)
        .updates(&[PML4E, PDPTE, PDE, PTE].map(|at| (at, 0, bit::A)));
    page.fetches(BYTE, Three).reaches(0x1_4000_0234);
    page.writes(BYTE, Zero).reaches(0x1_4000_0234);
}

#[test]
fn right_3_smep_applies_if_every_level_has_us_set() {
    for at in [PML4E, PDPTE, PDE, PTE] {
        let page = TestMachine::page_4k().cr4(Cr4::SMEP).clear(at, bit::US);
        page.fetches(BYTE, Zero).reaches(0x1_4000_0234).not_by(Rule::Right3);
    }
}

#[test]
fn right_3_smep_does_not_depend_on_nxe() {
    let page = TestMachine::page_4k().cr4(Cr4::SMEP).without_nxe();
    page.fetches(BYTE, Zero).faults(code::P | code::I, BYTE).by(Rule::Right3);
    let amd = page.vendor(Vendor::Amd);
    amd.fetches(BYTE, Zero).by(Rule::Right3);
}

#[test]
fn right_4_smap_denies_supervisor_data_accesses_to_user_pages() {
    let page = TestMachine::page_4k().cr4(Cr4::SMAP);
    page.reads(BYTE, Zero)
        .faults(code::P, BYTE)
        .by(Rule::Right4)
        .updates(&[PML4E, PDPTE, PDE, PTE].map(|at| (at, 0, bit::A)));
    page.writes(BYTE, Zero).faults(code::P | code::W, BYTE).by(Rule::Right4);
    page.without_wp().writes(BYTE, Zero).faults(code::P | code::W, BYTE).by(Rule::Right4);
}

#[test]
fn right_4_smap_does_not_affect_other_accesses() {
    let page = TestMachine::page_4k().cr4(Cr4::SMAP);
    page.reads(BYTE, Three).reaches(0x1_4000_0234).not_by(Rule::Right4);
    page.fetches(BYTE, Zero).reaches(0x1_4000_0234).not_by(Rule::Right4);

    for at in [PML4E, PDPTE, PDE, PTE] {
        let supervisor = page.clone().clear(at, bit::US);
        supervisor.writes(BYTE, Zero).reaches(0x1_4000_0234).not_by(Rule::Right4);
    }
}

#[test]
fn right_4_ac_excuses_an_explicit_access() {
    let page = TestMachine::page_4k().cr4(Cr4::SMAP);
    let write = with_ac(access(AccessKind::Write, BYTE, Zero));
    for explicit in [with_ac(access(AccessKind::Read, BYTE, Zero)), write] {
        page.does(explicit).reaches(0x1_4000_0234).by(Rule::Right4);
    }

    // AC has no effect on R/W.
    let read_only = page.clear(PTE, bit::RW);
    read_only.does(write).faults(code::P | code::W, BYTE);
}

#[test]
fn right_4_ac_does_not_excuse_an_implicit_access() {
    let page = TestMachine::page_4k().cr4(Cr4::SMAP);
    for ring in [Zero, Three] {
        let implicit = Access { implicit: true, ..access(AccessKind::Read, BYTE, ring) };
        page.does(with_ac(implicit)).faults(code::P, BYTE).by(Rule::Right4);
    }
}

#[test]
fn right_8_clflush_is_a_load() {
    // SDM CLFLUSH: "sets the A bit but not the D bit in the page tables".
    let flush = access(AccessKind::Clflush, BYTE, Three);
    let read_only = TestMachine::page_4k().clear(PTE, bit::RW);
    read_only
        .does(flush)
        .reaches(0x1_4000_0234)
        .by(Rule::Right8)
        .updates(&[PML4E, PDPTE, PDE, PTE].map(|at| (at, bit::A, 0)));

    let supervisor = TestMachine::page_4k().clear(PTE, bit::US);
    supervisor.does(flush).faults(code::P | code::U, BYTE).by(Rule::Right8);
    TestMachine::page_4k().clear(PTE, bit::P).does(flush).faults(code::U, BYTE);
}

#[test]
fn right_8_clflush_obeys_smap() {
    let flush = access(AccessKind::Clflush, BYTE, Zero);
    let page = TestMachine::page_4k().cr4(Cr4::SMAP);
    page.does(flush).faults(code::P, BYTE).by(Rule::Right4).by(Rule::Right8);
}
