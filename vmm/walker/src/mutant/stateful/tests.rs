//! Each mutant of a sequence differs from the reference where its mistake shows, and only there.

use super::*;
use crate::MUTANTS;
use crosswalk_case::{AccessStep, TableEntry};
use crosswalk_guest::layout::Arena;
use crosswalk_guest::stub::Form;
use mmu_core::{Cr4, Profile, Ring};

const RW: u64 = 1 << 1;
const A: u64 = 1 << 5;
const D: u64 = 1 << 6;
const PS: u64 = 1 << 7;

fn plain(ring: Ring) -> Case {
    let profile = Profile { physical_address_bits: 40, ..Profile::default() };
    Case::plain(Arena::ALL[0], 7, ring, profile)
}

/// Adds an earlier access to the same page.
fn access_before(case: &mut Case, kind: AccessKind) {
    let access = Access { kind, ..case.access };
    case.before.push(Action::Access(AccessStep {
        access,
        form: Case::default_form(kind),
        value: 1,
    }));
}

/// Makes the last access a write.
fn write(case: &mut Case) {
    case.access.kind = AccessKind::Write;
    case.form = Form::Store;
    case.value = 2;
}

/// The error code of the last access, and A and D in the leaf after it.
fn end(walker: &dyn Walker, case: &Case) -> (Option<u32>, u64) {
    let way = &walker.predict(case).alternatives[0];
    let leaf = case.entries.iter().rfind(|entry| entry.at >> 12 == leaf_table(case) >> 12);
    let at = leaf.expect("a leaf").at;
    let update = way.updates.iter().find(|update| update.at.get() == at);

    let left = update.map_or(0, |update| update.before | update.must_set);
    (way.outcome.fault().map(|fault| fault.error_code), left & (A | D))
}

fn leaf_table(case: &Case) -> u64 {
    case.entries.iter().map(|entry| entry.at).max().unwrap_or(0)
}

/// The end by the reference, and by a mutant.
fn both(id: &str, case: &Case) -> [(Option<u32>, u64); 2] {
    let mutant = MUTANTS.iter().find(|mutant| mutant.id == id).expect("it is listed");
    [end(&Reference, case), end(mutant.walker, case)]
}

#[test]
fn m17_a_key_that_allowed_an_access_is_not_checked_again() {
    let mut case = plain(Ring::Three);
    case.state.cr4 |= Cr4::PKE;
    case.entries[3].value |= 5 << 59;
    access_before(&mut case, AccessKind::Read);
    case.before.push(Action::Pkru(1 << 10));

    // P, U and PK: bits 0, 2 and 5. The first access has set A.
    assert_eq!(both("M17", &case), [(Some(0x25), A), (None, A)]);

    // After INVLPG it is checked.
    case.before.push(Action::Invlpg(case.access.address));
    assert_eq!(both("M17", &case), [(Some(0x25), A), (Some(0x25), A)]);
}

#[test]
fn b23_d_is_lost_after_a_read_whatever_the_rights() {
    let mut case = plain(Ring::Three);
    access_before(&mut case, AccessKind::Read);
    write(&mut case);
    assert_eq!(both("B23", &case), [(None, A | D), (None, A)]);
    assert_eq!(both("M24", &case), [(None, A | D), (None, A | D)]);

    // After INVLPG the leaf is read again.
    case.before.push(Action::Invlpg(case.access.address));
    assert_eq!(both("B23", &case), [(None, A | D), (None, A | D)]);
}

#[test]
fn b25_a_write_under_wp_0_allows_the_next_one() {
    let mut case = plain(Ring::Zero);
    case.state.cr0 -= Cr0::WP;
    case.entries[3].value &= !RW;
    access_before(&mut case, AccessKind::Write);
    case.before.push(Action::WriteProtect(true));
    write(&mut case);

    // P and W. The first write has set A and D.
    assert_eq!(both("B25", &case), [(Some(3), A | D), (None, A | D)]);

    // A read caches no right to write.
    let mut reading = plain(Ring::Zero);
    reading.state.cr0 -= Cr0::WP;
    reading.entries[3].value &= !RW;
    access_before(&mut reading, AccessKind::Read);
    reading.before.push(Action::WriteProtect(true));
    write(&mut reading);
    assert_eq!(both("B25", &reading), [(Some(3), A), (Some(3), A)]);

    case.before.push(Action::ReloadCr3);
    assert_eq!(both("B25", &case), [(Some(3), A | D), (Some(3), A | D)]);
}

