//! Tests: the number of combinations, counted by hand, and that all of them fit the guest.

use super::*;
use crate::generate::tests::capabilities;
use crosswalk_machine::batch::arena_of;
use mmu_core::{Cr4, Features, Profile};
use std::collections::HashSet;

/// A machine like a KVM with shadow page tables: NX and PGE, MAXPHYADDR 48; SMEP and SMAP work although
/// CPUID does not report them.
fn shadowing() -> Capabilities {
    let features = Features::NX | Features::PGE;
    Capabilities {
        profile: Profile { physical_address_bits: 48, features, ..Profile::default() },
        not_in_cpuid: Cr4::SMEP | Cr4::SMAP,
        implicit_accesses: Err("the host's table".into()),
        pkru_in_ring_0: false,
        ..capabilities(true)
    }
}

/// A machine with everything, MAXPHYADDR 40.
fn emulated() -> Capabilities {
    let features = Features::NX
        | Features::PGE
        | Features::SMEP
        | Features::SMAP
        | Features::PKU
        | Features::PKS
        | Features::PAGE_1GB
        | Features::LA57;
    Capabilities {
        profile: Profile { physical_address_bits: 40, features, ..Profile::default() },
        ..capabilities(false)
    }
}

fn total(mode: PagingMode, machine: Capabilities) -> u64 {
    ExhaustiveStream::new(mode, machine).cases()
}

#[test]
fn the_combinations_of_4_level_paging_by_multiplication() {
    // WP, NXE, SMEP, SMAP.
    let states = 2_u64.pow(4);
    // Load, store, three read-modify-writes, CLFLUSH, fetch; in ring 3, in ring 0, there with AC.
    let accesses = 7 * 3;
    // P RW US XD A PS D caching G 11:9 58:52 key: two values each; above MAXPHYADDR: three.
    let entry = 2_u64.pow(12) * 3;
    // PAT for PS, and the alignment bits: three values.
    let large_leaf = entry * 3;

    // 4 KiB: PML4E PDPTE PDE PTE; 2 MiB: PML4E PDPTE and the leaf; 1 GiB: PML4E and the leaf.
    let single = 4 * entry + (2 * entry + large_leaf) + (entry + large_leaf);
    // P RW US XD above A and PS, PAT or alignment, of two entries out of four, three or two.
    let pairs = (6 + 3 + 1) * 2_u64.pow(7) * 2_u64.pow(7);

    let by_hand = states * accesses * (single + pairs);
    assert_eq!(by_hand, 108_724_224);
    assert_eq!(total(PagingMode::FourLevel, shadowing()), by_hand);
}

#[test]
fn protection_keys_and_implicit_accesses_multiply() {
    // As above; PKRU and PKRS with four values each; LSL in ring 3.
    let states = 16 * 4 * 4;
    let accesses = 7 * 3 + 1;
    let entry = 4096 * 3;
    let large_leaf = entry * 3;

    let four_level_pairs = 10 * 128 * 128;
    let four_level = states * accesses * (7 * entry + 2 * large_leaf + four_level_pairs);
    assert_eq!(total(PagingMode::FourLevel, emulated()), four_level);

    // 4 KiB: five entries; 2 MiB: three and the leaf; 1 GiB: two and the leaf.
    let five_level_pairs = (10 + 6 + 3) * 128 * 128;
    let five_level = states * accesses * (10 * entry + 2 * large_leaf + five_level_pairs);
    assert_eq!(total(PagingMode::FiveLevel, emulated()), five_level);
}

#[test]
fn the_combinations_of_the_modes_without_long_mode() {
    // WP, NXE, SMEP, SMAP, PAE.
    assert_eq!(total(PagingMode::Unpaged, emulated()), 32 * 21);

    // 32-bit paging: P RW US A PS D caching G 11:9; no PS in a PDE that points to a table while PSE=1;
    // in a 4 MiB leaf PAT and bit 21. Main bits: P RW US A and PS where it is varied, or bit 21.
    let without_pse = 512 + 512 + 32 * 32;
    let with_pse = (256 + 512 + 16 * 32) + 1024;
    assert_eq!(total(PagingMode::Bits32, emulated()), 16 * 21 * (without_pse + with_pse));

    // PAE: P RW US XD A PS D caching G 11:9, above MAXPHYADDR three values; 2 MiB: PAT and three
    // alignments. The PDPTE: nothing, ignored bits, bits 1 2 5 6 7 8 40 63; present and not.
    let entry = 1024 * 3;
    let large_leaf = entry * 3;
    let by_hand = 16 * 21 * (2 * entry + large_leaf + 128 * 128) + 16 * 20 * 21;
    assert_eq!(total(PagingMode::Pae, emulated()), by_hand);
}

#[test]
fn the_lanes_of_a_batch_share_no_entry_and_fit_the_layout() {
    for machine in [shadowing(), emulated()] {
        for mode in PagingMode::ALL {
            let stream = ExhaustiveStream::new(mode, machine.clone());
            let last = stream.batches() - 1;

            // From the first batch to the last.
            for number in (0..12).map(|i| i * last / 11) {
                let size = stream.cases_before(number + 1) - stream.cases_before(number);
                let batch = stream.batch(number, usize::MAX);
                assert_eq!(batch.cases.len() as u64, size, "{mode} {number}");
                assert_lanes_are_apart(mode, &batch);
            }
        }
    }
}

fn assert_lanes_are_apart(mode: PagingMode, Batch { arena, cases }: &Batch) {
    let mut used = HashSet::new();
    for case in cases {
        assert_eq!(arena_of(case), Ok(*arena), "{case}");
        assert_eq!(case.mode(), mode, "{case}");
        assert_eq!(case.state.cr4, cases[0].state.cr4);

        // The lanes share PAE's PDPTEs.
        let mut own = case.entries.iter().skip(usize::from(mode == PagingMode::Pae));
        assert!(own.all(|entry| used.insert(entry.at)), "{case}");
    }
}

/// Neighbouring cases differ in what they try, not only in the lane.
#[test]
fn no_combination_comes_twice() {
    let stream = ExhaustiveStream::new(PagingMode::FourLevel, shadowing());
    let mut combinations = HashSet::new();

    for number in 0..60 {
        for case in stream.batch(number * 37, usize::MAX).cases {
            let state = &case.state;
            let registers = (state.cr0.bits(), state.cr4.bits(), state.efer.bits());
            let access = (case.form, case.access.ring, case.access.ac);
            let flags: Vec<u64> =
                case.entries.iter().map(|entry| entry.value & 0xffff_0000_0000_1fff).collect();
            let alignment = case.entries.last().map(|entry| entry.value & 0x2010_2000);
            assert!(combinations.insert((registers, access, flags, alignment)), "{case}");
        }
    }
}
