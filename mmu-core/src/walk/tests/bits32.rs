//! 32-bit paging: MODE-4 to MODE-7, MODE-11, and the rules that do not depend on the mode
//! (SDM "32-Bit Paging").

use super::{
    Access, Cr4, Features, PagingMode, Rule, TestMachine, Vector, Vendor, access, bit, code,
    on_stack, with_ac,
};
use crate::access::AccessKind;
use crate::access::Ring::{Three, Zero};
use core::ops::RangeInclusive;
use std::vec::Vec;

/// Entry 1 of the directory and 4 of the table.
const BYTE: u64 = 0x40_4234;
const PDE: u64 = 0x10_004;
const PTE: u64 = 0x11_010;

const AD: u64 = bit::A | bit::D;

/// A 4 KiB page that allows everything, with CR4.PSE=0.
fn page_4k() -> TestMachine {
    TestMachine::in_mode(PagingMode::Bits32, 0x10_000, &[(PDE, 0x11_007), (PTE, 0x4000_0007)])
}

/// The same for a 4 MiB page, with CR4.PSE=1.
fn page_4m() -> TestMachine {
    TestMachine::in_mode(PagingMode::Bits32, 0x10_000, &[(PDE, 0x4000_0087)]).cr4(Cr4::PSE)
}

#[test]
fn mode_4_without_pse_the_page_size_bit_is_ignored() {
    let page = page_4k().set(PDE, bit::PS);
    page.writes(BYTE, Three)
        .reaches(0x4000_0234)
        .by(Rule::Mode4)
        .updates(&[(PDE, bit::A, 0), (PTE, AD, 0)]);
    page_4k().reads(BYTE, Three).reaches(0x4000_0234).not_by(Rule::Mode4);

    // With PSE=1 the same PDE maps 4 MiB at 0, as its bits 31:22 are 0. With 32 physical address
    // bits, bit 16 is reserved; bit 12 is PAT.
    let fault = page.clone().cr4(Cr4::PSE).physical_address_bits(32).reads(BYTE, Three);
    fault.faults(code::P | code::U | code::RSVD, BYTE).not_by(Rule::Mode4);
    page.cr4(Cr4::PSE).set(PDE, 0x4000_0000).reads(BYTE, Three).reaches(0x8_4000_4234);
}

#[test]
fn mode_4_without_pse_bits_21_to_12_are_part_of_the_tables_address() {
    // Every bit that is reserved in a PDE that maps a page.
    let page = page_4k().set(PDE, 0x003f_f087).set(0x003f_f010, 0x5000_0007);
    page.reads(BYTE, Three).reaches(0x5000_0234).by(Rule::Mode4).not_by(Rule::Mode5);
}

#[test]
fn mode_4_with_pse_a_pde_without_the_bit_still_points_to_a_table() {
    page_4k().cr4(Cr4::PSE).reads(BYTE, Three).reaches(0x4000_0234).not_by(Rule::Mode4);
}

/// MODE-5 for one MAXPHYADDR: the bits of a PDE that are address bits from 32 up, and those that
/// fault.
#[track_caller]
fn check_pse36(width: u8, address: RangeInclusive<u32>, reserved: RangeInclusive<u32>) {
    let page = page_4m().physical_address_bits(width);
    page.reads(BYTE, Three).reaches(0x4000_4234).not_by(Rule::Mode5);

    for bit in address {
        let high = page.clone().set(PDE, 1 << bit).reads(BYTE, Three);
        // Bit 13 is address bit 32.
        high.reaches(0x4000_4234 + (1 << (bit + 19))).by(Rule::Mode5);
    }

    for bit in reserved {
        let fault = page.clone().set(PDE, 1 << bit).reads(BYTE, Three);
        fault.faults(code::P | code::U | code::RSVD, BYTE).by(Rule::Mode5).updates(&[]);
    }
}

/// An empty range of bits.
#[expect(clippy::reversed_empty_ranges, reason = "the range is meant to be empty")]
const NO_BITS: RangeInclusive<u32> = 1..=0;

#[test]
fn mode_5_with_32_address_bits_bits_21_to_13_are_reserved() {
    check_pse36(32, NO_BITS, 13..=21);
}

#[test]
fn mode_5_with_36_address_bits_bits_16_to_13_are_address() {
    check_pse36(36, 13..=16, 17..=21);
}

