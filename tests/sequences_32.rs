//! Sequences in 32-bit code: in 32-bit paging, PAE paging and compatibility mode. What is to be observed
//! follows from the manual sections beside each test; everything here is decided by them, whatever a
//! processor caches.

use crosswalk_case::observation::{Observation, SavedRip};
use crosswalk_case::{AccessStep, Action, Case, TableEntry};
use crosswalk_guest::contents::{crossing_code, fetched};
use crosswalk_guest::high;
use crosswalk_guest::layout::{AREA_SIZE, Arena, TWIN_DISTANCE};
use crosswalk_guest::stub::{Code, Form};
use crosswalk_guest::tables::TableUse;
use crosswalk_machine::Machine;
use crosswalk_test_support as support;
use mmu_core::{Cr4, Features, PagingMode, Ring, VirtAddr};
use support::single::{
    LANE, P, PS, RW, US, fetch_bit, leaf, memory_at, observe, open_kvm, open_qemu, places,
    plain_with, user_bit, uses_of_32_bits as uses,
};
use support::{require_kvm, require_qemu};

const OFFSET: u64 = 0x108;
const FRAME: u64 = 0x1000;
const XD: u64 = 1 << 63;
/// W/R and P of an error code (CODE-10, CODE-1).
const WRITE: u32 = 1 << 1;
const PRESENT: u32 = 1;

/// Runs a test in each use and ring.
fn in_each(machine: &mut dyn Machine, test: impl Fn(&mut dyn Machine, TableUse, Ring)) {
    let uses = uses(machine);
    assert!(!uses.is_empty(), "the machine runs 32-bit code");
    for tables in uses {
        for ring in Ring::ALL {
            test(machine, tables, ring);
        }
    }
}

fn plain(machine: &dyn Machine, tables: TableUse, ring: Ring, form: Form, offset: u64) -> Case {
    plain_with(tables, machine.capabilities().profile, Arena::ALL[0], ring, form, offset)
}

/// The data frame of plain cases.
fn frame() -> u64 {
    Arena::ALL[0].data_frames(LANE)
}

/// The last entry with another value.
fn store_leaf(case: &Case, value: u64) -> Action {
    let leaf = case.entries.last().expect("the case has tables");
    Action::Write(TableEntry { value, ..*leaf })
}

/// A read, then the page moves to the next frame, then what `between` has, and a read again.
fn moved(mut case: Case, between: impl Fn(&Case) -> Vec<Action>) -> Case {
    let moved = *leaf(&mut case) + FRAME;
    case.before = vec![Action::Access(case.access_step()), store_leaf(&case, moved)];
    let between = between(&case);
    case.before.extend(between);
    case
}

#[track_caller]
fn assert_read(seen: &Observation, at: u64, case: &Case) {
    assert_eq!(seen.fault, None, "{case}");
    assert_eq!(seen.value, memory_at(&places(at, 4)), "{case}");
}

/// TLB-4; SDM "Operations that Invalidate TLBs and Paging-Structure Caches".
fn an_invalidation_makes_an_edit_seen(machine: &mut dyn Machine) {
    in_each(machine, |machine, tables, ring| {
        let own = |case: &Case| vec![Action::Invlpg(case.access.address)];
        let reload = |_: &Case| vec![Action::ReloadCr3];
        for between in [&own as &dyn Fn(&Case) -> Vec<Action>, &reload] {
            let case = moved(plain(machine, tables, ring, Form::Load, OFFSET), between);
            let seen = observe(machine, &case);
            assert_eq!(seen.earlier[0].value, memory_at(&places(frame() + OFFSET, 4)), "{case}");
            assert_read(&seen, frame() + FRAME + OFFSET, &case);

            let leaf = seen.entries.last().expect("it lists entries");
            let Action::Write(stored) = case.before[1] else { panic!("it stores") };
            // A is set: the store has cleared it.
            assert_eq!(leaf.after, stored.value | 1 << 5, "{case}");
        }
    });
}

