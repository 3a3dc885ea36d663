//! TLB-1 and TLB-2: what A and D, and flags that may be set or not, mean for what can be cached.

use super::{
    AccessKind::{Read, Write},
    BYTE, Bytes, ControlState, PDE, PTE, PhysAddr, Rule, Vec, Vendor, VirtAddr, bit,
    stale::{
        EditedTables, assert_ends, edit, ends, ends_of, predictions, predictions_in, profile,
        tables, user,
    },
};
use crate::cache::{EditError, History};
use crate::memory::TableMemory;
use crate::outcome::Prediction;
use crate::x86::profile::{Features, Profile};

/// The page tables with another entry, of which nothing older is cached.
fn tables_with(at: u64, entry: u64) -> EditedTables {
    let mut tables = tables();
    edit(&mut tables, at, entry);
    tables.forget_all();
    tables
}

fn may_set(tables: &mut EditedTables, at: u64, flags: u64) {
    tables.may_set(PhysAddr::new(at), flags).unwrap();
}

/// SDM "Details of TLB Use": nothing is cached unless A is 1. An access that faults may have set A in
/// entries that were good (AD-2, AD-3, AD-7), so they may have been cached since.
#[test]
fn tlb_1_a_leaf_in_which_a_may_have_been_set_may_be_cached() {
    let mut unused = tables_with(PTE, 0x5007);
    edit(&mut unused, PTE, 0x7007);
    assert_ends(&unused, Read, &[Ok(0x7234)]);

    let mut tables = tables_with(PTE, 0x5007);
    may_set(&mut tables, PTE, bit::A);
    edit(&mut tables, PTE, 0x7007);
    assert_ends(&tables, Read, &[Ok(0x7234), Ok(0x5234)]);
    // D was not set: a write sets it in memory, and uses what is there.
    assert_ends(&tables, Write, &[Ok(0x7234)]);
}

/// AD-7: a write that faults on its second page may have set A and D of the first.
#[test]
fn tlb_2_a_write_may_use_a_leaf_in_which_d_may_have_been_set() {
    let mut tables = tables_with(PTE, 0x5007);
    may_set(&mut tables, PTE, bit::A | bit::D);
    edit(&mut tables, PTE, 0x5006);
    // P=0, W and U: bits 1 and 2.
    assert_ends(&tables, Write, &[Err(6), Ok(0x5234)]);
}

#[test]
fn tlb_1_upper_entries_in_which_a_may_have_been_set_may_lead_to_a_cached_leaf() {
    let mut tables = tables_with(PDE, 0x13_007);
    edit(&mut tables, PTE, 0x7007);
    assert_ends(&tables, Read, &[Ok(0x7234)]);
    may_set(&mut tables, PDE, bit::A);
    assert_ends(&tables, Read, &[Ok(0x7234), Ok(0x5234)]);

    // In this way the PDE was cached, so A is set in it.
    let all = predictions(&tables, &user(Read, BYTE), Vendor::Intel);
    let pde = all[1].alternatives[0].updates.iter().find(|update| update.at.get() == PDE);
    assert_eq!(pde.map(|pde| pde.must_set), Some(bit::A));
}

/// SDM "Accessed and Dirty Flags": after software has cleared A, the processor might not set it
/// again, because it uses the cached entry. The store clears A even if the value has it clear, too.
#[test]
fn tlb_2_a_store_of_the_same_value_clears_what_may_have_been_set() {
    let mut tables = tables_with(PTE, 0x5007);
    may_set(&mut tables, PTE, bit::A);
    edit(&mut tables, PTE, 0x5007);
    assert_eq!(tables.maybe_set(PhysAddr::new(PTE)), 0);
    assert_ends(&tables, Read, &[Ok(0x5234)]);

    let sets_a = |prediction: &Prediction| {
        let updates = &prediction.alternatives[0].updates;
        updates.iter().any(|update| update.at.get() == PTE && update.must_set == bit::A)
    };
    let all = predictions(&tables, &user(Read, BYTE), Vendor::Intel);
    assert_eq!(all.iter().map(sets_a).collect::<Vec<_>>(), [true, false]);

    // A store of the flags that may have been set replaces nothing that could be cached.
    let mut tables = tables_with(PTE, 0x5007);
    may_set(&mut tables, PTE, bit::A);
    edit(&mut tables, PTE, 0x5027);
    assert_eq!(predictions(&tables, &user(Read, BYTE), Vendor::Intel).len(), 1);
    assert_eq!(tables.read_entry(PhysAddr::new(PTE), 8), Ok(0x5027));
}

