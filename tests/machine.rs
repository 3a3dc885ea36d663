//! Single cases on the KVM of this host, through the library (`single`).

use crosswalk::campaign::run_one;
use crosswalk_case::observation::{Attempt, EntryAfter, Provenance};
use crosswalk_case::{Case, TableEntry};
use crosswalk_guest::contents;
use crosswalk_guest::layout::{Arena, HOLE_BASE};
use crosswalk_guest::stub::Form;
use crosswalk_machine::kvm::KvmMachine;
use crosswalk_machine::{Machine, MachineError};
use crosswalk_test_support as support;
use mmu_core::{Cr0, Cr4, PagingMode, Ring, Segment, VirtAddr};
use support::require_kvm;
use support::single::{
    D, LANE, P, RW, US, assert_completed, assert_every_variant_completes, bytes_changed,
    entries_after, fault_of, memory_at, observe, open_kvm, places, plain_in, user_bit,
};

/// A plain case of 4-level paging.
fn plain(machine: &KvmMachine, arena: Arena, ring: Ring, form: Form, offset: u64) -> Case {
    let profile = machine.capabilities().profile;
    plain_in(PagingMode::FourLevel, profile, arena, ring, form, offset)
}

/// The 8 bytes of data memory at offset 0x108 of the page of plain cases in the first arena.
fn plain_places() -> Vec<u64> {
    places(Arena::ALL[0].data_frames(LANE) + 0x108, 8)
}

#[test]
fn every_form_size_ring_and_segment_reaches_its_bytes() {
    require_kvm!();
    let mut machine = open_kvm();
    let forms = [
        Form::Load,
        Form::Store,
        Form::Exchange,
        Form::LockedExchange,
        Form::FailingCompare,
        Form::Clflush,
    ];
    assert_every_variant_completes(&mut machine, PagingMode::FourLevel, &forms);
}

/// Each stub, at offset 0x800 and after, is `mov ecx, imm32; jmp r13`.
#[test]
fn a_fetch_runs_the_code_of_its_frame() {
    require_kvm!();
    let mut machine = open_kvm();
    for ring in Ring::ALL {
        for (offset, arena) in [(0x800, Arena::ALL[0]), (0x9f8, Arena::ALL[1])] {
            let case = plain(&machine, arena, ring, Form::Jump, offset);
            let seen = observe(&mut machine, &case);

            let stub = arena.data_frames(LANE) + offset;
            assert_eq!(contents::byte(stub), 0xb9, "mov ecx");
            assert_eq!(seen.fault, None);
            assert_eq!(seen.value, memory_at(&places(stub + 1, 4)), "{case}");
            assert_eq!(seen.entries, entries_after(&case, 1));
        }
    }
}

/// Two consecutive pages whose frames are in the opposite order.
#[test]
fn an_access_across_pages_takes_each_part_from_its_own_frame() {
    require_kvm!();
    let mut machine = open_kvm();
    for ring in Ring::ALL {
        for form in [Form::Load, Form::Store, Form::Exchange, Form::LockedExchange] {
            let arena = Arena::ALL[0];
            let mut case = plain(&machine, arena, ring, form, 0xffd);
            let frames = arena.data_frames(LANE);
            case.entries[3].value = (frames + 0x1000) | P | RW | US;
            let next = TableEntry { at: case.entries[3].at + 8, value: frames | P | RW | US };
            case.entries.push(next);

            let seen = observe(&mut machine, &case);
            let reached = [places(frames + 0x1ffd, 3), places(frames, 5)].concat();
            assert_completed(&case, &seen, &reached, 2);
        }
    }
}

