//! Single cases in every paging mode on QEMU's TCG (`single`): what the rights allow, by the SDM's
//! "Determination of Access Rights", with the error code that tells why not.

mod common;
mod single;

use common::require_qemu;
use crosswalk_case::Case;
use crosswalk_guest::layout::Arena;
use crosswalk_guest::stub::Form;
use crosswalk_machine::Machine;
use crosswalk_machine::qemu::QemuMachine;
use mmu_core::{Cr0, Cr4, PagingMode, Ring};
use single::{
    LANE, P, PAGED, PS, RINGS, RW, US, assert_completed, assert_page_fault, fetch, held,
    is_long_mode, leaf, observe, open_qemu, places, plain_in, user, widest,
};

const LONG_MODES: [PagingMode; 2] = [PagingMode::FourLevel, PagingMode::FiveLevel];

// Bits of an error code.
const PRESENT: u32 = 1;
const WRITE: u32 = 1 << 1;
const FETCH: u32 = 1 << 4;
const KEY: u32 = 1 << 5;

/// Execute-disable.
const XD: u64 = 1 << 63;

/// A plain case of a mode; offset 0x808 has data and code.
fn plain(machine: &QemuMachine, mode: PagingMode, ring: Ring, form: Form) -> Case {
    plain_in(mode, machine.capabilities().profile, Arena::ALL[0], ring, form, 0x808)
}

/// Asserts that the access completes: it reaches its place, and its entries are as they should be.
#[track_caller]
fn assert_allowed(machine: &mut QemuMachine, case: &Case) {
    let seen = observe(machine, case);
    let first = Arena::ALL[0].data_frames(LANE) + 0x808;
    if case.form == Form::Jump {
        assert_eq!(seen.fault, None, "{case}");
        assert_eq!(seen.value, held(&places(first + 1, 4)), "{case}");
    } else {
        assert_completed(case, &seen, &places(first, widest(case.mode())), 1);
    }
}

/// The entries that have rights: PAE's PDPTEs have none.
fn entries_with_rights(case: &Case) -> std::ops::Range<usize> {
    usize::from(case.mode() == PagingMode::Pae)..case.entries.len()
}

#[test]
fn rights_are_those_of_the_whole_path() {
    require_qemu!();
    let mut machine = open_qemu();
    for mode in PAGED {
        let plain = |machine: &QemuMachine, ring, form| plain(machine, mode, ring, form);
        for level in entries_with_rights(&plain(&machine, Ring::Three, Form::Load)) {
            let mut case = plain(&machine, Ring::Three, Form::Store);
            case.entries[level].value &= !RW;
            assert_page_fault(&mut machine, &case, PRESENT | WRITE | 4);
            let mut case = plain(&machine, Ring::Three, Form::Load);
            case.entries[level].value &= !RW;
            assert_allowed(&mut machine, &case);

            for (form, code) in [(Form::Load, 0), (Form::Store, WRITE), (Form::Jump, fetch(mode))] {
                let mut case = plain(&machine, Ring::Three, form);
                case.entries[level].value &= !US;
                assert_page_fault(&mut machine, &case, PRESENT | code | 4);
                let mut case = plain(&machine, Ring::Zero, form);
                case.entries[level].value &= !US;
                assert_allowed(&mut machine, &case);
            }

            // RIGHT-2: WP=0 lets the supervisor write all the same, and D is set.
            let mut case = plain(&machine, Ring::Zero, Form::Store);
            case.entries[level].value &= !RW;
            assert_page_fault(&mut machine, &case, PRESENT | WRITE);
            case.state.cr0.remove(Cr0::WP);
            assert_allowed(&mut machine, &case);
        }
    }
}

#[test]
fn execute_disable_at_any_level_denies_fetches_alone() {
    require_qemu!();
    let mut machine = open_qemu();
    for mode in [PagingMode::Pae, PagingMode::FourLevel, PagingMode::FiveLevel] {
        for ring in RINGS {
            let levels = entries_with_rights(&plain(&machine, mode, ring, Form::Load));
            for level in levels {
                let mut case = plain(&machine, mode, ring, Form::Jump);
                case.entries[level].value |= XD;
                assert_page_fault(&mut machine, &case, PRESENT | FETCH | user(ring));
                let mut case = plain(&machine, mode, ring, Form::Store);
                case.entries[level].value |= XD;
                assert_allowed(&mut machine, &case);
            }
        }
    }
}