#[test]
fn mode_5_with_40_address_bits_bits_20_to_13_are_address() {
    check_pse36(40, 13..=20, 21..=21);
}

#[test]
fn mode_5_gives_40_address_bits_at_most() {
    check_pse36(41, 13..=20, 21..=21);
    check_pse36(52, 13..=20, 21..=21);
    let highest = page_4m().physical_address_bits(52).set(PDE, 0xffdf_e000);
    highest.reads(BYTE, Three).reaches(0xff_ffc0_4234);
}

#[test]
fn mode_6_without_pse_36_bits_21_to_13_are_reserved() {
    for width in [32, 36, 40, 52] {
        let page = page_4m().without(Features::PSE36).physical_address_bits(width);
        page.reads(BYTE, Three).reaches(0x4000_4234).not_by(Rule::Mode6);

        for bit in 13..=21 {
            let fault = page.clone().set(PDE, 1 << bit).writes(BYTE, Zero);
            fault.faults(code::P | code::W | code::RSVD, BYTE);
            fault.by(Rule::Mode6).not_by(Rule::Mode5).updates(&[]);
        }

        for bit in 22..=29 {
            let page = page.clone().set(PDE, 1 << bit);
            page.reads(BYTE, Three).reaches(0x4000_4234 + (1 << bit));
        }
    }
}

#[test]
fn mode_7_small_pages_have_no_reserved_bits() {
    // Bits 11:3, and the whole address whatever MAXPHYADDR is. PS in the PDE is free with PSE=0
    // only.
    for (bits, flags) in [(Cr4::PSE, 0xf78), (Cr4::empty(), 0xff8)] {
        let page = page_4k().cr4(bits).physical_address_bits(32).set(PDE, flags).set(PTE, 0xff8);
        page.reads(BYTE, Three).reaches(0x4000_0234).not_by(Rule::Mode7);
        page.set(PTE, 0xffff_f000).reads(BYTE, Three).reaches(0xffff_f234);
    }

    let far = page_4k().set(PDE, 0xffff_f000).set(0xffff_f010, 0x5000_0007);
    far.reads(BYTE, Three).reaches(0x5000_0234);
}

#[test]
fn mode_7_without_pat_its_bits_are_reserved() {
    let small = page_4k().cr4(Cr4::PSE).without(Features::PAT).set(PTE, 1 << 7);
    let fault = small.reads(BYTE, Three);
    fault.faults(code::P | code::U | code::RSVD, BYTE).by(Rule::Mode7);
    fault.updates(&[(PDE, 0, bit::A)]);

    let large = page_4m().without(Features::PAT).set(PDE, 1 << 12);
    let fault = large.writes(BYTE, Zero);
    fault.faults(code::P | code::W | code::RSVD, BYTE).by(Rule::Mode7).updates(&[]);

    // The PAT bit of the other page size is free: bit 7 makes the page large, bit 12 is an address
    // bit.
    page_4m().without(Features::PAT).reads(BYTE, Three).reaches(0x4000_4234);

    let next = page_4k().cr4(Cr4::PSE).without(Features::PAT).set(PTE, 1 << 12);
    next.reads(BYTE, Three).reaches(0x4000_1234).not_by(Rule::Mode7);
}

#[test]
fn mode_7_does_not_apply_without_pse() {
    let small = page_4k().without(Features::PAT).set(PTE, 1 << 7).set(PDE, 1 << 7);
    small.reads(BYTE, Three).reaches(0x4000_0234).not_by(Rule::Mode7);
}

#[test]
fn mode_8_the_directory_may_lie_anywhere_below_4g() {
    let entries = [(0xffff_f004, 0x11_007), (PTE, 0x4000_0007)];
    let page = TestMachine::in_mode(PagingMode::Bits32, 0xffff_ffff, &entries);
    page.reads(BYTE, Three).reaches(0x4000_0234).by(Rule::Mode8);
    page_4k().cr3(0xdead_0001_0000).reads(BYTE, Three).reaches(0x4000_0234).by(Rule::Mode8);
}

#[test]
fn mode_11_pat_is_not_part_of_the_address() {
    page_4k().set(PTE, 1 << 7).reads(BYTE, Three).reaches(0x4000_0234).by(Rule::Mode11);
    page_4m().set(PDE, 1 << 12).reads(BYTE, Three).reaches(0x4000_4234).by(Rule::Mode11);
    page_4k().reads(BYTE, Three).not_by(Rule::Mode11);
}

