//! Instructions that make several accesses, on the machines at hand: which of them are made before a fault,
//! what is stored, and what the operands are afterwards. Expected values are by the "Operation" sections of
//! the SDM for MOVS, CMPS, REP, PUSH and POP.

use crosswalk_case::observation::{Observation, SavedRip};
use crosswalk_case::{AccessStep, Action, Case, Moved, TableEntry};
use crosswalk_guest::contents::byte;
use crosswalk_guest::layout::Arena;
use crosswalk_guest::stub::Form;
use crosswalk_guest::tables::{self, TableUse};
use crosswalk_machine::Machine;
use crosswalk_test_support as support;
use mmu_core::{Access, AccessKind, PagingMode, Ring, VirtAddr};
use support::single::{observe, open_kvm, open_qemu, plain_with, uses_of_32_bits};
use support::{require_kvm, require_qemu};

const P: u64 = 1;
const RW: u64 = 1 << 1;
const ACCESSED: u64 = 1 << 5;
const DIRTY: u64 = 1 << 6;

/// What the operands move by.
const fn moves(rsi: i64, rdi: i64, rcx: i64) -> Moved {
    Moved { rsi, rdi, rcx }
}

/// A case with two pages that follow each other, both of 4 KiB, in two frames that do so, too.
struct TwoPages {
    case: Case,
    /// The linear address of the first page.
    page: u64,
    /// The physical address of its frame.
    frame: u64,
}

impl TwoPages {
    fn new(machine: &dyn Machine, ring: Ring) -> Self {
        Self::by(machine, TableUse::of(PagingMode::FourLevel), ring)
    }

    /// With any use of the tables.
    fn by(machine: &dyn Machine, tables: TableUse, ring: Ring) -> Self {
        let profile = machine.capabilities().profile;
        let mut case = plain_with(tables, profile, Arena::ALL[0], ring, Form::Load, 0);
        let first = *case.entries.last().expect("the case has tables");
        let at = first.at + tables::entry_bytes(tables.mode);
        case.entries.push(TableEntry { at, value: first.value + 0x1000 });
        let page = case.access.address.get();
        Self { case, page, frame: first.value & !0xfff }
    }

    /// An instruction of `size` bytes at an offset from the first page, with its source at another.
    fn instruction(&self, form: Form, size: u16, at: u64, source: u64) -> Case {
        let mut case = self.case.clone();
        case.form = form;
        case.access.kind = form.kind();
        case.access.size = size;
        case.access.address = VirtAddr::new(self.page + at);
        case.value = self.page + source;
        case
    }

    /// What memory has at an offset from the first frame.
    fn bytes(&self, offset: u64, count: u64) -> Vec<u8> {
        (0..count).map(|i| byte(self.frame + offset + i)).collect()
    }

    /// Copies as they are observed.
    fn copied(&self, to: u64, from: u64, count: u64) -> Vec<(u64, u8)> {
        let places = (self.frame + to..).zip(self.bytes(from, count));
        places.filter(|(at, copy)| byte(*at) != *copy).collect()
    }
}

/// The flags that the leaves of the two pages have got.
fn flags(seen: &Observation) -> [u64; 2] {
    let &[.., first, second] = &seen.entries[..] else { panic!("the case has two leaves") };
    [first, second].map(|leaf| leaf.after & (ACCESSED | DIRTY))
}

#[track_caller]
fn assert_fault(seen: &Observation, error_code: u32, cr2: u64, case: &Case) {
    let fault = seen.fault.unwrap_or_else(|| panic!("no fault: {case}"));
    assert_eq!((fault.vector, fault.error_code, fault.cr2), (14, error_code, cr2), "{case}");
    assert_eq!(fault.rip, Some(SavedRip::AT_INSTRUCTION), "{case}");
    if let Some(frame) = fault.frame {
        assert_eq!((frame.rsp, frame.changed), (0, None), "{case}");
    }
}

/// The bits of an error code that a ring adds.
fn user(ring: Ring) -> u32 {
    if ring == Ring::Three { 4 } else { 0 }
}

