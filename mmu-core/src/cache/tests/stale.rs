//! TLB-2 and TLB-5: what is allowed after edits without invalidation, and what is not.

use super::{
    Access, AccessKind,
    AccessKind::{Fetch, Read, Write},
    BYTE, Bytes, ControlState, FourLevel, NEIGHBOUR, NEXT_PTE, PAGE, PDE, PDPTE, PML4E, PTE,
    PhysAddr, Profile, Ring, Rule, TableMemory, TableMemoryMut, Vec, Vendor, VirtAddr, bit,
};
use crate::cache::{CachedMmu, EditError, History};
use crate::memory::OutsideMemory;
use crate::outcome::{Outcome, Prediction};
use crate::walk::Mmu;

const A: u64 = bit::A;
const AD: u64 = bit::A | bit::D;

type Tables = History<Bytes<Vec<u8>>, 8>;

/// The page and its neighbour at 0x5000 and 0x6000: present, writable, user, and used for reads
/// before: A is set everywhere.
fn tables() -> Tables {
    let mut memory = Bytes::new(PhysAddr::new(0x10_000), vec![0; 0x8000]);
    for (at, entry) in [
        (PML4E, 0x11_027),
        (PDPTE, 0x12_027),
        (PDE, 0x13_027),
        (PTE, 0x5027),
        (NEXT_PTE, 0x6027),
        // The table at 0x14000, which no entry points to yet.
        (0x14_020, 0x7027),
    ] {
        memory.write_entry(PhysAddr::new(at), 8, entry).unwrap();
    }
    Tables::new(memory)
}

fn edit(tables: &mut Tables, at: u64, entry: u64) {
    tables.edit(PhysAddr::new(at), 8, entry).unwrap();
}

fn profile(vendor: Vendor) -> Profile {
    Profile { vendor, physical_address_bits: 48, ..Profile::default() }
}

/// Everything that is allowed, mixture by mixture.
fn predictions(tables: &Tables, access: &Access, vendor: Vendor) -> Vec<Prediction> {
    let mmu = Mmu::<FourLevel>::new(ControlState::long_mode(0x10_000), profile(vendor));
    let mut all = Vec::new();
    mmu.predict_stale(tables, access, |prediction| all.push(prediction.clone()));
    all
}

fn user(kind: AccessKind, address: u64) -> Access {
    Access::new(kind, VirtAddr::new(address), 1, Ring::Three)
}

/// Where a user's access may end, each end once, the entries in memory first: an address, or an error
/// code.
fn ends(tables: &Tables, kind: AccessKind, vendor: Vendor) -> Vec<Result<u64, u32>> {
    let mut ends = Vec::new();
    for prediction in predictions(tables, &user(kind, BYTE), vendor) {
        for alternative in &prediction.alternatives {
            let end = match &alternative.outcome {
                Outcome::Translated(spans) => Ok(spans[0].address.get()),
                Outcome::Fault(fault) => Err(fault.error_code),
            };
            if !ends.contains(&end) {
                ends.push(end);
            }
        }
    }
    ends
}

fn on_both(tables: &Tables, kind: AccessKind, expected: &[Result<u64, u32>]) {
    for vendor in [Vendor::Intel, Vendor::Amd] {
        assert_eq!(ends(tables, kind, vendor), expected, "{vendor:?}");
    }
}

#[test]
fn tlb_2_without_an_edit_the_set_is_the_prediction() {
    let tables = tables();
    let mmu = Mmu::<FourLevel>::new(ControlState::long_mode(0x10_000), profile(Vendor::Intel));
    for access in [user(Read, BYTE), user(Write, BYTE), user(Read, 1 << 47), user(Read, 0)] {
        let all = predictions(&tables, &access, Vendor::Intel);
        let expected = mmu.predict(&tables, &access);
        assert_eq!(all.len(), 1);
        assert_eq!(all[0].alternatives, expected.alternatives);
        assert!(!all[0].rules.contains(Rule::Tlb2));
    }
}

#[test]
fn tlb_2_the_new_and_the_old_translation_are_allowed_and_no_other() {
    let mut tables = tables();
    edit(&mut tables, PTE, 0x7007);
    on_both(&tables, Read, &[Ok(0x7234), Ok(0x5234)]);
    edit(&mut tables, PTE, 0x1_8007);
    // A of the entry in between was never set: nobody has cached it (TLB-1).
    on_both(&tables, Read, &[Ok(0x1_8234), Ok(0x5234)]);
    edit(&mut tables, PTE, 0x9027);
    edit(&mut tables, PTE, 0xa007);
    on_both(&tables, Read, &[Ok(0xa234), Ok(0x9234), Ok(0x5234)]);
    tables.forget_all();
    on_both(&tables, Read, &[Ok(0xa234)]);
}

