//! The registers that decide about a walk, as fields.

use super::field::{FieldKind, Layout, Word};
use mmu_core::x86::format::{self, EntryBits};
use mmu_core::x86::state::{CR3_LAM_U48, CR3_LAM_U57};
use mmu_core::{ControlState, Cr0, Cr4, Efer, PagingMode, Regime};

/// A flag of a register: its bit, its name, and what it means when it is 0 and when it is 1.
type Flag = (u64, &'static str, [&'static str; 2]);

const CR0: [Flag; 4] = [
    (Cr0::PG.bits(), "PG", ["no paging: linear addresses are physical", "paging is on"]),
    (Cr0::AM.bits(), "AM", ["", "alignment is checked in ring 3 while EFLAGS.AC is 1"]),
    (
        Cr0::WP.bits(),
        "WP",
        ["the supervisor may write read-only pages", "read-only binds the supervisor, too"],
    ),
    (Cr0::PE.bits(), "PE", ["real mode", "protected mode"]),
];

const CR4: [Flag; 12] = [
    (Cr4::LAM_SUP.bits(), "LAM_SUP", ["", "supervisor addresses are masked"]),
    (Cr4::LASS.bits(), "LASS", ["", "bit 63 parts user from supervisor addresses"]),
    (Cr4::PKS.bits(), "PKS", ["", "keys of supervisor pages, by PKRS"]),
    (Cr4::CET.bits(), "CET", ["", "shadow stacks"]),
    (Cr4::PKE.bits(), "PKE", ["", "keys of user pages, by PKRU"]),
    (Cr4::SMAP.bits(), "SMAP", ["", "no supervisor data accesses to user pages"]),
    (Cr4::SMEP.bits(), "SMEP", ["", "no supervisor fetches from user pages"]),
    (Cr4::PCIDE.bits(), "PCIDE", ["", "CR3 names an address space"]),
    (Cr4::LA57.bits(), "LA57", ["", "five levels, in long mode"]),
    (Cr4::PGE.bits(), "PGE", ["", "pages can be global"]),
    (Cr4::PAE.bits(), "PAE", ["entries of 32 bits", "entries of 64 bits"]),
    (Cr4::PSE.bits(), "PSE", ["", "4 MiB pages in 32-bit paging"]),
];

const EFER: [Flag; 3] = [
    (
        Efer::NXE.bits(),
        "NXE",
        ["XD of 64-bit entries is reserved", "XD of 64-bit entries forbids execution"],
    ),
    (Efer::LMA.bits(), "LMA", ["", "long mode"]),
    (Efer::LME.bits(), "LME", ["", "long mode when paging is on"]),
];

const KEYS: [[&str; 2]; 16] = [
    ["AD0", "WD0"],
    ["AD1", "WD1"],
    ["AD2", "WD2"],
    ["AD3", "WD3"],
    ["AD4", "WD4"],
    ["AD5", "WD5"],
    ["AD6", "WD6"],
    ["AD7", "WD7"],
    ["AD8", "WD8"],
    ["AD9", "WD9"],
    ["AD10", "WD10"],
    ["AD11", "WD11"],
    ["AD12", "WD12"],
    ["AD13", "WD13"],
    ["AD14", "WD14"],
    ["AD15", "WD15"],
];

/// The registers, each with what it says; those of keys where keys are on, or set.
pub(super) fn words(regime: &Regime) -> Vec<Word> {
    let ControlState { cr0, cr4, efer, pkru, pkrs, .. } = regime.state;
    let mut words = vec![
        flags("CR0", 32, cr0.bits(), &CR0),
        cr3(regime),
        flags("CR4", 64, cr4.bits(), &CR4),
        flags("EFER", 64, efer.bits(), &EFER),
    ];
    if cr4.contains(Cr4::PKE) || pkru != 0 {
        words.push(keys("PKRU", pkru));
    }
    if cr4.contains(Cr4::PKS) || pkrs != 0 {
        words.push(keys("PKRS", pkrs));
    }
    words
}

fn flags(name: &str, width: u8, value: u64, flags: &[Flag]) -> Word {
    let mut layout = Layout::new(width, "other");
    for (bit, name, _) in flags {
        layout.set(*bit, name, FieldKind::Flag);
    }
    layout.word(name, value, 0, |field, value| {
        let flag = flags.iter().find(|(_, name, _)| *name == field);
        flag.map_or("", |(.., meanings)| meanings[usize::from(value != 0)]).into()
    })
}

fn cr3(regime: &Regime) -> Word {
    let state = &regime.state;
    let mode = state.mode();
    let root = format::root(regime);
    let width = if mode.is_long_mode() { 64 } else { 32 };
    let mut layout = Layout::new(width, "ignored");

    match mode {
        PagingMode::Unpaged | PagingMode::Linear => {}
        PagingMode::Bits32 => layout.set(0xffff_f000, "address", FieldKind::Address),
        PagingMode::Pae => layout.set(0xffff_ffe0, "address", FieldKind::Address),
        PagingMode::FourLevel | PagingMode::FiveLevel => {
            let above = !regime.profile.physical_address_mask();
            layout.set(above, "reserved", FieldKind::Reserved);
            layout.set(1 << 63, "no flush", FieldKind::Ignored);
            layout.set(CR3_LAM_U48, "LAM_U48", FieldKind::Flag);
            layout.set(CR3_LAM_U57, "LAM_U57", FieldKind::Flag);
            layout.set(EntryBits::ADDRESS & !above, "address", FieldKind::Address);
        }
    }
    if state.cr4.contains(Cr4::PCIDE) {
        layout.set(0xfff, "PCID", FieldKind::Number);
    } else {
        layout.set(EntryBits::PCD.bits(), "PCD", FieldKind::Flag);
        layout.set(EntryBits::PWT.bits(), "PWT", FieldKind::Flag);
    }

    layout.word("CR3", state.cr3, 0, |name, value| match (name, value) {
        ("address", _) => format!("of the first table: {root}"),
        ("PCID", value) => format!("address space {value}"),
        ("LAM_U48" | "LAM_U57", 1) => "user addresses are masked".into(),
        ("reserved", 1..) => "must be 0".into(),
        _ => String::new(),
    })
}

fn keys(name: &str, value: u32) -> Word {
    let mut layout = Layout::new(32, "");
    for (key, [access, write]) in (0..).zip(KEYS) {
        layout.set(1 << (2 * key), access, FieldKind::Flag);
        layout.set(2 << (2 * key), write, FieldKind::Flag);
    }
    layout.word(name, value.into(), 0, |field, value| {
        let key = field.trim_start_matches(char::is_alphabetic);
        match (field.as_bytes(), value) {
            ([b'A', ..], 1) => format!("key {key}: no data access"),
            ([b'W', ..], 1) => format!("key {key}: no write"),
            _ => String::new(),
        }
    })
}
