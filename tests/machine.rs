//! Single cases on the KVM of this host, through the library (`single`).

mod common;
mod single;

use common::require_kvm;
use crosswalk::campaign::run_one;
use crosswalk_case::observation::{Attempt, EntryAfter, Provenance};
use crosswalk_case::{Case, TableEntry};
use crosswalk_guest::contents;
use crosswalk_guest::layout::{Arena, HOLE_BASE};
use crosswalk_guest::stub::Form;
use crosswalk_machine::Machine;
use crosswalk_machine::image::Image;
use crosswalk_machine::kvm::KvmMachine;
use mmu_core::{Cr0, Cr4, PagingMode, Ring, Segment, VirtAddr};
use single::{
    D, LANE, P, RINGS, RW, US, after, assert_completed, changes, held, observe, plain_in,
};

fn open() -> KvmMachine {
    let image = Image::built_in().expect("the image was built with the program");
    KvmMachine::open(image).expect("KVM works")
}

/// A plain case of 4-level paging.
fn plain(machine: &KvmMachine, arena: Arena, ring: Ring, form: Form, offset: u64) -> Case {
    let profile = machine.capabilities().profile;
    plain_in(PagingMode::FourLevel, profile, arena, ring, form, offset)
}

#[test]
fn every_form_size_ring_and_segment_reaches_its_bytes() {
    require_kvm!();
    let mut machine = open();
    let forms = [
        Form::Load,
        Form::Store,
        Form::Exchange,
        Form::LockedExchange,
        Form::FailingCompare,
        Form::Clflush,
    ];
    for ring in RINGS {
        for form in forms {
            for size in [1, 2, 4, 8] {
                for segment in [Segment::Data, Segment::Stack] {
                    // Both arenas, so that neither is a copy of the other.
                    let arena = Arena::ALL[usize::from(segment == Segment::Stack)];
                    let mut case = plain(&machine, arena, ring, form, 0x10b);
                    (case.access.size, case.access.segment) = (size, segment);
                    let seen = observe(&mut machine, &case);
                    let first = arena.data_frames(LANE) + 0x10b;
                    let places: Vec<u64> = (first..first + u64::from(size)).collect();
                    assert_completed(&case, &seen, &places, 1);
                }
            }
        }
    }
}

/// The stub at offset 0x800 and its like is `mov ecx, imm32; jmp r13`.
#[test]
fn a_fetch_runs_the_code_of_its_frame() {
    require_kvm!();
    let mut machine = open();
    for ring in RINGS {
        for (offset, arena) in [(0x800, Arena::ALL[0]), (0x9f8, Arena::ALL[1])] {
            let case = plain(&machine, arena, ring, Form::Jump, offset);
            let seen = observe(&mut machine, &case);
            let stub = arena.data_frames(LANE) + offset;
            assert_eq!(contents::byte(stub), 0xb9, "mov ecx");
            let constant: Vec<u64> = (stub + 1..stub + 5).collect();
            assert_eq!(seen.fault, None);
            assert_eq!(seen.value, held(&constant), "{case}");
            assert_eq!(seen.entries, after(&case, 1));
        }
    }
}

/// Two pages whose frames lie the other way round.
#[test]
fn an_access_across_pages_takes_each_part_from_its_own_frame() {
    require_kvm!();
    let mut machine = open();
    for ring in RINGS {
        for form in [Form::Load, Form::Store, Form::Exchange, Form::LockedExchange] {
            let arena = Arena::ALL[0];
            let mut case = plain(&machine, arena, ring, form, 0xffd);
            let frames = arena.data_frames(LANE);
            case.entries[3].value = (frames + 0x1000) | P | RW | US;
            let next = TableEntry { at: case.entries[3].at + 8, value: frames | P | RW | US };
            case.entries.push(next);
            let seen = observe(&mut machine, &case);
            let places: Vec<u64> =
                (frames + 0x1ffd..frames + 0x2000).chain(frames..frames + 5).collect();
            assert_completed(&case, &seen, &places, 2);
        }
    }
}

#[test]
fn an_absent_entry_at_any_level_faults_with_the_address() {
    require_kvm!();
    let mut machine = open();
    for ring in RINGS {
        let user = if ring == Ring::Three { 4 } else { 0 };
        for (form, code) in
            [(Form::Load, 0), (Form::Store, 2), (Form::Exchange, 2), (Form::FailingCompare, 2)]
        {
            for level in 0..4 {
                let mut case = plain(&machine, Arena::ALL[0], ring, form, 0x108);
                case.entries[level].value &= !P;
                let seen = observe(&mut machine, &case);
                let fault = seen.fault.unwrap_or_else(|| panic!("no fault: {case}"));
                assert_eq!((fault.vector, fault.error_code), (14, code | user), "{case}");
                assert_eq!(fault.cr2, case.access.address.get());
                assert_eq!(seen.stored, []);
                // From the absent entry down nothing was looked at; D is for those who write.
                for entry in &seen.entries[level..] {
                    assert_eq!(entry.after, entry.before, "{case}");
                }
                let dirty = |entry: &EntryAfter| entry.after & D != 0;
                assert!(!seen.entries.iter().any(dirty), "{case}");
            }
        }
    }
}

#[test]
fn a_fault_on_the_second_page_names_its_first_byte() {
    require_kvm!();
    let mut machine = open();
    for ring in RINGS {
        // The second page's entry is not listed, so it is 0.
        let case = plain(&machine, Arena::ALL[0], ring, Form::Load, 0xffa);
        let seen = observe(&mut machine, &case);
        let fault = seen.fault.expect("a fault");
        let user = if ring == Ring::Three { 4 } else { 0 };
        assert_eq!((fault.vector, fault.error_code), (14, user));
        assert_eq!(fault.cr2, case.access.address.get() + 6);
    }
}

