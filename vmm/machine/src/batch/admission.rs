//! Whether a case fits the fixed layout of the guest's memory. Generated cases fit by construction.
//! A case that a user wrote may not, and must not be able to damage the guest.

use super::list::{is_keyed, stub_of};
use super::registers::{check_state, high_root};
use super::tables::{place_at, places_of};
use crate::guest_tables;
use crosswalk_case::{Action, Case, TableEntry, shared_entries};
use crosswalk_guest::contents::{is_code, is_loadable};
use crosswalk_guest::high::data_behind;
use crosswalk_guest::layout::{
    Arena, DATA_BASE, DATA_SIZE, HOLE_BASE, is_above_the_layout, is_in_table_window,
};
use crosswalk_guest::mailbox::MAX_TABLES;
use crosswalk_guest::stub::{Code, Form};
use crosswalk_guest::table_windows::TablePlace;
use crosswalk_guest::tables::{self, TableUse};
use mmu_core::memory::TableMemoryMut;
use mmu_core::outcome::Span;
use mmu_core::x86::control::Mov;
use mmu_core::x86::format::{self, EntryBits, MAX_LEVELS};
use mmu_core::{
    AccessKind, AnyMmu, Cr4, Outcome, PagingMode, PhysAddr, Regime, Ring, Segment, VirtAddr,
};
use std::slice;

/// Maximum number of actions before the last access of a sequence.
const MAX_ACTIONS: usize = 16;

/// The arena whose tables a case uses. A case that uses no tables fits either arena, and gets that
/// of its data if it has one.
///
/// # Errors
/// The reason why the guest cannot run the case, as a text for the user.
pub fn arena_of(case: &Case) -> Result<Arena, String> {
    let arena = if case.mode() == PagingMode::Unpaged {
        let data = data_behind(case.access.address.get(), 0);
        data.and_then(Arena::of_data).unwrap_or(Arena::ALL[0])
    } else {
        arena_of_root(case)?
    };

    check_state(case, arena)?;
    check_entries(case, arena)?;
    if case.is_sequence() {
        check_sequence(case)?;
    }

    let accesses = case.accesses();
    for alone in &accesses {
        check_access(alone)?;
        check_reach(alone, case.is_sequence())?;
        for tables in &accesses {
            // A fetch may use a cached translation of another moment.
            check_code(&Case { entries: tables.entries.clone(), ..alone.clone() })?;
        }
    }

    Ok(arena)
}

/// The arena whose first table is the root.
fn arena_of_root(case: &Case) -> Result<Arena, String> {
    let root = format::root(&Regime::new(case.state, case.profile)).get() & !0xfff;

    let is_root = |arena: &Arena| {
        arena.table(0) == root || high_root(case, *arena).is_some_and(|high| high == root)
    };
    Arena::ALL.into_iter().find(is_root).ok_or_else(|| {
        let [first, second] = Arena::ALL.map(|arena| arena.table(0));
        format!("its CR3 points to {root:#x}; a root table lies at {first:#x} or {second:#x}")
    })
}

/// Maximum number of entries of a sequence: those on the paths of two pages.
const MAX_ENTRIES: usize = 2 * MAX_LEVELS;