#[test]
fn m24_d_is_lost_after_a_read() {
    let mut case = plain(Ring::Zero);
    case.state.cr0 -= Cr0::WP;
    case.entries[3].value &= !RW;
    access_before(&mut case, AccessKind::Read);
    write(&mut case);
    assert_eq!(both("M24", &case), [(None, A | D), (None, A)]);
}

#[test]
fn m25_a_large_frame_has_the_rights_of_its_first_entry() {
    let mut case = plain(Ring::Three);
    case.entries.pop();
    let at = case.entries[2].at;
    case.entries[2].value = 0x4000_0000 | PS | 7;
    case.entries.push(TableEntry { at: at + 8, value: 0x4000_0000 | PS | 5 });
    access_before(&mut case, AccessKind::Read);
    write(&mut case);
    case.access.address = case.access.address.wrapping_add(1 << 21);

    // P, W and U.
    assert_eq!(both("M25", &case), [(Some(7), 0), (None, A | D)]);
}

#[test]
fn m26_a_table_has_the_rights_of_its_first_parent() {
    let mut case = plain(Ring::Three);
    let parent = case.entries[2];
    case.entries.push(TableEntry { at: parent.at + 8, value: parent.value & !RW });
    access_before(&mut case, AccessKind::Write);
    write(&mut case);
    case.access.address = case.access.address.wrapping_add(1 << 21);
    assert_eq!(both("M26", &case), [(Some(7), A | D), (None, A | D)]);
}

#[test]
fn m26_a_changed_parent_is_read_again() {
    let mut case = plain(Ring::Three);
    let parent = case.entries[2];
    access_before(&mut case, AccessKind::Write);
    case.before.push(Action::Write(TableEntry { value: parent.value & !RW, ..parent }));
    case.before.push(Action::ReloadCr3);
    write(&mut case);
    assert_eq!(both("M26", &case), [(Some(7), A | D), (Some(7), A | D)]);
}

#[test]
fn m27_cr0_wp_counts_from_the_next_load_of_cr3() {
    let mut case = plain(Ring::Zero);
    case.entries[3].value &= !RW;
    case.before.push(Action::WriteProtect(false));
    write(&mut case);

    // P and W.
    assert_eq!(both("M27", &case), [(None, A | D), (Some(3), 0)]);

    case.before.push(Action::ReloadCr3);
    assert_eq!(both("M27", &case), [(None, A | D), (None, A | D)]);
}

#[test]
fn m40_flags_are_set_in_an_entry_that_is_not_present() {
    let mut case = plain(Ring::Three);
    access_before(&mut case, AccessKind::Read);
    let leaf = case.entries[3];
    case.before.push(Action::Write(TableEntry { value: leaf.value & !1, ..leaf }));
    write(&mut case);

    // W and U.
    assert_eq!(both("M40", &case), [(Some(6), 0), (Some(6), A | D)]);
}

/// TLB-2: without INVLPG a read may use the old translation or the new one.
#[test]
fn tlb_2_a_read_after_an_edit_has_two_ways() {
    let mut case = plain(Ring::Three);
    access_before(&mut case, AccessKind::Read);
    let leaf = case.entries[3];
    case.before.push(Action::Write(TableEntry { value: leaf.value + 0x1000, ..leaf }));

    let frame = leaf.value & EntryBits::ADDRESS;
    let reached = |case: &Case| -> Vec<u64> {
        let ways = Reference.predict(case).alternatives;
        let addresses = ways.iter().filter_map(|way| way.outcome.physical_address());
        addresses.map(|at| at.get() - frame).collect()
    };
    assert_eq!(reached(&case), [0x1108, 0x108]);
    case.before.push(Action::Invlpg(case.access.address));
    assert_eq!(reached(&case), [0x1108]);
}
