//! Scans in pieces: whatever the tables, the pieces and the threads, they find what one scan finds.

use super::raw;
use crate::test_images::SmallMemory;
use crate::{Found, Limits, MemoryImage, Scan, ScanPieces, ScanTotals, StateOptions};
use mmu_core::{AnyMmu, Profile, VirtAddr};
use proptest::prelude::*;
use std::num::NonZero;
use std::ops::ControlFlow;

const THREADS: [usize; 4] = [1, 2, 3, 8];

/// CR0, CR4 and EFER of each paging mode, and the bytes of an entry.
const MODES: [([u64; 3], usize); 5] = [
    ([0x11, 0, 0], 8),
    ([0x8001_0011, 0x10, 0], 4),
    ([0x8001_0011, 0x20, 0x800], 8),
    ([0x8001_0011, 0x20, 0xd00], 8),
    ([0x8001_0011, 0x1020, 0xd00], 8),
];

/// Number of frames in memory.
const FRAMES: u64 = 24;

const WHOLE: (VirtAddr, VirtAddr) = (VirtAddr::new(0), VirtAddr::new(u64::MAX));

/// The MMU of a mode, with its root table at 0x1000.
fn mmu(image: &MemoryImage, [cr0, cr4, efer]: [u64; 3]) -> AnyMmu {
    let options = StateOptions {
        cpu: 0,
        cr0: Some(cr0),
        cr3: Some(0x1000),
        cr4: Some(cr4),
        efer: Some(efer),
    };
    let state = image.control_state(&options).unwrap().state;
    AnyMmu::new(state, Profile { physical_address_bits: 52, ..Profile::default() })
}

fn in_parallel(pieces: ScanPieces<'_>, threads: usize) -> Vec<Found> {
    let threads = NonZero::new(threads).unwrap();
    pieces.in_parallel(threads, Iterator::collect::<Vec<_>>).concat()
}

/// An entry somewhere in memory: its frame and index there, the frame that it leads to, and its flags. Some lead
/// out of memory, some have bits that are reserved.
fn entries() -> impl Strategy<Value = Vec<(u64, u64, u64, u64)>> {
    let flags =
        prop::sample::select(vec![0x7, 0x7, 0x67, 0x3, 0x5, 0x87, 1 << 63 | 7, 1 << 51 | 7]);
    prop::collection::vec((0..FRAMES, 0..512_u64, 0..FRAMES + 3, flags), 0..200)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn pieces_find_what_a_scan_finds(
        entries in entries(),
        low_entries in prop::collection::vec((0..FRAMES, 0..4_u64, 0..FRAMES), 0..40),
        repeats in 0..40_u64,
        piece in prop_oneof![1..5000_usize, Just(1 << 15)],
        // All addresses, some of them, and a few among those that low indices have.
        range in prop_oneof![
            Just((0, u64::MAX)),
            any::<(u64, u64)>(),
            (0..0x80_0000_u64, 0..0x100_0000_u64),
        ],
    ) {
        // Low indices make deep tables.
        let low_entries = low_entries.into_iter().map(|(frame, index, to)| (frame, index, to, 0x67));
        let entries: Vec<_> = entries.into_iter().chain(low_entries).collect();
        let range = (VirtAddr::new(range.0), VirtAddr::new(range.1));

        for (registers, bytes) in MODES {
            let mut memory = SmallMemory::new(FRAMES as usize * 0x1000);
            for (frame, index, to, flags) in &entries {
                let at = *frame as usize * 0x1000 + *index as usize * bytes;
                let entry = to << 12 | flags;
                if bytes == 4 {
                    memory.entry_32(at, entry as u32);
                } else {
                    memory.entry(at, entry);
                }
            }

            let image = raw(&memory.0);
            let mmu = mmu(&image, registers);
            let scan = || Scan::new(image.memory(), &mmu, range, Limits { repeats });
            let expected: Vec<_> = scan().collect();
            for threads in THREADS {
                let found = in_parallel(scan().pieces().of_entries(piece), threads);
                prop_assert!(found == expected, "{threads} threads, {registers:x?}");
            }
        }
    }
}

