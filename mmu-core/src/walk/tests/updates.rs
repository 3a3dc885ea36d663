//! The accessed and dirty bits: AD-1, AD-2, AD-3, AD-6 (SDM "Accessed and Dirty Flags"). AD-5 and
//! AD-7 need two pages: see `crossing`.

use super::{BYTE, PDE, PDPTE, PML4E, PTE, Rule, TestMachine, bit, code};
use crate::access::Ring::{Three, Zero};

const AD: u64 = bit::A | bit::D;

#[test]
fn ad_1_a_read_sets_accessed_at_every_level() {
    let all = [PML4E, PDPTE, PDE, PTE].map(|at| (at, bit::A, 0));
    let page = TestMachine::page_4k();
    page.reads(BYTE, Three).reaches(0x1_4000_0234).by(Rule::Ad1).updates(&all);
    page.fetches(BYTE, Three).reaches(0x1_4000_0234).by(Rule::Ad1).updates(&all);
}

#[test]
fn ad_1_a_write_sets_dirty_in_the_leaf_only() {
    let write = TestMachine::page_4k().writes(BYTE, Three);
    write.reaches(0x1_4000_0234).by(Rule::Ad1).updates(&[
        (PML4E, bit::A, 0),
        (PDPTE, bit::A, 0),
        (PDE, bit::A, 0),
        (PTE, AD, 0),
    ]);

    let write = TestMachine::page_2m().writes(BYTE, Three);
    write.reaches(0x1_4000_4234).updates(&[(PML4E, bit::A, 0), (PDPTE, bit::A, 0), (PDE, AD, 0)]);

    let write = TestMachine::page_1g().writes(BYTE, Zero);
    write.reaches(0x1_4060_4234).updates(&[(PML4E, bit::A, 0), (PDPTE, AD, 0)]);
}

#[test]
fn ad_1_the_entry_afterwards_has_these_bits_and_no_others() {
    let write = TestMachine::page_4k().writes(BYTE, Three);
    let leaf = write.update_of(PTE);
    assert_eq!(leaf.before, 0x1_4000_0007);
    assert!(leaf.allows(0x1_4000_0067));

    for wrong in [0x1_4000_0007, 0x1_4000_0027, 0x1_4000_0047, 0x1_4000_00e7, 0x1_5000_0067] {
        assert!(!leaf.allows(wrong), "{wrong:#x}");
    }
}

#[test]
fn ad_2_entries_above_a_bad_one_may_be_accessed() {
    let fault = TestMachine::page_4k().clear(PDE, bit::P).writes(BYTE, Zero);
    fault.faults(code::W, BYTE).by(Rule::Ad2);
    fault.updates(&[(PML4E, 0, bit::A), (PDPTE, 0, bit::A)]);

    let update = fault.update_of(PDPTE);
    assert_eq!(update.open_by, Rule::Ad2);
    assert!(update.allows(0x12_007) && update.allows(0x12_027) && !update.allows(0x12_067));
}

#[test]
fn ad_2_accessed_is_never_cleared() {
    // SDM "Accessed and Dirty Flags": the flags are sticky.
    let fault = TestMachine::page_4k().set(PDPTE, bit::A).clear(PDE, bit::P).reads(BYTE, Zero);
    fault.faults(0, BYTE).by(Rule::Ad2);

    let update = fault.update_of(PDPTE);
    assert!(update.allows(0x12_027));
    assert!(!update.allows(0x12_007), "A was set before");
    assert_eq!(update.open_bits(), 0);
}

#[test]
fn ad_3_a_leaf_that_denies_the_access_stays_clean() {
    let fault = TestMachine::page_4k().clear(PTE, bit::RW).writes(BYTE, Zero);
    fault.faults(code::P | code::W, BYTE).by(Rule::Ad3);
    fault.updates(&[PML4E, PDPTE, PDE, PTE].map(|at| (at, 0, bit::A)));
    assert_eq!(fault.update_of(PDE).open_by, Rule::Ad2);

    let leaf = fault.update_of(PTE);
    assert_eq!(leaf.open_by, Rule::Ad3);
    assert!(leaf.allows(0x1_4000_0005) && leaf.allows(0x1_4000_0025));
    assert!(!leaf.allows(0x1_4000_0045) && !leaf.allows(0x1_4000_0065));
}

#[test]
fn ad_3_a_pin_settles_a_of_a_pte_that_denies_the_access() {
    // The manuals leave it open; kvm-unit-tests and XTF both demand A=0 of processors.
    let others = [PML4E, PDPTE, PDE].map(|at| (at, 0, bit::A));
    for (pin, must_set, may_set) in
        [(None, 0, bit::A), (Some(false), 0, 0), (Some(true), bit::A, 0)]
    {
        let mut page = TestMachine::page_4k().clear(PTE, bit::RW);
        page.profile.pins.denied_pte_is_accessed = pin;
        let fault = page.writes(BYTE, Zero);
        fault.faults(code::P | code::W, BYTE).by(Rule::Ad3);
        fault.updates(&[&others[..], &[(PTE, must_set, may_set)]].concat());

        // It is about 4 KiB pages, and about rights only.
        let mut large = TestMachine::page_2m().clear(PDE, bit::RW);
        large.profile.pins.denied_pte_is_accessed = pin;
        large.writes(BYTE, Zero).updates(&[PML4E, PDPTE, PDE].map(|at| (at, 0, bit::A)));
        let mut good = TestMachine::page_4k();
        good.profile.pins.denied_pte_is_accessed = pin;
        good.reads(BYTE, Zero).updates(&[PML4E, PDPTE, PDE, PTE].map(|at| (at, bit::A, 0)));
    }
}

/// An address that uses entry 1 of the PML4, which points to the PML4, at all four levels.
const SELF_MAPPED: u64 = 0x80_4020_1010;

#[test]
fn ad_6_an_entry_used_at_two_levels_gets_both_updates() {
    let machine = TestMachine::with_entries(&[(PML4E, 0x10_007)]);
    let write = machine.writes(SELF_MAPPED, Zero);
    write.reaches(0x10_010).by(Rule::Ad1).updates(&[(PML4E, AD, 0)]);
    machine.reads(SELF_MAPPED, Zero).reaches(0x10_010).updates(&[(PML4E, bit::A, 0)]);
}

#[test]
fn ad_6_an_entry_used_at_two_levels_stays_clean_when_it_denies() {
    let fault = TestMachine::with_entries(&[(PML4E, 0x10_005)]).writes(SELF_MAPPED, Zero);
    fault.faults(code::P | code::W, SELF_MAPPED).updates(&[(PML4E, 0, bit::A)]);
}