/// Checks what the guest can run in one go.
fn check_sequence(case: &Case) -> Result<(), String> {
    let table_use = case.table_use();
    if table_use.mode == PagingMode::Unpaged {
        return Err("a sequence needs page tables; this one is without paging".into());
    }
    if case.accesses().iter().any(|alone| alone.table_use() != table_use) {
        return Err("a sequence is in 64-bit mode or in compatibility mode, not in both".into());
    }
    if Code::of(table_use) == Code::Bits32 {
        check_invlpg_32(case)?;
    }
    if table_use.mode == PagingMode::Pae {
        check_pdptes_of_actions(case)?;
    }
    if case.entries.len() > MAX_ENTRIES {
        let count = case.entries.len();
        return Err(format!("a sequence has at most {MAX_ENTRIES} entries; it has {count}"));
    }
    if case.accesses().iter().any(|alone| alone.form == Form::SegmentLoad) {
        return Err("no sequence loads a segment".into());
    }
    if case.before.len() > MAX_ACTIONS {
        let count = case.before.len();
        return Err(format!("at most {MAX_ACTIONS} actions come before an access; it has {count}"));
    }

    for TableEntry { at, .. } in written_entries(case) {
        // PDPTEs are in memory, listed or not.
        let is_listed = case.entries.iter().any(|entry| entry.at == *at);
        if !is_listed && case.pdpte_at(*at).is_none() {
            return Err(format!("it writes the entry at {at:#x}, which is not listed at first"));
        }
        if Arena::ALL.iter().any(|arena| arena.is_read_only(*at)) {
            return Err(format!("it writes the entry at {at:#x}, which can only be read"));
        }
        if is_in_table_window(*at) {
            return Err(format!("it writes the entry at {at:#x}, which is above 4 GiB"));
        }
    }

    Ok(())
}

/// Checks that 32-bit code has the addresses that INVLPG takes.
fn check_invlpg_32(case: &Case) -> Result<(), String> {
    for action in &case.before {
        if let Action::Invlpg(address) = action
            && address.get() > u64::from(u32::MAX)
        {
            return Err(format!("INVLPG in 32-bit code cannot take {:#x}", address.get()));
        }
    }
    Ok(())
}