/// CODE-1, CODE-9; and the saved RIP is that of the last access.
fn a_page_that_is_taken_away_faults(machine: &mut dyn Machine) {
    in_each(machine, |machine, tables, ring| {
        for (form, code) in [(Form::Load, 0), (Form::Store, WRITE)] {
            let mut case = plain(machine, tables, ring, form, OFFSET);
            let absent = *leaf(&mut case) & !P;
            case.before = vec![
                Action::Access(case.access_step()),
                store_leaf(&case, absent),
                Action::Invlpg(case.access.address),
            ];

            let seen = observe(machine, &case);
            assert_eq!(seen.earlier[0].fault, None, "{case}");
            let fault = seen.fault.unwrap_or_else(|| panic!("no fault: {case}"));
            let found = (fault.vector, fault.error_code, fault.cr2, fault.rip);
            let address = case.access.address.get();
            let expected = (14, code | user_bit(ring), address, Some(SavedRip::AT_INSTRUCTION));
            assert_eq!(found, expected, "{case}");
        }
    });
}

/// RIGHT-2; SDM "Access Rights": CR0.WP decides about supervisor writes. A fault drops what is cached.
fn wp_changes_between_two_writes(machine: &mut dyn Machine) {
    let uses = uses(machine);
    for tables in uses {
        let mut case = plain(machine, tables, Ring::Zero, Form::Store, OFFSET);
        *leaf(&mut case) &= !RW;
        let write = Action::Access(case.access_step());
        case.before = vec![write, Action::WriteProtect(false), write, Action::WriteProtect(true)];

        let seen = observe(machine, &case);
        let codes = seen.earlier.iter().map(|access| access.fault.map(|fault| fault.error_code));
        assert_eq!(codes.collect::<Vec<_>>(), [Some(WRITE | PRESENT), None], "{case}");
        assert_eq!(seen.fault.map(|fault| fault.error_code), Some(WRITE | PRESENT), "{case}");

        // From the list of ring 3, too: there it changes nothing (RIGHT-1).
        case.access.ring = Ring::Three;
        let write = Action::Access(case.access_step());
        case.before = vec![Action::WriteProtect(false), write, Action::WriteProtect(true)];
        let seen = observe(machine, &case);
        let denied = Some(WRITE | PRESENT | user_bit(Ring::Three));
        assert_eq!(seen.earlier[0].fault.map(|fault| fault.error_code), denied, "{case}");
        assert_eq!(seen.fault.map(|fault| fault.error_code), denied, "{case}");
    }
}

/// RIGHT-1: ring 3 is denied what ring 0 may read, in whatever order they come. Each fetches, too, so that
/// code of both rings returns to the list, and ring 0 stores an entry for ring 3.
fn rings_take_turns(machine: &mut dyn Machine) {
    let uses = uses(machine);
    let denied = Some(PRESENT | user_bit(Ring::Three));
    for tables in uses {
        let mut case = plain(machine, tables, Ring::Three, Form::Load, OFFSET);
        let open = *leaf(&mut case);
        *leaf(&mut case) &= !US;
        let read = |ring| {
            let mut step = case.access_step();
            step.access.ring = ring;
            Action::Access(step)
        };
        let fetch = |ring| {
            let mut code = plain(machine, tables, ring, Form::Jump, 0x808);
            code.access.size = 8;
            Action::Access(code.access_step())
        };
        let [three, zero] = [Ring::Three, Ring::Zero];
        case.before = vec![
            read(zero),
            read(three),
            fetch(zero),
            read(zero),
            fetch(three),
            fetch(zero),
            store_leaf(&case, open),
            read(zero),
            Action::Invlpg(case.access.address),
            fetch(three),
        ];

        let seen = observe(machine, &case);
        let word = memory_at(&places(frame() + OFFSET, 4));
        let code = fetched(frame() + 0x808, None, Code::Bits32).expect("code is there");
        let expected = [
            (None, word),
            (denied, 0),
            (None, code),
            (None, word),
            (denied.map(|denied| denied | fetch_bit(tables.mode)), 0),
            (None, code),
            (None, word),
            (None, code),
        ];
        let found = seen
            .earlier
            .iter()
            .map(|access| (access.fault.map(|fault| fault.error_code), access.value));
        assert_eq!(found.collect::<Vec<_>>(), expected, "{case}");
        assert_read(&seen, frame() + OFFSET, &case);
    }
}

