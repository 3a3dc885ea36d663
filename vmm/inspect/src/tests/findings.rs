//! The reverse map, differences and audits, of tables with something planted in them.

use super::{open, raw, scan};
use crate::test_images::{
    PageCompression, SmallMemory, cpu_64, kdump, notes_of, small_guest, small_guest_later,
};
use crate::{
    Audit, AuditCheck, AuditChecks, AuditFinding, Change, Differences, Found, LeadsTo, Limits,
    MemoryImage, StateOptions, entry_count, missing_root,
};
use mmu_core::walk::PresentEntry;
use mmu_core::x86::format::EntryBits;
use mmu_core::{AnyMmu, PhysAddr, Profile};
use std::sync::atomic::AtomicBool;

const XD: u64 = 1 << 63;

fn state() -> StateOptions {
    StateOptions { cr3: Some(0x1000), ..StateOptions::default() }
}

#[test]
fn a_shared_frame_has_all_its_addresses() {
    let found = scan(&raw(&small_guest().0), &state(), Limits::default());
    let leading = |at: u64| {
        let leading = found.iter().filter_map(|found| LeadsTo::of(found, PhysAddr::new(at)));
        leading.collect::<Vec<_>>()
    };
    let addresses = |at| {
        let pages = leading(at).into_iter().filter_map(|leads| match leads {
            LeadsTo::Page { address, .. } => Some(address.get()),
            LeadsTo::Table(_) => None,
        });
        pages.collect::<Vec<_>>()
    };

    assert_eq!(addresses(0xa123), [0x40_0123, 0x80_0040_0123, 0xffff_ffff_8120_1123]);
    assert_eq!(addresses(0x2f_ffff), [0xffff_ffff_810f_ffff]);
    assert_eq!(addresses(0x9000), [0; 0]);
    // The page directory of the program, to which two PDPTEs point.
    let tables = leading(0x3000).into_iter().map(|leads| match leads {
        LeadsTo::Table(entry) => entry.at.get(),
        LeadsTo::Page { .. } => 0,
    });
    assert!(tables.eq([0x2000, 0x8000]));
}

fn pages(image: &MemoryImage) -> Vec<PresentEntry> {
    let found = scan(image, &state(), Limits::default()).into_iter();
    let pages = found.filter_map(|found| match found {
        Found::Page(page) => Some(page),
        _ => None,
    });
    pages.collect()
}

fn differences(before: &SmallMemory, after: &SmallMemory, flags: EntryBits) -> Vec<Change> {
    let (before, after) = (raw(&before.0), raw(&after.0));
    Differences::new(pages(&before).into_iter(), pages(&after).into_iter(), flags).collect()
}

#[test]
fn changes_between_two_moments_are_found() {
    let found = differences(&small_guest(), &small_guest_later(), EntryBits::empty());
    let of_program = found.iter().filter(|change| change.range().0.get() < 0x80_0000_0000);
    let shown = of_program.map(|change| {
        let bits = |piece: Option<crate::MappedPiece>| piece.map(|piece| piece.rights.bits());
        (change.range().0.get(), bits(change.before), bits(change.after))
    });
    // It became read-only; it is gone; it is new. The directory is mapped twice.
    assert!(shown.eq([
        (0x41_0000, Some(3), Some(2)),
        (0x41_1000, Some(3), None),
        (0x41_2000, None, Some(3)),
    ]));
    assert_eq!(found.len(), 6);
    assert_eq!(differences(&small_guest(), &small_guest(), EntryBits::all()), []);
}

#[test]
fn flags_count_when_they_are_asked_for() {
    let mut after = small_guest();
    after.entry(0x4000, 0xa065);
    assert_eq!(differences(&small_guest(), &after, EntryBits::A), []);
    // Both addresses of the page that is now dirty.
    assert_eq!(differences(&small_guest(), &after, EntryBits::D).len(), 2);
}

/// 2 MiB become 512 pages of 4 KiB, of which one leads elsewhere.
#[test]
fn a_large_page_is_compared_with_small_ones() {
    let mut before = SmallMemory::new(0x6000);
    before.entry(0x1000, 0x2003).entry(0x2000, 0x3003).entry(0x3000, 0x20_0083);
    let mut after = before.clone();
    after.entry(0x3000, 0x4003);
    for index in 0..512 {
        after.entry(0x4000 + 8 * index, 0x20_0003 + 0x1000 * index as u64);
    }
    after.entry(0x4010, 0x9003);

    let found = differences(&before, &after, EntryBits::empty());
    assert_eq!(found.len(), 512);
    let moved = found.iter().filter(|change| {
        change.before.map(|piece| piece.address) != change.after.map(|piece| piece.address)
    });
    assert!(moved.map(|change| change.range().0.get()).eq([0x2000]));
}