/// Checks what the actions do to PDPTEs: the guest itself lives below the first two, and it cannot go on
/// after a MOV to CR3 that faults.
fn check_pdptes_of_actions(case: &Case) -> Result<(), String> {
    for TableEntry { at, value } in written_entries(case) {
        if let Some(index @ 0..2) = case.pdpte_at(*at)
            && *value != case.state.pdptes[index]
        {
            return Err(format!("it writes PDPTE {index}, below which the guest itself lives"));
        }
    }

    let mut memory = Case { before: Vec::new(), ..case.clone() };
    for action in &case.before {
        match action {
            Action::Write(TableEntry { at, value }) => {
                let _ = memory.write_entry(PhysAddr::new(*at), 8, *value);
            }
            Action::ReloadCr3 => {
                let loads = case.state.loads(Mov::Cr3(case.state.cr3), case.profile, &memory);
                if loads.iter().any(|load| load.result.is_err()) {
                    return Err("it loads CR3 while a PDPTE has a reserved bit".into());
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// The entries that the actions of a case write.
fn written_entries(case: &Case) -> impl Iterator<Item = &TableEntry> {
    case.before.iter().filter_map(|action| match action {
        Action::Write(entry) => Some(entry),
        _ => None,
    })
}

fn check_entries(case: &Case, arena: Arena) -> Result<(), String> {
    let count = places_of(case.table_use(), arena, slice::from_ref(case)).len();
    if count > MAX_TABLES {
        return Err(format!("it uses {count} tables; there is room for {MAX_TABLES}"));
    }

    let has_wide_entries = tables::entry_bytes(case.mode()) == 8;

    for entry in case.entries.iter().chain(written_entries(case)) {
        if arena.is_read_only(entry.at) && has_wide_entries {
            check_read_only(*entry)?;
        } else {
            check_slot(case, arena, *entry)?;
            check_target(case, arena, *entry)?;
        }
    }

    Ok(())
}

/// Checks that an entry is in a table of its mode, in a slot that does not map the guest itself.
fn check_slot(case: &Case, arena: Arena, entry: TableEntry) -> Result<(), String> {
    let mode = case.mode();
    let at = entry.at;
    let count = tables::count(case.table_use());
    let place = place_at(case, arena, at).filter(|place| place.index < count);
    let Some(TablePlace { index: table, .. }) = place else {
        let from = arena.table(0);
        let to = arena.table(count);
        return Err(format!(
            "its entry at {at:#x} lies outside the tables of {mode}, {from:#x} to {to:#x}"
        ));
    };

    if Some(at) == guest_tables::first_entry(case.table_use(), arena) {
        return check_first_table(case, arena, entry);
    }
    let slot = (at & 0xfff) / tables::entry_bytes(mode);
    if tables::is_own(case.table_use(), table, slot as usize) {
        return Err(format!("slot {slot} of table {table} maps the guest itself"));
    }
    check_shared(case.table_use(), arena, entry)
}

/// Checks an entry that leads to a table of the case for linear page 0. The guest itself is mapped there
/// as well, from its image on, and needs every right.
fn check_first_table(case: &Case, arena: Arena, entry: TableEntry) -> Result<(), String> {
    let TableEntry { at, value } = entry;
    let plain = (EntryBits::P | EntryBits::RW | EntryBits::US).bits();
    let flags = value & !EntryBits::ADDRESS & !EntryBits::A.bits();
    let table = value & EntryBits::ADDRESS;

    let last = tables::of_levels(case.table_use()).last();
    let place = TablePlace::at(arena, table).filter(|place| place.window.is_none());
    let is_last = |place: TablePlace| last.is_some_and(|last| last.contains(&place.index));
    if case.is_sequence() || flags != plain || !place.is_some_and(is_last) {
        return Err(format!(
            "its entry {value:#x} at {at:#x} maps the guest itself: it must lead to a page table of the \
             case, with the flags {plain:#x}, and not in a sequence"
        ));
    }

    let own = table + guest_tables::own_part(case.mode())..table + 0x1000;
    match case.entries.iter().find(|entry| own.contains(&entry.at)) {
        Some(TableEntry { at, .. }) => Err(format!("its entry at {at:#x} maps the guest itself")),
        None => Ok(()),
    }
}

/// Checks an entry that all lanes share in compatibility mode: the guest itself lives below the first
/// two PDPTEs.
fn check_shared(table_use: TableUse, arena: Arena, entry: TableEntry) -> Result<(), String> {
    if !table_use.compatibility {
        return Ok(());
    }

    let pdpt = arena.table(tables::shared_levels(table_use) - 1);
    let is_free = [2, 3].map(|slot| pdpt + 8 * slot).contains(&entry.at);
    let required = shared_entries(table_use, arena).into_iter().find(|other| other.at == entry.at);
    match required {
        Some(required) if !is_free && required != entry => Err(format!(
            "its entry {:#x} at {:#x} leads to the guest itself, which needs {:#x} there",
            entry.value, entry.at, required.value
        )),
        _ => Ok(()),
    }
}

/// Checks that a present entry does not point to the guest's own memory as a table. As a page it
/// may: then the addresses that the case reaches decide ([`check_reach`]).
fn check_target(case: &Case, arena: Arena, entry: TableEntry) -> Result<(), String> {
    let TableEntry { at, value } = entry;
    let flags = EntryBits::from_bits_retain(value);
    let ignores_ps = case.mode() == PagingMode::Bits32 && !case.state.cr4.contains(Cr4::PSE);
    let is_large = flags.contains(EntryBits::PS) && !ignores_ps;
    if !flags.contains(EntryBits::P) || is_large {
        return Ok(());
    }

    let target = value & EntryBits::ADDRESS;
    let count = tables::count(case.table_use());
    let is_in_use = TablePlace::at(arena, target).is_some_and(|place| place.index < count);
    if is_in_table_window(target) && !is_in_use {
        return Err(format!(
            "its entry {value:#x} at {at:#x} points into memory for page tables above 4 GiB, to no table \
             of its mode and arena"
        ));
    }

    let is_table = arena.table_at(target).is_some() || arena.is_read_only(target);
    if target < DATA_BASE && !is_table {
        return Err(format!(
            "its entry {value:#x} at {at:#x} points into the guest's own memory, not to a table of \
             its arena or to data"
        ));
    }
    Ok(())
}

/// Checks an entry of the read-only table: it must map a page of data, and the processor must have
/// no flag left to set.
fn check_read_only(entry: TableEntry) -> Result<(), String> {
    let TableEntry { at, value } = entry;
    let required = EntryBits::P | EntryBits::A | EntryBits::D;
    let maps_data = value & EntryBits::ADDRESS >= DATA_BASE;

    if EntryBits::from_bits_retain(value).contains(required) && maps_data {
        return Ok(());
    }
    Err(format!(
        "its entry {value:#x} at {at:#x} lies in the table that the guest can only read: there it \
         must be present, accessed and dirty, and map data"
    ))
}

/// Checks that the guest has an instruction that makes the access.
fn check_access(case: &Case) -> Result<(), String> {
    let access = &case.access;
    if access.shadow_stack {
        return Err("the guest makes no shadow-stack accesses".into());
    }
    if matches!(access.segment, Segment::Fs | Segment::Gs) {
        return Err("the guest has no instruction that goes through FS or GS".into());
    }
    let is_implicit = matches!(case.form, Form::SegmentLimit | Form::SegmentLoad);
    if access.implicit != is_implicit {
        return Err(
            "an implicit access is what lsl does, or mov to es, and they make no other".into()
        );
    }
    if case.form == Form::SegmentLimit && (access.ring == Ring::Zero || access.size != 8) {
        return Err("lsl reads 8 bytes, in ring 3".into());
    }
    if case.form == Form::SegmentLoad && (access.ring == Ring::Zero || access.size != 1) {
        return Err("mov to es writes the access byte of a descriptor, in ring 3".into());
    }

    let has_size = !matches!(case.form, Form::Jump | Form::Clflush);
    let code = Code::of(case.table_use());
    if code == Code::Bits32 {
        check_pkru_32(case)?;
    }
    let keyed = is_keyed(case.state.pkru, code);
    let has_stub = stub_of(&case.access_step(), keyed).index(code).is_some();
    if (has_size && !access.size.is_power_of_two()) || !has_stub {
        let bits = if code == Code::Bits64 { 64 } else { 32 };
        return Err(format!(
            "the guest has no {bits}-bit instruction for a {} of {} bytes{}",
            access.kind.name(),
            access.size,
            if keyed { " with PKRU" } else { "" }
        ));
    }
    Ok(())
}

/// Checks that 32-bit code can load PKRU, which it does before the access.
fn check_pkru_32(case: &Case) -> Result<(), String> {
    let TableUse { mode, compatibility } = case.table_use();
    match case.state.pkru {
        0 => Ok(()),
        _ if !compatibility => {
            Err(format!("the guest has no 32-bit instruction for PKRU in {mode}"))
        }
        pkru if pkru & 3 != 0 => {
            Err("the list of the guest's 32-bit code has key 0, which PKRU must leave free".into())
        }
        _ => Ok(()),
    }
}

/// Checks that the access reaches only data memory or addresses without memory, whatever the
/// processor chooses where the manuals leave a choice. In a sequence it must reach data memory: the
/// machine does not report which of several accesses left it.
fn check_reach(case: &Case, of_sequence: bool) -> Result<(), String> {
    let bits = case.profile.physical_address_bits;
    let mmu = AnyMmu::new(case.state, case.profile);
    let prediction = mmu.predict(case, &case.access).map_err(|error| error.to_string())?;

    for alternative in &prediction.alternatives {
        let Outcome::Translated(spans) = &alternative.outcome else { continue };

        for span in spans {
            let ends = first_and_last(span);
            let in_data = ends.iter().all(|at| data_behind(*at, bits).is_some());
            let is_above = ends.into_iter().all(is_above_the_layout) && !of_sequence;

            let behind = data_behind(ends[0], bits);
            if case.form == Form::SegmentLoad && !behind.is_some_and(is_loadable) {
                let [at, _] = ends;
                return Err(format!(
                    "there is no descriptor that is not accessed with its access byte at {at:#x}"
                ));
            }

            if !in_data && !is_above {
                let [first, _] = ends;
                return Err(format!(
                    "it would reach physical address {first:#x}; data lies at {DATA_BASE:#x} to \
                     {:#x}, and again from {HOLE_BASE:#x} on, where nothing else is",
                    DATA_BASE + DATA_SIZE
                ));
            }
        }
    }

    Ok(())
}

/// Checks that there is code where a fetch may get an instruction. It gets none if every allowed
/// outcome is a fault of the page at which the instruction starts, or of its address.
fn check_code(case: &Case) -> Result<(), String> {
    let access = &case.access;
    let offset = access.address.get() & 0xfff;
    if access.kind != AccessKind::Fetch || is_code(offset, access.size, Code::of(case.table_use()))
    {
        return Ok(());
    }

    let mmu = AnyMmu::new(case.state, case.profile);
    let prediction = mmu.predict(case, access).map_err(|error| error.to_string())?;
    let starts = |outcome: &Outcome| match outcome {
        Outcome::Fault(fault) => fault.cr2.is_some_and(|cr2| page(cr2) != page(access.address)),
        // Where there is no memory there is no data either.
        Outcome::Translated(spans) => {
            let bits = case.profile.physical_address_bits;
            spans.iter().any(|span| data_behind(span.address.get(), bits).is_some())
        }
    };

    if prediction.alternatives.iter().any(|alternative| starts(&alternative.outcome)) {
        return Err(format!(
            "it would run data as code: at offset {offset:#x} of a page there is none of {} bytes",
            access.size
        ));
    }
    Ok(())
}

/// The number of a page, as far as 32-bit code has it.
const fn page(address: VirtAddr) -> u64 {
    address.get() >> 12 & 0xf_ffff
}

/// The addresses of the first and the last byte of a span.
fn first_and_last(span: &Span) -> [u64; 2] {
    let first = span.address.get();
    [first, first + span.len as u64 - 1]
}

#[cfg(test)]
mod tests {
    use super::*;
    use mmu_core::{Access, Profile};

    fn plain(mode: PagingMode, ring: Ring) -> Case {
        let profile = Profile { physical_address_bits: 40, ..Profile::default() };
        Case::plain_in(mode, Arena::ALL[1], 3, ring, profile)
    }

    #[track_caller]
    fn assert_refused(case: &Case, words: &str) {
        let why = arena_of(case).expect_err("the case does not fit");
        assert!(why.contains(words), "no {words:?} in {why:?}");
    }

    #[test]
    fn a_sequence_that_the_guest_cannot_run_is_refused() {
        let mut case = plain(PagingMode::FourLevel, Ring::Three);
        case.before = vec![Action::ReloadCr3; 16];
        assert_eq!(arena_of(&case), Ok(Arena::ALL[1]));
        case.before.push(Action::ReloadCr3);
        assert_refused(&case, "at most 16 actions");

        let mut unpaged = plain(PagingMode::Unpaged, Ring::Three);
        unpaged.before = vec![Action::ReloadCr3];
        assert_refused(&unpaged, "needs page tables");

        let mut writing = plain(PagingMode::FourLevel, Ring::Three);
        let unlisted = TableEntry { at: Arena::ALL[1].table(7) + 8, value: 0 };
        writing.before = vec![Action::Write(unlisted)];
        assert_refused(&writing, "not listed at first");
        // Nor may a step lead to the guest's own memory.
        let entry = writing.entries[3];
        writing.before = vec![Action::Write(TableEntry { value: 0x10_0007, ..entry })];
        assert_refused(&writing, "the guest's own memory");
    }

    /// PDPTE 0 and 1 map the guest itself. A load of CR3 with a bad PDPTE is #GP(0) (PDPTE-2), which the
    /// guest does not get over.
    #[test]
    fn pdpte_2_what_actions_do_to_pdptes_must_leave_the_guest_alive() {
        let arena = Arena::ALL[1];
        let pdpte =
            |index: u64, value| Action::Write(TableEntry { at: arena.table(0) + 8 * index, value });
        let mut case = plain(PagingMode::Pae, Ring::Three);

        // The PDPTE of the case, and one that it does not list.
        for index in [2, 3] {
            case.before = vec![pdpte(index, 0), Action::ReloadCr3];
            assert_eq!(arena_of(&case), Ok(arena));
        }
        case.before = vec![pdpte(2, arena.table(3) | 0x21)];
        assert_eq!(arena_of(&case), Ok(arena));
        case.before.push(Action::ReloadCr3);
        assert_refused(&case, "reserved bit");
        case.before.insert(1, pdpte(2, arena.table(3) | 1));
        assert_eq!(arena_of(&case), Ok(arena));
        case.before = vec![pdpte(1, 0)];
        assert_refused(&case, "below which the guest itself lives");
    }

    #[test]
    fn thirty_two_bit_code_takes_addresses_of_32_bits() {
        for mode in [PagingMode::Bits32, PagingMode::Pae] {
            let mut case = plain(mode, Ring::Zero);
            case.before = vec![Action::Invlpg(VirtAddr::new(0xffff_ffff))];
            assert_eq!(arena_of(&case), Ok(Arena::ALL[1]));
            case.before = vec![Action::Invlpg(VirtAddr::new(1 << 32))];
            assert_refused(&case, "INVLPG in 32-bit code");
        }
    }

    #[test]
    fn lass_is_refused_with_the_reason() {
        let mut case = plain(PagingMode::FourLevel, Ring::Three);
        case.state.cr4 |= Cr4::LASS;
        assert_refused(&case, "CR4.LASS lets no supervisor fetch");
    }

    #[test]
    fn an_access_through_fs_or_gs_is_refused() {
        for segment in [Segment::Fs, Segment::Gs] {
            let mut case = plain(PagingMode::FourLevel, Ring::Three);
            case.access.segment = segment;
            assert_refused(&case, "through FS or GS");
        }
    }

    /// There is code from offset 0x800 on, and from 0xff8 across the end of a page.
    #[test]
    fn a_fetch_where_there_is_no_code_is_refused() {
        let mut case = plain(PagingMode::FourLevel, Ring::Three);
        let page = case.access.address.get() & !0xfff;
        let fetch = |offset, size| Access::fetch(VirtAddr::new(page + offset), size, Ring::Three);
        case.form = Form::Jump;

        case.access = fetch(0x808, 8);
        assert_eq!(arena_of(&case), Ok(Arena::ALL[1]));
        for (offset, size) in [(0x200, 4), (0x80c, 8), (0xa00, 8), (0x808, 0x1000)] {
            case.access = fetch(offset, size);
            assert_refused(&case, "run data as code");
        }

        // It faults on the second page only, so that the end of the first would run.
        case.access = fetch(0xffe, 4);
        assert_refused(&case, "run data as code");
        case.access = fetch(0xff8, 10);
        assert_eq!(arena_of(&case), Ok(Arena::ALL[1]));

        // Nothing runs of a page that is not present.
        case.access = fetch(0x200, 4);
        case.entries[3].value &= !1;
        assert_eq!(arena_of(&case), Ok(Arena::ALL[1]));
    }

    #[test]
    fn a_read_only_table_must_have_nothing_left_to_set() {
        let mut case = plain(PagingMode::FourLevel, Ring::Three);
        let table = Arena::ALL[1].read_only_table();
        case.entries[2].value = table | 7;
        case.entries[3].at = table + 0x20;
        assert_refused(&case, "accessed and dirty");

        case.entries[3].value |= (EntryBits::A | EntryBits::D).bits();
        assert_eq!(arena_of(&case), Ok(Arena::ALL[1]));

        case.entries[3].value = Arena::ALL[1].table(5) | 0x67;
        assert_refused(&case, "map data");
    }
}
