//! The rules that forbid what an earlier value of an entry leads to: each is reported where it alone makes
//! a difference, and only there.

use super::{
    AccessKind,
    AccessKind::{Read, Write},
    BYTE, ControlState, FourLevel, NEIGHBOUR, NEXT_PTE, PDE, PDPTE, PTE, Rule, Vec, Vendor,
    VirtAddr,
    stale::{EditedTables, assert_ends, edit, profile, tables, user},
};
use crate::cache::{Invalidation, RegisterWrite};
use crate::walk::Mmu;
use crate::x86::state::Efer;

const FAR: VirtAddr = VirtAddr::new(0x7000_0000_0000);
/// Not even with 57 bits.
const NOT_CANONICAL: VirtAddr = VirtAddr::new(1 << 56);

/// The rules of caching that decide about a user access to the page.
fn rules(tables: &EditedTables, kind: AccessKind, vendor: Vendor) -> Vec<Rule> {
    let mmu = Mmu::<FourLevel>::new(ControlState::four_level(0x10_000), profile(vendor));
    let predicted = mmu.predict_after_edits(tables, &user(kind, BYTE)).unwrap();
    let of_caching =
        [Rule::Tlb1, Rule::Tlb2, Rule::Tlb3, Rule::Tlb4, Rule::Tlb5, Rule::Ad4, Rule::Canon3];
    of_caching.into_iter().filter(|rule| predicted.rules.contains(*rule)).collect()
}

#[track_caller]
fn assert_rules(tables: &EditedTables, kind: AccessKind, expected: &[Rule]) {
    for vendor in [Vendor::Intel, Vendor::Amd] {
        assert_eq!(rules(tables, kind, vendor), expected, "{vendor:?}");
    }
}

/// The page with this PTE, which then becomes another one.
fn edited(before: u64, after: u64) -> EditedTables {
    let mut tables = tables();
    edit(&mut tables, PTE, before);
    tables.forget_all();
    edit(&mut tables, PTE, after);
    tables
}

fn invlpg(tables: &mut EditedTables, state: &ControlState, address: VirtAddr) {
    tables.invlpg::<FourLevel>(state, &profile(Vendor::Intel), address);
}

#[test]
fn no_rule_of_caching_decides_without_an_edit() {
    let mut tables = tables();
    invlpg(&mut tables, &ControlState::four_level(0x10_000), VirtAddr::new(BYTE));
    assert_rules(&tables, Read, &[]);
}

#[test]
fn tlb_1_decides_if_a_was_clear_or_p() {
    // Without A; not present; with the reserved bit 51.
    for before in [0x5007, 0, 0x5026, 1 << 51 | 0x5027] {
        assert_rules(&edited(before, 0x7027), Read, &[Rule::Tlb1]);
    }
    assert_rules(&edited(0x5027, 0x7027), Read, &[Rule::Tlb2]);

    // The same page either way: TLB-1 makes no difference.
    assert_rules(&edited(0x5007, 0x5027), Read, &[]);
    assert_rules(&edited(0x5007, 0x5007 | 1 << 9), Read, &[Rule::Tlb1]);
}

#[test]
fn tlb_3_decides_if_only_a_page_fault_dropped_the_old_translation() {
    let state = ControlState::four_level(0x10_000);
    let mut faulted = edited(0x5027, 0x7027);
    faulted.page_fault(&state, VirtAddr::new(BYTE));
    assert_rules(&faulted, Read, &[Rule::Tlb3]);

    let mut elsewhere = edited(0x5027, 0x7027);
    elsewhere.page_fault(&state, VirtAddr::new(NEIGHBOUR));
    assert_rules(&elsewhere, Read, &[Rule::Tlb2]);

    // It would have been dropped anyway.
    invlpg(&mut faulted, &state, VirtAddr::new(BYTE));
    assert_rules(&faulted, Read, &[]);
}

/// A cached denial: an Intel processor reports it unless it was dropped, an AMD processor never does.
#[test]
fn tlb_2_and_3_decide_about_a_spurious_fault() {
    let mut relaxed = edited(0x5025, 0x5027);
    assert_rules(&relaxed, Write, &[Rule::Tlb2]);

    relaxed.page_fault(&ControlState::four_level(0x10_000), VirtAddr::new(BYTE));
    assert_eq!(rules(&relaxed, Write, Vendor::Intel), [Rule::Tlb3]);
    assert_eq!(rules(&relaxed, Write, Vendor::Amd), []);
}

#[test]
fn tlb_4_decides_if_only_an_instruction_dropped_the_old_translation() {
    let state = ControlState::four_level(0x10_000);
    let mut dropped = edited(0x5027, 0x7027);
    invlpg(&mut dropped, &state, VirtAddr::new(BYTE));
    assert_rules(&dropped, Read, &[Rule::Tlb4]);

    let mut reloaded = edited(0x5127, 0x7027);
    let write = RegisterWrite::Cr3(0x10_000);
    reloaded.write_register(write, &state, &state, Vendor::Intel).unwrap();
    assert_rules(&reloaded, Read, &[Rule::Tlb4]);

    let mut elsewhere = edited(0x5027, 0x7027);
    invlpg(&mut elsewhere, &state, FAR);
    assert_rules(&elsewhere, Read, &[Rule::Tlb2]);
}

