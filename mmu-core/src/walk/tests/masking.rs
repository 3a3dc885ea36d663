//! Masked bits of data addresses: CANON-4
//! (SDM "Linear-Address Masking", APM "Upper Address Ignore").

use super::{
    BYTE, BYTE_5, Cr4, Efer, PTE, PagingMode, Rule, TestMachine, access, assert_fault, bit, code,
    on_stack,
};
use crate::access::Ring::{Three, Zero};
use crate::access::{Access, AccessKind, Segment};
use crate::address::PhysAddr;
use crate::x86::fault::Vector;
use std::vec::Vec;

/// CR3 bits 61 and 62.
const LAM_U57: u64 = 1 << 61;
const LAM_U48: u64 = 1 << 62;

/// The same page in the upper half: entry 0x101 of the PML4, 0x105 of the PML5.
const UPPER: u64 = 0xffff_8080_8060_4234;
const UPPER_5: u64 = 0xff05_0080_8060_4234;

/// A page at `BYTE` and at `UPPER`, with these bits of CR3 and CR4.
fn four_levels(cr3: u64, cr4: Cr4) -> TestMachine {
    TestMachine::page_4k().set(0x10_808, 0x11_007).cr3(0x10_000 | cr3).cr4(cr4)
}

/// A page at `BYTE`, `BYTE_5` and `UPPER_5`.
fn five_levels(cr3: u64, cr4: Cr4) -> TestMachine {
    let page = TestMachine::page_4k().five_levels().set(0xf_000, 0x10_007).set(0xf_828, 0x10_007);
    page.cr3(0xf_000 | cr3).cr4(cr4)
}

/// The page is reached at each of these addresses; `masked` is whether CANON-4 is among the rules.
#[track_caller]
fn check_reached(machine: &TestMachine, masked: bool, addresses: &[u64]) {
    for &address in addresses {
        let read = machine.reads(address, Zero);
        read.reaches(0x1_4000_0234).not_by(Rule::Canon1);
        assert_eq!(read.0.rules.contains(Rule::Canon4), masked, "{address:#x}");
    }
}

/// None of these addresses is canonical.
#[track_caller]
fn check_refused(machine: &TestMachine, addresses: &[u64]) {
    for &address in addresses {
        let refused = machine.writes(address, Three);
        refused.raises(Vector::GeneralProtection).by(Rule::Canon1).updates(&[]);
    }
}

#[test]
fn canon_4_nothing_is_masked_by_default() {
    let machine = four_levels(0, Cr4::empty());
    check_reached(&machine, false, &[BYTE, UPPER]);
    check_refused(&machine, &[BYTE | 1 << 62, BYTE | 1 << 57, UPPER & !(1 << 62)]);
}

#[test]
fn canon_4_lam_u57_masks_bits_62_to_57_of_user_pointers() {
    let machine = four_levels(LAM_U57, Cr4::empty());
    check_reached(&machine, false, &[BYTE, UPPER]);
    check_reached(&machine, true, &[BYTE | 1 << 57, BYTE | 1 << 62, BYTE | 0x7e << 56]);

    // Bit 56 must equal bit 63, and with four levels bits 55:47 too.
    check_refused(&machine, &[BYTE | 0x7f << 56, BYTE | 1 << 56, BYTE | 1 << 55, BYTE | 1 << 48]);
    check_refused(&machine, &[BYTE | 1 << 47, UPPER & !(1 << 57)]);
}

#[test]
fn canon_4_lam_u57_with_five_levels() {
    let machine = five_levels(LAM_U57, Cr4::empty());
    check_reached(&machine, false, &[BYTE, BYTE_5, UPPER_5]);
    check_reached(&machine, true, &[BYTE_5 | 1 << 57, BYTE_5 | 1 << 62, BYTE_5 | 0x7e << 56]);
    check_refused(&machine, &[BYTE_5 | 1 << 56, BYTE_5 | 0x7f << 56, UPPER_5 & !(1 << 62)]);

    // Bits 56:48 are part of the address: entry 7 of the PML5 is absent.
    machine.reads(BYTE_5 | 0x7e02 << 48, Three).faults(code::U, 0x7_0080_8060_4234);
}

#[test]
fn canon_4_lam_u48_masks_bits_62_to_48_of_user_pointers() {
    let machine = four_levels(LAM_U48, Cr4::empty());
    check_reached(&machine, false, &[BYTE, UPPER]);
    check_reached(&machine, true, &[BYTE | 1 << 48, BYTE | 1 << 56, BYTE | 0x7fff << 48]);
    // Bit 47 must equal bit 63.
    check_refused(&machine, &[BYTE | 1 << 47, BYTE | 0xffff << 47 & !(1 << 63), UPPER ^ 1 << 50]);
}