fn audit_with(memory: &SmallMemory, checks: AuditChecks, limits: Limits) -> Audit {
    let image = raw(&memory.0);
    let state = image.control_state(&state()).unwrap().state;
    let mmu = AnyMmu::new(state, Profile { physical_address_bits: 52, ..Profile::default() });
    Audit::run(image.memory(), &mmu, checks, limits, &AtomicBool::new(false))
}

/// The findings of one check: first and last address, number of pages, and where the first leads.
fn audit(memory: &SmallMemory, check: &str) -> Vec<(u64, u64, u64, u64)> {
    let audit = audit_with(memory, check.parse().unwrap(), Limits::default());
    assert!(audit.is_complete);
    let range = |finding: &AuditFinding| {
        let (first, last) = (finding.first.get(), finding.last.get());
        (first, last, finding.count, finding.address.get())
    };
    audit.findings.iter().map(range).collect()
}

#[test]
fn each_check_finds_what_was_planted() {
    let memory = small_guest();
    // Not at 0x8000420000, where the PML4E has XD.
    assert_eq!(audit(&memory, "wx"), [(0x42_0000, 0x42_0fff, 1, 0xe000)]);
    assert_eq!(
        audit(&memory, "reserved-bit"),
        [(0xffff_ffff_0000_0000, 0xffff_ffff_3fff_ffff, 1, 0x5fe0)]
    );
    assert_eq!(
        audit(&memory, "table-outside-image"),
        [(0xffff_f800_0000_0000, 0xffff_f87f_ffff_ffff, 512, 0x9_0000_0000)]
    );
    assert_eq!(
        audit(&memory, "user-kernel-alias"),
        [(0xffff_ffff_8120_1000, 0xffff_ffff_8120_1fff, 1, 0xa000)]
    );
    // Three pages of two ranges are executable by their leaves only.
    let by_leaf = audit(&memory, "leaf-vs-effective");
    assert_eq!(
        by_leaf,
        [(0x80_0040_0000, 0x80_0040_1fff, 2, 0xa000), (0x80_0042_0000, 0x80_0042_0fff, 1, 0xe000)]
    );
    assert_eq!(audit(&memory, "wx-alias"), []);
    assert_eq!(audit(&memory, "user-writable-table"), []);
}

#[test]
fn an_alias_of_code_that_can_be_written_is_found() {
    let mut memory = small_guest();
    // A second mapping of the program's first page, writable by the program.
    memory.entry(0x4200, 0xa067 | XD);
    assert_eq!(audit(&memory, "wx-alias"), [(0x40_0000, 0x40_0fff, 1, 0xa000)]);

    // A user page in the kernel's 2 MiB of code, of which the frame is named.
    let mut memory = small_guest();
    memory.entry(0x4200, 0x21_5067 | XD);
    assert_eq!(
        audit(&memory, "wx-alias"),
        [(0xffff_ffff_8100_0000, 0xffff_ffff_811f_ffff, 1, 0x21_5000)]
    );
}

#[test]
fn a_table_that_user_code_can_write_is_found() {
    for table in [0x1000, 0x4000] {
        let mut memory = small_guest();
        memory.entry(0x4200, table | 0x67 | XD);
        let found = audit(&memory, "user-writable-table");
        assert_eq!(found[0], (0x44_0000, 0x44_0fff, 1, table));
    }
}

/// Two tables that are missing, at entries next to each other, are two findings; entries to one are two as well.
#[test]
fn missing_tables_side_by_side_are_told_apart() {
    let mut memory = small_guest();
    memory.entry(0x1f88, 0x9_0000_1063).entry(0x1f90, 0x9_0000_1063);
    let first = 0xffff_f800_0000_0000_u64;
    let size = 0x80_0000_0000;
    let range = |number: u64, at| (first + number * size, first + (number + 1) * size - 1, 512, at);
    assert_eq!(
        audit(&memory, "table-outside-image"),
        [range(0, 0x9_0000_0000), range(1, 0x9_0000_1000), range(2, 0x9_0000_1000)]
    );
}

