//! Single cases on a machine, through the library. Expected results are worked out here from the
//! contents of memory and from the manuals, not by the walk.

use crosswalk::campaign::run_one;
use crosswalk_case::observation::{Attempt, EntryAfter, Observation, ObservedFault};
use crosswalk_case::{Case, TableEntry};
use crosswalk_guest::contents;
use crosswalk_guest::high::data_behind;
use crosswalk_guest::layout::Arena;
use crosswalk_guest::stub::{Code, Form};
use crosswalk_guest::tables::TableUse;
use crosswalk_machine::Machine;
use crosswalk_machine::image::Image;
use crosswalk_machine::jail::Jail;
use crosswalk_machine::kvm::KvmMachine;
use crosswalk_machine::qemu::{QemuMachine, QemuProcessor};
use mmu_core::{PagingMode, Profile, Ring, Segment, VirtAddr};

/// Bit 0 of an entry: present.
pub const P: u64 = 1;
/// Bit 1 of an entry: writable.
pub const RW: u64 = 1 << 1;
/// Bit 2 of an entry: accessible to user code.
pub const US: u64 = 1 << 2;
/// Bit 5 of an entry: accessed.
pub const A: u64 = 1 << 5;
/// Bit 6 of an entry: dirty.
pub const D: u64 = 1 << 6;
/// Bit 7 of an entry: page size.
pub const PS: u64 = 1 << 7;

/// A lane in the middle. Not 255, whose PML4 slot some machines do not have (K3).
pub const LANE: usize = 100;

/// The modes that have tables.
pub const PAGED: [PagingMode; 4] =
    [PagingMode::Bits32, PagingMode::Pae, PagingMode::FourLevel, PagingMode::FiveLevel];

/// KVM, with the guest image that was built with the program.
pub fn open_kvm() -> KvmMachine {
    KvmMachine::open(built_in_image(), &Jail::strongest()).expect("KVM works")
}

/// QEMU with its default processor, and the guest image that was built with the program.
pub fn open_qemu() -> QemuMachine {
    QemuMachine::open(built_in_image(), &QemuProcessor::default(), &Jail::strongest())
        .expect("QEMU works")
}

fn built_in_image() -> Image {
    Image::built_in().expect("the image was built with the program")
}

/// A plain case with an access of this form at `offset` of its page: of 8 bytes, or 4 in 32-bit code.
pub fn plain_in(
    mode: PagingMode,
    profile: Profile,
    arena: Arena,
    ring: Ring,
    form: Form,
    offset: u64,
) -> Case {
    plain_with(TableUse::of(mode), profile, arena, ring, form, offset)
}

/// The same for any use of the tables.
pub fn plain_with(
    table_use: TableUse,
    profile: Profile,
    arena: Arena,
    ring: Ring,
    form: Form,
    offset: u64,
) -> Case {
    let mut case = Case::plain_with(table_use, arena, LANE, ring, profile);
    case.form = form;
    case.access.kind = form.kind();
    case.access.implicit = matches!(form, Form::SegmentLimit | Form::SegmentLoad);
    if form == Form::SegmentLoad {
        case.access.size = 1;
    }
    case.access.address = VirtAddr::new((case.access.address.get() & !0xfff) | offset);
    case.value = 0x0123_4567_89ab_cdef & mask(case.access.size);
    case
}

/// Runs a case that the machine supports.
#[track_caller]
pub fn observe(machine: &mut dyn Machine, case: &Case) -> Observation {
    match run_one(machine, case).expect("the guest survives") {
        Attempt::Observed(observation) => observation,
        Attempt::Unsupported(why) => panic!("{why}: {case}"),
    }
}

/// Runs a case that must fault.
#[track_caller]
pub fn fault_of(machine: &mut dyn Machine, case: &Case) -> ObservedFault {
    observe(machine, case).fault.unwrap_or_else(|| panic!("no fault: {case}"))
}

/// Asserts that a case ends in a page fault with this error code, at its address.
#[track_caller]
pub fn assert_page_fault(machine: &mut dyn Machine, case: &Case, error_code: u32) {
    let fault = fault_of(machine, case);
    let found = (fault.vector, fault.error_code, fault.cr2);
    assert_eq!(found, (14, error_code, case.access.address.get()), "{found:x?}: {case}");
}

/// Asserts that an access reaches these places, in data memory or where that appears again, and has
/// the effects of its form. The last `leaves` entries of the case map pages.
#[track_caller]
pub fn assert_completed(case: &Case, seen: &Observation, places: &[u64], leaves: usize) {
    let bits = case.profile.physical_address_bits;
    let behind = |at: &u64| data_behind(*at, bits).expect("the places are data memory");
    let places: Vec<u64> = places.iter().map(behind).collect();
    let size = case.access.size;
    assert_eq!(seen.fault, None, "{case}");

    let old = memory_at(&places);
    let stored = match case.form {
        Form::Store => bytes_changed(&places, case.value),
        Form::Exchange | Form::LockedExchange => {
            bytes_changed(&places, old.wrapping_add(case.value))
        }
        _ => Vec::new(),
    };
    assert_eq!(seen.stored, stored, "{case}");
    if !matches!(case.form, Form::Store | Form::Clflush) {
        assert_eq!(seen.value & mask(size), old & mask(size), "{case}");
    }

    let entries = without_pdptes(case, seen.entries.clone());
    assert_eq!(entries, without_pdptes(case, entries_after(case, leaves)), "{case}");
    assert_eq!(seen.outside, [], "{case}");
}

