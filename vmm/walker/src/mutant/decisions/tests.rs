//! Mutants of one access: each differs from the reference where its mistake shows, and only there.
//! Error codes: P is bit 0, W/R bit 1, U/S bit 2, RSVD bit 3, I/D bit 4, PK bit 5.

use super::*;
use crate::{MUTANTS, Walker};
use crosswalk_case::Case;
use crosswalk_guest::layout::Arena;
use mmu_core::{Cr0, Cr4, Profile};

const RW: u64 = 1 << 1;
const US: u64 = 1 << 2;
const XD: u64 = 1 << 63;

fn plain(mode: PagingMode, ring: Ring) -> Case {
    let profile = Profile { physical_address_bits: 40, ..Profile::default() };
    Case::plain_in(mode, Arena::ALL[0], 3, ring, profile)
}

fn four_level(ring: Ring) -> Case {
    plain(PagingMode::FourLevel, ring)
}

/// Changes the kind of the access.
fn make(case: &mut Case, kind: AccessKind) {
    case.access.kind = kind;
    case.form = Case::default_form(kind);
}

/// The physical address of the first way, or its error code.
fn end(walker: &dyn Walker, case: &Case) -> Result<u64, u32> {
    let outcome = &walker.predict(case).alternatives[0].outcome;
    match outcome.fault() {
        Some(fault) => Err(fault.error_code),
        None => Ok(outcome.physical_address().expect("it completes").get()),
    }
}

/// The end by the reference, and by a mutant.
fn both(id: &str, case: &Case) -> [Result<u64, u32>; 2] {
    let mutant = MUTANTS.iter().find(|mutant| mutant.id == id).expect("it is listed");
    [end(&Reference, case), end(mutant.walker, case)]
}

/// Where a plain access leads.
const PLACE: u64 = Arena::ALL[0].data_frames(3) + 0x108;

#[test]
fn b01_rights_above_an_absent_entry_are_judged() {
    let mut case = four_level(Ring::Three);
    make(&mut case, AccessKind::Write);
    case.entries[1].value &= !RW;
    assert_eq!(both("B01", &case), [Err(7), Err(7)]);

    case.entries[3].value = 0;
    assert_eq!(both("B01", &case), [Err(6), Err(7)]);
    case.entries[3].value = 1 << 45 | 7;
    assert_eq!(both("B01", &case), [Err(0xf), Err(7)]);

    let mut supervisor = four_level(Ring::Three);
    supervisor.entries[0].value &= !US;
    supervisor.entries[2].value = 0;
    assert_eq!(both("B01", &supervisor), [Err(4), Err(5)]);
    // XD is not its subject.
    assert_eq!(both("B01x", &supervisor), [Err(4), Err(4)]);
}

#[test]
fn b01x_xd_above_an_absent_entry_is_judged() {
    let mut case = four_level(Ring::Three);
    make(&mut case, AccessKind::Fetch);
    case.entries[0].value |= XD;
    assert_eq!(both("B01x", &case), [Err(0x15), Err(0x15)]);
    case.entries[3].value = 0;
    assert_eq!(both("B01x", &case), [Err(0x14), Err(0x15)]);
    assert_eq!(both("B01", &case), [Err(0x14), Err(0x14)]);
}

#[test]
fn b02_an_absent_pdpte_leaves_w_and_u_out() {
    let mut case = plain(PagingMode::Pae, Ring::Three);
    make(&mut case, AccessKind::Write);
    let index = (case.access.address.get() >> 30) as usize;
    let pdpte = case.state.pdptes[index];

    case.entries[1].value = 0;
    assert_eq!(both("B02", &case), [Err(6), Err(6)]);
    case.state.pdptes[index] = pdpte & !1;
    assert_eq!(both("B02", &case), [Err(6), Err(0)]);
}

#[test]
fn b04_smep_denies_the_user() {
    let mut case = four_level(Ring::Three);
    make(&mut case, AccessKind::Fetch);
    assert_eq!(both("B04", &case), [Ok(PLACE), Ok(PLACE)]);
    case.state.cr4 |= Cr4::SMEP;
    assert_eq!(both("B04", &case), [Ok(PLACE), Err(0x15)]);

    let mut read = four_level(Ring::Three);
    read.state.cr4 |= Cr4::SMEP;
    assert_eq!(both("B04", &read), [Ok(PLACE), Ok(PLACE)]);
}

#[test]
fn b05_ac_excuses_an_implicit_access() {
    let mut case = four_level(Ring::Three);
    case.access.implicit = true;
    case.state.cr4 |= Cr4::SMAP;
    assert_eq!(both("B05", &case), [Err(1), Err(1)]);
    case.access.ac = true;
    assert_eq!(both("B05", &case), [Err(1), Ok(PLACE)]);

    // An explicit one is excused.
    let mut explicit = four_level(Ring::Zero);
    explicit.state.cr4 |= Cr4::SMAP;
    explicit.access.ac = true;
    assert_eq!(both("B05", &explicit), [Ok(PLACE), Ok(PLACE)]);
}

#[test]
fn b06_pkru_restricts_supervisor_pages() {
    let mut case = four_level(Ring::Zero);
    case.state.cr4 |= Cr4::PKE;
    case.state.pkru = 1 << 10; // AD of key 5
    case.entries[3].value |= 5 << 59;
    assert_eq!(both("B06", &case), [Err(0x21), Err(0x21)]);
    case.entries[3].value &= !US;
    assert_eq!(both("B06", &case), [Ok(PLACE), Err(0x21)]);
}