/// What is writable and executable by itself is of `wx`, also if it can be written elsewhere.
#[test]
fn pages_that_are_both_are_no_aliases() {
    let mut memory = small_guest();
    memory.entry(0x4200, 0xe067 | XD);
    assert_eq!(audit(&memory, "wx").len(), 1);
    assert_eq!(audit(&memory, "wx-alias"), []);
}

/// Both halves of the root lead to one table, which is read once.
#[test]
fn what_is_not_read_again_is_counted() {
    let mut memory = small_guest();
    memory.entry(0x1800, 0x2067);
    let count = |repeats| audit_with(&memory, AuditChecks::default(), Limits { repeats }).repeated;
    // The PDPT again, and the directory below it, to which its own PDPTE and that of 0x8000 lead.
    assert_eq!(count(0), 2);
    assert_eq!(count(100), 0);
}

#[test]
fn the_default_leaves_out_what_is_usual() {
    let audit = audit_with(&small_guest(), AuditChecks::default(), Limits::default());
    assert_eq!(audit.counts, [1, 0, 0, 1, 0, 1, 0, 0]);
    assert!("wx,nonsense".parse::<AuditChecks>().is_err());
}

/// Tables that map 64 TiB again and again are given up, and that is said.
#[test]
fn an_audit_of_a_bomb_ends() {
    let mut memory = SmallMemory::new(0x3000);
    for index in 0..512 {
        memory
            .entry(0x1000 + 8 * index, 0x2067)
            .entry(0x2000 + 8 * index, 0x4000_0000 * index as u64 + 0xe7);
    }
    let audit = audit_with(&memory, AuditChecks::default(), Limits { repeats: 511 });
    assert!(!audit.is_complete);
    assert_eq!(audit.counts[AuditCheck::Wx as usize], 2);
}

/// A page table whose page in a kdump is damaged is in the image.
#[test]
fn a_damaged_table_is_not_a_missing_one() {
    let memory = small_guest().0;
    let mut file =
        kdump(true, &notes_of(&[cpu_64(0x1000)]), &[(0, &memory)], PageCompression::Zlib);
    // The descriptor of the kernel's page table, frame 7: 24 bytes each, with the flags behind offset and size.
    file[0x4000 + 7 * 24 + 12] = 5;
    let image = open(&file).unwrap();
    let state = image.control_state(&StateOptions::default()).unwrap().state;
    let mmu = AnyMmu::new(state, Profile { physical_address_bits: 52, ..Profile::default() });
    let checks = "table-outside-image,unreadable-table".parse().unwrap();
    let audit =
        Audit::run(image.memory(), &mmu, checks, Limits::default(), &AtomicBool::new(false));

    let count = |check: AuditCheck| audit.counts[check as usize];
    assert_eq!(count(AuditCheck::TableOutsideImage), 1);
    assert_eq!(count(AuditCheck::UnreadableTable), 1);
    let found = audit.findings.iter().find(|found| found.check == AuditCheck::UnreadableTable);
    let found = found.unwrap();
    assert_eq!(
        (found.first.get(), found.count, found.address.get()),
        (0xffff_ffff_8120_0000, 512, 0x7000)
    );
    assert!(found.detail.starts_with("PTEs: the file is damaged at "), "{}", found.detail);
}

/// A root of 4 levels has 512 entries, though 2^64 bytes are more than 512 GiB for each.
#[test]
fn a_missing_root_is_one_table() {
    let memory = small_guest();
    let missing = |cr3| {
        let image = raw(&memory.0);
        let state = StateOptions { cr3: Some(cr3), ..state() };
        let mmu = AnyMmu::new(image.control_state(&state).unwrap().state, Profile::default());
        missing_root(image.memory(), &mmu).map(|root| (root.at.get(), entry_count(&root)))
    };
    assert_eq!(missing(0x7777_7000), Some((0x7777_7000, 512)));
    assert_eq!(missing(0x1000), None);
    // Its first entries are in the image, and nothing is present there.
    let mut memory = SmallMemory::new(0x1800);
    memory.entry(0x1000, 0);
    let image = raw(&memory.0);
    let mmu = AnyMmu::new(image.control_state(&state()).unwrap().state, Profile::default());
    assert_eq!(missing_root(image.memory(), &mmu), None);
}
