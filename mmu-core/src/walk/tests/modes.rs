//! Rules that concern several modes: MODE-3, MODE-8, MODE-11, MODE-12.

use super::{
    Access, BYTE, BYTE_5, Cr4, PDE, PDPTE, PTE, PagingMode, Rule, TestMachine, Vector, access, bit,
    code, state_of,
};
use crate::access::AccessKind;
use crate::access::Ring::{Three, Zero};
use crate::x86::format::{Bits32, FiveLevel, Format, FourLevel, Pae, Unpaged};
use crate::x86::profile::Profile;
use crate::x86::regime::Regime;
use crate::x86::state::Cr0;

#[test]
fn mode_3_long_mode_ignores_pse() {
    // SDM "Paging-Mode Modifiers": CR4.PSE enables 4-MByte pages for 32-bit paging only.
    for bits in [Cr4::empty(), Cr4::PSE] {
        let page = TestMachine::page_2m().cr4(bits);
        page.reads(BYTE, Three).reaches(0x1_4000_4234).by(Rule::Mode3);
        page.five_levels().cr4(bits).reads(BYTE_5, Three).reaches(0x1_4000_4234).by(Rule::Mode3);
        TestMachine::page_1g().cr4(bits).reads(BYTE, Three).reaches(0x1_4060_4234);
    }

    TestMachine::page_4k().reads(BYTE, Three).not_by(Rule::Mode3);
}

/// The root that a format takes from CR3.
fn root<F: Format>(cr3: u64, physical_address_bits: u8) -> u64 {
    let profile = Profile { physical_address_bits, ..Profile::default() };
    F::root(&Regime::new(state_of(F::MODE, cr3), profile)).get()
}

#[test]
fn mode_8_32_bit_paging_takes_bits_31_to_12() {
    // SDM "Formats of CR3 and Paging-Structure Entries": the bits above 31 are ignored.
    for width in [32, 40, 52] {
        assert_eq!(root::<Bits32>(!0, width), 0xffff_f000);
        assert_eq!(root::<Bits32>(0x1234_5fff, width), 0x1234_5000);
    }
}

#[test]
fn mode_8_pae_takes_bits_31_to_5() {
    for width in [32, 40, 52] {
        assert_eq!(root::<Pae>(!0, width), 0xffff_ffe0);
        assert_eq!(root::<Pae>(0x1234_5fff, width), 0x1234_5fe0);
        assert_eq!(root::<Pae>(0x1234_503f, width), 0x1234_5020);
    }
}

#[test]
fn mode_8_long_mode_takes_bits_from_12_to_the_last_physical_one() {
    for (width, highest) in
        [(32, 0xffff_f000), (36, 0xf_ffff_f000), (40, 0xff_ffff_f000), (52, 0xf_ffff_ffff_f000)]
    {
        assert_eq!(root::<FourLevel>(!0, width), highest);
        assert_eq!(root::<FiveLevel>(!0, width), highest);
    }
}

#[test]
fn mode_8_only_the_base_of_cr3_is_used_with_five_levels() {
    // The page is under entry 0, so that LAM_U48 masks nothing.
    let page = TestMachine::page_4k().five_levels().set(0xf_000, 0x10_007);
    page.reads(BYTE, Three).reaches(0x1_4000_0234).not_by(Rule::Mode8);

    for other in [0xfff, 1 << 61, 1 << 62, 1 << 48, 1 << 51] {
        let read = page.clone().cr3(0xf_000 | other).reads(BYTE, Three);
        read.reaches(0x1_4000_0234).by(Rule::Mode8);
    }
}

#[test]
fn mode_11_pat_is_not_part_of_the_address_with_five_levels() {
    let small = TestMachine::page_4k().five_levels().set(PTE, 1 << 7);
    small.reads(BYTE_5, Three).reaches(0x1_4000_0234).by(Rule::Mode11);

    let large = TestMachine::page_2m().five_levels().set(PDE, 1 << 12);
    large.reads(BYTE_5, Three).reaches(0x1_4000_4234).by(Rule::Mode11);

    let huge = TestMachine::page_1g().five_levels().set(PDPTE, 1 << 12);
    huge.reads(BYTE_5, Three).reaches(0x1_4060_4234).by(Rule::Mode11);

    // In an entry that points to a table, bit 12 is an address bit.
    let table = TestMachine::page_4k().five_levels().set(PDE, 1 << 12 | 1 << 14);
    table.set(0x17_020, 0x5_0007).reads(BYTE_5, Three).reaches(0x5_0234).not_by(Rule::Mode11);
}

fn unpaged() -> TestMachine {
    TestMachine::in_mode(PagingMode::Unpaged, 0x10_000, &[])
}

#[test]
fn mode_12_without_paging_a_linear_address_is_physical() {
    let machine = unpaged();
    assert_eq!(machine.state.mode(), Unpaged::MODE);

    for kind in AccessKind::ALL {
        for ring in [Zero, Three] {
            let any = machine.does(access(kind, 0x1234_5678, ring));
            any.reaches(0x1234_5678).by(Rule::Mode12).not_by(Rule::Mode8).updates(&[]);
        }
    }
}

#[test]
fn mode_12_the_address_is_truncated_to_32_bits() {
    unpaged().reads(0xffff_ffff_8765_4320, Zero).reaches(0x8765_4320);
    unpaged().reads(0x8000_0000_0000, Zero).reaches(0).not_by(Rule::Canon1);

    // CANON-2: past 4 GiB it wraps, or exceeds the segment's limit (SDM "Limit Checking").
    let wraps = unpaged().writes(0xffff_fffd, Zero);
    let spans = [(0xffff_fffd, 3), (0, 5)];
    wraps.reaches_spans_or_raises(&spans, Vector::GeneralProtection).by(Rule::Canon2).updates(&[]);
    let implicit = Access { implicit: true, ..access(AccessKind::Read, 0xffff_fffd, Three) };
    unpaged().does(implicit).reaches_spans(&spans);
}

#[test]
fn mode_12_nothing_is_denied() {
    // With CR0.PG=0 no paging feature is active, whatever CR0 and CR4 say.
    let mut machine = unpaged().cr4(Cr4::SMEP | Cr4::SMAP | Cr4::PKE | Cr4::PKS);
    machine.state.pkru = !0;
    machine.state.pkrs = !0;
    machine.state.cr0 |= Cr0::WP;

    for kind in AccessKind::ALL {
        machine.does(access(kind, 0x1000, Zero)).reaches(0x1000);
    }
}

#[test]
fn right_6_keys_need_long_mode() {
    // SDM "Protection Keys": 4-level and 5-level paging associate a key with each linear address.
    for (mode, entries) in [
        (PagingMode::Bits32, [(0x10_004, 0x11_007), (0x11_010, 0x4000_0007)]),
        (PagingMode::Pae, [(0x12_010, 0x13_007), (0x13_020, 0x4000_0007)]),
    ] {
        let mut page = TestMachine::in_mode(mode, 0x10_000, &entries).cr4(Cr4::PKE | Cr4::PKS);
        page.state.pdptes[0] = 0x12_001;
        page.state.pkru = !0;
        page.state.pkrs = !0;

        let read = page.reads(0x40_4234, Three);
        read.reaches(0x4000_0234).not_by(Rule::Right5).not_by(Rule::Right6);

        page = page.clear(0x11_010, bit::US).clear(0x13_020, bit::US);
        page.writes(0x40_4234, Zero).reaches(0x4000_0234);
        page.writes(0x40_4234, Three).faults(code::P | code::W | code::U, 0x40_4234);
    }
}