#[test]
fn canon_4_lam_u48_with_five_levels_masks_the_index_of_the_fifth() {
    let machine = five_levels(LAM_U48, Cr4::empty());
    check_reached(&machine, false, &[BYTE, UPPER_5]);
    // All of them are masked to `BYTE`, under entry 0 of the PML5.
    check_reached(&machine, true, &[BYTE_5, BYTE | 1 << 56, BYTE | 0x7fff << 48]);
    check_refused(&machine, &[BYTE | 1 << 47, BYTE_5 | 1 << 47]);
}

#[test]
fn canon_4_lam_u57_overrides_lam_u48() {
    // SDM "Linear-Address Masking": CR3.LAM_U48 is ignored if CR3.LAM_U57 is set.
    let machine = four_levels(LAM_U57 | LAM_U48, Cr4::empty());
    check_reached(&machine, true, &[BYTE | 0x7e << 56]);
    check_refused(&machine, &[BYTE | 1 << 48, BYTE | 1 << 56, BYTE | 0x7fff << 48]);
}

#[test]
fn canon_4_lam_sup_masks_bits_62_to_48_with_four_levels() {
    let machine = four_levels(0, Cr4::LAM_SUP);
    check_reached(&machine, false, &[BYTE, UPPER]);
    check_reached(&machine, true, &[0x8000_8080_8060_4234, 0xfffe_8080_8060_4234, UPPER ^ 1 << 62]);
    // Bit 47 must equal bit 63; user pointers are not masked.
    check_refused(&machine, &[UPPER ^ 1 << 47, 0x8000_0080_8060_4234, BYTE | 1 << 62]);
}

#[test]
fn canon_4_lam_sup_masks_bits_62_to_57_with_five_levels() {
    let machine = five_levels(0, Cr4::LAM_SUP);
    check_reached(&machine, false, &[BYTE_5, UPPER_5]);
    check_reached(&machine, true, &[0x8105_0080_8060_4234, 0xfd05_0080_8060_4234]);

    // Bit 56 must equal bit 63.
    check_refused(&machine, &[0x8005_0080_8060_4234, 0xfe05_0080_8060_4234, BYTE_5 | 1 << 62]);

    // Entry 0x107 of the PML5 is absent.
    machine.reads(0x8107_0080_8060_4234, Zero).faults(0, 0xff07_0080_8060_4234);
}

#[test]
fn canon_4_masking_depends_on_the_pointer_and_not_on_the_cpl() {
    let user = four_levels(LAM_U48, Cr4::empty());
    user.reads(BYTE | 1 << 60, Zero).reaches(0x1_4000_0234);
    user.reads(BYTE | 1 << 60, Three).reaches(0x1_4000_0234);
    let upper = four_levels(0, Cr4::LAM_SUP);
    upper.reads(UPPER ^ 1 << 60, Three).reaches(0x1_4000_0234);
}

#[test]
fn canon_4_cr2_is_the_address_after_masking() {
    let user = four_levels(LAM_U48, Cr4::empty()).clear(PTE, bit::P);
    user.writes(BYTE | 0x5a5a << 48, Three).faults(code::W | code::U, BYTE).by(Rule::Canon4);

    let upper = four_levels(0, Cr4::LAM_SUP).clear(PTE, bit::P);
    upper.reads(0x8000_8080_8060_4234, Zero).faults(0, UPPER).by(Rule::Canon4);

    // Across the end of the page: the first byte of the next page.
    let crossing = four_levels(LAM_U57, Cr4::empty());
    crossing.reads(0x1e00_0080_8060_4ffc, Zero).faults(0, 0x80_8060_5000);
}

#[test]
fn canon_4_fetches_are_not_masked() {
    for machine in [four_levels(LAM_U48, Cr4::LAM_SUP), uai()] {
        machine.fetches(BYTE, Three).reaches(0x1_4000_0234).not_by(Rule::Canon4);
        for address in [BYTE | 1 << 62, UPPER ^ 1 << 62] {
            let refused = machine.fetches(address, Three);
            refused.raises(Vector::GeneralProtection).not_by(Rule::Canon4);
        }
    }
}

#[test]
fn canon_4_stack_addresses_are_masked_too() {
    let machine = four_levels(LAM_U48, Cr4::empty());
    let masked = machine.does(on_stack(access(AccessKind::Write, BYTE | 1 << 55, Three)));
    masked.reaches(0x1_4000_0234).by(Rule::Canon4);
    let refused = machine.does(on_stack(access(AccessKind::Write, BYTE | 1 << 47, Three)));
    refused.raises(Vector::StackFault).by(Rule::Canon4).by(Rule::Canon1);
}

