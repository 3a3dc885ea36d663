//! 5-level paging: one more level, and linear addresses of 57 bits
//! (SDM "4-Level Paging and 5-Level Paging").

use super::{
    BYTE, BYTE_5, FRAME, Features, PDE, PDPTE, PML4E, PML5E, PTE, PagingMode, Rule, TestMachine,
    Vendor, access, bit, code, on_stack,
};
use crate::access::AccessKind;
use crate::access::Ring::{Three, Zero};
use crate::x86::fault::Vector;
use std::vec::Vec;

/// The entries of the 4 KiB page's path, root first.
const PATH: [u64; 5] = [PML5E, PML4E, PDPTE, PDE, PTE];

const AD: u64 = bit::A | bit::D;

fn page_4k() -> TestMachine {
    TestMachine::page_4k().five_levels()
}

/// The entries above `PATH[depth]`, each with A open.
fn open_above(depth: usize) -> Vec<(u64, u64, u64)> {
    PATH[..depth].iter().map(|&at| (at, 0, bit::A)).collect()
}

#[test]
fn mode_1_la57_adds_a_level() {
    assert_eq!(page_4k().state.mode(), PagingMode::FiveLevel);
    page_4k().reads(BYTE_5, Three).reaches(0x1_4000_0234);
    // Entry 0 of the PML5 is absent.
    page_4k().reads(BYTE, Three).faults(code::U, BYTE);
}

#[test]
fn mode_10_page_size_is_reserved_in_a_pdpte_without_1g_pages() {
    let page = TestMachine::page_1g().five_levels();
    page.reads(BYTE_5, Three).reaches(0x1_4060_4234).not_by(Rule::Mode10);
    let fault = page.without(Features::PAGE_1GB).reads(BYTE_5, Three);
    fault.faults(code::P | code::U | code::RSVD, BYTE_5).by(Rule::Mode10).updates(&open_above(2));
}

#[test]
fn code_1_an_entry_that_is_not_present_ends_the_walk() {
    for (depth, at) in PATH.into_iter().enumerate() {
        let page = page_4k().without_nxe().set(at, !0).clear(at, bit::P);
        page.reads(BYTE_5, Zero).faults(0, BYTE_5).by(Rule::Code1).updates(&open_above(depth));
    }
}

#[test]
fn code_3_xd_is_reserved_while_nxe_is_off() {
    for (depth, at) in PATH.into_iter().enumerate() {
        let page = page_4k().set(at, bit::XD);
        page.reads(BYTE_5, Zero).reaches(0x1_4000_0234).not_by(Rule::Code3);
        page.fetches(BYTE_5, Zero).faults(code::P | code::I, BYTE_5).by(Rule::Right1);
        let fault = page.without_nxe().reads(BYTE_5, Zero);
        fault.faults(code::P | code::RSVD, BYTE_5).by(Rule::Code3).updates(&open_above(depth));
    }
}

#[test]
fn code_4_bits_51_to_maxphyaddr_are_reserved_and_those_above_ignored() {
    for width in [36, 40, 52] {
        for (depth, at) in PATH.into_iter().enumerate() {
            let page = page_4k().physical_address_bits(width);
            for bad in u32::from(width)..=51 {
                let fault = page.clone().set(at, 1 << bad).reads(BYTE_5, Three);
                fault.faults(code::P | code::U | code::RSVD, BYTE_5).by(Rule::Code4);
                fault.updates(&open_above(depth));
            }

            let ignored = page.set(at, 0x7ff0_0000_0000_0000);
            ignored.reads(BYTE_5, Three).reaches(0x1_4000_0234).not_by(Rule::Code4);
        }
    }

    let highest = page_4k().physical_address_bits(52).set(PTE, 1 << 51);
    highest.reads(BYTE_5, Three).reaches(0x0008_0001_4000_0234);
}

#[test]
fn code_5_page_size_is_reserved_in_a_pml5e_and_a_pml4e() {
    for (depth, at) in [(0, PML5E), (1, PML4E)] {
        let fault = page_4k().set(at, bit::PS).reads(BYTE_5, Three);
        fault.faults(code::P | code::U | code::RSVD, BYTE_5).by(Rule::Code5);
        fault.updates(&open_above(depth));
    }
}

#[test]
fn code_6_low_address_bits_of_large_pages_are_reserved() {
    for (page, at, bad) in
        [(TestMachine::page_2m(), PDE, 13..=20), (TestMachine::page_1g(), PDPTE, 13..=29)]
    {
        for bad in bad {
            let fault = page.clone().five_levels().set(at, 1 << bad).reads(BYTE_5, Zero);
            fault.faults(code::P | code::RSVD, BYTE_5).by(Rule::Code6);
        }
    }
}

