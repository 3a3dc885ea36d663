//! Control registers and entries: MODE-1 to MODE-11, CODE-1 to CODE-7.

use super::{
    BYTE, Cr4, FRAME, Features, PDE, PDPTE, PML4E, PTE, Rule, TestMachine, Vendor, bit, code,
};
use crate::access::Ring::{Three, Zero};
use crate::x86::format::{Format, FourLevel};
use crate::x86::state::{ControlState, Efer, PagingMode};
use std::vec::Vec;

/// The entries of the 4 KiB page's path, root first.
const PATH: [u64; 4] = [PML4E, PDPTE, PDE, PTE];

/// The entries above `PATH[depth]`, each with A open.
fn open_above(depth: usize) -> Vec<(u64, u64, u64)> {
    PATH[..depth].iter().map(|&at| (at, 0, bit::A)).collect()
}

#[test]
fn mode_1_lma_decides_long_mode_paging() {
    // SDM "Paging Modes and Control Bits": neither CS nor the instruction matters.
    let mut state = ControlState::four_level(0x10_000);
    assert_eq!(state.mode(), PagingMode::FourLevel);
    assert_eq!(state.mode(), FourLevel::MODE);

    state.efer -= Efer::LMA;
    assert_eq!(state.mode(), PagingMode::Pae, "LME alone is not enough");
}

#[test]
fn mode_1_compatibility_mode_walks_four_levels() {
    // The upper half of a 32-bit linear address is zero: entry 0 of the PML4, 3 of the PDPT, and so
    // on.
    let tables = [(0x10_000, 0x11_007), (0x11_018, 0x12_007), (0x12_ff8, 0x13_007)];
    let machine = TestMachine::with_entries(&tables).set(0x13_ff8, FRAME | 7);
    machine.reads(0xffff_f234, Three).reaches(0x1_4000_0234);
}

#[test]
fn mode_8_only_the_base_of_cr3_is_used() {
    let page = TestMachine::page_4k();
    page.reads(BYTE, Three).not_by(Rule::Mode8);

    // PCID or PWT and PCD in 11:0, LAM in 62:61, and bits at and above MAXPHYADDR.
    for other in [0xfff, 1 << 61, 1 << 62, 1 << 48, 1 << 51] {
        page.clone()
            .cr3(0x10_000 | other)
            .reads(BYTE, Three)
            .reaches(0x1_4000_0234)
            .by(Rule::Mode8);
    }
}

#[test]
fn mode_10_page_size_is_reserved_in_a_pdpte_without_1g_pages() {
    let mut page = TestMachine::page_1g();
    page.reads(BYTE, Three).reaches(0x1_4060_4234).not_by(Rule::Mode10);

    page.profile.features -= Features::PAGE_1GB;
    page.reads(BYTE, Three)
        .faults(code::P | code::U | code::RSVD, BYTE)
        .by(Rule::Mode10)
        .updates(&[(PML4E, 0, bit::A)]);
}

#[test]
fn mode_11_pat_is_not_part_of_the_address() {
    let small = TestMachine::page_4k().set(PTE, 1 << 7);
    small.reads(BYTE, Three).reaches(0x1_4000_0234).by(Rule::Mode11);

    let large = TestMachine::page_2m().set(PDE, 1 << 12);
    large.reads(BYTE, Three).reaches(0x1_4000_4234).by(Rule::Mode11);

    let huge = TestMachine::page_1g().set(PDPTE, 1 << 12);
    huge.reads(BYTE, Three).reaches(0x1_4060_4234).by(Rule::Mode11);

    TestMachine::page_4k().reads(BYTE, Three).not_by(Rule::Mode11);
}

#[test]
fn code_1_an_entry_that_is_not_present_ends_the_walk() {
    for (depth, at) in PATH.into_iter().enumerate() {
        let page = TestMachine::page_4k().clear(at, bit::P);
        page.reads(BYTE, Zero).faults(0, BYTE).by(Rule::Code1).updates(&open_above(depth));
    }
}

#[test]
fn code_1_other_bits_of_an_absent_entry_are_not_checked() {
    // Every bit but P: XD with NXE=0, address bits above MAXPHYADDR, PS, G.
    for at in PATH {
        let page = TestMachine::page_4k().without_nxe().set(at, !0).clear(at, bit::P);
        page.reads(BYTE, Three).faults(code::U, BYTE).by(Rule::Code1).not_by(Rule::Code3);
    }
}

#[test]
fn code_2_the_first_bad_entry_decides() {
    let reserved_first = TestMachine::page_4k().set(PDPTE, 1 << 51).clear(PDE, bit::P);
    reserved_first.reads(BYTE, Three).faults(code::P | code::U | code::RSVD, BYTE);
    let absent_first = TestMachine::page_4k().clear(PDPTE, bit::P).set(PDE, 1 << 51);
    absent_first.reads(BYTE, Three).faults(code::U, BYTE);
}

#[test]
fn code_2_rights_are_checked_on_a_complete_translation() {
    // The PML4E would deny each of these accesses, but the PTE is absent: P=0 in the code.
    let absent = TestMachine::page_4k().clear(PTE, bit::P);
    let read_only = absent.clone().clear(PML4E, bit::RW);
    read_only.writes(BYTE, Three).faults(code::W | code::U, BYTE).by(Rule::Code2);

    let supervisor = absent.clone().clear(PML4E, bit::US);
    supervisor.reads(BYTE, Three).faults(code::U, BYTE).by(Rule::Code2);

    let no_code = absent.clone().set(PML4E, bit::XD);
    no_code.fetches(BYTE, Zero).faults(code::I, BYTE).by(Rule::Code2);

    absent.reads(BYTE, Three).not_by(Rule::Code2).updates(&open_above(3));

    // An entry below could still have made this a supervisor page.
    absent.cr4(Cr4::SMAP).reads(BYTE, Zero).faults(0, BYTE).not_by(Rule::Code2);
}

