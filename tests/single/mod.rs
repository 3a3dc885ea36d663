//! Single cases on a machine, through the library, and what is expected of them: worked out here,
//! from what memory holds and from the manuals, and not by the walk.
#![allow(dead_code, reason = "each test uses its own part of this")]

use crosswalk::campaign::run_one;
use crosswalk_case::observation::{Attempt, EntryAfter, Observation, ObservedFault};
use crosswalk_case::{Case, TableEntry};
use crosswalk_guest::contents;
use crosswalk_guest::high::data_behind;
use crosswalk_guest::layout::Arena;
use crosswalk_guest::stub::Form;
use crosswalk_machine::Machine;
use crosswalk_machine::image::Image;
use crosswalk_machine::qemu::{QemuMachine, QemuProcessor};
use mmu_core::{AccessKind, PagingMode, Profile, Ring, VirtAddr};

pub(crate) const P: u64 = 1;
pub(crate) const RW: u64 = 1 << 1;
pub(crate) const US: u64 = 1 << 2;
pub(crate) const A: u64 = 1 << 5;
pub(crate) const D: u64 = 1 << 6;
/// Page size.
pub(crate) const PS: u64 = 1 << 7;

pub(crate) const RINGS: [Ring; 2] = [Ring::Zero, Ring::Three];
/// A lane in the middle. Not 255, whose PML4 slot some machines do not have (K3).
pub(crate) const LANE: usize = 100;

/// The modes that have tables.
pub(crate) const PAGED: [PagingMode; 4] =
    [PagingMode::Bits32, PagingMode::Pae, PagingMode::FourLevel, PagingMode::FiveLevel];

/// A plain case in which an access of some form starts at `offset` of its page. It has 8 bytes, or
/// 4 in 32-bit code.
pub(crate) fn plain_in(
    mode: PagingMode,
    profile: Profile,
    arena: Arena,
    ring: Ring,
    form: Form,
    offset: u64,
) -> Case {
    let mut case = Case::plain_in(mode, arena, LANE, ring, profile);
    case.form = form;
    case.access.kind = match form {
        Form::Load | Form::SegmentLimit => AccessKind::Read,
        Form::Store => AccessKind::Write,
        Form::Exchange | Form::LockedExchange | Form::FailingCompare => AccessKind::ReadModifyWrite,
        Form::Clflush => AccessKind::Clflush,
        Form::Jump => AccessKind::Fetch,
    };
    case.access.implicit = form == Form::SegmentLimit;
    case.access.address = VirtAddr::new((case.access.address.get() & !0xfff) | offset);
    case.value = 0x0123_4567_89ab_cdef & mask(case.access.size);
    case
}

/// Runs a case that the machine can run.
#[track_caller]
pub(crate) fn observe(machine: &mut dyn Machine, case: &Case) -> Observation {
    match run_one(machine, case).expect("the guest lives") {
        Attempt::Observed(observation) => observation,
        Attempt::Unsupported(why) => panic!("{why}: {case}"),
    }
}

/// The fault that a case ends in.
#[track_caller]
pub(crate) fn fault_of(machine: &mut dyn Machine, case: &Case) -> ObservedFault {
    observe(machine, case).fault.unwrap_or_else(|| panic!("no fault: {case}"))
}

/// Asserts that a case ends in a page fault with this error code, at its address.
#[track_caller]
pub(crate) fn assert_page_fault(machine: &mut dyn Machine, case: &Case, error_code: u32) {
    let fault = fault_of(machine, case);
    let found = (fault.vector, fault.error_code, fault.cr2);
    assert_eq!(found, (14, error_code, case.access.address.get()), "{found:x?}: {case}");
}

/// U/S of an error code (CODE-9).
pub(crate) fn user(ring: Ring) -> u32 {
    if ring == Ring::Three { 4 } else { 0 }
}

/// The bytes at these places, low byte first.
pub(crate) fn held(places: &[u64]) -> u64 {
    places.iter().rev().fold(0, |held, at| held << 8 | u64::from(contents::byte(*at)))
}

