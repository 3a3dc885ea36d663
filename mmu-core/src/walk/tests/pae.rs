//! PAE paging below the PDPTEs: the upper bits of entries are not ignored, and the rules that do
//! not depend on the mode (SDM "PAE Paging").

use super::{
    Access, Cr4, FRAME, Features, PDE, PTE, PagingMode, Rule, TestMachine, Vector, Vendor, access,
    bit, code, with_ac,
};
use crate::access::AccessKind;
use crate::access::Ring::{Three, Zero};

/// Entry 1 of the PDPTEs, 3 of the directory, 4 of the table.
pub(super) const BYTE: u64 = 0x4060_4234;
/// The value of CR3, a multiple of 32 but not of 4096.
pub(super) const CR3: u64 = 0x10_020;
/// The address of the PDPTE in memory.
pub(super) const PDPTE: u64 = 0x10_028;

const AD: u64 = bit::A | bit::D;

/// A machine whose PDPTE is the same in the register and in memory.
fn machine(entries: &[(u64, u64)]) -> TestMachine {
    let mut machine = TestMachine::in_mode(PagingMode::Pae, CR3, entries).set(PDPTE, 0x12_001);
    machine.state.pdptes[1] = 0x12_001;
    machine
}

/// A 4 KiB page that allows everything.
pub(super) fn page_4k() -> TestMachine {
    machine(&[(PDE, 0x13_007), (PTE, FRAME | 7)])
}

/// The same for a 2 MiB page.
pub(super) fn page_2m() -> TestMachine {
    machine(&[(PDE, FRAME | 0x87)])
}

#[test]
fn mode_3_pse_is_ignored() {
    for bits in [Cr4::empty(), Cr4::PSE] {
        let large = page_2m().cr4(bits);
        large.reads(BYTE, Three).reaches(0x1_4000_4234).by(Rule::Mode3);
        page_4k().cr4(bits).reads(BYTE, Three).reaches(0x1_4000_0234).not_by(Rule::Mode3);
    }
}

#[test]
fn mode_7_without_pat_its_bits_are_reserved_whatever_pse_is() {
    // SDM "PAE Paging": bit 7 of a PTE, and bit 12 of a PDE that maps a page.
    for bits in [Cr4::empty(), Cr4::PSE] {
        let small = page_4k().cr4(bits).without(Features::PAT);
        small.reads(BYTE, Three).reaches(0x1_4000_0234).not_by(Rule::Mode7);

        let fault = small.set(PTE, 1 << 7).reads(BYTE, Three);
        fault.faults(code::P | code::U | code::RSVD, BYTE).by(Rule::Mode7);

        let large = page_2m().cr4(bits).without(Features::PAT);
        large.reads(BYTE, Three).reaches(0x1_4000_4234).not_by(Rule::Mode7);

        let fault = large.set(PDE, 1 << 12).reads(BYTE, Three);
        fault.faults(code::P | code::U | code::RSVD, BYTE).by(Rule::Mode7);

        // In an entry that points to a table, bit 12 is an address bit.
        let page = page_4k().without(Features::PAT).set(PDE, 1 << 14).set(0x17_020, 0x5_0007);
        page.reads(BYTE, Three).reaches(0x5_0234).not_by(Rule::Mode7);
    }
}

#[test]
fn mode_11_pat_is_not_part_of_the_address() {
    page_4k().set(PTE, 1 << 7).reads(BYTE, Three).reaches(0x1_4000_0234).by(Rule::Mode11);
    page_2m().set(PDE, 1 << 12).reads(BYTE, Three).reaches(0x1_4000_4234).by(Rule::Mode11);
}

#[test]
fn code_1_other_bits_of_an_absent_entry_are_not_checked() {
    let page = page_4k().without_nxe();
    let fault = page.clone().set(PDE, !0).clear(PDE, bit::P).reads(BYTE, Three);
    fault.faults(code::U, BYTE).by(Rule::Code1).updates(&[]);
    let fault = page.set(PTE, !0).clear(PTE, bit::P).writes(BYTE, Zero);
    fault.faults(code::W, BYTE).by(Rule::Code1).updates(&[(PDE, 0, bit::A)]);
}

