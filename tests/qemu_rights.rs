//! Single cases in every paging mode on QEMU's TCG (`single`): what the rights allow, by the SDM's
//! "Determination of Access Rights", and the error code of what they deny.

use crosswalk_case::Case;
use crosswalk_guest::contents::{byte, is_loadable};
use crosswalk_guest::layout::Arena;
use crosswalk_guest::stub::Form;
use crosswalk_machine::Machine;
use crosswalk_machine::qemu::QemuMachine;
use crosswalk_test_support as support;
use mmu_core::{Cr0, Cr4, PagingMode, Ring};
use support::require_qemu;
use support::single::{
    LANE, P, PAGED, PS, RW, US, assert_completed, assert_page_fault, entries_after, fault_of,
    fetch_bit, leaf, memory_at, observe, open_qemu, places, plain_in, user_bit, widest,
};

const LONG_MODES: [PagingMode; 2] = [PagingMode::FourLevel, PagingMode::FiveLevel];

// Bits of an error code.
const PRESENT: u32 = 1;
const WRITE: u32 = 1 << 1;
const USER: u32 = 1 << 2;
const FETCH: u32 = 1 << 4;
const KEY: u32 = 1 << 5;

/// Bit 63 of an entry: execute-disable.
const XD: u64 = 1 << 63;
/// Bits 62:59 of an entry: protection key 5.
const KEY_5: u64 = 5 << 59;

/// The offset of the accesses in their page, which contains data and code.
const OFFSET: u64 = 0x808;

/// A plain case of a mode.
fn plain(machine: &QemuMachine, mode: PagingMode, ring: Ring, form: Form) -> Case {
    plain_in(mode, machine.capabilities().profile, Arena::ALL[0], ring, form, OFFSET)
}

/// A case with another value in one of its entries.
fn with_entry(case: &Case, index: usize, change: impl FnOnce(&mut u64)) -> Case {
    let mut changed = case.clone();
    change(&mut changed.entries[index].value);
    changed
}

/// Asserts that the access completes: it reaches its place, and sets A and D.
#[track_caller]
fn assert_allowed(machine: &mut QemuMachine, case: &Case) {
    let seen = observe(machine, case);
    let first = Arena::ALL[0].data_frames(LANE) + OFFSET;
    if case.form == Form::Jump {
        assert_eq!(seen.fault, None, "{case}");
        assert_eq!(seen.value, memory_at(&places(first + 1, 4)), "{case}");
    } else {
        assert_completed(case, &seen, &places(first, widest(case.mode())), 1);
    }
}

/// The indexes of the entries that have rights, which PAE's PDPTEs do not.
fn entries_with_rights(case: &Case) -> std::ops::Range<usize> {
    usize::from(case.mode() == PagingMode::Pae)..case.entries.len()
}

#[test]
fn rights_are_those_of_the_whole_path() {
    require_qemu!();
    let mut machine = open_qemu();
    for mode in PAGED {
        let user = |machine: &QemuMachine, form| plain(machine, mode, Ring::Three, form);
        let supervisor = |machine: &QemuMachine, form| plain(machine, mode, Ring::Zero, form);
        for level in entries_with_rights(&user(&machine, Form::Load)) {
            let store = with_entry(&user(&machine, Form::Store), level, |entry| *entry &= !RW);
            assert_page_fault(&mut machine, &store, PRESENT | WRITE | USER);
            let load = with_entry(&user(&machine, Form::Load), level, |entry| *entry &= !RW);
            assert_allowed(&mut machine, &load);

            for (form, code) in
                [(Form::Load, 0), (Form::Store, WRITE), (Form::Jump, fetch_bit(mode))]
            {
                let by_user = with_entry(&user(&machine, form), level, |entry| *entry &= !US);
                assert_page_fault(&mut machine, &by_user, PRESENT | code | USER);
                let by_supervisor =
                    with_entry(&supervisor(&machine, form), level, |entry| *entry &= !US);
                assert_allowed(&mut machine, &by_supervisor);
            }

            // RIGHT-2: with WP=0 the supervisor's write completes, and sets D.
            let mut store =
                with_entry(&supervisor(&machine, Form::Store), level, |entry| *entry &= !RW);
            assert_page_fault(&mut machine, &store, PRESENT | WRITE);
            store.state.cr0.remove(Cr0::WP);
            assert_allowed(&mut machine, &store);
        }
    }
}

#[test]
fn execute_disable_at_any_level_denies_fetches_only() {
    require_qemu!();
    let mut machine = open_qemu();
    for mode in [PagingMode::Pae, PagingMode::FourLevel, PagingMode::FiveLevel] {
        for ring in Ring::ALL {
            let fetch = plain(&machine, mode, ring, Form::Jump);
            let store = plain(&machine, mode, ring, Form::Store);
            for level in entries_with_rights(&fetch) {
                let denied = with_entry(&fetch, level, |entry| *entry |= XD);
                assert_page_fault(&mut machine, &denied, PRESENT | FETCH | user_bit(ring));
                let allowed = with_entry(&store, level, |entry| *entry |= XD);
                assert_allowed(&mut machine, &allowed);
            }
        }
    }
}