#[track_caller]
fn assert_copies(machine: &mut dyn Machine) {
    for ring in Ring::ALL {
        let pages = TwoPages::new(machine, ring);
        for size in [1, 2, 4, 8] {
            let case = pages.instruction(Form::MoveString, size, 0x1100, 0x10b);
            let seen = observe(machine, &case);
            assert_eq!(seen.fault, None, "{case}");
            assert_eq!(seen.moved, Some(moves(size.into(), size.into(), 0)), "{case}");
            assert_eq!(seen.stored, pages.copied(0x1100, 0x10b, size.into()), "{case}");
            assert_eq!(flags(&seen), [ACCESSED, ACCESSED | DIRTY], "{case}");
        }

        // Over the end of the first page.
        let case = pages.instruction(Form::RepeatedMove, 8, 0x1020, 0xffb);
        let seen = observe(machine, &case);
        assert_eq!((seen.fault, seen.moved), (None, Some(moves(8, 8, -8))), "{case}");
        assert_eq!(seen.stored, pages.copied(0x1020, 0xffb, 8), "{case}");

        // One byte is copied on and on.
        let case = pages.instruction(Form::RepeatedMove, 8, 0x201, 0x200);
        let seen = observe(machine, &case);
        let first = byte(pages.frame + 0x200);
        let expected: Vec<_> = (pages.frame + 0x201..pages.frame + 0x209)
            .filter(|at| byte(*at) != first)
            .map(|at| (at, first))
            .collect();
        assert_eq!((seen.fault, seen.stored), (None, expected), "{case}");

        for size in [2, 8] {
            let case = pages.instruction(Form::Push, size, 0x1100, 0x10b);
            let seen = observe(machine, &case);
            let pushed = Some(moves(0, -i64::from(size), 0));
            assert_eq!((seen.fault, seen.moved), (None, pushed), "{case}");
            assert_eq!(seen.stored, pages.copied(0x1100, 0x10b, size.into()), "{case}");
            assert_eq!(flags(&seen), [ACCESSED, ACCESSED | DIRTY], "{case}");

            let case = pages.instruction(Form::Pop, size, 0x1100, 0x10b);
            let seen = observe(machine, &case);
            let popped = Some(moves(0, size.into(), 0));
            assert_eq!((seen.fault, seen.moved), (None, popped), "{case}");
            assert_eq!(seen.stored, pages.copied(0x1100, 0x10b, size.into()), "{case}");
        }
    }
}

/// The result has 1 if the operands are equal, and 0x100 if the first, which is the source, is below.
#[track_caller]
fn assert_compares(machine: &mut dyn Machine) {
    for ring in Ring::ALL {
        let pages = TwoPages::new(machine, ring);
        let word = |offset| u64::from_le_bytes(pages.bytes(offset, 8).try_into().unwrap());
        for (at, source) in [(0x1100, 0x110), (0x110, 0x1100), (0x110, 0x110)] {
            let case = pages.instruction(Form::CompareStrings, 8, at, source);
            let (first, second) = (word(source), word(at));
            let expected = u64::from(first == second) | u64::from(first < second) << 8;
            let seen = observe(machine, &case);
            assert_eq!((seen.fault, seen.value), (None, expected), "{case}");
            assert_eq!(seen.moved, Some(moves(8, 8, 0)), "{case}");
            assert_eq!(seen.stored, [], "{case}");
        }
    }
}

/// A fault of the first access ends the instruction; one of the second leaves the flags of the first. In
/// either case nothing is stored, and no operand has moved.
#[track_caller]
fn assert_faults_leave_operands(machine: &mut dyn Machine) {
    for ring in Ring::ALL {
        let pages = TwoPages::new(machine, ring);
        for (form, size) in
            [(Form::MoveString, 8), (Form::RepeatedMove, 4), (Form::Push, 8), (Form::Pop, 8)]
        {
            let whole = pages.instruction(form, size, 0x1100, 0x10b);

            let mut no_source = whole.clone();
            no_source.entries[3].value &= !P;
            let seen = observe(machine, &no_source);
            assert_fault(&seen, user(ring), pages.page + 0x10b, &no_source);
            assert_eq!((seen.moved, flags(&seen)), (Some(moves(0, 0, 0)), [0, 0]), "{no_source}");
            assert_eq!(seen.stored, [], "{no_source}");

            let mut read_only = whole.clone();
            read_only.entries[4].value &= !RW;
            let seen = observe(machine, &read_only);
            assert_fault(&seen, 3 | user(ring), pages.page + 0x1100, &read_only);
            assert_eq!(
                (seen.moved, flags(&seen)),
                (Some(moves(0, 0, 0)), [ACCESSED, 0]),
                "{read_only}"
            );
            assert_eq!(seen.stored, [], "{read_only}");
        }
    }
}