#[test]
fn tlb_2_a_hit_sets_nothing_and_a_walk_sets_a() {
    let mut tables = tables();
    edit(&mut tables, PTE, 0x7007);
    let [new, old] = &predictions(&tables, &user(Read, BYTE), Vendor::Intel)[..] else {
        panic!("not two mixtures")
    };
    assert_eq!(new.alternatives[0].choice, None);
    let leaf = new.alternatives[0].updates.iter().find(|update| update.at.get() == PTE);
    assert_eq!(leaf.map(|leaf| (leaf.before, leaf.must_set)), Some((0x7007, A)));
    assert_eq!(old.alternatives[0].choice, Some((Rule::Tlb2, "a cached translation")));
    assert!(old.rules.contains(Rule::Tlb2));
    assert!(old.alternatives[0].updates.iter().all(|update| update.at.get() != PTE));
}

#[test]
fn tlb_2_old_upper_entries_lead_to_new_lower_ones() {
    let mut tables = tables();
    // First another table, then new entries in the old one and in the new one.
    edit(&mut tables, PDE, 0x14_007);
    edit(&mut tables, PTE, 0x8007);
    edit(&mut tables, 0x14_020, 0x9007);
    // By the new PDE: the new PTE of the new table. A of the PDE is not set: nothing behind it is
    // cached, so not the old one. By the old PDE: both PTEs of the old table.
    on_both(&tables, Read, &[Ok(0x9234), Ok(0x8234), Ok(0x5234)]);
    let all = predictions(&tables, &user(Read, BYTE), Vendor::Amd);
    let choice = |n: usize| all[n].alternatives[0].choice.map(|(_, member)| member);
    assert_eq!(choice(1), Some("cached upper entries"));
    assert_eq!(choice(2), Some("a cached translation"));
}

#[test]
fn tlb_2_new_upper_entries_do_not_lead_to_what_was_gone_before_them() {
    let mut tables = tables();
    // The new table's entry is replaced before the PDE leads there; A is set everywhere.
    edit(&mut tables, 0x14_020, 0x9027);
    edit(&mut tables, PDE, 0x14_027);
    on_both(&tables, Read, &[Ok(0x9234), Ok(0x5234)]);
    // The other order allows the entry in between.
    let mut tables = self::tables();
    edit(&mut tables, PDE, 0x14_027);
    edit(&mut tables, 0x14_020, 0x9027);
    on_both(&tables, Read, &[Ok(0x9234), Ok(0x7234), Ok(0x5234)]);
}

#[test]
fn tlb_2_p_from_0_to_1_needs_no_invalidation() {
    for (at, entry) in [(PML4E, 0x11_027), (PDPTE, 0x12_027), (PDE, 0x13_027), (PTE, 0x5027)] {
        for absent in [entry & !bit::P, 0, A, entry | bit::RESERVED] {
            let mut tables = tables();
            edit(&mut tables, at, absent);
            tables.forget_all();
            edit(&mut tables, at, entry);
            on_both(&tables, Read, &[Ok(0x5234)]);
        }
    }
}

#[test]
fn tlb_2_p_from_1_to_0_is_not_seen_at_once() {
    let mut tables = tables();
    edit(&mut tables, PTE, 0);
    on_both(&tables, Read, &[Err(4), Ok(0x5234)]);
    // But D is not set in what is not present, and the leaf has none.
    on_both(&tables, Write, &[Err(4 + 2)]);
}

#[test]
fn tlb_2_a_write_needs_d_in_the_old_leaf() {
    let mut tables = tables();
    edit(&mut tables, PTE, 0x5067);
    tables.forget_all();
    edit(&mut tables, PTE, 0x7007);
    on_both(&tables, Write, &[Ok(0x7234), Ok(0x5234)]);
    let all = predictions(&tables, &user(Write, BYTE), Vendor::Intel);
    let of_leaf = |n: usize| {
        let leaf = all[n].alternatives[0].updates.iter().find(|update| update.at.get() == PTE);
        leaf.map(|leaf| leaf.must_set)
    };
    assert_eq!((of_leaf(0), of_leaf(1)), (Some(AD), None));
}

#[test]
fn tlb_2_relaxed_rights_fault_at_most_once_and_not_on_amd() {
    for (kind, strict, relaxed, code) in [
        (Write, 0x5025, 0x5027, 4 + 2 + 1),
        (Read, 0x5023, 0x5027, 4 + 1),
        (Fetch, 1 << 63 | 0x5027, 0x5027, 16 + 4 + 1),
    ] {
        let mut tables = tables();
        edit(&mut tables, PTE, strict);
        tables.forget_all();
        edit(&mut tables, PTE, relaxed);
        assert_eq!(ends(&tables, kind, Vendor::Amd), [Ok(0x5234)]);
        for vendor in [Vendor::Intel, Vendor::Unknown] {
            assert_eq!(ends(&tables, kind, vendor), [Ok(0x5234), Err(code)]);
        }
        // The fault dropped the address (TLB-3).
        tables.forget(VirtAddr::new(BYTE));
        assert_eq!(ends(&tables, kind, Vendor::Intel), [Ok(0x5234)]);
    }
}