/// SDM "32-Bit Paging": bits 20:13 of a 4 MiB PDE are bits 39:32 of the address.
#[test]
fn b09b_the_upper_half_of_the_high_bits_is_dropped() {
    let mut case = plain(PagingMode::Bits32, Ring::Three);
    case.state.cr4 |= Cr4::PSE;
    case.entries.truncate(1);
    let low = case.access.address.get() & 0x003f_ffff;

    case.entries[0].value = 0x4001_e087; // bits 16:13
    assert_eq!(both("B09b", &case), [Ok(0xf_4000_0000 + low), Ok(0xf_4000_0000 + low)]);
    case.entries[0].value = 0x4014_0087; // bits 20 and 18
    assert_eq!(both("B09b", &case), [Ok(0xa0_4000_0000 + low), Ok(0x4000_0000 + low)]);
}

#[test]
fn b11_pwt_and_pcd_move_the_root() {
    let mut case = four_level(Ring::Three);
    assert_eq!(both("B11", &case), [Ok(PLACE), Ok(PLACE)]);
    case.state.cr3 |= 0x18;
    assert_eq!(both("B11", &case), [Ok(PLACE), Err(4)]);
}

#[test]
fn b10_an_address_with_bit_31_is_extended_with_its_sign() {
    let mut case = plain(PagingMode::Bits32, Ring::Three);
    assert_eq!(both("B10", &case), [Ok(PLACE), Ok(PLACE)]);
    case.entries[1].value ^= 0xc000_0000;
    let place = PLACE ^ 0xc000_0000;
    assert_eq!(both("B10", &case), [Ok(place), Ok(0xf_ffff_0000_0000 | place)]);
}

#[test]
fn b12_an_address_of_a_table_is_cut_to_32_bits() {
    let mut case = four_level(Ring::Three);
    assert_eq!(both("B12", &case), [Ok(PLACE), Ok(PLACE)]);
    case.entries[2].value += 0x40_0000_0000;
    case.entries[3].at += 0x40_0000_0000;
    assert_eq!(both("B12", &case), [Ok(PLACE), Err(4)]);

    let mut root = four_level(Ring::Three);
    root.state.cr3 += 0x40_0000_0000;
    root.entries[0].at += 0x40_0000_0000;
    assert_eq!(both("B12", &root), [Ok(PLACE), Err(4)]);

    // The address of a page is not.
    let mut page = four_level(Ring::Three);
    page.entries[3].value += 0x40_0000_0000;
    assert_eq!(both("B12", &page), [Ok(PLACE + 0x40_0000_0000); 2]);
}

/// A write by the processor for itself, in ring 3, to a page that is read-only.
fn implicit_write() -> Case {
    let mut case = four_level(Ring::Three);
    make(&mut case, AccessKind::Write);
    case.access.implicit = true;
    case.entries[3].value &= !RW;
    case
}

#[test]
fn b35_an_implicit_write_needs_no_right() {
    let mut case = implicit_write();
    assert_eq!(both("B35", &case), [Err(3), Ok(PLACE)]);
    case.access.implicit = false;
    assert_eq!(both("B35", &case), [Err(7), Err(7)]);
}

#[test]
fn b36_an_implicit_write_is_bound_without_write_protection() {
    let mut case = implicit_write();
    assert_eq!(both("B36", &case), [Err(3), Err(3)]);
    case.state.cr0 -= Cr0::WP;
    assert_eq!(both("B36", &case), [Ok(PLACE), Err(3)]);

    // It is not a user's: it may reach a supervisor page.
    case.entries[3].value = case.entries[3].value & !US | RW;
    assert_eq!(both("B36", &case), [Ok(PLACE), Ok(PLACE)]);
}

#[test]
fn b37_an_implicit_access_is_not_tested() {
    let mut case = four_level(Ring::Three);
    case.access.address = VirtAddr::new(case.access.address.get() | 1 << 55);
    assert_eq!(both("B37", &case), [Err(0), Err(0)]);
    case.access.implicit = true;
    assert_eq!(both("B37", &case), [Err(0), Ok(PLACE)]);
}

#[test]
fn b39_the_rights_of_the_root_entry_do_not_count() {
    let mut case = four_level(Ring::Three);
    make(&mut case, AccessKind::Write);
    case.entries[1].value &= !RW;
    assert_eq!(both("B39", &case), [Err(7), Err(7)]);

    case.entries[1].value |= RW;
    case.entries[0].value &= !(RW | US);
    assert_eq!(both("B39", &case), [Err(7), Ok(PLACE)]);
}

/// As observed in memflow 0.2.4: a read-only leaf under writable tables is writable, and a path that
/// is read-only at every level is not.
#[test]
fn m41_one_writable_entry_is_enough_and_none_is_not() {
    let mut case = Case::plain(Arena::ALL[0], 3, Ring::Three, Profile::default());
    case.access.kind = AccessKind::Write;
    case.form = Case::default_form(AccessKind::Write);

    let denies = |case: &Case| {
        let ways = Erased(&M41).predict(case).alternatives;
        ways[0].outcome.fault().is_some()
    };
    for entry in (0..4).rev() {
        assert!(!denies(&case), "{case}");
        case.entries[entry].value &= !EntryBits::RW.bits();
    }
    assert!(denies(&case));
}