/// What a store of `value` changes at these places.
pub(crate) fn changes(places: &[u64], value: u64) -> Vec<(u64, u8)> {
    let mut changes: Vec<_> = places.iter().copied().zip(value.to_le_bytes()).collect();
    changes.retain(|(at, byte)| contents::byte(*at) != *byte);
    changes.sort_unstable();
    changes
}

/// The case's entries, each with A, and the last `leaves` with D if the access writes.
pub(crate) fn after(case: &Case, leaves: usize) -> Vec<EntryAfter> {
    let writes = matches!(case.access.kind, AccessKind::Write | AccessKind::ReadModifyWrite);
    let first_leaf = case.entries.len().saturating_sub(leaves);
    let after = |(i, entry): (usize, &TableEntry)| {
        let dirty = if writes && i >= first_leaf { D } else { 0 };
        EntryAfter { at: entry.at, before: entry.value, after: entry.value | A | dirty }
    };
    case.entries.iter().enumerate().map(after).collect()
}

pub(crate) const fn mask(size: u16) -> u64 {
    if size == 8 { u64::MAX } else { (1 << (8 * size)) - 1 }
}

/// The entries of a list that are not PAE's PDPTEs, which have no A (PDPTE-3; but see T11).
pub(crate) fn without_pdptes(case: &Case, mut entries: Vec<EntryAfter>) -> Vec<EntryAfter> {
    if case.mode() == PagingMode::Pae {
        let root = case.state.cr3 & !0x1f;
        entries.retain(|entry| !(root..root + 0x20).contains(&entry.at));
    }
    entries
}

/// Asserts that an access that reaches these places did so and left its traces. Places may be those
/// where data memory appears again.
#[track_caller]
pub(crate) fn assert_completed(case: &Case, seen: &Observation, places: &[u64], leaves: usize) {
    let bits = case.profile.physical_address_bits;
    let behind = |at: &u64| data_behind(*at, bits).expect("the places are data memory");
    let places: Vec<u64> = places.iter().map(behind).collect();
    let size = case.access.size;
    assert_eq!(seen.fault, None, "{case}");
    let old = held(&places);
    let stored = match case.form {
        Form::Store => changes(&places, case.value),
        Form::Exchange | Form::LockedExchange => changes(&places, old.wrapping_add(case.value)),
        _ => Vec::new(),
    };
    assert_eq!(seen.stored, stored, "{case}");
    if !matches!(case.form, Form::Store | Form::Clflush) {
        assert_eq!(seen.value & mask(size), old & mask(size), "{case}");
    }
    let entries = without_pdptes(case, seen.entries.clone());
    assert_eq!(entries, without_pdptes(case, after(case, leaves)), "{case}");
    assert_eq!(seen.outside, [], "{case}");
}

/// The places of `len` bytes from `first` on.
pub(crate) fn places(first: u64, len: u16) -> Vec<u64> {
    (first..first + u64::from(len)).collect()
}

/// QEMU with its default processor.
pub(crate) fn open_qemu() -> QemuMachine {
    let image = Image::built_in().expect("the image was built with the program");
    QemuMachine::open(image, &QemuProcessor::default()).expect("QEMU works")
}

/// Bytes of an entry.
pub(crate) const fn entry_bytes(mode: PagingMode) -> u64 {
    if matches!(mode, PagingMode::Bits32) { 4 } else { 8 }
}

/// Bytes that the widest access of a mode's code has.
pub(crate) const fn widest(mode: PagingMode) -> u16 {
    if is_long_mode(mode) { 8 } else { 4 }
}

pub(crate) const fn is_long_mode(mode: PagingMode) -> bool {
    matches!(mode, PagingMode::FourLevel | PagingMode::FiveLevel)
}

/// Whether fetches are told by I/D without SMEP: with PAE and NXE, which plain cases have (CODE-8).
pub(crate) fn fetch(mode: PagingMode) -> u32 {
    if mode == PagingMode::Bits32 { 0 } else { 0x10 }
}

/// The last of the case's entries.
pub(crate) fn leaf(case: &mut Case) -> &mut u64 {
    &mut case.entries.last_mut().expect("it has tables").value
}