#[test]
fn code_3_xd_is_reserved_while_nxe_is_off() {
    for (page, at, reached) in [
        (page_4k(), PDE, 0x1_4000_0234),
        (page_4k(), PTE, 0x1_4000_0234),
        (page_2m(), PDE, 0x1_4000_4234),
    ] {
        let page = page.set(at, bit::XD);
        page.reads(BYTE, Three).reaches(reached).not_by(Rule::Code3);
        page.fetches(BYTE, Three).faults(code::P | code::U | code::I, BYTE).by(Rule::Right1);

        let fault = page.without_nxe();
        fault.reads(BYTE, Three).faults(code::P | code::U | code::RSVD, BYTE).by(Rule::Code3);

        // Nor is I/D reported for fetches.
        fault.fetches(BYTE, Zero).faults(code::P | code::RSVD, BYTE).by(Rule::Code3);
    }
}

/// CODE-4 for one MAXPHYADDR: the bits from it to 62 are reserved, and the one below is an address
/// bit.
fn check_address_bits(width: u8) {
    for bad in u32::from(width)..=62 {
        for (page, at) in [(page_4k(), PDE), (page_4k(), PTE), (page_2m(), PDE)] {
            let fault = page.physical_address_bits(width).set(at, 1 << bad).reads(BYTE, Three);
            fault.faults(code::P | code::U | code::RSVD, BYTE).by(Rule::Code4);
        }
    }

    let highest = 1 << (width - 1);
    let small = page_4k().physical_address_bits(width).set(PTE, highest);
    small.reads(BYTE, Three).reaches(0x1_4000_0234 + highest).not_by(Rule::Code4);

    let large = page_2m().physical_address_bits(width).set(PDE, highest);
    large.reads(BYTE, Three).reaches(0x1_4000_4234 + highest);
}

#[test]
fn code_4_bits_62_to_36_are_reserved_with_36_address_bits() {
    check_address_bits(36);
}

#[test]
fn code_4_bits_62_to_40_are_reserved_with_40_address_bits() {
    check_address_bits(40);
}

#[test]
fn code_4_bits_62_to_52_are_reserved_even_with_52_address_bits() {
    check_address_bits(52);
}

#[test]
fn code_4_a_frame_above_32_address_bits_is_reserved() {
    // The frame has bits 32 and 30.
    let fault = page_4k().physical_address_bits(32).reads(BYTE, Three);
    fault.faults(code::P | code::U | code::RSVD, BYTE).by(Rule::Code4);
    let low = page_4k().physical_address_bits(32).clear(PTE, 1 << 32);
    low.reads(BYTE, Three).reaches(0x4000_0234);
}

#[test]
fn code_6_low_address_bits_of_a_2m_page_are_reserved() {
    for bad in 13..=20 {
        let fault = page_2m().set(PDE, 1 << bad).reads(BYTE, Zero);
        fault.faults(code::P | code::RSVD, BYTE).by(Rule::Code6).updates(&[]);
        // In an entry that points to a table they are address bits; that table is outside memory.
        let table = page_4k().set(PDE, 1 << bad).reads(BYTE, Zero);
        table.not_by(Rule::Code6);
    }

    page_2m().set(PDE, 1 << 21).reads(BYTE, Zero).reaches(0x1_4020_4234);
}

#[test]
fn code_7_global_in_a_pde_is_never_reserved() {
    for vendor in [Vendor::Intel, Vendor::Amd, Vendor::Unknown] {
        let page = page_4k().vendor(vendor).set(PDE, bit::G).set(PTE, bit::G);
        page.reads(BYTE, Three).reaches(0x1_4000_0234).not_by(Rule::Code7);
    }
}

#[test]
fn code_8_nxe_reports_fetches() {
    let absent = page_4k().clear(PTE, bit::P);
    absent.fetches(BYTE, Three).faults(code::U | code::I, BYTE).by(Rule::Code8);
    absent.without_nxe().fetches(BYTE, Three).faults(code::U, BYTE).by(Rule::Code8);
}

#[test]
fn right_1_applies_to_the_directory_and_the_table() {
    for at in [PDE, PTE] {
        let read_only = page_4k().clear(at, bit::RW);
        let fault = read_only.writes(BYTE, Three);
        fault.faults(code::P | code::W | code::U, BYTE).by(Rule::Right1);
        let supervisor = page_4k().clear(at, bit::US);
        supervisor.reads(BYTE, Three).faults(code::P | code::U, BYTE).by(Rule::Right1);
        supervisor.writes(BYTE, Zero).reaches(0x1_4000_0234);
    }
}

