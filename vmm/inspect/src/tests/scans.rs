//! Scans in every mode, of tables that share, repeat, and lead nowhere.

use super::{open, pages, raw, scan};
use crate::test_images::{SmallMemory, cpu_64, elf, lime, small_guest};
use crate::{Found, Limits, PageFlags, PageRange, PageRanges, StateOptions};
use mmu_core::walk::EntryMeaning;

const WRITE: u8 = 1;
const USER: u8 = 2;
const EXECUTE: u8 = 4;

fn with_cr3(cr3: u64) -> StateOptions {
    StateOptions { cr3: Some(cr3), ..StateOptions::default() }
}

#[test]
fn the_small_guest_has_what_its_comment_says() {
    let memory = small_guest().0;
    let found = scan(&raw(&memory), &with_cr3(0x1000), Limits::default());
    let program = [
        (0x40_0000, 0xa000, USER | EXECUTE),
        (0x40_1000, 0xb000, USER | EXECUTE),
        (0x41_0000, 0xc000, USER | WRITE),
        (0x41_1000, 0xd000, USER | WRITE),
        (0x42_0000, 0xe000, USER | WRITE | EXECUTE),
    ];
    let barred = program.map(|(at, page, rights)| (at + (1 << 39), page, rights & !EXECUTE));
    let kernel = [
        (0xffff_ffff_8100_0000, 0x20_0000, EXECUTE),
        (0xffff_ffff_8120_0000, 0xf000, WRITE),
        (0xffff_ffff_8120_1000, 0xa000, WRITE),
    ];
    assert_eq!(pages(&found), [&program[..], &barred, &kernel].concat());

    let reserved = found.iter().find_map(|found| match found {
        Found::Reserved(entry) => Some((entry.first.get(), entry.meaning)),
        _ => None,
    });
    assert_eq!(reserved, Some((0xffff_ffff_0000_0000, EntryMeaning::Reserved(0x2000))));
    let outside = found.iter().find_map(|found| match found {
        Found::Unreadable(unreadable) => Some((unreadable.first.get(), unreadable.last.get())),
        _ => None,
    });
    assert_eq!(outside, Some((0xffff_f800_0000_0000, 0xffff_f87f_ffff_ffff)));
}

/// 32-bit paging with a 4 MiB page above 4 GiB: bits 20:13 of the PDE are bits 39:32 (MODE-5).
#[test]
fn large_pages_of_32_bit_paging_can_lie_above_4_gib() {
    let mut memory = SmallMemory::new(0x2000);
    memory.entry_32(0, 0x1007).entry_32(4, 0x0040_60e3).entry_32(0x1008, 0x5025);
    let options = StateOptions {
        cr0: Some(0x8001_0011),
        cr3: Some(0),
        cr4: Some(0x10),
        efer: Some(0),
        cpu: 0,
    };
    let found = scan(&raw(&memory.0), &options, Limits::default());
    assert_eq!(
        pages(&found),
        [(0x2000, 0x5000, USER | EXECUTE), (0x40_0000, 0x3_0040_0000, WRITE | EXECUTE)]
    );
}

#[test]
fn pages_of_pae_paging_keep_xd_out_of_the_address() {
    let mut memory = SmallMemory::new(0x4000);
    memory.entry(0x1018, 0x2001).entry(0x2ff8, 0x3007).entry(0x3ff8, 1 << 63 | 0x5007);
    let options = StateOptions {
        cr0: Some(0x8001_0011),
        cr3: Some(0x1000),
        cr4: Some(0x20),
        efer: Some(0x800),
        cpu: 0,
    };
    let found = scan(&raw(&memory.0), &options, Limits::default());
    assert_eq!(pages(&found), [(0xffff_f000, 0x5000, USER | WRITE)]);
}