/// 512 entries of the root all point to the root: each piece is some part of 512^4 pages.
#[test]
fn tables_that_point_to_themselves_are_read_as_often_as_by_one_scan() {
    let mut memory = SmallMemory::new(0x2000);
    for index in 0..512 {
        memory.entry(0x1000 + 8 * index, 0x1003);
    }
    let image = raw(&memory.0);
    let mmu = mmu(&image, MODES[3].0);

    for (threads, piece) in [(1, 1), (2, 1), (8, 1), (3, 700), (8, 1 << 15)] {
        let pieces = Scan::of_all(image.memory(), &mmu, Limits { repeats: 1000 }).pieces();
        let threads = NonZero::new(threads).unwrap();
        let parts = pieces.of_entries(piece).in_parallel(threads, Iterator::collect::<ScanTotals>);
        let totals: ScanTotals = parts.into_iter().sum();

        // A PDPT, a directory and a page table are new, and 1000 are read again: page tables, a directory as soon as
        // one is full, and nothing else. The first has 512 page tables, the second one those that are left.
        let [first, second] = [512, 1003 - 512 - 3];
        assert_eq!(totals.tables, 1003);
        assert_eq!(totals.pages(), (first + second) * 512);
        assert_eq!(totals.repeated, 511 + 510 + (512 - second));
    }
}

/// One PML4E, one PDPTE, and 512 page tables below them, all of them the same.
#[test]
fn what_one_entry_of_the_root_holds_is_cut_into_pieces_of_equal_size() {
    let mut memory = SmallMemory::new(0x5000);
    memory.entry(0x1000, 0x2003).entry(0x2000, 0x3003);
    for index in 0..512 {
        memory.entry(0x3000 + 8 * index, 0x4003).entry(0x4000 + 8 * index, 0x5003);
    }
    let image = raw(&memory.0);
    let mmu = mmu(&image, MODES[3].0);

    let pieces = image.scan(&mmu, Limits::default()).pieces();
    let pages = |piece: crate::ScanPiece<'_>| piece.collect::<ScanTotals>().pages();
    // 64 tables are a piece: the first one has the PDPT and the directory, too.
    let counts: Vec<_> = pieces.map(pages).collect();
    let expected: Vec<_> = [62, 64, 64, 64, 64, 64, 64, 64, 2].map(|tables| tables * 512).into();
    assert_eq!(counts, expected);
}

/// Pages of 1 GiB, none of which costs anything to read: what waits for a thread has bounded size all the same.
#[test]
fn pieces_of_large_pages_have_bounded_size() {
    let mut memory = SmallMemory::new(0x3000);
    for index in 0..512 {
        memory.entry(0x1000 + 8 * index, 0x2003).entry(0x2000 + 8 * index, 0x83);
    }
    let image = raw(&memory.0);
    let mmu = mmu(&image, MODES[3].0);

    let pieces = image.scan(&mmu, Limits::default()).pieces();
    let counts: Vec<_> = pieces.map(Iterator::count).collect();
    assert_eq!(counts.iter().sum::<usize>(), 512 * 513);
    assert!(counts.iter().all(|count| *count <= 4096), "{counts:?}");
}

#[test]
fn a_scan_that_has_begun_goes_on_in_pieces() {
    let image = raw(&crate::test_images::small_guest().0);
    let mmu = mmu(&image, MODES[3].0);
    let expected: Vec<_> = image.scan(&mmu, Limits::default()).collect();

    for begun in 0..=expected.len() {
        let mut scan = image.scan(&mmu, Limits::default());
        let first: Vec<_> = scan.by_ref().take(begun).collect();
        let rest = in_parallel(scan.pieces().of_entries(1), 2);
        assert_eq!([first, rest].concat(), expected);
    }
}

#[test]
fn whoever_takes_the_results_can_end_the_work() {
    let image = raw(&crate::test_images::small_guest().0);
    let mmu = mmu(&image, MODES[3].0);
    let expected: Vec<_> = Scan::new(image.memory(), &mmu, WHOLE, Limits::default()).collect();

    for threads in THREADS {
        let mut found = Vec::new();
        let pieces = image.scan(&mmu, Limits::default()).pieces().of_entries(1);
        let threads = NonZero::new(threads).unwrap();
        let end = pieces.in_parallel_until(threads, Iterator::collect::<Vec<_>>, |piece| {
            found.extend(piece);
            if found.len() > 12 { ControlFlow::Break("enough") } else { ControlFlow::Continue(()) }
        });
        assert_eq!(end, ControlFlow::Break("enough"));
        assert!(found.len() < expected.len());
        assert_eq!(found, expected[..found.len()]);
    }
}
