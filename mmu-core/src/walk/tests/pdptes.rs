//! The PDPTEs of PAE paging: PDPTE-1 to PDPTE-4, and MODE-8 where they are read from memory
//! (SDM "PDPTE Registers", APM "Legacy-Mode Physical-Address Extensions").

use super::pae::{BYTE, CR3, PDPTE, page_2m, page_4k};
use super::{PDE, PTE, Rule, TestMachine, Vendor, bit, code};
use crate::access::Ring::{Three, Zero};

const AD: u64 = bit::A | bit::D;

/// The page on a processor that may read PDPTEs during the walk.
fn page_on_amd() -> TestMachine {
    page_4k().vendor(Vendor::Amd)
}

#[test]
fn pdpte_1_the_registers_are_used_and_an_edit_in_memory_is_not_seen() {
    page_4k().reads(BYTE, Three).reaches(0x1_4000_0234).by(Rule::Pdpte1);

    // An absent PDPTE, reserved bits, and another directory.
    for edited in [0, 0x12_1e7, !0, 0x77_001] {
        let page = page_4k().clear(PDPTE, !0).set(PDPTE, edited);
        page.reads(BYTE, Three).reaches(0x1_4000_0234).by(Rule::Pdpte1).not_by(Rule::Pdpte4);
    }
}

#[test]
fn pdpte_1_memory_does_not_replace_an_absent_register() {
    let mut page = page_4k();
    page.state.pdptes[1] = 0x12_000;
    page.reads(BYTE, Three).faults(code::U, BYTE).by(Rule::Pdpte1).by(Rule::Code1).updates(&[]);

    // The registers are used even if CR3 points outside memory.
    let page = page_4k().cr3(0xdead_0000);
    page.reads(BYTE, Three).reaches(0x1_4000_0234).not_by(Rule::Out1);
}

#[test]
fn pdpte_1_bits_31_and_30_choose_the_register() {
    for (register, address) in [(0, 0x60_4234), (2, 0x8060_4234), (3, 0xc060_4234)] {
        let mut page = page_4k();
        page.reads(address, Three).faults(code::U, address);
        page.state.pdptes[register] = 0x12_001;
        page.reads(address, Three).reaches(0x1_4000_0234);
    }
}

#[test]
fn pdpte_2_reserved_bits_fault_where_pdptes_are_walked() {
    // Bits 2:1, 8:5 and 62:48, as MAXPHYADDR is 48, and bit 63 whatever NXE is.
    for bad in (1..=2).chain(5..=8).chain(48..=63) {
        let page = page_on_amd().set(PDPTE, 1 << bad);
        for page in [page.clone(), page.without_nxe()] {
            let read = page.reads(BYTE, Three);
            read.reaches_or_faults(0x1_4000_0234, code::P | code::U | code::RSVD, BYTE);
            read.by(Rule::Pdpte2);
            assert!(read.0.alternatives[1].updates.is_empty());
        }
    }
}

#[test]
fn pdpte_2_bits_above_maxphyaddr_are_reserved() {
    for width in [36, 40, 52] {
        for bad in u32::from(width)..=62 {
            let page = page_on_amd().physical_address_bits(width).set(PDPTE, 1 << bad);
            let read = page.reads(BYTE, Zero);
            read.reaches_or_faults(0x1_4000_0234, code::P | code::RSVD, BYTE).by(Rule::Pdpte2);
        }
    }
}

#[test]
fn pdpte_2_the_other_bits_are_free() {
    // PWT, PCD and 11:9.
    let page = page_on_amd().set(PDPTE, 0xe18);
    page.reads(BYTE, Three).reaches(0x1_4000_0234).not_by(Rule::Pdpte2);

    // With P=0 they are not checked.
    let absent = page_on_amd().set(PDPTE, !0).clear(PDPTE, bit::P).reads(BYTE, Three);
    absent.reaches_or_faults(0x1_4000_0234, code::U, BYTE).not_by(Rule::Pdpte2);
}

#[test]
fn pdpte_3_pdptes_restrict_nothing_and_are_never_written() {
    // R/W, U/S and A are 0 in the PDPTE; they are reserved bits there.
    for page in [page_4k(), page_on_amd()] {
        let write = page.writes(BYTE, Three);
        write.reaches(0x1_4000_0234).by(Rule::Pdpte3);
        write.updates(&[(PDE, bit::A, 0), (PTE, AD, 0)]);
        page.fetches(BYTE, Three).reaches(0x1_4000_0234);
    }

    page_2m().writes(BYTE, Three).reaches(0x1_4000_4234).updates(&[(PDE, AD, 0)]);
}

#[test]
fn pdpte_4_memory_and_registers_that_differ_are_two_outcomes() {
    // The PDPTE in memory points to another directory, which maps a page at 2 MiB.
    for vendor in [Vendor::Amd, Vendor::Unknown] {
        let page = page_4k().vendor(vendor).set(PDPTE, 0x15_000).set(0x17_018, 0x20_0087);
        let read = page.reads(BYTE, Three);
        read.chosen_by(&[Some(Rule::Pdpte4), Some(Rule::Pdpte4)]);

        let [register, memory] = read.0.alternatives.as_slice() else { panic!("not two") };
        let reached = [register, memory].map(|known| known.outcome.physical_address().unwrap());
        assert_eq!(reached.map(super::PhysAddr::get), [0x1_4000_0234, 0x20_4234]);
        assert_eq!(register.updates.len(), 2);
        assert_eq!(memory.updates.len(), 1);
        assert_eq!(memory.updates[0].at.get(), 0x17_018);
    }
}

#[test]
fn pdpte_4_memory_and_registers_that_agree_are_one_outcome() {
    for vendor in [Vendor::Amd, Vendor::Unknown, Vendor::Intel] {
        let page = page_4k().vendor(vendor);
        page.reads(BYTE, Three).reaches(0x1_4000_0234).chosen_by(&[None]);
        let absent = page.clear(PTE, bit::P).writes(BYTE, Zero);
        absent.faults(code::W, BYTE).chosen_by(&[None]);
    }
}

#[test]
fn pdpte_4_an_absent_pdpte_in_memory_may_be_seen() {
    let read = page_on_amd().clear(PDPTE, bit::P).reads(BYTE, Zero);
    read.reaches_or_faults(0x1_4000_0234, 0, BYTE).by(Rule::Pdpte4);
}

#[test]
fn mode_8_cr3_bits_11_to_5_are_part_of_the_base() {
    // The base matters where PDPTEs are walked: there are four of them at each multiple of 32.
    let mut page = page_on_amd();
    page.state.pdptes[1] = 0;
    let seen = page.clone().cr3(CR3 | 0x1f).reads(BYTE, Zero);
    assert_eq!(seen.0.alternatives.len(), 2);

    let reached = seen.0.alternatives[1].outcome.physical_address();
    assert_eq!(reached.map(super::PhysAddr::get), Some(0x1_4000_0234));
    for elsewhere in [0x10_000, 0x10_040, 0x10_820] {
        page.clone().cr3(elsewhere).reads(BYTE, Zero).faults(0, BYTE);
    }
}