#[test]
fn an_absent_entry_at_any_level_faults_with_the_address() {
    require_kvm!();
    let mut machine = open_kvm();
    let forms = [(Form::Load, 0), (Form::Store, 2), (Form::Exchange, 2), (Form::FailingCompare, 2)];
    for (ring, (form, code)) in
        Ring::ALL.into_iter().flat_map(|ring| forms.map(|form| (ring, form)))
    {
        for level in 0..4 {
            let mut case = plain(&machine, Arena::ALL[0], ring, form, 0x108);
            case.entries[level].value &= !P;

            let seen = observe(&mut machine, &case);
            let fault = seen.fault.unwrap_or_else(|| panic!("no fault: {case}"));
            assert_eq!((fault.vector, fault.error_code), (14, code | user_bit(ring)), "{case}");
            assert_eq!(fault.cr2, case.access.address.get());
            assert_eq!(seen.stored, []);

            // The walk ends at the absent entry, and only an access that completes sets D.
            for entry in &seen.entries[level..] {
                assert_eq!(entry.after, entry.before, "{case}");
            }
            let is_dirty = |entry: &EntryAfter| entry.after & D != 0;
            assert!(!seen.entries.iter().any(is_dirty), "{case}");
        }
    }
}

#[test]
fn a_fault_on_the_second_page_reports_that_page_s_first_byte() {
    require_kvm!();
    let mut machine = open_kvm();
    for ring in Ring::ALL {
        // The second page's entry is not listed, so it is 0.
        let case = plain(&machine, Arena::ALL[0], ring, Form::Load, 0xffa);
        let fault = fault_of(&mut machine, &case);
        assert_eq!((fault.vector, fault.error_code), (14, user_bit(ring)));
        assert_eq!(fault.cr2, case.access.address.get() + 6);
    }
}

#[test]
fn rights_are_those_of_the_whole_path() {
    require_kvm!();
    let mut machine = open_kvm();
    for level in 0..4 {
        let mut read_only = plain(&machine, Arena::ALL[0], Ring::Three, Form::Store, 0x108);
        read_only.entries[level].value &= !RW;
        let fault = fault_of(&mut machine, &read_only);
        assert_eq!((fault.vector, fault.error_code), (14, 0x7), "{read_only}");

        let mut supervisor = plain(&machine, Arena::ALL[0], Ring::Three, Form::Load, 0x108);
        supervisor.entries[level].value &= !US;
        let fault = fault_of(&mut machine, &supervisor);
        assert_eq!((fault.vector, fault.error_code), (14, 0x5), "{supervisor}");

        // RIGHT-2: with WP=0 the supervisor's write completes, and sets D.
        let mut unprotected = plain(&machine, Arena::ALL[0], Ring::Zero, Form::Store, 0x108);
        unprotected.entries[level].value &= !RW;
        let fault = fault_of(&mut machine, &unprotected);
        assert_eq!((fault.vector, fault.error_code), (14, 0x3), "{unprotected}");

        unprotected.state.cr0.remove(Cr0::WP);
        let seen = observe(&mut machine, &unprotected);
        assert_completed(&unprotected, &seen, &plain_places(), 1);
    }
}

#[test]
fn a_non_canonical_address_is_not_a_page_fault_and_leaves_cr2() {
    require_kvm!();
    let mut machine = open_kvm();
    for ring in Ring::ALL {
        for (segment, vector) in [(Segment::Data, 13), (Segment::Stack, 12)] {
            let mut case = plain(&machine, Arena::ALL[0], ring, Form::Load, 0x108);
            case.access.segment = segment;
            case.access.address = VirtAddr::new(case.access.address.get() ^ 1 << 62);

            let seen = observe(&mut machine, &case);
            let fault = seen.fault.unwrap_or_else(|| panic!("no fault: {case}"));
            assert_eq!((fault.vector, fault.error_code), (vector, 0), "{case}");
            assert_eq!(fault.cr2, fault.cr2_before, "{case}");
            assert!(seen.entries.iter().all(|entry| entry.after == entry.before), "{case}");
        }
    }
}