#[test]
fn code_1_an_entry_that_is_not_present_ends_the_walk() {
    let fault = page_4k().set(PDE, 0xffff_ffff).clear(PDE, bit::P).reads(BYTE, Three);
    fault.faults(code::U, BYTE).by(Rule::Code1).updates(&[]);
    let fault = page_4k().set(PTE, 0xffff_ffff).clear(PTE, bit::P).writes(BYTE, Zero);
    fault.faults(code::W, BYTE).by(Rule::Code1).updates(&[(PDE, 0, bit::A)]);
}

#[test]
fn code_8_nxe_does_not_report_fetches_without_pae() {
    // SDM "Page-Fault Exceptions": CR4.PAE=1 and EFER.NXE=1, or CR4.SMEP=1.
    let absent = page_4k().clear(PTE, bit::P);
    absent.fetches(BYTE, Three).faults(code::U, BYTE).by(Rule::Code8);

    let smep = absent.cr4(Cr4::SMEP);
    smep.fetches(BYTE, Three).faults(code::U | code::I, BYTE).by(Rule::Code8);
    smep.reads(BYTE, Three).faults(code::U, BYTE);
}

#[test]
fn code_8_smep_without_pae_is_open_on_amd_whatever_nxe() {
    // The APM ties I/D to NXE together with PAE, and here PAE is 0.
    let absent = page_4k().vendor(Vendor::Amd).cr4(Cr4::SMEP).clear(PTE, bit::P);
    for machine in [absent.clone(), absent.without_nxe()] {
        let fault = machine.fetches(BYTE, Zero);
        fault.faults_in_one_of(&[(code::I, BYTE), (0, BYTE)]);
        fault.chosen_by(&[Some(Rule::Code8), Some(Rule::Code8)]);
    }
}

#[test]
fn right_1_applies_to_both_levels() {
    for at in [PDE, PTE] {
        let read_only = page_4k().clear(at, bit::RW);
        read_only.reads(BYTE, Three).reaches(0x4000_0234);

        let fault = read_only.writes(BYTE, Three);
        fault.faults(code::P | code::W | code::U, BYTE).by(Rule::Right1);
        read_only.without_wp().writes(BYTE, Zero).reaches(0x4000_0234).by(Rule::Right2);

        let supervisor = page_4k().clear(at, bit::US);
        supervisor.reads(BYTE, Zero).reaches(0x4000_0234);
        supervisor.reads(BYTE, Three).faults(code::P | code::U, BYTE).by(Rule::Right1);
    }
}

#[test]
fn right_3_smep_denies_supervisor_fetches_from_user_pages() {
    for page in [page_4k(), page_4m()] {
        let fault = page.cr4(Cr4::SMEP);
        fault.fetches(BYTE, Zero).faults(code::P | code::I, BYTE).by(Rule::Right3);
        assert!(fault.fetches(BYTE, Three).only_outcome().fault().is_none());
    }

    for at in [PDE, PTE] {
        let supervisor = page_4k().cr4(Cr4::SMEP).clear(at, bit::US);
        supervisor.fetches(BYTE, Zero).reaches(0x4000_0234).not_by(Rule::Right3);
    }
}

#[test]
fn right_4_smap_denies_supervisor_data_accesses_to_user_pages() {
    let page = page_4k().cr4(Cr4::SMAP);
    page.reads(BYTE, Zero).faults(code::P, BYTE).by(Rule::Right4);
    page.writes(BYTE, Zero).faults(code::P | code::W, BYTE).by(Rule::Right4);
    page.fetches(BYTE, Zero).reaches(0x4000_0234);
    page.reads(BYTE, Three).reaches(0x4000_0234);
    page.does(with_ac(access(AccessKind::Write, BYTE, Zero))).reaches(0x4000_0234).by(Rule::Right4);

    let implicit = Access { implicit: true, ..access(AccessKind::Read, BYTE, Three) };
    page.does(with_ac(implicit)).faults(code::P, BYTE).by(Rule::Right4);

    for at in [PDE, PTE] {
        let supervisor = page.clone().clear(at, bit::US);
        supervisor.writes(BYTE, Zero).reaches(0x4000_0234).not_by(Rule::Right4);
    }
}