#[test]
fn tlb_1_a_flag_that_may_be_set_now_was_not_set_in_an_older_entry() {
    let mut tables = tables_with(PTE, 0x5007);
    edit(&mut tables, PTE, 0x7007);
    may_set(&mut tables, PTE, bit::A | bit::D);
    assert_ends(&tables, Read, &[Ok(0x7234)]);
}

/// An invalidation changes no entry in memory.
#[test]
fn flags_that_may_have_been_set_stay_open_after_an_invalidation() {
    let mut tables = tables_with(PTE, 0x5007);
    may_set(&mut tables, PTE, bit::A);
    tables.forget_all();
    assert_eq!(tables.maybe_set(PhysAddr::new(PTE)), bit::A);
}

#[test]
fn flags_that_do_not_fit_in_the_history_are_refused() {
    let mut tables = History::<_, 1>::new(Bytes::new(PhysAddr::new(0x1000), [0; 16]));
    let first = PhysAddr::new(0x1000);
    let second = PhysAddr::new(0x1008);
    tables.may_set(first, bit::A).unwrap();
    tables.may_set(first, bit::D).unwrap();
    assert_eq!(tables.maybe_set(first), bit::A | bit::D);
    assert_eq!(tables.may_set(second, 0), Ok(()));
    assert_eq!(tables.may_set(second, bit::A), Err(EditError::Full));
}

/// A processor without CET.
fn without_cet(vendor: Vendor) -> Profile {
    let profile = profile(vendor);
    Profile { features: profile.features - Features::CET_SS, ..profile }
}

/// SDM "Accessed and Dirty Flags": if R/W is cleared while a page is written, "execution on some
/// processors may result in the entry's dirty flag being set [...] and the entry's R/W flag being
/// clear [...]. This will never occur on a processor that supports control-flow enforcement
/// technology (CET)." The APM does not say. P, W and U: error code 7.
#[test]
fn tlb_2_without_cet_a_write_may_set_d_after_r_w_was_cleared() {
    for vendor in Vendor::ALL {
        let state = ControlState::four_level(0x10_000);
        let mut tables = tables_with(PTE, 0x5027);
        edit(&mut tables, PTE, 0x5025);
        assert_eq!(ends(&tables, Write, vendor), [Err(7)], "with CET");

        let mut all = predictions_in(state, without_cet(vendor), &tables, &user(Write, BYTE));
        assert_eq!(ends_of(&all), [Err(7), Ok(0x5234)], "{vendor:?}");
        let way = &all[1].alternatives[0];
        let member = "D is set in an entry whose R/W was cleared";
        assert_eq!(way.choice, Some((Rule::Tlb2, member)));
        let leaf = way.updates.iter().find(|update| update.at.get() == PTE).unwrap();
        assert!(leaf.allows(0x5065) && !leaf.allows(0x5025) && !leaf.allows(0x5067));

        // A read needs no D.
        all = predictions_in(state, without_cet(vendor), &tables, &user(Read, BYTE));
        assert_eq!(ends_of(&all), [Ok(0x5234)]);

        tables.forget(VirtAddr::new(BYTE));
        all = predictions_in(state, without_cet(vendor), &tables, &user(Write, BYTE));
        assert_eq!(ends_of(&all), [Err(7)]);
    }
}

/// The sentence is about R/W. When more has changed, the entry is read again (AD-4).
#[test]
fn ad_4_d_is_set_only_in_an_entry_that_lost_nothing_but_r_w() {
    let state = ControlState::four_level(0x10_000);
    for (entry, code) in [
        (0x7025, 7),                  // another frame
        (0x5021, 7),                  // U/S cleared too
        (0x5024, 6),                  // P cleared too
        (bit::RESERVED | 0x5025, 15), // a reserved bit set
    ] {
        let mut tables = tables_with(PTE, 0x5027);
        edit(&mut tables, PTE, entry);
        let all = predictions_in(state, without_cet(Vendor::Amd), &tables, &user(Write, BYTE));
        assert_eq!(ends_of(&all), [Err(code)], "{entry:#x}");
    }
}
