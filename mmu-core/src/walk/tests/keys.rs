//! Protection keys: RIGHT-5 and RIGHT-6 (SDM "Protection Keys").

use super::{BYTE, Cr4, PDE, PDPTE, PML4E, PTE, Rule, TestMachine, bit, code};
use crate::access::Ring::{Three, Zero};

/// The two bits of key 5 in PKRU and PKRS.
const NO_ACCESS: u32 = 0b01 << 10;
const NO_WRITE: u32 = 0b10 << 10;

/// A page with key 5 in its leaf, with PKE and PKS on.
fn keyed() -> TestMachine {
    TestMachine::page_4k().cr4(Cr4::PKE | Cr4::PKS).set(PTE, 5 << 59)
}

fn pkru(mut page: TestMachine, value: u32) -> TestMachine {
    page.state.pkru = value;
    page
}

fn pkrs(mut page: TestMachine, value: u32) -> TestMachine {
    page.state.pkrs = value;
    page
}

#[test]
fn right_5_pkru_governs_user_pages_at_any_cpl() {
    let page = pkru(keyed(), NO_ACCESS);
    page.reads(BYTE, Three).faults(code::P | code::U | code::PK, BYTE).by(Rule::Right5);
    page.reads(BYTE, Zero).faults(code::P | code::PK, BYTE).by(Rule::Right5);
    let other_key = pkru(keyed(), !(0b11 << 10));
    other_key.writes(BYTE, Three).reaches(0x1_4000_0234).by(Rule::Right5);
}

#[test]
fn right_5_pkrs_governs_supervisor_pages() {
    // U/S=0 at one level makes a supervisor page.
    for at in [PML4E, PDPTE, PDE, PTE] {
        let page = pkrs(keyed().clear(at, bit::US), NO_ACCESS);
        page.reads(BYTE, Zero).faults(code::P | code::PK, BYTE).by(Rule::Right5);
        page.reads(BYTE, Three).faults(code::P | code::U | code::PK, BYTE).by(Rule::Right5);
    }
}

#[test]
fn right_5_each_register_governs_its_own_pages_only() {
    pkrs(keyed(), !0).writes(BYTE, Three).reaches(0x1_4000_0234);
    pkrs(keyed(), !0).writes(BYTE, Zero).reaches(0x1_4000_0234);
    pkru(keyed().clear(PTE, bit::US), !0).writes(BYTE, Zero).reaches(0x1_4000_0234);
}

#[test]
fn right_5_keys_do_not_apply_to_fetches() {
    pkru(keyed(), !0).fetches(BYTE, Three).reaches(0x1_4000_0234).by(Rule::Right5);
    let supervisor = keyed().clear(PTE, bit::US);
    pkrs(supervisor, !0).fetches(BYTE, Zero).reaches(0x1_4000_0234).by(Rule::Right5);
}

#[test]
fn right_5_keys_are_ignored_while_turned_off() {
    let mut page = pkrs(pkru(TestMachine::page_4k().set(PTE, 5 << 59), !0), !0);
    page.writes(BYTE, Three).reaches(0x1_4000_0234).not_by(Rule::Right5);
    page.state.cr4 |= Cr4::PKS;
    page.writes(BYTE, Three).reaches(0x1_4000_0234);
}

#[test]
fn right_6_the_key_comes_from_the_leaf_only() {
    let page = TestMachine::page_4k().cr4(Cr4::PKE);
    let above = page.set(PML4E, 5 << 59).set(PDPTE, 5 << 59).set(PDE, 5 << 59);
    pkru(above.clone(), NO_ACCESS).reads(BYTE, Three).reaches(0x1_4000_0234);

    // The key is that of the leaf, 0.
    let fault = pkru(above, 0b01).reads(BYTE, Three);
    fault.faults(code::P | code::U | code::PK, BYTE).by(Rule::Right6);
}

#[test]
fn right_6_large_leaves_have_keys_too() {
    for (page, at) in [(TestMachine::page_2m(), PDE), (TestMachine::page_1g(), PDPTE)] {
        // Key 15: the highest bits of the field and of the register.
        let page = page.cr4(Cr4::PKE).set(at, 15 << 59);
        let fault = pkru(page.clone(), 1 << 30).reads(BYTE, Three);
        fault.faults(code::P | code::U | code::PK, BYTE).by(Rule::Right6);
        let fault = pkru(page, 1 << 31).writes(BYTE, Three);
        fault.faults(code::P | code::W | code::U | code::PK, BYTE).by(Rule::Right6);
    }
}

#[test]
fn right_6_write_disable_denies_writes_only() {
    let page = pkru(keyed(), NO_WRITE);
    page.reads(BYTE, Three).reaches(0x1_4000_0234);
    page.writes(BYTE, Three)
        .faults(code::P | code::W | code::U | code::PK, BYTE)
        .by(Rule::Right6)
        .updates(&[PML4E, PDPTE, PDE, PTE].map(|at| (at, 0, bit::A)));
    page.writes(BYTE, Zero).faults(code::P | code::W | code::PK, BYTE).by(Rule::Right6);
}

#[test]
fn right_6_without_wp_write_disable_does_not_bind_the_supervisor() {
    let user_page = pkru(keyed(), NO_WRITE).without_wp();
    assert_eq!(user_page.writes(BYTE, Zero).update_of(PTE).must_set, bit::A | bit::D);

    let all = code::P | code::W | code::U | code::PK;
    user_page.writes(BYTE, Three).faults(all, BYTE).by(Rule::Right6);

    let supervisor_page = pkrs(keyed().clear(PTE, bit::US), NO_WRITE);
    supervisor_page.writes(BYTE, Zero).faults(code::P | code::W | code::PK, BYTE);
    supervisor_page.without_wp().writes(BYTE, Zero).reaches(0x1_4000_0234);
}

#[test]
fn right_6_without_wp_write_disable_in_pkrs_does_not_bind_users_either() {
    // "If WDi = 1, write accesses are not permitted if CR0.WP = 1. (If CR0.WP = 0, IA32_PKRS.WDi
    // does not affect write accesses to supervisor-mode addresses with protection key i.)" Unlike
    // for PKRU, the manual makes no exception for user-mode accesses: only CR0.WP matters.
    let page = pkrs(keyed().clear(PTE, bit::US), NO_WRITE);
    let denied = code::P | code::W | code::U;
    page.writes(BYTE, Three).faults(denied | code::PK, BYTE);
    page.clone().without_wp().writes(BYTE, Three).faults(denied, BYTE).not_by(Rule::Code11);

    // Access-disable does not depend on CR0.WP.
    let page = pkrs(page, NO_ACCESS).without_wp();
    page.writes(BYTE, Three).faults(denied | code::PK, BYTE).by(Rule::Code11);
}

#[test]
fn right_6_without_wp_access_disable_still_denies() {
    let page = pkru(keyed(), NO_ACCESS).without_wp();
    page.writes(BYTE, Zero).faults(code::P | code::W | code::PK, BYTE).by(Rule::Right6);
    let page = pkrs(keyed().clear(PTE, bit::US), NO_ACCESS).without_wp();
    page.reads(BYTE, Zero).faults(code::P | code::PK, BYTE).by(Rule::Right6);
}