/// A root whose 512 entries all point to itself maps 512^4 pages, and the scan ends.
#[test]
fn tables_that_point_to_themselves_end_within_the_limits() {
    let mut memory = SmallMemory::new(0x2000);
    for index in 0..512 {
        memory.entry(0x1000 + 8 * index, 0x1003);
    }
    let limits = Limits { repeats: 10 };
    let found = scan(&raw(&memory.0), &with_cr3(0x1000), limits);

    // The table is read as PDPT, directory and page table once, and ten times more.
    let tables = found.iter().filter(|found| matches!(found, Found::Table(_))).count();
    assert_eq!(tables, 3 + 10);
    assert_eq!(pages(&found).len(), 11 * 512);
    let repeated = found.iter().filter(|found| matches!(found, Found::Repeated(_))).count();
    assert_eq!(repeated, 501 + 511 + 511);
}

#[test]
fn a_self_map_is_shown_as_a_processor_sees_it() {
    let mut memory = small_guest();
    memory.entry(0x1000 + 8 * 0x1ed, 0x1063);
    let found = scan(&raw(&memory.0), &with_cr3(0x1000), Limits::default());

    // The page tables are pages at 0xffff_f680_0000_0000, each where it would map; the root is at the
    // address whose four indices are 0x1ed.
    let root = pages(&found).iter().filter(|page| page.1 == 0x1000).count();
    assert_eq!(root, 1);
    assert!(pages(&found).contains(&(0xffff_f6fb_7dbe_d000, 0x1000, WRITE | EXECUTE)));
    assert!(pages(&found).contains(&(0xffff_f680_0000_2000, 0x4000, WRITE | EXECUTE)));
    assert!(!found.iter().any(|found| matches!(found, Found::Repeated(_))));
}

/// The same bytes of the file at two addresses are one table.
#[test]
fn tables_are_told_apart_by_their_place_in_the_file() {
    let mut memory = SmallMemory::new(0x4000);
    memory.entry(0x1000, 0x2003).entry(0x1008, 0x9_2003).entry(0x2000, 0x83);
    let mut contents = elf(true, &[cpu_64(0x1000)], &[(0, &memory.0), (0x9_0000, &[0; 1])]);
    // The second range begins where the first one does: p_offset and p_filesz.
    let first: Vec<u8> = contents[0x80..0x88].to_vec();
    contents[0xb8..0xc0].copy_from_slice(&first);
    contents[0xd0..0xd8].copy_from_slice(&0x4000_u64.to_le_bytes());

    let found = scan(&open(&contents).unwrap(), &with_cr3(0x1000), Limits { repeats: 0 });
    assert_eq!(pages(&found), [(0, 0, WRITE | EXECUTE)]);
    assert!(matches!(found.last(), Some(Found::Repeated(_))));
}

#[test]
fn a_table_may_lie_across_two_ranges() {
    let mut memory = SmallMemory::new(0x5000);
    memory.entry(0x1000, 0x2003).entry(0x2000, 0x3003).entry(0x3000, 0x4003);
    memory.entry(0x4000, 0x5003).entry(0x4ff8, 0x6003);
    let (low, high) = memory.0.split_at(0x4800);
    let image = open(&lime(&[(0, low), (0x4800, high)])).unwrap();
    let found = scan(&image, &with_cr3(0x1000), Limits::default());
    assert_eq!(pages(&found), [(0, 0x5000, WRITE | EXECUTE), (0x1f_f000, 0x6000, WRITE | EXECUTE)]);
}

#[test]
fn pages_that_are_alike_become_ranges() {
    let found = scan(&raw(&small_guest().0), &with_cr3(0x1000), Limits::default());
    let merged = |mut ranges: PageRanges| {
        let pages = found.iter().filter_map(|found| match found {
            Found::Page(page) => PageRange::of(page),
            _ => None,
        });
        let mut all: Vec<_> = pages.filter_map(|page| ranges.push(page)).collect();
        all.extend(ranges.finish());
        all
    };

    let all = merged(PageRanges::new());
    assert_eq!(all.len(), 8);
    let data = all[1];
    assert_eq!((data.first.get(), data.last.get(), data.pages()), (0x41_0000, 0x41_1fff, 2));
    assert_eq!((data.accessed, data.dirty), (PageFlags::Some, PageFlags::All));
    assert!(data.is_contiguous);
    // The kernel's two small pages are at 0xf000 and 0xa000.
    assert!(!all[7].is_contiguous);
    assert_eq!(merged(PageRanges::contiguous()).len(), 9);
}