/// RIGHT-3: no supervisor fetch from a page that is a user's at every level. CODE-8: I/D is told
/// wherever SMEP is on.
#[test]
fn smep_denies_supervisor_fetches_from_user_pages() {
    require_qemu!();
    let mut machine = open_qemu();
    for mode in PAGED {
        let with_smep = |machine: &QemuMachine, ring, form| {
            let mut case = plain(machine, mode, ring, form);
            case.state.cr4 |= Cr4::SMEP;
            case
        };
        let case = with_smep(&machine, Ring::Zero, Form::Jump);
        assert_page_fault(&mut machine, &case, PRESENT | FETCH);
        for (ring, form) in
            [(Ring::Three, Form::Jump), (Ring::Zero, Form::Load), (Ring::Zero, Form::Store)]
        {
            let case = with_smep(&machine, ring, form);
            assert_allowed(&mut machine, &case);
        }
        for level in entries_with_rights(&case) {
            let mut case = case.clone();
            case.entries[level].value &= !US;
            assert_allowed(&mut machine, &case);
        }
        let mut case = with_smep(&machine, Ring::Three, Form::Jump);
        *leaf(&mut case) &= !P;
        assert_page_fault(&mut machine, &case, FETCH | 4);
    }
}

/// RIGHT-4: the same for data, unless EFLAGS.AC is set.
#[test]
fn smap_denies_supervisor_data_accesses_to_user_pages_unless_ac_is_set() {
    require_qemu!();
    let mut machine = open_qemu();
    for mode in PAGED {
        let with_smap = |machine: &QemuMachine, ring, form, ac| {
            let mut case = plain(machine, mode, ring, form);
            case.state.cr4 |= Cr4::SMAP;
            case.state.ac = ac;
            case
        };
        for (form, code) in [(Form::Load, 0), (Form::Store, WRITE)] {
            let case = with_smap(&machine, Ring::Zero, form, false);
            assert_page_fault(&mut machine, &case, PRESENT | code);
            for level in entries_with_rights(&case) {
                let mut case = case.clone();
                case.entries[level].value &= !US;
                assert_allowed(&mut machine, &case);
            }
            let case = with_smap(&machine, Ring::Zero, form, true);
            assert_allowed(&mut machine, &case);
            let case = with_smap(&machine, Ring::Three, form, false);
            assert_allowed(&mut machine, &case);
        }
        let case = with_smap(&machine, Ring::Zero, Form::Jump, false);
        assert_allowed(&mut machine, &case);
    }
}

/// A page with key 5.
fn keyed(machine: &QemuMachine, mode: PagingMode, ring: Ring, form: Form) -> Case {
    let mut case = plain(machine, mode, ring, form);
    case.state.cr4 |= Cr4::PKE | Cr4::PKS;
    *leaf(&mut case) |= 5 << 59;
    case
}

/// What PKRU and PKRS say of key 5: access disabled, write disabled.
const NO_ACCESS: u32 = 1 << 10;
const NO_WRITE: u32 = 1 << 11;
/// The same for all keys but 5 and the guest's own, 0.
const OTHERS: u32 = !(NO_ACCESS | NO_WRITE | 3);

/// RIGHT-5 and RIGHT-6: PKRU governs user pages in both rings, but no fetches.
#[test]
fn pkru_governs_user_pages_in_both_rings() {
    require_qemu!();
    let mut machine = open_qemu();
    for (mode, ring) in LONG_MODES.into_iter().flat_map(|mode| RINGS.map(|ring| (mode, ring))) {
        let with = |machine: &QemuMachine, form, pkru| {
            let mut case = keyed(machine, mode, ring, form);
            case.state.pkru = pkru;
            case
        };
        for (form, code) in [(Form::Load, 0), (Form::Store, WRITE)] {
            let case = with(&machine, form, NO_ACCESS);
            assert_page_fault(&mut machine, &case, PRESENT | KEY | code | user(ring));
            let case = with(&machine, form, OTHERS);
            assert_allowed(&mut machine, &case);
        }
        let case = with(&machine, Form::Load, NO_WRITE);
        assert_allowed(&mut machine, &case);
        let case = with(&machine, Form::Jump, NO_ACCESS | NO_WRITE);
        assert_allowed(&mut machine, &case);
        // WP=0 spares the supervisor, from the write disable only.
        let mut case = with(&machine, Form::Store, NO_WRITE);
        assert_page_fault(&mut machine, &case, PRESENT | KEY | WRITE | user(ring));
        case.state.cr0.remove(Cr0::WP);
        if ring == Ring::Zero {
            assert_allowed(&mut machine, &case);
        } else {
            assert_page_fault(&mut machine, &case, PRESENT | KEY | WRITE | 4);
        }
        // PKRS is about other pages.
        let mut case = with(&machine, Form::Store, 0);
        case.state.pkrs = NO_ACCESS | NO_WRITE;
        assert_allowed(&mut machine, &case);
    }
}