/// REP: the iterations before the fault are done, and the operands say which (SDM "REP", APM "REP").
#[track_caller]
fn assert_a_fault_stops_a_repeated_move(machine: &mut dyn Machine) {
    for ring in Ring::ALL {
        let pages = TwoPages::new(machine, ring);

        // The destination ends after three bytes.
        let mut case = pages.instruction(Form::RepeatedMove, 8, 0xffd, 0x10b);
        case.entries[4].value &= !RW;
        let seen = observe(machine, &case);
        assert_fault(&seen, 3 | user(ring), pages.page + 0x1000, &case);
        assert_eq!(seen.moved, Some(moves(3, 3, -3)), "{case}");
        assert_eq!(seen.stored, pages.copied(0xffd, 0x10b, 3), "{case}");
        assert_eq!(flags(&seen), [ACCESSED | DIRTY, 0], "{case}");

        // The source does after five.
        let mut case = pages.instruction(Form::RepeatedMove, 8, 0x10b, 0xffb);
        case.entries[4].value &= !P;
        let seen = observe(machine, &case);
        assert_fault(&seen, user(ring), pages.page + 0x1000, &case);
        assert_eq!(seen.moved, Some(moves(5, 5, -5)), "{case}");
        assert_eq!(seen.stored, pages.copied(0x10b, 0xffb, 5), "{case}");
        assert_eq!(flags(&seen), [ACCESSED | DIRTY, 0], "{case}");
    }
}

/// SDM, APM "ENTER" with a nesting level of 2: RBP is pushed, then what is below it, then the frame pointer,
/// which becomes RBP. A fault restores RSP and RBP.
#[track_caller]
fn assert_enter_pushes_a_frame(machine: &mut dyn Machine) {
    let pages = TwoPages::new(machine, Ring::Three);
    let whole = pages.instruction(Form::Enter, 24, 0x1100, 0x108);
    let seen = observe(machine, &whole);
    let frame_pointer = pages.page + 0x1110;
    let rbp = pages.page + 0x110;
    assert_eq!(seen.fault, None, "{whole}");
    assert_eq!(seen.moved, Some(moves((frame_pointer - rbp) as i64, -24, 0)), "{whole}");
    let pushed =
        [frame_pointer.to_le_bytes().to_vec(), pages.bytes(0x108, 8), rbp.to_le_bytes().to_vec()];
    let places = (pages.frame + 0x1100..).zip(pushed.concat());
    let expected: Vec<_> = places.filter(|(at, pushed)| byte(*at) != *pushed).collect();
    assert_eq!(seen.stored, expected, "{whole}");
    assert_eq!(flags(&seen), [ACCESSED, ACCESSED | DIRTY], "{whole}");

    // The stack ends after the first push.
    let mut cut = pages.instruction(Form::Enter, 24, 0xff0, 0x1108);
    cut.entries[3].value &= !RW;
    let seen = observe(machine, &cut);
    assert_fault(&seen, 7, pages.page + 0xff8, &cut);
    assert_eq!(seen.moved, Some(moves(0, 0, 0)), "{cut}");
}

