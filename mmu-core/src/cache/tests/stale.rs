//! TLB-2 and TLB-5: what is allowed after edits without invalidation.

use super::{
    Access, AccessKind,
    AccessKind::{Fetch, Read, Write},
    BYTE, Bytes, ControlState, FourLevel, NEIGHBOUR, NEXT_PTE, PAGE, PDE, PDPTE, PML4E, PTE,
    PhysAddr, Profile, Ring, Rule, TableMemory, TableMemoryMut, Vec, Vendor, VirtAddr, bit,
};
use crate::cache::{CachedMmu, EditError, History};
use crate::memory::{OutsideMemory, Unshared};
use crate::outcome::{Outcome, Prediction};
use crate::walk::Mmu;

const A: u64 = bit::A;
const AD: u64 = bit::A | bit::D;

pub(super) type EditedTables = History<Unshared<Bytes<Vec<u8>>>, 8>;

/// The page in the frame at 0x5000 and its neighbour in that at 0x6000: present, writable, user. A
/// is set in every entry.
pub(super) fn tables() -> EditedTables {
    let mut memory = Unshared::new(Bytes::new(PhysAddr::new(0x10_000), vec![0; 0x8000]));
    for (at, entry) in [
        (PML4E, 0x11_027),
        (PDPTE, 0x12_027),
        (PDE, 0x13_027),
        (PTE, 0x5027),
        (NEXT_PTE, 0x6027),
        // In a table at 0x14000, to which no entry points yet.
        (0x14_020, 0x7027),
    ] {
        memory.write_entry(PhysAddr::new(at), 8, entry).unwrap();
    }

    EditedTables::new(memory)
}

pub(super) fn edit(tables: &mut EditedTables, at: u64, entry: u64) {
    tables.edit(PhysAddr::new(at), 8, entry).unwrap();
}

pub(super) fn profile(vendor: Vendor) -> Profile {
    Profile { vendor, physical_address_bits: 48, ..Profile::default() }
}

/// The predictions of all stale views.
pub(super) fn predictions(
    tables: &EditedTables,
    access: &Access,
    vendor: Vendor,
) -> Vec<Prediction> {
    predictions_in(ControlState::four_level(0x10_000), profile(vendor), tables, access)
}

/// The predictions of all stale views, in a control state and on a processor.
pub(super) fn predictions_in(
    state: ControlState,
    profile: Profile,
    tables: &EditedTables,
    access: &Access,
) -> Vec<Prediction> {
    let mmu = Mmu::<FourLevel>::new(state, profile);
    let mut all = Vec::new();
    mmu.predict_stale(tables, access, |prediction| all.push(prediction.clone())).unwrap();
    all
}

pub(super) fn user(kind: AccessKind, address: u64) -> Access {
    Access::new(kind, VirtAddr::new(address), 1, Ring::Three)
}

/// The possible ends of a user access, each once, with those of the entries in memory first: a
/// physical address or an error code.
pub(super) fn ends(
    tables: &EditedTables,
    kind: AccessKind,
    vendor: Vendor,
) -> Vec<Result<u64, u32>> {
    ends_of(&predictions(tables, &user(kind, BYTE), vendor))
}