/// RIGHT-3: the supervisor may not fetch from a page that user code may access, that is, with U/S
/// set at every level. CODE-8: I/D is reported wherever SMEP is on.
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

        let denied = with_smep(&machine, Ring::Zero, Form::Jump);
        assert_page_fault(&mut machine, &denied, PRESENT | FETCH);
        for (ring, form) in
            [(Ring::Three, Form::Jump), (Ring::Zero, Form::Load), (Ring::Zero, Form::Store)]
        {
            let allowed = with_smep(&machine, ring, form);
            assert_allowed(&mut machine, &allowed);
        }
        for level in entries_with_rights(&denied) {
            let allowed = with_entry(&denied, level, |entry| *entry &= !US);
            assert_allowed(&mut machine, &allowed);
        }

        let mut absent = with_smep(&machine, Ring::Three, Form::Jump);
        *leaf(&mut absent) &= !P;
        assert_page_fault(&mut machine, &absent, FETCH | USER);
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
            case.access.ac = ac;
            case
        };

        for (form, code) in [(Form::Load, 0), (Form::Store, WRITE)] {
            let denied = with_smap(&machine, Ring::Zero, form, false);
            assert_page_fault(&mut machine, &denied, PRESENT | code);
            for level in entries_with_rights(&denied) {
                let allowed = with_entry(&denied, level, |entry| *entry &= !US);
                assert_allowed(&mut machine, &allowed);
            }

            let with_ac = with_smap(&machine, Ring::Zero, form, true);
            assert_allowed(&mut machine, &with_ac);
            let by_user = with_smap(&machine, Ring::Three, form, false);
            assert_allowed(&mut machine, &by_user);
        }

        let fetch = with_smap(&machine, Ring::Zero, Form::Jump, false);
        assert_allowed(&mut machine, &fetch);
    }
}

/// A plain case whose page has key 5, with both kinds of protection keys enabled.
fn keyed(machine: &QemuMachine, mode: PagingMode, ring: Ring, form: Form) -> Case {
    let mut case = plain(machine, mode, ring, form);
    case.state.cr4 |= Cr4::PKE | Cr4::PKS;
    *leaf(&mut case) |= KEY_5;
    case
}

/// Access-disable for key 5 in PKRU and PKRS.
const NO_ACCESS: u32 = 1 << 10;
/// Write-disable for key 5 in PKRU and PKRS.
const NO_WRITE: u32 = 1 << 11;
/// Both for all keys but 5, and 0, which is the guest's own.
const OTHER_KEYS: u32 = !(NO_ACCESS | NO_WRITE | 3);

/// RIGHT-5 and RIGHT-6: PKRU controls user pages in both rings, but not fetches.
#[test]
fn pkru_controls_user_pages_in_both_rings() {
    require_qemu!();
    let mut machine = open_qemu();
    for (mode, ring) in LONG_MODES.into_iter().flat_map(|mode| Ring::ALL.map(|ring| (mode, ring))) {
        let with = |machine: &QemuMachine, form, pkru| {
            let mut case = keyed(machine, mode, ring, form);
            case.state.pkru = pkru;
            case
        };

        for (form, code) in [(Form::Load, 0), (Form::Store, WRITE)] {
            let denied = with(&machine, form, NO_ACCESS);
            assert_page_fault(&mut machine, &denied, PRESENT | KEY | code | user_bit(ring));
            let allowed = with(&machine, form, OTHER_KEYS);
            assert_allowed(&mut machine, &allowed);
        }
        let load = with(&machine, Form::Load, NO_WRITE);
        assert_allowed(&mut machine, &load);
        let fetch = with(&machine, Form::Jump, NO_ACCESS | NO_WRITE);
        assert_allowed(&mut machine, &fetch);

        // With WP=0, write-disable does not apply to the supervisor.
        let mut store = with(&machine, Form::Store, NO_WRITE);
        assert_page_fault(&mut machine, &store, PRESENT | KEY | WRITE | user_bit(ring));
        store.state.cr0.remove(Cr0::WP);
        if ring == Ring::Zero {
            assert_allowed(&mut machine, &store);
        } else {
            assert_page_fault(&mut machine, &store, PRESENT | KEY | WRITE | USER);
        }

        // PKRS controls other pages.
        let mut with_pkrs = with(&machine, Form::Store, 0);
        with_pkrs.state.pkrs = NO_ACCESS | NO_WRITE;
        assert_allowed(&mut machine, &with_pkrs);
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
        let frame = Arena::ALL[0].data_frames(LANE) & !0x1f_ffff;
        *leaf(&mut case) = frame | PS | P | RW | US | KEY_5;
        assert_page_fault(&mut machine, &case, PRESENT | KEY | USER);
    }
}