/// SDM, APM "CALL": the pointer is read, and the return address pushed, which is here the same. A fault of either
/// leaves RSP.
#[track_caller]
fn assert_calls_through_memory(machine: &mut dyn Machine) {
    for ring in Ring::ALL {
        let pages = TwoPages::new(machine, ring);
        // The pointer is in the first page, also after its end, and what it leads to pushes to the second.
        let pointer = match ring {
            Ring::Three => 0x10_8040_u64,
            Ring::Zero => 0x4010_8040,
        };
        let mut case = pages.instruction(Form::Call, 8, 0x1100, 0x108);
        let address = VirtAddr::new(case.value);
        let access = Access { address, kind: AccessKind::Write, ..case.access };
        let store = AccessStep { access, form: Form::Store, value: pointer };
        case.before = vec![Action::Access(store)];

        let seen = observe(machine, &case);
        assert_eq!((seen.fault, seen.moved), (None, Some(moves(0, -8, 0))), "{case}");
        let places = [0x108, 0x1100].map(|offset| pages.frame + offset);
        let words = places.iter().flat_map(|at| (*at..).zip(pointer.to_le_bytes()));
        let expected: Vec<_> = words.filter(|(at, stored)| byte(*at) != *stored).collect();
        assert_eq!(seen.stored, expected, "{case}");
        assert_eq!(flags(&seen), [ACCESSED | DIRTY; 2], "{case}");

        // Nothing can be pushed.
        case.entries[4].value &= !RW;
        let seen = observe(machine, &case);
        assert_fault(&seen, 3 | user(ring), pages.page + 0x1100, &case);
        assert_eq!(seen.moved, Some(moves(0, 0, 0)), "{case}");
        assert_eq!(flags(&seen), [ACCESSED | DIRTY, 0], "{case}");

        // There is no pointer.
        case.before.clear();
        case.entries[3].value &= !P;
        case.entries[4].value |= RW;
        let seen = observe(machine, &case);
        assert_fault(&seen, user(ring), pages.page + 0x108, &case);
        assert_eq!((seen.moved, flags(&seen)), (Some(moves(0, 0, 0)), [0, 0]), "{case}");
        assert_eq!(seen.stored, [], "{case}");
    }
}

/// SDM, APM "CMPXCHG16B": #GP(0) if the address is no multiple of 16.
#[track_caller]
fn assert_compares_16_bytes(machine: &mut dyn Machine) {
    let pages = TwoPages::new(machine, Ring::Three);
    let mut case = pages.instruction(Form::FailingCompare, 16, 0x110, 0);
    case.value = 0x0123_4567_89ab_cdef;
    let seen = observe(machine, &case);
    let low = u64::from_le_bytes(pages.bytes(0x110, 8).try_into().unwrap());
    assert_eq!((seen.fault, seen.value), (None, low), "{case}");
    assert_eq!(seen.stored, [], "{case}");
    assert_eq!(flags(&seen), [ACCESSED | DIRTY, 0], "{case}");

    case.access.address = VirtAddr::new(pages.page + 0x118);
    let fault = observe(machine, &case).fault.expect("the address is not aligned");
    assert_eq!((fault.vector, fault.error_code), (13, 0), "{case}");

    case.access.address = VirtAddr::new(pages.page + 0x110);
    case.entries[3].value &= !RW;
    let seen = observe(machine, &case);
    assert_fault(&seen, 7, pages.page + 0x110, &case);
}

/// FXSAVE stores what its registers have, of which the first word is FCW: 0x37f after FNINIT, as at reset
/// (SDM, APM "FXSAVE"). Where the second page denies it, a part may be stored.
#[track_caller]
fn assert_saves_512_bytes(machine: &mut dyn Machine) {
    for ring in Ring::ALL {
        let pages = TwoPages::new(machine, ring);
        let mut case = pages.instruction(Form::Fxsave, 512, 0xf00, 0);
        case.value = 0;
        let seen = observe(machine, &case);
        assert_eq!(seen.fault, None, "{case}");
        let area = pages.frame + 0xf00..pages.frame + 0x1100;
        assert!(seen.stored.iter().all(|(at, _)| area.contains(at)), "{case}");
        assert_eq!(seen.stored[..2], [(pages.frame + 0xf00, 0x7f), (pages.frame + 0xf01, 0x03)]);
        assert!(seen.stored.iter().any(|(at, _)| *at > pages.frame + 0x1000), "{case}");
        assert_eq!(flags(&seen), [ACCESSED | DIRTY; 2], "{case}");

        case.entries[4].value &= !RW;
        let seen = observe(machine, &case);
        let fault = seen.fault.expect("the second page is read-only");
        assert_eq!((fault.vector, fault.error_code), (14, 3 | user(ring)), "{case}");
        assert!([0x1000, 0x10ff].contains(&(fault.cr2 - pages.page)), "{:#x}: {case}", fault.cr2);
        let first = pages.frame + 0xf00..pages.frame + 0x1000;
        assert!(seen.stored.iter().all(|(at, _)| first.contains(at)), "{case}");
        assert_eq!(flags(&seen)[1], 0, "{case}");
    }
}