#[test]
fn ad_1_accessed_and_dirty_in_32_bit_entries() {
    page_4k().reads(BYTE, Three).by(Rule::Ad1).updates(&[(PDE, bit::A, 0), (PTE, bit::A, 0)]);

    let write = page_4k().writes(BYTE, Three);
    write.reaches(0x4000_0234).by(Rule::Ad1).updates(&[(PDE, bit::A, 0), (PTE, AD, 0)]);

    let leaf = write.update_of(PTE);
    assert_eq!(leaf.before, 0x4000_0007);
    assert!(leaf.allows(0x4000_0067));
    assert!(!leaf.allows(0x4000_0027) && !leaf.allows(0x1_4000_0067));
    page_4m().writes(BYTE, Three).reaches(0x4000_4234).updates(&[(PDE, AD, 0)]);
    page_4m().reads(BYTE, Three).updates(&[(PDE, bit::A, 0)]);
}

#[test]
fn ad_6_an_entry_used_at_two_levels_gets_both_updates() {
    // Entry 1 of the directory points to the directory.
    let machine = TestMachine::in_mode(PagingMode::Bits32, 0x10_000, &[(PDE, 0x10_007)]);
    let write = machine.writes(0x40_1018, Zero);
    write.reaches(0x10_018).by(Rule::Ad6).updates(&[(PDE, AD, 0)]);
    machine.reads(0x40_1018, Three).reaches(0x10_018).updates(&[(PDE, bit::A, 0)]);
}

#[test]
fn canon_1_every_address_is_canonical_outside_long_mode() {
    page_4k().reads(0x8000_0040_4234, Three).reaches(0x4000_0234).not_by(Rule::Canon1);
    page_4k().reads(0xffff_ffff_0040_4234, Three).reaches(0x4000_0234).not_by(Rule::Canon1);
}

/// The last page of the address space is mapped, and the first.
fn both_ends() -> TestMachine {
    let last = [(0x10_ffc, 0x11_007), (0x11_ffc, 0x4000_0007)];
    TestMachine::in_mode(PagingMode::Bits32, 0x10_000, &last)
        .set(0x10_000, 0x5000_0087)
        .cr4(Cr4::PSE)
}

#[test]
fn code_12_addresses_wrap_at_4g() {
    // An implicit access, which no segment's limit governs.
    let implicit = Access { implicit: true, ..access(AccessKind::Write, 0xffff_fffd, Zero) };
    let absent = both_ends().clear(0x10_000, bit::P);
    absent.does(implicit).faults(code::W, 0).by(Rule::Code12).not_by(Rule::Canon2);

    let spans = [(0x4000_0ffd, 3), (0x5000_0000, 5)];
    let write = both_ends().does(implicit);
    write.reaches_spans(&spans).updates(&[
        (0x10_ffc, bit::A, 0),
        (0x11_ffc, AD, 0),
        (0x10_000, AD, 0),
    ]);
}

#[test]
fn canon_2_an_access_past_4_gib_wraps_or_exceeds_the_limit() {
    // SDM "Limit Checking": with an effective limit of FFFFFFFFH such an access may or may not
    // cause #GP, or #SS through SS; it is specific to the implementation.
    let spans = [(0x4000_0ffd, 3), (0x5000_0000, 5)];
    let write = both_ends().writes(0xffff_fffd, Zero);
    write.reaches_spans_or_raises(&spans, Vector::GeneralProtection);
    write.chosen_by(&[Some(Rule::Canon2), Some(Rule::Canon2)]).by(Rule::Canon2);
    let members = write.0.alternatives.iter().map(|way| way.choice.unwrap().1).collect::<Vec<_>>();
    assert_eq!(members, ["the address wraps at 4 GiB", "the segment's limit is exceeded"]);

    let stack = on_stack(access(AccessKind::Read, 0xffff_fffd, Three));
    both_ends().does(stack).reaches_spans_or_raises(&spans, Vector::StackFault);
    let fetch = both_ends().fetches(0xffff_fffd, Three);
    fetch.reaches_spans_or_raises(&spans, Vector::GeneralProtection);

    // The last byte within the limit, and the bits above 31, which do not count.
    both_ends().reads(0xffff_fff8, Three).reaches(0x4000_0ff8).not_by(Rule::Canon2);
    let cut = both_ends().reads(0x1_ffff_fffd, Three);
    cut.reaches_spans_or_raises(&spans, Vector::GeneralProtection);
}