/// PKRS controls supervisor pages, which ring 3 cannot access in any case.
#[test]
fn pkrs_controls_supervisor_pages() {
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
            let denied = with(&machine, form, NO_ACCESS);
            assert_page_fault(&mut machine, &denied, PRESENT | KEY | code);
            let allowed = with(&machine, form, OTHER_KEYS);
            assert_allowed(&mut machine, &allowed);
        }
        let load = with(&machine, Form::Load, NO_WRITE);
        assert_allowed(&mut machine, &load);
        let fetch = with(&machine, Form::Jump, NO_ACCESS);
        assert_allowed(&mut machine, &fetch);

        let mut store = with(&machine, Form::Store, NO_WRITE);
        assert_page_fault(&mut machine, &store, PRESENT | KEY | WRITE);
        store.state.cr0.remove(Cr0::WP);
        assert_allowed(&mut machine, &store);

        // PKRU controls other pages.
        let mut with_pkru = with(&machine, Form::Store, 0);
        with_pkru.state.pkru = NO_ACCESS | NO_WRITE;
        assert_allowed(&mut machine, &with_pkru);
    }
}

/// LSL in ring 3 reads the descriptor as a supervisor: the error code has no U/S, a supervisor page
/// can be read, and SMAP denies a user page (CODE-9, RIGHT-4).
#[test]
fn lsl_reads_a_descriptor_as_a_supervisor() {
    require_qemu!();
    let mut machine = open_qemu();
    let profile = machine.capabilities().profile;
    for mode in LONG_MODES {
        for offset in [0xa00, 0xbf8] {
            let case =
                plain_in(mode, profile, Arena::ALL[0], Ring::Three, Form::SegmentLimit, offset);
            // The limit is in bits 15:0 and 51:48 (SDM "Segment Descriptors").
            let descriptor = memory_at(&places(Arena::ALL[0].data_frames(LANE) + offset, 8));
            let limit = descriptor & 0xffff | descriptor >> 32 & 0xf_0000;
            assert_ne!(limit, 0);
            let assert_reads_limit = |machine: &mut QemuMachine, case: &Case| {
                let seen = observe(machine, case);
                assert_eq!((seen.fault, seen.value), (None, limit), "{case}");
            };

            assert_reads_limit(&mut machine, &case);
            let mut supervisor = case.clone();
            *leaf(&mut supervisor) &= !US;
            assert_reads_limit(&mut machine, &supervisor);

            for level in 0..case.entries.len() {
                let absent = with_entry(&case, level, |entry| *entry &= !P);
                assert_page_fault(&mut machine, &absent, 0);
            }

            let mut with_smap = case.clone();
            with_smap.state.cr4 |= Cr4::SMAP;
            assert_page_fault(&mut machine, &with_smap, PRESENT);
            supervisor.state.cr4 |= Cr4::SMAP;
            assert_reads_limit(&mut machine, &supervisor);
        }
    }
}

/// A load of ES sets the accessed bit of the descriptor: an implicit write, and so the supervisor's.
/// QEMU writes the upper half of the descriptor, so that CR2 is one less than the access byte.
#[test]
fn right_2_a_segment_load_sets_the_accessed_bit_as_the_supervisor() {
    require_qemu!();
    let mut machine = open_qemu();
    for mode in [PagingMode::FourLevel, PagingMode::FiveLevel] {
        let frame = Arena::ALL[0].data_frames(LANE);
        let mut offsets = (5..0x1000).step_by(8);
        let offset = offsets.find(|offset| is_loadable(frame + offset)).expect("a descriptor");
        let profile = machine.capabilities().profile;
        let plain = plain_in(mode, profile, Arena::ALL[0], Ring::Three, Form::SegmentLoad, offset);
        let old = byte(frame + offset);
        assert_eq!(old & 0xf9, 0xf0, "present, DPL 3, data, not accessed");

        // A supervisor page, and with CR0.WP=0 a read-only one.
        for (clear, wp) in [(0, true), (US, true), (RW, false), (US | RW, false)] {
            let mut case = plain.clone();
            *leaf(&mut case) &= !clear;
            case.state.cr0.set(Cr0::WP, wp);
            let seen = observe(&mut machine, &case);
            assert_eq!(seen.fault, None, "{case}");
            assert_eq!(seen.stored, [(frame + offset, old | 1)], "{case}");
            assert_eq!(seen.entries, entries_after(&case, 1), "{case}");
        }

        let mut read_only = plain.clone();
        *leaf(&mut read_only) &= !RW;
        let fault = fault_of(&mut machine, &read_only);
        let cr2 = read_only.access.address.get() - 1;
        assert_eq!((fault.vector, fault.error_code, fault.cr2), (14, 3, cr2), "{read_only}");

        // The read of the descriptor comes first.
        let mut absent = plain;
        *leaf(&mut absent) &= !P;
        let fault = fault_of(&mut machine, &absent);
        let cr2 = absent.access.address.get() - 5;
        assert_eq!((fault.vector, fault.error_code, fault.cr2), (14, 0, cr2), "{absent}");
    }
}