/// In 32-bit code: MOVS and CMPS, and what a fault leaves of REP MOVSB.
#[track_caller]
fn assert_32_bit_code_copies(machine: &mut dyn Machine) {
    let uses = uses_of_32_bits(machine);
    assert!(!uses.is_empty(), "the machine runs 32-bit code");
    for (tables, ring) in uses.into_iter().flat_map(|tables| Ring::ALL.map(|ring| (tables, ring))) {
        let pages = TwoPages::by(machine, tables, ring);
        for size in [1, 2, 4] {
            let case = pages.instruction(Form::MoveString, size, 0x1100, 0x10b);
            let seen = observe(machine, &case);
            let moved = Some(moves(size.into(), size.into(), 0));
            assert_eq!((seen.fault, seen.moved), (None, moved), "{case}");
            assert_eq!(seen.stored, pages.copied(0x1100, 0x10b, size.into()), "{case}");
            assert_eq!(flags(&seen), [ACCESSED, ACCESSED | DIRTY], "{case}");
        }

        let case = pages.instruction(Form::CompareStrings, 4, 0x1100, 0x110);
        let word = |offset| u32::from_le_bytes(pages.bytes(offset, 4).try_into().unwrap());
        let seen = observe(machine, &case);
        let expected = u64::from(word(0x110) < word(0x1100)) << 8;
        assert_eq!((seen.fault, seen.value), (None, expected), "{case}");
        assert_eq!(seen.moved, Some(moves(4, 4, 0)), "{case}");

        // The destination ends after three bytes, and then the source does after five.
        let leaf = pages.case.entries.len() - 1;
        for (at, source, done, denied, error_code, cr2) in [
            (0xffd, 0x10b, 3, RW, 3, 0x1000),
            (0x10b, 0xffb, 5, P, 0, 0x1000),
            (0x1100, 0x10b, 0, RW, 3, 0x1100),
        ] {
            let mut case = pages.instruction(Form::RepeatedMove, 8, at, source);
            case.entries[leaf].value &= !denied;
            let seen = observe(machine, &case);
            assert_fault(&seen, error_code | user(ring), pages.page + cr2, &case);
            assert_eq!(seen.moved, Some(moves(done, done, -done)), "{case}");
            assert_eq!(seen.stored, pages.copied(at, source, done as u64), "{case}");
            let first = if done == 0 { ACCESSED } else { ACCESSED | DIRTY };
            assert_eq!(flags(&seen), [first, 0], "{case}");
        }
    }
}

#[test]
fn kvm_copies_in_32_bit_code() {
    require_kvm!();
    assert_32_bit_code_copies(&mut open_kvm());
}

#[test]
fn qemu_copies_in_32_bit_code() {
    require_qemu!();
    assert_32_bit_code_copies(&mut open_qemu());
}

#[test]
fn kvm_runs_wide_instructions() {
    require_kvm!();
    let mut machine = open_kvm();
    assert_enter_pushes_a_frame(&mut machine);
    assert_compares_16_bytes(&mut machine);
    assert_saves_512_bytes(&mut machine);
}

#[test]
fn qemu_runs_wide_instructions() {
    require_qemu!();
    let mut machine = open_qemu();
    assert_enter_pushes_a_frame(&mut machine);
    assert_compares_16_bytes(&mut machine);
    assert_saves_512_bytes(&mut machine);
}

#[test]
fn kvm_copies_and_compares() {
    require_kvm!();
    let mut machine = open_kvm();
    assert_copies(&mut machine);
    assert_compares(&mut machine);
}

#[test]
fn qemu_copies_and_compares() {
    require_qemu!();
    let mut machine = open_qemu();
    assert_copies(&mut machine);
    assert_compares(&mut machine);
}

#[test]
fn kvm_calls_through_memory() {
    require_kvm!();
    assert_calls_through_memory(&mut open_kvm());
}

#[test]
fn qemu_calls_through_memory() {
    require_qemu!();
    assert_calls_through_memory(&mut open_qemu());
}

#[test]
fn kvm_faults_leave_operands() {
    require_kvm!();
    let mut machine = open_kvm();
    assert_faults_leave_operands(&mut machine);
    assert_a_fault_stops_a_repeated_move(&mut machine);
}

#[test]
fn qemu_faults_leave_operands() {
    require_qemu!();
    let mut machine = open_qemu();
    assert_faults_leave_operands(&mut machine);
    assert_a_fault_stops_a_repeated_move(&mut machine);
}