/// A write must set D, for which the leaf is read again.
#[test]
fn ad_4_decides_if_the_old_leaf_was_clean() {
    assert_rules(&edited(0x5027, 0x7027), Write, &[Rule::Ad4]);
    assert_rules(&edited(0x5067, 0x7027), Write, &[Rule::Tlb2]);
    assert_rules(&edited(0x5027, 0x7026), Write, &[Rule::Ad4]);
}

/// SDM "INVLPG": with a non-canonical address it is the same as a NOP.
#[test]
fn canon_3_decides_if_invlpg_leaves_an_old_translation() {
    let state = ControlState::four_level(0x10_000);
    let mut tables = edited(0x5027, 0x7027);
    invlpg(&mut tables, &state, NOT_CANONICAL);
    assert_rules(&tables, Read, &[Rule::Tlb2, Rule::Canon3]);

    // A write uses nothing old.
    assert_rules(&tables, Write, &[Rule::Ad4]);

    // What is cached can have been cached afterwards.
    let mut before = self::tables();
    edit(&mut before, NEXT_PTE, 0x9027);
    invlpg(&mut before, &state, NOT_CANONICAL);
    edit(&mut before, PTE, 0x7027);
    assert_rules(&before, Read, &[Rule::Tlb2]);

    invlpg(&mut tables, &state, VirtAddr::new(BYTE));
    assert_rules(&tables, Read, &[Rule::Tlb4]);
}

/// SDM "Operations that Invalidate TLBs and Paging-Structure Caches": INVLPG "also invalidates all entries
/// in all paging-structure caches associated with the current PCID, regardless of the linear addresses to
/// which they correspond". APM "Invalidation of Cached Upper-level Entries by INVLPG": with EFER.TCE "only
/// those upper-level entries that lead to the target PTE".
#[test]
fn tlb_4_invlpg_drops_the_upper_entries_of_every_address() {
    let edited = |state: &ControlState, address| {
        let mut tables = tables();
        edit(&mut tables, PDE, 0x14_027);
        invlpg(&mut tables, state, address);
        // In the table to which the old PDE pointed.
        edit(&mut tables, PTE, 0x9027);
        tables
    };
    let mut state = ControlState::four_level(0x10_000);
    // The old translation is in the TLB as a whole.
    assert_ends(&edited(&state, FAR), Read, &[Ok(0x7234), Ok(0x5234)]);
    assert_ends(&edited(&state, VirtAddr::new(BYTE)), Read, &[Ok(0x7234)]);

    state.efer |= Efer::TCE;
    assert_ends(&edited(&state, FAR), Read, &[Ok(0x7234), Ok(0x9234), Ok(0x5234)]);
    // It leads to the neighbour, too.
    assert_ends(&edited(&state, VirtAddr::new(NEIGHBOUR)), Read, &[Ok(0x7234), Ok(0x5234)]);
}

/// A page fault drops the upper entries "that would be used for that linear address" only.
#[test]
fn tlb_3_a_page_fault_keeps_the_upper_entries_of_other_addresses() {
    for (address, ends) in [
        (FAR.get(), &[Ok(0x7234), Ok(0x9234), Ok(0x5234)][..]),
        (NEIGHBOUR, &[Ok(0x7234), Ok(0x5234)]),
        (BYTE, &[Ok(0x7234)]),
    ] {
        let mut tables = tables();
        edit(&mut tables, PDE, 0x14_027);
        tables.page_fault(&ControlState::four_level(0x10_000), VirtAddr::new(address));
        edit(&mut tables, PTE, 0x9027);
        assert_ends(&tables, Read, ends);
    }
}

/// A PDE that was cached leads on, whatever became of the entries above it: a page fault elsewhere drops
/// them, not the PDE.
#[test]
fn tlb_3_an_entry_that_is_left_leads_on_without_those_above_it() {
    const BESIDE: VirtAddr = VirtAddr::new(BYTE ^ 1 << 21);

    let mut tables = tables();
    edit(&mut tables, PDPTE, 0);
    tables.page_fault(&ControlState::four_level(0x10_000), BESIDE);
    // Without A, so it is in no TLB yet.
    edit(&mut tables, PTE, 0x9007);

    assert_ends(&tables, Read, &[Err(0b100), Ok(0x9234), Ok(0x5234)]);
    assert_ends(&tables, Write, &[Err(0b110), Ok(0x9234)]);
}

/// A history that is full forgets what was before everything was invalidated.
#[test]
fn an_invalidation_of_everything_makes_room() {
    let mut tables = tables();
    for number in 0..40 {
        edit(&mut tables, PTE, 0x5027 | number << 9 & 0xe00);
        edit(&mut tables, PTE, 0x6027);
        tables.invalidate(Invalidation::Everything);
    }
    edit(&mut tables, PTE, 0x7027);
    assert_ends(&tables, Read, &[Ok(0x7234), Ok(0x6234)]);
}