/// RIGHT-5; SDM "Protection Keys": in compatibility mode PKRU denies user pages by their key, to both rings.
fn pkru_counts_in_compatibility_mode(machine: &mut dyn Machine) {
    let capabilities = machine.capabilities().clone();
    let has_keys = capabilities.profile.features.contains(Features::PKU);
    let compatible = uses(machine).into_iter().filter(|tables| tables.compatibility);
    for tables in compatible.filter(|_| has_keys && capabilities.pkru_in_ring_0) {
        let mut case = plain(machine, tables, Ring::Zero, Form::Load, OFFSET);
        case.state.cr4 |= Cr4::PKE;
        *leaf(&mut case) |= 5 << 59;
        let by = |ring| {
            let mut step = case.access_step();
            step.access.ring = ring;
            Action::Access(step)
        };
        // Access-disable of key 5, and then nothing.
        case.before = vec![
            by(Ring::Three),
            Action::Pkru(1 << 10),
            by(Ring::Three),
            by(Ring::Zero),
            Action::Pkru(0),
            by(Ring::Three),
        ];

        let seen = observe(machine, &case);
        let codes = seen.earlier.iter().map(|access| access.fault.map(|fault| fault.error_code));
        let denied = |ring| Some(1 << 5 | PRESENT | user_bit(ring));
        let expected = [None, denied(Ring::Three), denied(Ring::Zero), None];
        assert_eq!(codes.collect::<Vec<_>>(), expected, "{case}");
        assert_read(&seen, frame() + OFFSET, &case);
    }
}

/// Both halves of an entry of 8 bytes arrive: an address above 4 GiB, and XD (RIGHT-3).
fn wide_entries_are_stored_whole(machine: &mut dyn Machine) {
    in_each(machine, |machine, tables, ring| {
        if tables.mode == PagingMode::Bits32 {
            return;
        }

        let bits = machine.capabilities().profile.physical_address_bits;
        let high = high::places(bits).next().filter(|_| machine.capabilities().high_memory);
        if let Some(place) = high {
            let mut case = plain(machine, tables, ring, Form::Load, OFFSET);
            let page = high::appears_at(place, frame() + FRAME);
            let value = *leaf(&mut case) & 0xfff | page;
            case.before = vec![
                Action::Access(case.access_step()),
                store_leaf(&case, value),
                Action::Invlpg(case.access.address),
            ];
            assert_read(&observe(machine, &case), frame() + FRAME + OFFSET, &case);
        }

        let mut case = plain(machine, tables, ring, Form::Jump, 0x808);
        case.access.size = 8;
        let denied = *leaf(&mut case) | XD;
        case.before = vec![
            Action::Access(case.access_step()),
            store_leaf(&case, denied),
            Action::Invlpg(case.access.address),
        ];
        let seen = observe(machine, &case);
        assert_eq!(seen.earlier[0].fault, None, "{case}");
        let code = seen.fault.map(|fault| fault.error_code);
        assert_eq!(code, Some(PRESENT | fetch_bit(tables.mode) | user_bit(ring)), "{case}");
    });
}

/// Code that crosses runs from two frames, and afterwards from the first and another one.
fn code_that_crosses_is_fetched_again(machine: &mut dyn Machine) {
    in_each(machine, |machine, tables, ring| {
        let (offset, size) = crossing_code(Code::Bits32);
        let mut case = plain(machine, tables, ring, Form::Jump, offset);
        case.access.size = size;
        let first = *case.entries.last().expect("it has a leaf");
        let bytes = if tables.mode == PagingMode::Bits32 { 4 } else { 8 };
        let second = TableEntry { at: first.at + bytes, value: first.value + FRAME };
        case.entries.push(second);
        case.before = vec![
            Action::Access(case.access_step()),
            Action::Write(TableEntry { value: first.value, ..second }),
            Action::Invlpg(case.access.last_byte()),
        ];

        let seen = observe(machine, &case);
        let from = |second| fetched(frame() + offset, Some(second), Code::Bits32);
        assert_eq!(Some(seen.earlier[0].value), from(frame() + FRAME), "{case}");
        assert_eq!(seen.fault, None, "{case}");
        assert_eq!(Some(seen.value), from(frame()), "{case}");
    });
}

