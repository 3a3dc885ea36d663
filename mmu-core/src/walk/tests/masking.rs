//! Masked bits of data addresses: CANON-4
//! (SDM "Linear-Address Masking", APM "Upper Address Ignore").

use super::{BYTE, BYTE_5, Cr4, Efer, PTE, Rule, TestMachine, access, bit, code, on_stack};
use crate::access::AccessKind;
use crate::access::Ring::{Three, Zero};
use crate::x86::fault::Vector;

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

/// A page at `BYTE` and at `UPPER` with AMD's upper address ignore.
fn uai() -> TestMachine {
    let mut machine = four_levels(0, Cr4::empty());
    machine.state.efer |= Efer::UAIE;
    machine
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
    let mut machine = five_levels(0, Cr4::empty());
    machine.state.efer |= Efer::UAIE;
    // Bit 56 is the highest bit that is translated, so every address is canonical.
    check_reached(&machine, true, &[BYTE_5 | 0xfe << 56, UPPER_5 & !(0xfe << 56), BYTE | 1 << 63]);
}