/// The ends in these predictions, each once: a physical address or an error code.
pub(super) fn ends_of(predictions: &[Prediction]) -> Vec<Result<u64, u32>> {
    let mut ends = Vec::new();
    for prediction in predictions {
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

pub(super) fn assert_ends(tables: &EditedTables, kind: AccessKind, expected: &[Result<u64, u32>]) {
    for vendor in [Vendor::Intel, Vendor::Amd] {
        assert_eq!(ends(tables, kind, vendor), expected, "{vendor:?}");
    }
}

#[test]
fn tlb_2_without_an_edit_there_is_one_prediction() {
    let tables = tables();
    let mmu = Mmu::<FourLevel>::new(ControlState::four_level(0x10_000), profile(Vendor::Intel));

    for access in [user(Read, BYTE), user(Write, BYTE), user(Read, 1 << 47), user(Read, 0)] {
        let all = predictions(&tables, &access, Vendor::Intel);
        let expected = mmu.predict(&tables, &access).unwrap();
        assert_eq!(all.len(), 1);
        assert_eq!(all[0].alternatives, expected.alternatives);
        assert!(!all[0].rules.contains(Rule::Tlb2));
    }
}

#[test]
fn tlb_2_only_the_new_and_the_old_translation_are_allowed() {
    let mut tables = tables();
    edit(&mut tables, PTE, 0x7007);
    assert_ends(&tables, Read, &[Ok(0x7234), Ok(0x5234)]);

    edit(&mut tables, PTE, 0x1_8007);
    // A was never set in the entry in between, so it is not cached (TLB-1).
    assert_ends(&tables, Read, &[Ok(0x1_8234), Ok(0x5234)]);

    edit(&mut tables, PTE, 0x9027);
    edit(&mut tables, PTE, 0xa007);
    assert_ends(&tables, Read, &[Ok(0xa234), Ok(0x9234), Ok(0x5234)]);

    tables.forget_all();
    assert_ends(&tables, Read, &[Ok(0xa234)]);
}

#[test]
fn tlb_2_a_hit_sets_nothing_and_a_walk_sets_a() {
    let mut tables = tables();
    edit(&mut tables, PTE, 0x7007);

    let [new, old] = &predictions(&tables, &user(Read, BYTE), Vendor::Intel)[..] else {
        panic!("not two stale views")
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
    // The PDE points to another table; then the entries in both tables change.
    edit(&mut tables, PDE, 0x14_007);
    edit(&mut tables, PTE, 0x8007);
    edit(&mut tables, 0x14_020, 0x9007);
    // Through the new PDE: the new PTE of the new table. A is not set in the PDE, so no entry below
    // it is cached, and the old PTE is not allowed. Through the old PDE: both PTEs of the old
    // table.
    assert_ends(&tables, Read, &[Ok(0x9234), Ok(0x8234), Ok(0x5234)]);

    let all = predictions(&tables, &user(Read, BYTE), Vendor::Amd);
    let choice = |n: usize| all[n].alternatives[0].choice.map(|(_, member)| member);
    assert_eq!(choice(1), Some("cached upper entries"));
    assert_eq!(choice(2), Some("a cached translation"));
}

#[test]
fn tlb_2_new_upper_entries_do_not_lead_to_entries_replaced_before() {
    let mut tables = tables();
    // The entry of the new table is replaced before the PDE points to that table; A is set
    // everywhere.
    edit(&mut tables, 0x14_020, 0x9027);
    edit(&mut tables, PDE, 0x14_027);
    assert_ends(&tables, Read, &[Ok(0x9234), Ok(0x5234)]);

    // In the other order the replaced entry is allowed.
    let mut other_order = self::tables();
    edit(&mut other_order, PDE, 0x14_027);
    edit(&mut other_order, 0x14_020, 0x9027);
    assert_ends(&other_order, Read, &[Ok(0x9234), Ok(0x7234), Ok(0x5234)]);
}

#[test]
fn tlb_2_setting_p_needs_no_invalidation() {
    for (at, entry) in [(PML4E, 0x11_027), (PDPTE, 0x12_027), (PDE, 0x13_027), (PTE, 0x5027)] {
        for absent in [entry & !bit::P, 0, A, entry | bit::RESERVED] {
            let mut tables = tables();
            edit(&mut tables, at, absent);
            tables.forget_all();
            edit(&mut tables, at, entry);
            assert_ends(&tables, Read, &[Ok(0x5234)]);
        }
    }
}

#[test]
fn tlb_2_clearing_p_may_not_be_seen_at_once() {
    let mut tables = tables();
    edit(&mut tables, PTE, 0);
    assert_ends(&tables, Read, &[Err(4), Ok(0x5234)]);
    // A write must set D, as the old leaf is clean, and D is not set in an absent entry.
    assert_ends(&tables, Write, &[Err(4 + 2)]);
}

#[test]
fn tlb_2_a_write_uses_the_old_leaf_only_if_it_is_dirty() {
    let mut tables = tables();
    edit(&mut tables, PTE, 0x5067);
    tables.forget_all();
    edit(&mut tables, PTE, 0x7007);
    assert_ends(&tables, Write, &[Ok(0x7234), Ok(0x5234)]);

    let all = predictions(&tables, &user(Write, BYTE), Vendor::Intel);
    let of_leaf = |n: usize| {
        let leaf = all[n].alternatives[0].updates.iter().find(|update| update.at.get() == PTE);
        leaf.map(|leaf| leaf.must_set)
    };
    assert_eq!((of_leaf(0), of_leaf(1)), (Some(AD), None));
}

#[test]
fn tlb_2_added_rights_fault_at_most_once_and_not_on_amd() {
    for (kind, before, after, code) in [
        (Write, 0x5025, 0x5027, 4 + 2 + 1),
        (Read, 0x5023, 0x5027, 4 + 1),
        (Fetch, 1 << 63 | 0x5027, 0x5027, 16 + 4 + 1),
    ] {
        let mut tables = tables();
        edit(&mut tables, PTE, before);
        tables.forget_all();
        edit(&mut tables, PTE, after);
        assert_eq!(ends(&tables, kind, Vendor::Amd), [Ok(0x5234)]);

        for vendor in [Vendor::Intel, Vendor::Unknown] {
            assert_eq!(ends(&tables, kind, vendor), [Ok(0x5234), Err(code)]);
        }

        // The fault drops what is cached for the address (TLB-3).
        tables.forget(VirtAddr::new(BYTE));
        assert_eq!(ends(&tables, kind, Vendor::Intel), [Ok(0x5234)]);
    }
}

#[test]
fn tlb_2_invalidating_one_address_keeps_the_others() {
    let mut tables = tables();
    edit(&mut tables, PTE, 0x7007);
    tables.forget(VirtAddr::new(NEIGHBOUR));
    assert_ends(&tables, Read, &[Ok(0x7234), Ok(0x5234)]);

    tables.forget(VirtAddr::new(PAGE + 0xfff));
    assert_ends(&tables, Read, &[Ok(0x7234)]);

    // Entries that are edited afterwards may be stale again.
    tables.edit(PhysAddr::new(PTE), 8, 0x7027).unwrap();
    edit(&mut tables, PTE, 0x8007);
    assert_ends(&tables, Read, &[Ok(0x8234), Ok(0x7234)]);
}

#[test]
fn tlb_2_each_page_of_a_crossing_access_has_its_own_stale_view() {
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
    assert_eq!(faults, 2, "the second page faults with either frame of the first");
}

#[test]
fn tlb_5_is_reported_for_another_page_size() {
    let mut tables = tables();
    // A 2 MiB page at 4 MiB: bits 20:12 of the address are part of its offset.
    edit(&mut tables, PDE, 0x40_00a7);
    assert_ends(&tables, Read, &[Ok(0x40_4234), Ok(0x5234)]);

    let reported = |tables: &EditedTables| {
        let all = predictions(tables, &user(Read, BYTE), Vendor::Intel);
        all.iter().map(|prediction| prediction.rules.contains(Rule::Tlb5)).collect::<Vec<_>>()
    };
    assert_eq!(reported(&tables), [false, true]);

    tables.forget_all();
    edit(&mut tables, PDE, 0x60_00a7);
    assert_eq!(reported(&tables), [false, false], "another frame, the same size");
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
fn an_edit_that_does_not_fit_in_the_history_is_refused() {
    let mut tables = History::<_, 1>::new(Bytes::new(PhysAddr::new(0x1000), [0; 16]));
    let first = PhysAddr::new(0x1000);
    let second = PhysAddr::new(0x1008);
    tables.edit(first, 8, 1).unwrap();
    assert_eq!(tables.edit(second, 8, 1), Err(EditError::Full));
    assert_eq!(tables.read_entry(second, 8), Ok(0));

    // An edit that changes nothing needs no room.
    assert_eq!(tables.edit(first, 8, 1), Ok(()));

    let outside = PhysAddr::new(0x2000);
    assert_eq!(tables.edit(outside, 8, 1), Err(EditError::Memory(OutsideMemory(outside))));

    tables.forget_all();
    assert_eq!(tables.edit(second, 8, 1), Ok(()));
}

#[test]
fn a_cache_that_ignores_an_invalidation_is_detected() {
    let mut tables = tables();
    let state = ControlState::four_level(0x10_000);
    let mut mmu = CachedMmu::<FourLevel>::new(state, profile(Vendor::Amd));
    let mut is_allowed = |tables: &mut EditedTables| {
        let outcome = Outcome::of(mmu.translate(tables, &user(Read, BYTE))).unwrap();
        let reached = outcome.physical_address().map(PhysAddr::get);
        reached.is_some_and(|address| ends(tables, Read, Vendor::Amd).contains(&Ok(address)))
    };

    assert!(is_allowed(&mut tables));

    edit(&mut tables, PTE, 0x7027);
    assert!(is_allowed(&mut tables), "the old translation is still allowed");

    // The history is invalidated; the cache is not.
    tables.forget_all();
    assert!(!is_allowed(&mut tables));
}
