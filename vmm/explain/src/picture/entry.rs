//! An entry as fields.

use super::field::{FieldKind, Layout, Word};
use mmu_core::walk::Step;
use mmu_core::x86::format::{
    Bits32, EntryBits, EntryKind, FiveLevel, Format, FourLevel, Level, Pae,
};
use mmu_core::x86::semantics::EntryError;
use mmu_core::{Cr4, PagingMode, Regime};

/// Bits 62:59: the protection key, ignored unless there are keys.
const KEY: u64 = 0xf << 59;
/// Bits 11:9: for software.
const SOFTWARE: u64 = 0xe00;

/// The entry of a step, field by field.
pub(super) fn word(regime: &Regime, step: &Step) -> Word {
    let is_present = step.error != Some(EntryError::NotPresent);
    let wrong = match step.error {
        Some(EntryError::NotPresent) => EntryBits::P.bits(),
        Some(EntryError::Reserved(bits)) => bits,
        None => 0,
    };

    let layout = layout(regime, step);
    layout.word(step.level.entry_name, step.entry, wrong, |name, value| match name {
        "P" if !is_present => "not present: no other bit counts".into(),
        _ if !is_present => String::new(),
        "address" => match step.kind {
            EntryKind::Table => format!("of the next table: {}", step.target),
            EntryKind::Leaf => format!("of the page: {}", step.target),
        },
        "key" => format!("protection key {value}"),
        "reserved" if value != 0 => "must be 0".into(),
        _ => meaning(step, name, value != 0).into(),
    })
}

/// What a flag means.
fn meaning(step: &Step, name: &str, is_set: bool) -> &'static str {
    match (name, is_set) {
        ("P", true) => "present",
        ("R/W", true) => "may be written",
        ("R/W", false) => "read-only",
        ("U/S", true) => "user",
        ("U/S", false) => "supervisor only",
        ("PWT", true) => "caching: write-through",
        ("PCD", true) => "caching: off",
        ("PAT", true) => "caching: by the PAT",
        ("A", true) => "accessed: used before",
        ("A", false) => "not used yet",
        ("D", true) => "dirty: written before",
        ("D", false) => "not written yet",
        ("G", true) => "global: kept when CR3 is loaded",
        ("PS", true) if step.kind == EntryKind::Leaf => "maps a large page",
        ("PS", true) => "ignored here",
        ("PS", false) => "leads to a table",
        ("XD", true) => "not executable",
        ("XD", false) => "may be executed",
        _ => "",
    }
}

/// Which bits are which field, in an entry of this level that is used as this one is.
fn layout(regime: &Regime, step: &Step) -> Layout {
    let Step { level, kind, .. } = *step;
    let mode = regime.state.mode();
    let is_leaf = kind == EntryKind::Leaf;
    let is_large = is_leaf && level.number > 1;
    let width = if mode == PagingMode::Bits32 { 32 } else { 64 };
    let mut layout = Layout::new(width, "ignored");

    let address = address_bits(mode, level, kind);
    layout.set(address, "address", FieldKind::Address);
    let flags = [
        (EntryBits::P, "P", true),
        (EntryBits::RW, "R/W", level.has_flags),
        (EntryBits::US, "U/S", level.has_flags),
        (EntryBits::PWT, "PWT", true),
        (EntryBits::PCD, "PCD", true),
        (EntryBits::A, "A", level.has_flags),
        (EntryBits::D, "D", is_leaf),
        (EntryBits::PS, if level.number == 1 { "PAT" } else { "PS" }, level.has_flags),
        (EntryBits::G, "G", is_leaf),
        (EntryBits::LARGE_PAT, "PAT", is_large),
        (EntryBits::XD, "XD", width == 64),
    ];
    for (flag, name, _) in flags.into_iter().filter(|(.., is_there)| *is_there) {
        layout.set(flag.bits(), name, FieldKind::Flag);
    }
    layout.set(SOFTWARE, "software", FieldKind::Ignored);
    let keys_are_on = regime.state.cr4.intersects(Cr4::PKE | Cr4::PKS);
    if mode.is_long_mode() && is_leaf && keys_are_on {
        layout.set(KEY, "key", FieldKind::Number);
    }

    layout.set(reserved_bits(mode, level, kind, regime), "reserved", FieldKind::Reserved);
    layout
}

/// The bits that are the address, if none of them is reserved: those that change it.
fn address_bits(mode: PagingMode, level: &Level, kind: EntryKind) -> u64 {
    let changes = |bit: &u32| {
        let entry = 1_u64 << bit;
        match mode {
            PagingMode::Unpaged | PagingMode::Linear => false,
            PagingMode::Bits32 => Bits32::address(level, kind, entry).get() != 0,
            PagingMode::Pae => Pae::address(level, kind, entry).get() != 0,
            PagingMode::FourLevel => FourLevel::address(level, kind, entry).get() != 0,
            PagingMode::FiveLevel => FiveLevel::address(level, kind, entry).get() != 0,
        }
    };
    (0..64).filter(changes).map(|bit| 1_u64 << bit).sum()
}

/// The reserved bits.
fn reserved_bits(mode: PagingMode, level: &Level, kind: EntryKind, regime: &Regime) -> u64 {
    let groups = match mode {
        PagingMode::Unpaged | PagingMode::Linear => return 0,
        PagingMode::Bits32 => Bits32::reserved_bits(level, kind, regime),
        PagingMode::Pae => Pae::reserved_bits(level, kind, regime),
        PagingMode::FourLevel => FourLevel::reserved_bits(level, kind, regime),
        PagingMode::FiveLevel => FiveLevel::reserved_bits(level, kind, regime),
    };
    groups.iter().fold(0, |all, (bits, _)| all | bits)
}
