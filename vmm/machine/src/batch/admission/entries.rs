//! Page-table entries: none may lead to the guest's own memory, or out of the tables of its mode.

use super::super::tables::{place_at, places_of};
use super::sequence::written_entries;
use crate::guest_tables;
use crosswalk_case::{Case, TableEntry, shared_entries};
use crosswalk_guest::layout::{Arena, DATA_BASE, is_in_table_window};
use crosswalk_guest::mailbox::MAX_TABLES;
use crosswalk_guest::table_windows::TablePlace;
use crosswalk_guest::tables::{self, TableUse};
use mmu_core::x86::format::EntryBits;
use mmu_core::{Cr4, PagingMode};
use std::slice;

/// Checks every entry, and those that actions write.
pub(super) fn check_entries(case: &Case, arena: Arena) -> Result<(), String> {
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