#[test]
fn rights_are_those_of_the_whole_path() {
    require_kvm!();
    let mut machine = open();
    for level in 0..4 {
        let mut read_only = plain(&machine, Arena::ALL[0], Ring::Three, Form::Store, 0x108);
        read_only.entries[level].value &= !RW;
        let fault = observe(&mut machine, &read_only).fault.expect("a read-only page");
        assert_eq!((fault.vector, fault.error_code), (14, 0x7), "{read_only}");

        let mut supervisor = plain(&machine, Arena::ALL[0], Ring::Three, Form::Load, 0x108);
        supervisor.entries[level].value &= !US;
        let fault = observe(&mut machine, &supervisor).fault.expect("a supervisor page");
        assert_eq!((fault.vector, fault.error_code), (14, 0x5), "{supervisor}");

        // RIGHT-2: WP=0 lets the supervisor write all the same, and D is set.
        let mut unprotected = plain(&machine, Arena::ALL[0], Ring::Zero, Form::Store, 0x108);
        unprotected.entries[level].value &= !RW;
        let fault = observe(&mut machine, &unprotected).fault.expect("WP is set");
        assert_eq!((fault.vector, fault.error_code), (14, 0x3), "{unprotected}");
        unprotected.state.cr0.remove(Cr0::WP);
        let seen = observe(&mut machine, &unprotected);
        let first = Arena::ALL[0].data_frames(LANE) + 0x108;
        let places: Vec<u64> = (first..first + 8).collect();
        assert_completed(&unprotected, &seen, &places, 1);
    }
}

#[test]
fn a_bad_address_is_no_page_fault_and_leaves_cr2() {
    require_kvm!();
    let mut machine = open();
    for ring in RINGS {
        for (segment, vector) in [(Segment::Data, 13), (Segment::Stack, 12)] {
            let mut case = plain(&machine, Arena::ALL[0], ring, Form::Load, 0x108);
            case.access.segment = segment;
            case.access.address = VirtAddr::new(case.access.address.get() ^ 1 << 62);
            let seen = observe(&mut machine, &case);
            let fault = seen.fault.expect("a fault");
            assert_eq!((fault.vector, fault.error_code), (vector, 0), "{case}");
            assert_eq!(fault.cr2, fault.cr2_before, "{case}");
            assert!(seen.entries.iter().all(|entry| entry.after == entry.before), "{case}");
        }
    }
}

#[test]
fn an_access_outside_memory_leaves_the_machine_at_its_address() {
    require_kvm!();
    let mut machine = open();
    let hole = HOLE_BASE + 0x1234_5000;
    for ring in RINGS {
        for form in [Form::Load, Form::Store] {
            let mut case = plain(&machine, Arena::ALL[0], ring, form, 0x108);
            case.entries[3].value = hole | P | RW | US;
            let seen = observe(&mut machine, &case);
            assert_eq!(seen.fault, None, "{case}");
            let [access] = seen.outside[..] else { panic!("{:?}: {case}", seen.outside) };
            let store = form == Form::Store;
            let place = (access.address, access.len, access.is_write);
            assert_eq!(place, (hole + 0x108, 8, store), "{case}");
            let got = if store { access.data } else { seen.value };
            let bytes: Vec<u64> = (hole + 0x108..hole + 0x110).collect();
            assert_eq!(got, if store { case.value } else { held(&bytes) }, "{case}");
            assert_eq!(seen.entries, after(&case, 1), "{case}");
            // KVM ran the instruction, whatever it does otherwise.
            let by_software = [Provenance::KvmEmulator, Provenance::Tcg];
            assert!(by_software.contains(&seen.provenance), "{}", seen.provenance);
        }
    }
}

/// A stored value must be gone before the next case looks.
#[test]
fn frames_are_restored_after_a_store() {
    require_kvm!();
    let mut machine = open();
    let first = Arena::ALL[0].data_frames(LANE) + 0x108;
    let places: Vec<u64> = (first..first + 8).collect();
    for _ in 0..3 {
        let store = plain(&machine, Arena::ALL[0], Ring::Three, Form::Store, 0x108);
        let seen = observe(&mut machine, &store);
        assert_eq!(seen.stored, changes(&places, store.value));
        let load = plain(&machine, Arena::ALL[0], Ring::Three, Form::Load, 0x108);
        assert_eq!(observe(&mut machine, &load).value, held(&places));
    }
}

/// A change that makes a case unfit for the guest.
type CaseChange = fn(&mut Case);

#[test]
fn a_case_that_does_not_fit_the_guest_is_unsupported_with_the_reason() {
    require_kvm!();
    let mut machine = open();
    let changes: [(&str, CaseChange); 8] = [
        ("CR3", |case| case.state.cr3 = 0x1000),
        ("CR4", |case| case.state.cr4 |= Cr4::CET),
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
        let mut case = plain(&machine, Arena::ALL[0], Ring::Three, Form::Load, 0x108);
        change(&mut case);
        let run = run_one(&mut machine, &case).expect("the guest is left alone");
        let Attempt::Unsupported(why) = run else { panic!("{words}: it ran: {case}") };
        assert!(why.contains(words), "{words}: {why}");
        // And the machine goes on.
        let case = plain(&machine, Arena::ALL[0], Ring::Three, Form::Load, 0x108);
        assert_eq!(observe(&mut machine, &case).fault, None);
    }
}