/// A page of 4 MiB, which moves to the area of the twin lane; INVLPG of another address in it drops all of
/// it (TLB-4; SDM "Details of TLB Use").
fn a_4_mib_page_moves(machine: &mut dyn Machine) {
    let tables = TableUse::of(PagingMode::Bits32);
    if !uses(machine).contains(&tables) {
        return;
    }

    for ring in Ring::ALL {
        let mut case = plain(machine, tables, ring, Form::Load, OFFSET);
        case.state.cr4 |= Cr4::PSE;
        case.entries.truncate(1);
        let within = (1 << 22) - 1;
        let base = frame() & !within;
        *leaf(&mut case) = base | PS | P | RW | US;
        let page = case.access.address.get() & !within;
        case.access.address = VirtAddr::new(page | frame() & within | OFFSET);

        let twin = TWIN_DISTANCE as u64 * AREA_SIZE;
        case.before = vec![
            Action::Access(case.access_step()),
            store_leaf(&case, (base + twin) | PS | P | RW | US),
            Action::Invlpg(VirtAddr::new(page | 0x8000)),
        ];
        let seen = observe(machine, &case);
        assert_eq!(seen.earlier[0].value, memory_at(&places(frame() + OFFSET, 4)), "{case}");
        assert_read(&seen, frame() + twin + OFFSET, &case);
    }
}

/// PDPTE-1: MOV to CR3 loads them. So what was stored before it counts, wherever they are (PDPTE-4).
fn a_load_of_cr3_loads_the_pdptes(machine: &mut dyn Machine) {
    let tables = TableUse::of(PagingMode::Pae);
    if !uses(machine).contains(&tables) {
        return;
    }

    for ring in Ring::ALL {
        let mut case = plain(machine, tables, ring, Form::Load, OFFSET);
        let pdpte = case.entries[0];
        assert_eq!(pdpte.value, case.state.pdptes[2], "plain cases are below PDPTE 2");
        let read: AccessStep = case.access_step();
        case.before = vec![
            Action::Access(read),
            Action::Write(TableEntry { value: 0, ..pdpte }),
            Action::ReloadCr3,
        ];
        let fault = observe(machine, &case).fault.map(|fault| (fault.vector, fault.error_code));
        assert_eq!(fault, Some((14, user_bit(ring))), "{case}");

        case.before.extend([Action::Access(read), Action::Write(pdpte), Action::ReloadCr3]);
        let seen = observe(machine, &case);
        assert!(seen.earlier[1].fault.is_some(), "{case}");
        assert_read(&seen, frame() + OFFSET, &case);
    }
}

const TESTS: [fn(&mut dyn Machine); 9] = [
    an_invalidation_makes_an_edit_seen,
    a_page_that_is_taken_away_faults,
    wp_changes_between_two_writes,
    rings_take_turns,
    pkru_counts_in_compatibility_mode,
    wide_entries_are_stored_whole,
    code_that_crosses_is_fetched_again,
    a_4_mib_page_moves,
    a_load_of_cr3_loads_the_pdptes,
];

#[test]
fn sequences_in_32_bit_code_do_what_the_manuals_say_on_qemu() {
    require_qemu!();
    let mut machine = open_qemu();
    assert_eq!(uses(&machine).len(), 4, "QEMU has every mode");
    for test in TESTS {
        test(&mut machine);
    }
}

#[test]
fn sequences_in_32_bit_code_do_what_the_manuals_say_on_kvm() {
    require_kvm!();
    let mut machine = open_kvm();
    if let Err(why) = &machine.capabilities().compatibility {
        support::skip("compatibility mode", why);
        return;
    }
    for test in TESTS {
        test(&mut machine);
    }
}