#[test]
fn code_7_global_in_the_two_upper_levels() {
    for at in [PML5E, PML4E] {
        let page = page_4k().set(at, bit::G);
        page.reads(BYTE_5, Three).reaches(0x1_4000_0234).not_by(Rule::Code7);

        let amd = page.clone().vendor(Vendor::Amd).reads(BYTE_5, Three);
        amd.faults(code::P | code::U | code::RSVD, BYTE_5).by(Rule::Code7);

        let unknown = page.vendor(Vendor::Unknown).reads(BYTE_5, Three);
        unknown.reaches_or_faults(0x1_4000_0234, code::P | code::U | code::RSVD, BYTE_5);
        unknown.chosen_by(&[Some(Rule::Code7), Some(Rule::Code7)]);
    }
}

#[test]
fn code_7_global_below_is_never_reserved() {
    for at in [PDPTE, PDE, PTE] {
        let page = page_4k().vendor(Vendor::Amd).set(at, bit::G);
        page.reads(BYTE_5, Three).reaches(0x1_4000_0234).not_by(Rule::Code7);
    }
}

#[test]
fn right_1_applies_to_the_pml5e() {
    let read_only = page_4k().clear(PML5E, bit::RW).writes(BYTE_5, Three);
    read_only.faults(code::P | code::W | code::U, BYTE_5).by(Rule::Right1);
    let supervisor = page_4k().clear(PML5E, bit::US).reads(BYTE_5, Three);
    supervisor.faults(code::P | code::U, BYTE_5).by(Rule::Right1);
}

#[test]
fn ad_1_all_five_entries_are_accessed() {
    page_4k().reads(BYTE_5, Three).by(Rule::Ad1).updates(&PATH.map(|at| (at, bit::A, 0)));
    let write = page_4k().writes(BYTE_5, Zero);
    let mut all = PATH.map(|at| (at, bit::A, 0));
    all[4] = (PTE, AD, 0);
    write.reaches(0x1_4000_0234).updates(&all);
}

#[test]
fn ad_6_one_entry_at_five_levels_gets_all_updates() {
    // Entry 5 of the PML5 points to the PML5, and an address uses it at every level.
    let machine = TestMachine::page_4k().five_levels().clear(PML5E, !0).set(PML5E, 0xf_007);
    let self_mapped = 0x5_0281_40a0_5040;
    let write = machine.writes(self_mapped, Zero);
    write.reaches(0xf_040).by(Rule::Ad6).updates(&[(PML5E, AD, 0)]);
}

#[test]
fn canon_1_the_edges_of_57_bits_are_walked() {
    for edge in [0x00ff_ffff_ffff_fff8, 0xff00_0000_0000_0000] {
        page_4k().reads(edge, Three).faults(code::U, edge).not_by(Rule::Canon1);
    }
}

#[test]
fn canon_1_an_address_of_more_than_57_bits_is_not_walked() {
    for address in
        [0x0100_0000_0000_0000, 0xfeff_ffff_ffff_fff0, 0x8005_0080_8060_4234, 0x0105_0080_8060_4234]
    {
        for kind in AccessKind::ALL {
            let bad = page_4k().does(access(kind, address, Three));
            bad.raises(Vector::GeneralProtection).by(Rule::Canon1).updates(&[]);
        }
        let bad = page_4k().does(on_stack(access(AccessKind::Write, address, Zero)));
        bad.raises(Vector::StackFault).by(Rule::Canon1).updates(&[]);
    }
}

#[test]
fn canon_2_one_non_canonical_byte_is_enough() {
    // The last page of the lower half is mapped: entry 255 of the PML5, entry 511 of the tables
    // below.
    let tables = [(0x10_ff8, 0x11_007), (0x11_ff8, 0x12_007), (0x12_ff8, 0x13_007)];
    let tables = TestMachine::with_entries(&tables).set(0x13_ff8, FRAME | 7);
    let machine = tables.five_levels().set(0xf_7f8, 0x10_007);
    machine.reads(0x00ff_ffff_ffff_fff8, Three).reaches(0x1_4000_0ff8);

    for address in [0x00ff_ffff_ffff_fff9, 0xfeff_ffff_ffff_ffff] {
        let bad = machine.writes(address, Zero);
        bad.raises(Vector::GeneralProtection).by(Rule::Canon2).updates(&[]);
        let bad = machine.does(on_stack(access(AccessKind::Read, address, Three)));
        bad.raises(Vector::StackFault).by(Rule::Canon2).updates(&[]);
    }
}

#[test]
fn code_12_addresses_wrap_at_the_top() {
    let upper = page_4k().set(0xf_ff8, 0x10_007).set(0x10_ff8, 0x11_007).set(0x11_ff8, 0x12_007);
    let machine = upper.set(0x12_ff8, 0x13_007).set(0x13_ff8, FRAME | 7);
    machine.writes(0xffff_ffff_ffff_fffd, Zero).faults(code::W, 0).by(Rule::Code12);
}