#[test]
fn canon_2_every_byte_must_be_canonical_after_masking() {
    // 0x7fff_ffff_fffc with a tag: four of the bytes are beyond the lower half.
    let machine = four_levels(LAM_U48, Cr4::empty());
    machine.reads(0x0100_7fff_ffff_fffc, Three).raises(Vector::GeneralProtection).by(Rule::Canon2);
}

/// Pages at both ends of the upper half, with these bits of CR4.
fn around_the_top(cr4: Cr4) -> TestMachine {
    let top = [(0x10_ff8, 0x20_007), (0x20_ff8, 0x21_007), (0x21_ff8, 0x22_007)];
    let zero = [(0x10_000, 0x24_007), (0x24_000, 0x25_007), (0x25_000, 0x26_007)];
    let pages = [(0x22_ff8, 0x1_5000_0007), (0x26_000, 0x1_6000_0007)];

    TestMachine::with_entries(&[&top[..], &zero[..], &pages[..]].concat()).cr4(cr4)
}

#[test]
fn canon_2_under_lam_the_bytes_after_2_64_are_masked_alone_or_follow_the_first() {
    // SDM "Linear-Address Pre-Processing" masks the address of an access, and does not say whether
    // each byte or the first alone. Of the bytes at 0xfeff_ffff_ffff_fffc and after, the last four
    // have bit 63 set and bit 47 clear; the masked first address is 0xffff_ffff_ffff_fffc, four
    // bytes below 2^64.
    let read = around_the_top(Cr4::LAM_SUP).reads(0xfeff_ffff_ffff_fffc, Zero);
    read.chosen_by(&[Some(Rule::Canon2), Some(Rule::Canon2)]).by(Rule::Canon4);

    let [alone, follow] = read.0.alternatives.as_slice() else { panic!("not two") };
    assert_eq!(alone.outcome.fault().map(|fault| fault.vector), Some(Vector::GeneralProtection));
    assert!(alone.updates.is_empty());
    assert_eq!(follow.outcome.physical_address().map(PhysAddr::get), Some(0x1_5000_0ffc));
    assert_eq!(follow.updates.len(), 8);
    let members = read.0.alternatives.iter().map(|way| way.choice.unwrap().1).collect::<Vec<_>>();
    assert_eq!(members, ["each byte is masked", "the bytes follow the masked first one"]);

    // With nothing mapped the second member faults; either page may be reported (CODE-12).
    let nothing = TestMachine::with_entries(&[(0x10_000, 0)]).cr4(Cr4::LAM_SUP);
    let read = nothing.reads(0xfeff_ffff_ffff_fffc, Zero);
    let [alone, lower, upper] = read.0.alternatives.as_slice() else { panic!("not three") };
    assert_eq!(alone.outcome.fault().and_then(|fault| fault.cr2), None);
    assert_fault(&lower.outcome, 0, 0xffff_ffff_ffff_fffc);
    assert_fault(&upper.outcome, 0, 0);
}

#[test]
fn canon_2_lam_leaves_no_choice_where_both_ways_of_masking_agree() {
    // Untagged across 2^64: every byte is canonical.
    let top = around_the_top(Cr4::LAM_SUP);
    let both = [(0x1_5000_0ffc, 4), (0x1_6000_0000, 4)];
    top.reads(0xffff_ffff_ffff_fffc, Zero).reaches_spans(&both);
    around_the_top(Cr4::empty()).reads(0xffff_ffff_ffff_fffc, Zero).reaches_spans(&both);

    // Across the end of the lower half: bit 47 of the later bytes differs from bit 63.
    let lower = four_levels(LAM_U48, Cr4::empty());
    lower.reads(0x0100_7fff_ffff_fffc, Three).raises(Vector::GeneralProtection);
}

#[test]
fn canon_2_lam_u48_with_five_levels_leaves_the_same_choice_at_bit_47() {
    // Bytes from 0x8000_0000_0000 on are canonical with 57 bits, but have bit 47 set and bit 63
    // clear.
    let read = five_levels(LAM_U48, Cr4::empty()).reads(0x0100_7fff_ffff_fffc, Zero);
    let [alone, lower, upper] = read.0.alternatives.as_slice() else { panic!("not three") };
    assert_eq!(alone.outcome.fault().map(|fault| fault.vector), Some(Vector::GeneralProtection));
    assert_fault(&lower.outcome, 0, 0x7fff_ffff_fffc);
    assert_fault(&upper.outcome, 0, 0x8000_0000_0000);
}

/// The same machine with AMD's upper address ignore.
fn with_uai(mut machine: TestMachine) -> TestMachine {
    machine.state.efer |= Efer::UAIE;
    machine
}

/// A page at `BYTE` and at `UPPER` with upper address ignore.
fn uai() -> TestMachine {
    with_uai(four_levels(0, Cr4::empty()))
}

