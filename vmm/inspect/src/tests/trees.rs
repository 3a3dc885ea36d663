//! The tree of tables: each table once, and what its entries lead to.

use super::raw;
use crate::test_images::{SmallMemory, small_guest};
use crate::{PageFlags, StateOptions, TableTree, TreeLimits, TreeTarget};
use mmu_core::x86::semantics::Rights;
use mmu_core::{AnyMmu, PhysAddr, Profile};
use std::sync::atomic::AtomicBool;

const XD: u64 = 1 << 63;

fn tree_with(memory: &SmallMemory, limits: TreeLimits, stop: bool) -> TableTree {
    let image = raw(&memory.0);
    let options = StateOptions { cr3: Some(0x1000), ..StateOptions::default() };
    let state = image.control_state(&options).unwrap().state;
    let mmu = AnyMmu::new(state, Profile { physical_address_bits: 52, ..Profile::default() });
    TableTree::new(image.memory(), &mmu, limits, &AtomicBool::new(stop))
}

fn tree(memory: &SmallMemory) -> TableTree {
    tree_with(memory, TreeLimits::default(), false)
}

/// The tables: address, the entries' level, number of entries, how many entries lead to it.
fn tables(tree: &TableTree) -> Vec<(u64, u8, u32, u64)> {
    let tables = tree.tables.iter();
    let about =
        tables.map(|table| (table.address.get(), table.level.number, table.present, table.led_by));
    about.collect()
}

#[test]
fn each_table_of_the_small_guest_is_there_once() {
    let tree = tree(&small_guest());
    assert!(tree.is_complete && tree.left_out == 0);
    assert_eq!(
        tables(&tree),
        [
            (0x1000, 4, 4, 0),
            (0x2000, 3, 1, 1),
            (0x3000, 2, 1, 2),
            (0x4000, 1, 5, 1),
            (0x8000, 3, 1, 1),
            (0x5000, 3, 2, 1),
            (0x6000, 2, 2, 1),
            (0x7000, 1, 2, 1),
        ]
    );

    // PML4E 1 has XD; 496 leads out of the image, and with 511 is of the supervisor.
    let root: Vec<_> =
        tree.tables[0].runs.iter().map(|run| (run.index, run.lost, run.leads_to)).collect();
    let outside = TreeTarget::Outside(PhysAddr::new(0x9_0000_0000));
    assert_eq!(
        root,
        [
            (0, Rights::empty(), TreeTarget::Table(1)),
            (1, Rights::EXECUTE, TreeTarget::Table(4)),
            (496, Rights::USER, outside),
            (511, Rights::USER, TreeTarget::Table(5)),
        ]
    );
    assert_eq!(tree.tables[4].runs[0].leads_to, TreeTarget::Shared(2));
    assert_eq!(tree.tables[5].runs[0].leads_to, TreeTarget::Reserved(0x2000));
}

#[test]
fn pages_that_are_alike_are_one_run() {
    let tree = tree(&small_guest());
    let runs: Vec<_> = tree.tables[3].runs.iter().map(|run| (run.index, run.count)).collect();
    assert_eq!(runs, [(0, 2), (16, 2), (32, 1)]);

    // Two pages of data, of which one is accessed, next to each other in memory.
    let data = tree.tables[3].runs[1];
    assert_eq!((data.accessed, data.dirty), (PageFlags::Some, PageFlags::All));
    let (address, is_contiguous, shift) = (PhysAddr::new(0xc000), true, 12);
    assert_eq!(data.leads_to, TreeTarget::Pages { address, is_contiguous, shift });
    // The kernel's two pages are not.
    let address = PhysAddr::new(0xf000);
    let scattered = TreeTarget::Pages { address, is_contiguous: false, shift };
    assert_eq!(tree.tables[7].runs[0].leads_to, scattered);
}

/// Every entry of the root points to the root.
#[test]
fn a_table_that_points_to_itself_is_referred_to() {
    let mut memory = SmallMemory::new(0x2000);
    for index in 0..512 {
        memory.entry(0x1000 + 8 * index, 0x1067);
    }
    let tree = tree(&memory);
    assert_eq!(tables(&tree), [(0x1000, 4, 512, 512)]);
    let runs: Vec<_> = tree.tables[0].runs.iter().map(|run| (run.count, run.leads_to)).collect();
    assert_eq!(runs, [(512, TreeTarget::Shared(0))]);
}

/// A root with a table for each entry, of which there is room for some.
#[test]
fn a_full_tree_counts_what_it_leaves_out() {
    let mut memory = SmallMemory::new(0x10_0000);
    for index in 0..64 {
        memory.entry(0x1000 + 8 * index, 0x1_0000 + 0x1000 * index as u64 + 0x67);
    }
    let limits = TreeLimits { tables: 10, ..TreeLimits::default() };
    let tree = tree_with(&memory, limits, false);
    assert_eq!((tree.tables.len(), tree.left_out), (10, 64 - 9));
    let last = tree.tables[0].runs.last().unwrap();
    assert_eq!((last.index, last.count), (9, 55));
    assert_eq!(last.leads_to, TreeTarget::LeftOut(PhysAddr::new(0x1_9000)));

    // Entries of a page table that alternate, each a run of its own.
    let mut memory = small_guest();
    for index in 0..512 {
        let xd = if index % 2 == 0 { XD } else { 0 };
        memory.entry(0x4000 + 8 * index, 0xa067 | xd);
    }
    let tree = tree_with(&memory, TreeLimits { runs: 100, ..TreeLimits::default() }, false);
    assert_eq!(tables(&tree).len(), 4);
    assert_eq!(tree.left_out, 2);
}

#[test]
fn a_tree_that_is_stopped_says_so() {
    assert!(!tree_with(&small_guest(), TreeLimits::default(), true).is_complete);
}