#[test]
fn code_3_xd_is_reserved_while_nxe_is_off() {
    for (depth, at) in PATH.into_iter().enumerate() {
        let page = TestMachine::page_4k().set(at, bit::XD);
        page.reads(BYTE, Zero).reaches(0x1_4000_0234).not_by(Rule::Code3);
        page.without_nxe()
            .reads(BYTE, Zero)
            .faults(code::P | code::RSVD, BYTE)
            .by(Rule::Code3)
            .updates(&open_above(depth));
    }
}

/// CODE-4 for one MAXPHYADDR: the `reserved` bits fault at every level and page size.
fn check_address_bits(width: u8, reserved: core::ops::RangeInclusive<u32>) {
    let page = TestMachine::page_4k().physical_address_bits(width);
    page.reads(BYTE, Three).reaches(0x1_4000_0234);

    for bad in reserved {
        for at in PATH {
            let bad_page = page.clone().set(at, 1 << bad);
            let fault = bad_page.reads(BYTE, Three);
            fault.faults(code::P | code::U | code::RSVD, BYTE).by(Rule::Code4);
        }

        for (large, at) in [(TestMachine::page_2m(), PDE), (TestMachine::page_1g(), PDPTE)] {
            let bad_page = large.physical_address_bits(width).set(at, 1 << bad);
            bad_page
                .writes(BYTE, Zero)
                .faults(code::P | code::W | code::RSVD, BYTE)
                .by(Rule::Code4);
        }
    }
}

#[test]
fn code_4_bits_above_36_address_bits_are_reserved() {
    check_address_bits(36, 36..=51);
    let highest = TestMachine::page_4k().physical_address_bits(36).set(PTE, 1 << 35);
    highest.reads(BYTE, Three).reaches(0x9_4000_0234).not_by(Rule::Code4);
}

#[test]
fn code_4_bits_above_40_address_bits_are_reserved() {
    check_address_bits(40, 40..=51);
    let highest = TestMachine::page_4k().physical_address_bits(40).set(PTE, 1 << 39);
    highest.reads(BYTE, Three).reaches(0x81_4000_0234);
}

#[test]
fn code_4_bits_above_48_address_bits_are_reserved() {
    check_address_bits(48, 48..=51);
    let highest = TestMachine::page_2m().physical_address_bits(48).set(PDE, 1 << 47);
    highest.reads(BYTE, Three).reaches(0x8001_4000_4234);
}

#[test]
fn code_4_all_52_address_bits_may_be_used() {
    for bit in 36..=51 {
        let page = TestMachine::page_4k().physical_address_bits(52).set(PTE, 1 << bit);
        page.reads(BYTE, Three).reaches(0x1_4000_0234 + (1 << bit));
    }

    let highest =
        TestMachine::page_1g().physical_address_bits(52).set(PDPTE, 0x000f_fff0_0000_0000);
    highest.reads(BYTE, Three).reaches(0x000f_fff1_4060_4234).not_by(Rule::Code4);
}

#[test]
fn code_4_bits_62_to_52_are_ignored() {
    for at in PATH {
        let page = TestMachine::page_4k().set(at, 0x7ff0_0000_0000_0000);
        page.reads(BYTE, Three).reaches(0x1_4000_0234);
    }
}

#[test]
fn code_5_page_size_is_reserved_in_a_pml4e() {
    let page = TestMachine::page_4k().set(PML4E, bit::PS);
    let fault = page.reads(BYTE, Three);
    fault.faults(code::P | code::U | code::RSVD, BYTE).by(Rule::Code5).updates(&[]);
}

#[test]
fn code_6_low_address_bits_of_a_2m_page_are_reserved() {
    for bad in 13..=20 {
        let fault = TestMachine::page_2m().set(PDE, 1 << bad).reads(BYTE, Zero);
        fault.faults(code::P | code::RSVD, BYTE).by(Rule::Code6);
        fault.updates(&[(PML4E, 0, bit::A), (PDPTE, 0, bit::A)]);
    }

    TestMachine::page_2m().set(PDE, 1 << 21).reads(BYTE, Zero).reaches(0x1_4020_4234);
}

#[test]
fn code_6_low_address_bits_of_a_1g_page_are_reserved() {
    for bad in 13..=29 {
        let fault = TestMachine::page_1g().set(PDPTE, 1 << bad).reads(BYTE, Zero);
        fault.faults(code::P | code::RSVD, BYTE).by(Rule::Code6).updates(&[(PML4E, 0, bit::A)]);
    }

    TestMachine::page_1g().set(PDPTE, 1 << 31).reads(BYTE, Zero).reaches(0x1_c060_4234);
}

#[test]
fn code_7_global_in_a_pml4e_is_ignored_on_intel() {
    TestMachine::page_4k().set(PML4E, bit::G).reads(BYTE, Three).reaches(0x1_4000_0234);
}

#[test]
fn code_7_global_in_a_pml4e_is_reserved_on_amd() {
    let page = TestMachine::page_4k().vendor(Vendor::Amd);
    page.reads(BYTE, Three).reaches(0x1_4000_0234).not_by(Rule::Code7);
    let fault = page.set(PML4E, bit::G).reads(BYTE, Three);
    fault.faults(code::P | code::U | code::RSVD, BYTE).by(Rule::Code7).updates(&[]);
}

#[test]
fn code_7_global_below_a_pml4e_is_never_reserved() {
    for at in [PDPTE, PDE, PTE] {
        let page = TestMachine::page_4k().vendor(Vendor::Amd).set(at, bit::G);
        page.reads(BYTE, Three).reaches(0x1_4000_0234);
    }
}