#[test]
fn canon_4_uai_ignores_bits_63_to_57() {
    check_reached(&uai(), false, &[BYTE, UPPER]);
    // Bit 63 may differ from bit 56, unlike with LAM.
    check_reached(&uai(), true, &[BYTE | 0xfe << 56, BYTE | 1 << 63, UPPER & !(0xfe << 56)]);
    check_refused(&uai(), &[BYTE | 1 << 56, BYTE | 1 << 48, BYTE | 1 << 47, UPPER ^ 1 << 56]);
}

#[test]
fn canon_4_uai_with_five_levels() {
    let machine = with_uai(five_levels(0, Cr4::empty()));
    // Bit 56 is the highest bit that is translated, so every address is canonical.
    check_reached(&machine, true, &[BYTE_5 | 0xfe << 56, UPPER_5 & !(0xfe << 56), BYTE | 1 << 63]);
}

#[test]
fn canon_4_uai_with_five_levels_checks_no_byte() {
    // APM "Upper Address Ignore": no canonical checks for DS and ES with 5-level paging. The pages
    // below and above bit 56: entries 0xff and 0x100 of the PML5.
    let below = [(0xf_7f8, 0x20_007), (0x20_ff8, 0x21_007), (0x21_ff8, 0x22_007)];
    let above = [(0xf_800, 0x24_007), (0x24_000, 0x25_007), (0x25_000, 0x26_007)];
    let leaves = [
        (0x22_ff8, 0x23_007),
        (0x23_ff8, 0x1_5000_0007),
        (0x26_000, 0x27_007),
        (0x27_000, 0x1_6000_0007),
    ];
    let entries = [&below[..], &above[..], &leaves[..]].concat();
    let machine = with_uai(TestMachine::in_mode(PagingMode::FiveLevel, 0xf_000, &entries));

    let both = [(0x1_5000_0ffc, 4), (0x1_6000_0000, 4)];
    for tag in [0, 0x52 << 56, 0xfe << 56] {
        machine.reads(0x00ff_ffff_ffff_fffc | tag, Three).reaches_spans(&both);
    }

    // The second page may be reported with the bits above 56 or without them.
    let absent = machine.clear(0x27_000, bit::P);
    absent
        .reads(0x52ff_ffff_ffff_fffc, Three)
        .faults_in_one_of(&[(code::U, 0xff00_0000_0000_0000), (code::U, 0x5300_0000_0000_0000)]);
}

#[test]
fn canon_4_cr2_may_hold_the_tag_that_uai_ignores() {
    // APM "Address Tag Storage": CR2 is not guaranteed to hold the tag.
    let absent = uai().clear(PTE, bit::P);
    let tagged = BYTE | 0xb4 << 56;
    let fault = absent.reads(tagged, Three);
    fault.faults_in_one_of(&[(code::U, BYTE), (code::U, tagged)]);
    fault.chosen_by(&[Some(Rule::Canon4), Some(Rule::Canon4)]);

    // Without a tag there is nothing to choose.
    absent.reads(BYTE, Three).faults(code::U, BYTE);
    // The next page keeps the tag or loses it too.
    let next = uai().reads(0xb400_0080_8060_4ffc, Zero);
    next.faults_in_one_of(&[(0, 0x80_8060_5000), (0, 0xb400_0080_8060_5000)]);
}

#[test]
fn canon_4_uai_ignores_nothing_of_the_stack_segment() {
    // APM "Upper Address Ignore": references through CS, SS, FS and GS are checked as without it.
    let tagged = access(AccessKind::Read, BYTE | 0xb4 << 56, Three);
    let refused = uai().does(on_stack(tagged));
    refused.raises(Vector::StackFault).by(Rule::Canon1).not_by(Rule::Canon4);
    uai().does(on_stack(access(AccessKind::Read, BYTE, Three))).reaches(0x1_4000_0234);
}

#[test]
fn canon_4_uai_ignores_nothing_of_fs_and_gs() {
    for segment in [Segment::Fs, Segment::Gs] {
        let through = |address| Access { segment, ..access(AccessKind::Write, address, Three) };
        let refused = uai().does(through(BYTE | 0xb4 << 56));
        refused.raises(Vector::GeneralProtection).by(Rule::Canon1).not_by(Rule::Canon4);
        uai().does(through(BYTE)).reaches(0x1_4000_0234);

        // LAM does not depend on the segment.
        let lam = four_levels(LAM_U48, Cr4::empty());
        lam.does(through(BYTE | 1 << 55)).reaches(0x1_4000_0234).by(Rule::Canon4);
    }
}

#[test]
fn canon_4_uai_ignores_nothing_of_shadow_stacks() {
    let tagged = access(AccessKind::Read, BYTE | 0xb4 << 56, Three);
    let refused = uai().does(Access { shadow_stack: true, ..tagged });
    refused.raises(Vector::GeneralProtection).not_by(Rule::Canon4);
}