/// Runs an access of each form, in both rings, of each size and through each segment, at an offset
/// that is not aligned, and asserts that it completes. Sizes are those of the mode's code.
#[track_caller]
pub fn assert_every_variant_completes(machine: &mut dyn Machine, mode: PagingMode, forms: &[Form]) {
    assert_variants_complete(machine, TableUse::of(mode), forms);
}

/// The same for any use of the tables.
#[track_caller]
pub fn assert_variants_complete(machine: &mut dyn Machine, table_use: TableUse, forms: &[Form]) {
    const OFFSET: u64 = 0x10b;

    let profile = machine.capabilities().profile;
    let variants =
        Ring::ALL.into_iter().flat_map(|ring| forms.iter().map(move |form| (ring, form)));
    for (ring, form) in variants {
        let widest = if Code::of(table_use) == Code::Bits64 { 8 } else { 4 };
        for size in [1, 2, 4, 8].into_iter().filter(|size| *size <= widest) {
            for segment in [Segment::Data, Segment::Stack] {
                // Both arenas, so that one is known not to be a copy of the other.
                let arena = Arena::ALL[usize::from(segment == Segment::Stack)];
                let mut case = plain_with(table_use, profile, arena, ring, *form, OFFSET);
                case.access.size = size;
                case.access.segment = segment;

                let seen = observe(machine, &case);
                let reached = places(arena.data_frames(LANE) + OFFSET, size);
                assert_completed(&case, &seen, &reached, 1);
            }
        }
    }
}

/// The uses of the tables with 32-bit code that a machine offers.
pub fn uses_of_32_bits(machine: &dyn Machine) -> Vec<TableUse> {
    let capabilities = machine.capabilities();
    let offers = |mode: PagingMode| {
        capabilities.modes.iter().any(|(offered, offer)| *offered == mode && offer.is_ok())
    };
    let legacy = [PagingMode::Bits32, PagingMode::Pae].map(TableUse::of);
    let compatible = [PagingMode::FourLevel, PagingMode::FiveLevel]
        .map(|mode| TableUse { mode, compatibility: true });

    let runs = |tables: &TableUse| {
        offers(tables.mode) && (!tables.compatibility || capabilities.compatibility.is_ok())
    };
    legacy.into_iter().chain(compatible).filter(runs).collect()
}

/// U/S of an error code (CODE-9).
pub fn user_bit(ring: Ring) -> u32 {
    if ring == Ring::Three { 1 << 2 } else { 0 }
}

/// I/D of an error code for a fetch without SMEP: set with PAE and NXE, which plain cases have
/// (CODE-8).
pub fn fetch_bit(mode: PagingMode) -> u32 {
    if mode == PagingMode::Bits32 { 0 } else { 1 << 4 }
}

/// The addresses of `len` bytes from `first` on.
pub fn places(first: u64, len: u16) -> Vec<u64> {
    (first..first + u64::from(len)).collect()
}

/// The bytes of memory at these places, as a number; the first is the low byte.
pub fn memory_at(places: &[u64]) -> u64 {
    places.iter().rev().fold(0, |number, at| number << 8 | u64::from(contents::byte(*at)))
}

/// The bytes that a store of `value` changes at these places.
pub fn bytes_changed(places: &[u64], value: u64) -> Vec<(u64, u8)> {
    let mut changed: Vec<_> = places.iter().copied().zip(value.to_le_bytes()).collect();
    changed.retain(|(at, byte)| contents::byte(*at) != *byte);
    changed.sort_unstable();
    changed
}

/// The case's entries after an access that completes: each with A, and the last `leaves` with D if
/// the access writes.
pub fn entries_after(case: &Case, leaves: usize) -> Vec<EntryAfter> {
    let writes = case.access.kind.writes();
    let first_leaf = case.entries.len().saturating_sub(leaves);
    let after = |(index, entry): (usize, &TableEntry)| {
        let dirty = if writes && index >= first_leaf { D } else { 0 };
        EntryAfter { at: entry.at, before: entry.value, after: entry.value | A | dirty }
    };
    case.entries.iter().enumerate().map(after).collect()
}

/// The entries that are not PAE's PDPTEs, which have no A (PDPTE-3; but see T11).
pub fn without_pdptes(case: &Case, mut entries: Vec<EntryAfter>) -> Vec<EntryAfter> {
    if case.mode() == PagingMode::Pae {
        let root = case.state.cr3 & !0x1f;
        entries.retain(|entry| !(root..root + 0x20).contains(&entry.at));
    }
    entries
}

/// The value of the last entry that the case lists.
pub fn leaf(case: &mut Case) -> &mut u64 {
    &mut case.entries.last_mut().expect("the case has tables").value
}

/// Bytes in a table entry.
pub const fn entry_bytes(mode: PagingMode) -> u64 {
    if matches!(mode, PagingMode::Bits32) { 4 } else { 8 }
}

/// Bytes of the widest access in a mode's code.
pub const fn widest(mode: PagingMode) -> u16 {
    if mode.is_long_mode() { 8 } else { 4 }
}

/// The bits of a number of `size` bytes.
const fn mask(size: u16) -> u64 {
    if size == 8 { u64::MAX } else { (1 << (8 * size)) - 1 }
}