#[test]
fn an_access_outside_memory_leaves_the_machine_at_its_address() {
    require_kvm!();
    let mut machine = open_kvm();
    let hole = HOLE_BASE + 0x1234_5000;
    for ring in Ring::ALL {
        for form in [Form::Load, Form::Store] {
            let mut case = plain(&machine, Arena::ALL[0], ring, form, 0x108);
            case.entries[3].value = hole | P | RW | US;

            let seen = observe(&mut machine, &case);
            assert_eq!(seen.fault, None, "{case}");
            let [access] = seen.outside[..] else { panic!("{:?}: {case}", seen.outside) };
            let is_store = form == Form::Store;
            let place = (access.address, access.len, access.is_write);
            assert_eq!(place, (hole + 0x108, 8, is_store), "{case}");
            if is_store {
                assert_eq!(access.data, case.value, "{case}");
            } else {
                assert_eq!(seen.value, memory_at(&places(hole + 0x108, 8)), "{case}");
            }
            assert_eq!(seen.entries, entries_after(&case, 1), "{case}");

            // KVM emulates the instruction, even where it runs others natively.
            let by_software = [Provenance::KvmEmulator, Provenance::Tcg];
            assert!(by_software.contains(&seen.provenance), "{}", seen.provenance);
        }
    }
}

/// The bytes of a store must be gone before the next case.
#[test]
fn frames_are_restored_after_a_store() {
    require_kvm!();
    let mut machine = open_kvm();
    for _ in 0..3 {
        let store = plain(&machine, Arena::ALL[0], Ring::Three, Form::Store, 0x108);
        let seen = observe(&mut machine, &store);
        assert_eq!(seen.stored, bytes_changed(&plain_places(), store.value));

        let load = plain(&machine, Arena::ALL[0], Ring::Three, Form::Load, 0x108);
        assert_eq!(observe(&mut machine, &load).value, memory_at(&plain_places()));
    }
}

/// A change that makes a case impossible to run on the guest.
type CaseChange = fn(&mut Case);

#[test]
fn a_case_that_the_guest_cannot_run_is_unsupported_with_a_reason() {
    require_kvm!();
    let mut machine = open_kvm();
    let changes: [(&str, CaseChange); 8] = [
        ("CR3", |case| case.state.cr3 = 0x1000),
        ("CET_SS", |case| case.state.cr4 |= Cr4::CET),
        ("entry at 0x10", |case| case.entries[1].at = 0x10),
        ("slot 0", |case| case.entries[0].at = Arena::ALL[0].table(0)),
        ("guest's own memory", |case| case.entries[2].value = 0x0010_0000 | P | RW | US),
        ("3 bytes", |case| case.access.size = 3),
        ("what lsl does", |case| case.access.implicit = true),
        ("would reach physical address", |case| {
            // A 2 MiB page that maps the guest itself.
            case.entries[2].value = 0x80 | P | RW | US;
            case.entries.truncate(3);
        }),
    ];
    for (words, change) in changes {
        let plain = plain(&machine, Arena::ALL[0], Ring::Three, Form::Load, 0x108);
        let mut case = plain.clone();
        change(&mut case);
        let attempt = run_one(&mut machine, &case).expect("the guest survives");
        let Attempt::Unsupported(why) = attempt else { panic!("{words}: the case ran: {case}") };
        assert!(why.contains(words), "{words}: {why}");

        // The machine still runs other cases.
        assert_eq!(observe(&mut machine, &plain).fault, None);
    }
}

/// Nobody knows what the guest of a machine was doing that was interrupted: it runs nothing any more.
#[test]
fn a_machine_that_was_interrupted_stays_so() {
    require_kvm!();
    let mut machine = open_kvm();
    let case = plain(&machine, Arena::ALL[0], Ring::Three, Form::Load, 0);
    run_one(&mut machine, &case).expect("it runs");

    machine.interrupter().interrupt();
    for _ in 0..2 {
        let refused = run_one(&mut machine, &case);
        assert!(matches!(refused, Err(MachineError::Interrupted)), "{refused:?}");
    }
}