/// The key of a large page is in the same bits of the entry that maps it.
#[test]
fn the_key_of_a_large_page_counts() {
    require_qemu!();
    let mut machine = open_qemu();
    for (mode, depth) in [(PagingMode::FourLevel, 2), (PagingMode::FiveLevel, 3)] {
        let mut case = plain(&machine, mode, Ring::Three, Form::Load);
        case.state.cr4 |= Cr4::PKE;
        case.state.pkru = NO_ACCESS;
        case.entries.truncate(depth + 1);
        *leaf(&mut case) = Arena::ALL[0].data_frames(LANE) & !0x1f_ffff | PS | P | RW | US;
        *leaf(&mut case) |= 5 << 59;
        assert_page_fault(&mut machine, &case, PRESENT | KEY | 4);
    }
}

/// PKRS governs supervisor pages, which ring 3 cannot reach anyhow.
#[test]
fn pkrs_governs_supervisor_pages() {
    require_qemu!();
    let mut machine = open_qemu();
    for mode in LONG_MODES {
        let with = |machine: &QemuMachine, form, pkrs| {
            let mut case = keyed(machine, mode, Ring::Zero, form);
            *leaf(&mut case) &= !US;
            case.state.pkrs = pkrs;
            case
        };
        for (form, code) in [(Form::Load, 0), (Form::Store, WRITE)] {
            let case = with(&machine, form, NO_ACCESS);
            assert_page_fault(&mut machine, &case, PRESENT | KEY | code);
            let case = with(&machine, form, OTHERS);
            assert_allowed(&mut machine, &case);
        }
        let case = with(&machine, Form::Load, NO_WRITE);
        assert_allowed(&mut machine, &case);
        let mut case = with(&machine, Form::Store, NO_WRITE);
        assert_page_fault(&mut machine, &case, PRESENT | KEY | WRITE);
        case.state.cr0.remove(Cr0::WP);
        assert_allowed(&mut machine, &case);
        let case = with(&machine, Form::Jump, NO_ACCESS);
        assert_allowed(&mut machine, &case);
        // PKRU is about other pages.
        let mut case = with(&machine, Form::Store, 0);
        case.state.pkru = NO_ACCESS | NO_WRITE;
        assert_allowed(&mut machine, &case);
    }
}

/// LSL in ring 3 reads the descriptor as a supervisor: U/S is not told, a supervisor page is no
/// obstacle, and SMAP denies a user page (CODE-9, RIGHT-4).
#[test]
fn lsl_reads_a_descriptor_as_a_supervisor() {
    require_qemu!();
    let mut machine = open_qemu();
    for mode in LONG_MODES {
        for offset in [0xa00, 0xbf8] {
            let profile = machine.capabilities().profile;
            let case =
                plain_in(mode, profile, Arena::ALL[0], Ring::Three, Form::SegmentLimit, offset);
            // The limit lies in bits 15:0 and 51:48 (SDM "Segment Descriptors").
            let descriptor = held(&places(Arena::ALL[0].data_frames(LANE) + offset, 8));
            let limit = descriptor & 0xffff | descriptor >> 32 & 0xf_0000;
            let assert_found = |machine: &mut QemuMachine, case: &Case| {
                let seen = observe(machine, case);
                assert_eq!((seen.fault, seen.value), (None, limit), "{case}");
            };
            assert!(is_long_mode(case.mode()) && limit != 0);
            assert_found(&mut machine, &case);
            let mut supervisor = case.clone();
            *leaf(&mut supervisor) &= !US;
            assert_found(&mut machine, &supervisor);
            for level in 0..case.entries.len() {
                let mut absent = case.clone();
                absent.entries[level].value &= !P;
                assert_page_fault(&mut machine, &absent, 0);
            }
            let mut smap = case.clone();
            smap.state.cr4 |= Cr4::SMAP;
            assert_page_fault(&mut machine, &smap, PRESENT);
            supervisor.state.cr4 |= Cr4::SMAP;
            assert_found(&mut machine, &supervisor);
        }
    }
}