#[test]
fn tlb_2_to_forget_one_address_keeps_the_others() {
    let mut tables = tables();
    edit(&mut tables, PTE, 0x7007);
    tables.forget(VirtAddr::new(NEIGHBOUR));
    on_both(&tables, Read, &[Ok(0x7234), Ok(0x5234)]);
    tables.forget(VirtAddr::new(PAGE + 0xfff));
    on_both(&tables, Read, &[Ok(0x7234)]);
    // What is edited afterwards is stale again.
    tables.edit(PhysAddr::new(PTE), 8, 0x7027).unwrap();
    edit(&mut tables, PTE, 0x8007);
    on_both(&tables, Read, &[Ok(0x8234), Ok(0x7234)]);
}

#[test]
fn tlb_2_each_page_of_a_crossing_access_has_its_own_mixture() {
    let mut tables = tables();
    edit(&mut tables, PTE, 0x7007);
    edit(&mut tables, NEXT_PTE, 0);
    let read = Access::read(VirtAddr::new(PAGE + 0xffe), 4, Ring::Three);
    let mut completed = Vec::new();
    let mut faults = 0;
    for prediction in predictions(&tables, &read, Vendor::Amd) {
        match &prediction.alternatives[0].outcome {
            Outcome::Translated(spans) => {
                completed.push(spans.iter().map(|span| span.address.get()).collect::<Vec<_>>());
            }
            Outcome::Fault(fault) => {
                assert_eq!((fault.error_code, fault.cr2), (4, Some(VirtAddr::new(NEIGHBOUR))));
                faults += 1;
            }
        }
    }
    assert_eq!(completed, [[0x7ffe, 0x6000], [0x5ffe, 0x6000]]);
    assert_eq!(faults, 2, "the second page faults behind either first page");
}

#[test]
fn tlb_5_another_page_size_is_marked() {
    let mut tables = tables();
    // 2 MiB at 4 MiB; bits 20:12 of the address are now part of the offset.
    edit(&mut tables, PDE, 0x40_00a7);
    on_both(&tables, Read, &[Ok(0x40_4234), Ok(0x5234)]);
    let marked = |tables: &Tables| {
        let all = predictions(tables, &user(Read, BYTE), Vendor::Intel);
        all.iter().map(|prediction| prediction.rules.contains(Rule::Tlb5)).collect::<Vec<_>>()
    };
    assert_eq!(marked(&tables), [false, true]);
    tables.forget_all();
    edit(&mut tables, PDE, 0x60_00a7);
    assert_eq!(marked(&tables), [false, false], "another frame, the same size");
}

#[test]
fn out_1_an_old_table_outside_memory_reads_as_zeros_or_ones() {
    let mut tables = tables();
    edit(&mut tables, PDE, 0x7777_7027);
    tables.forget_all();
    edit(&mut tables, PDE, 0x13_027);
    assert_eq!(ends(&tables, Read, Vendor::Amd), [Ok(0x5234)]);
    assert_eq!(ends(&tables, Read, Vendor::Intel), [Ok(0x5234), Err(4), Err(8 + 4 + 1)]);
}

#[test]
fn an_edit_that_cannot_be_remembered_is_not_made() {
    let mut tables = History::<_, 1>::new(Bytes::new(PhysAddr::new(0x1000), [0; 16]));
    let (first, second) = (PhysAddr::new(0x1000), PhysAddr::new(0x1008));
    tables.edit(first, 8, 1).unwrap();
    assert_eq!(tables.edit(second, 8, 1), Err(EditError::Full));
    assert_eq!(tables.read_entry(second, 8), Ok(0));
    // What changes nothing needs no room.
    assert_eq!(tables.edit(first, 8, 1), Ok(()));
    let outside = PhysAddr::new(0x2000);
    assert_eq!(tables.edit(outside, 8, 1), Err(EditError::Outside(OutsideMemory(outside))));
    tables.forget_all();
    assert_eq!(tables.edit(second, 8, 1), Ok(()));
}

#[test]
fn a_cache_that_ignores_an_invalidation_is_found_out() {
    let mut tables = tables();
    let state = ControlState::long_mode(0x10_000);
    let mut mmu = CachedMmu::<FourLevel>::new(state, profile(Vendor::Amd));
    let mut reads = |tables: &mut Tables| {
        let outcome = mmu.access(tables, &user(Read, BYTE)).unwrap();
        let reached = outcome.physical_address().map(PhysAddr::get);
        reached.is_some_and(|address| ends(tables, Read, Vendor::Amd).contains(&Ok(address)))
    };
    assert!(reads(&mut tables));
    edit(&mut tables, PTE, 0x7027);
    assert!(reads(&mut tables), "the old translation is still allowed");
    // The software has invalidated everything; this cache was not told.
    tables.forget_all();
    assert!(!reads(&mut tables));
}