#[test]
fn right_3_smep_denies_supervisor_fetches_from_user_pages() {
    let page = page_4k().cr4(Cr4::SMEP);
    for page in [page.clone(), page.clone().without_nxe()] {
        page.fetches(BYTE, Zero).faults(code::P | code::I, BYTE).by(Rule::Right3);
        page.fetches(BYTE, Three).reaches(0x1_4000_0234).not_by(Rule::Right3);
    }

    for at in [PDE, PTE] {
        let supervisor = page.clone().clear(at, bit::US);
        supervisor.fetches(BYTE, Zero).reaches(0x1_4000_0234).not_by(Rule::Right3);
    }
}

#[test]
fn right_4_smap_denies_supervisor_data_accesses_to_user_pages() {
    let page = page_2m().cr4(Cr4::SMAP);
    page.reads(BYTE, Zero).faults(code::P, BYTE).by(Rule::Right4);
    page.writes(BYTE, Zero).faults(code::P | code::W, BYTE).by(Rule::Right4);
    page.fetches(BYTE, Zero).reaches(0x1_4000_4234).not_by(Rule::Right4);
    page.does(with_ac(access(AccessKind::Read, BYTE, Zero)))
        .reaches(0x1_4000_4234)
        .by(Rule::Right4);

    let implicit = Access { implicit: true, ..access(AccessKind::Write, BYTE, Three) };
    page.does(with_ac(implicit)).faults(code::P | code::W, BYTE).by(Rule::Right4);
    page.clear(PDE, bit::US).reads(BYTE, Zero).reaches(0x1_4000_4234).not_by(Rule::Right4);
}

#[test]
fn ad_1_accessed_and_dirty() {
    page_4k().reads(BYTE, Three).by(Rule::Ad1).updates(&[(PDE, bit::A, 0), (PTE, bit::A, 0)]);
    page_4k().writes(BYTE, Three).by(Rule::Ad1).updates(&[(PDE, bit::A, 0), (PTE, AD, 0)]);
    page_2m().writes(BYTE, Zero).by(Rule::Ad1).updates(&[(PDE, AD, 0)]);
}

#[test]
fn ad_6_an_entry_used_at_two_levels_gets_both_updates() {
    // Entry 3 of the directory points to the directory.
    let machine = machine(&[(PDE, 0x12_007)]);
    let write = machine.writes(0x4060_3040, Zero);
    write.reaches(0x12_040).by(Rule::Ad6).updates(&[(PDE, AD, 0)]);
    machine.reads(0x4060_3040, Zero).reaches(0x12_040).updates(&[(PDE, bit::A, 0)]);
}

#[test]
fn canon_1_every_address_is_canonical_outside_long_mode() {
    page_4k().reads(0x8000_4060_4234, Three).reaches(0x1_4000_0234).not_by(Rule::Canon1);
}

#[test]
fn code_12_addresses_wrap_at_4g() {
    // The last page of the address space is mapped under PDPTE 3, and the first page later under
    // PDPTE 0.
    let mut machine = machine(&[(0x12_ff8, 0x13_007), (0x13_ff8, FRAME | 7), (0x14_000, 0)]);
    machine.state.pdptes[3] = 0x12_001;
    machine.state.pdptes[0] = 0x14_001;
    // An implicit access, which no segment's limit governs.
    let implicit = Access { implicit: true, ..access(AccessKind::Write, 0xffff_fffd, Zero) };
    machine.does(implicit).faults(code::W, 0).by(Rule::Code12);

    let spans = [(0x1_4000_0ffd, 3), (0x5000_0000, 5)];
    let machine = machine.set(0x14_000, 0x5000_0087);
    let both = machine.does(implicit);
    both.reaches_spans(&spans);
    both.updates(&[(0x12_ff8, bit::A, 0), (0x13_ff8, AD, 0), (0x14_000, AD, 0)]);

    // CANON-2: an explicit one may exceed the limit instead (SDM "Limit Checking").
    let write = machine.writes(0xffff_fffd, Zero);
    write.reaches_spans_or_raises(&spans, Vector::GeneralProtection).by(Rule::Canon2);
}
