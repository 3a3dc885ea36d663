//! TLB-3 and TLB-4: what cannot be stale any more after INVLPG, a page fault or MOV to CR3. The caches
//! themselves are tested in `invalidations`.

use super::{
    AccessKind,
    AccessKind::{Read, Write},
    BYTE, ControlState, Cr4, NEIGHBOUR, PDE, PDPTE, PTE, Vec, Vendor, VirtAddr,
    stale::{EditedTables, assert_ends, edit, ends_of, predictions_in, profile, tables, user},
};
use crate::x86::state::Efer;

/// The 2 MiB around the page.
const LARGE: u64 = BYTE & !0x1f_ffff;
/// The 1 GiB around it.
const HUGE: u64 = BYTE & !0x3fff_ffff;

/// A 2 MiB page at 4 MiB, accessed and dirty, that has been moved to 6 MiB.
fn moved_large_page() -> EditedTables {
    let mut tables = tables();
    edit(&mut tables, PDE, 0x40_00e7);
    tables.forget_all();
    edit(&mut tables, PDE, 0x60_00e7);
    assert_ends(&tables, Read, &[Ok(0x60_4234), Ok(0x40_4234)]);
    tables
}

/// SDM "Details of TLB Use": INVLPG and page faults "invalidate all TLB entries corresponding to the
/// translation specified by the paging structures". APM "INVLPG": "regardless of the page size".
#[test]
fn tlb_4_the_whole_of_a_large_page_is_dropped() {
    for inside in [LARGE, LARGE + 0x1000, LARGE + 0x1f_ffff] {
        let mut tables = moved_large_page();
        tables.forget(VirtAddr::new(inside));
        assert_ends(&tables, Read, &[Ok(0x60_4234)]);
    }
    for outside in [LARGE - 1, LARGE + 0x20_0000] {
        let mut tables = moved_large_page();
        tables.forget(VirtAddr::new(outside));
        assert_ends(&tables, Read, &[Ok(0x60_4234), Ok(0x40_4234)]);
    }

    // What is edited afterwards may be stale again.
    let mut tables = moved_large_page();
    tables.forget(VirtAddr::new(LARGE));
    edit(&mut tables, PDE, 0x80_00e7);
    assert_ends(&tables, Read, &[Ok(0x80_4234), Ok(0x60_4234)]);
}

/// APM "Upper Address Ignore": bits 63:57 are not translated, so no cache knows them. The APM does not
/// say whether CR2 holds them.
#[test]
fn canon_4_a_tag_in_cr2_does_not_hide_that_a_large_page_is_dropped() {
    let mut state = ControlState::four_level(0x10_000);
    state.efer |= Efer::UAIE;
    let tagged = user(Read, BYTE | 1 << 60);
    let ends_in = |tables: &EditedTables| {
        ends_of(&predictions_in(state, profile(Vendor::Amd), tables, &tagged))
    };

    let mut tables = moved_large_page();
    assert_eq!(ends_in(&tables), [Ok(0x60_4234), Ok(0x40_4234)]);
    tables.forget(VirtAddr::new(LARGE));
    assert_eq!(ends_in(&tables), [Ok(0x60_4234)]);
}

#[test]
fn tlb_4_the_whole_of_a_1_gib_page_is_dropped() {
    for (address, is_dropped) in
        [(HUGE, true), (HUGE + 0x3fff_ffff, true), (HUGE + 0x4000_0000, false), (HUGE - 1, false)]
    {
        let mut tables = tables();
        edit(&mut tables, PDPTE, 0x4000_00e7);
        tables.forget_all();
        edit(&mut tables, PDPTE, 0x8000_00e7);
        tables.forget(VirtAddr::new(address));

        let both = [Ok(0x8060_4234), Ok(0x4060_4234)];
        assert_ends(&tables, Read, if is_dropped { &both[..1] } else { &both });
    }
}

/// P, W and U: error code 7.
#[test]
fn tlb_4_the_rights_of_a_large_page_are_dropped_with_it() {
    let mut tables = tables();
    edit(&mut tables, PDE, 0x40_00e7);
    tables.forget_all();
    edit(&mut tables, PDE, 0x40_00e5);
    assert_ends(&tables, Write, &[Err(7), Ok(0x40_4234)]);
    tables.forget(VirtAddr::new(LARGE));
    assert_ends(&tables, Write, &[Err(7)]);
}

/// The size that counts is that of the page that was cached.
#[test]
fn tlb_4_the_size_is_that_of_the_cached_page() {
    // A large page before, a table now.
    let mut split = tables();
    edit(&mut split, PDE, 0x40_00e7);
    split.forget_all();
    edit(&mut split, PDE, 0x13_027);
    split.forget(VirtAddr::new(NEIGHBOUR));
    assert_ends(&split, Read, &[Ok(0x5234)]);

    // A table before, a large page now: 4 KiB pages of other addresses stay.
    let mut joined = tables();
    edit(&mut joined, PDE, 0x40_00e7);
    joined.forget(VirtAddr::new(NEIGHBOUR));
    assert_ends(&joined, Read, &[Ok(0x40_4234), Ok(0x5234)]);
}

/// The ends of a user access to the page with CR4.PGE set.
fn with_pge(tables: &EditedTables, kind: AccessKind) -> Vec<Result<u64, u32>> {
    let mut state = ControlState::four_level(0x10_000);
    state.cr4 |= Cr4::PGE;
    ends_of(&predictions_in(state, profile(Vendor::Intel), tables, &user(kind, BYTE)))
}

/// The page with this PTE, which becomes another one before MOV to CR3.
fn edited_before_mov_to_cr3(before: u64, after: u64) -> EditedTables {
    let mut tables = tables();
    edit(&mut tables, PTE, before);
    tables.forget_all();
    edit(&mut tables, PTE, after);
    tables.forget_non_global();
    tables
}

/// SDM "Operations that Invalidate TLBs and Paging-Structure Caches": MOV to CR3 drops "all TLB
/// entries [...] except those for global pages". G is bit 8.
#[test]
fn tlb_4_mov_to_cr3_drops_translations_without_g() {
    for after in [0x7027, 0x7127] {
        assert_eq!(with_pge(&edited_before_mov_to_cr3(0x5027, after), Read), [Ok(0x7234)]);
        let global = edited_before_mov_to_cr3(0x5127, after);
        assert_eq!(with_pge(&global, Read), [Ok(0x7234), Ok(0x5234)]);
    }

    // What is edited afterwards may be stale again.
    let mut tables = edited_before_mov_to_cr3(0x5027, 0x7027);
    edit(&mut tables, PTE, 0x9027);
    assert_eq!(with_pge(&tables, Read), [Ok(0x9234), Ok(0x7234)]);
}

/// SDM "Global Pages": G is ignored while CR4.PGE=0.
#[test]
fn tlb_4_without_pge_no_translation_is_global() {
    assert_ends(&edited_before_mov_to_cr3(0x5127, 0x7127), Read, &[Ok(0x7234)]);
}

/// The same section: MOV to CR3 drops "all entries in all paging-structure caches". So upper entries
/// that have been replaced serve only the translations that were in the TLB as a whole.
#[test]
fn tlb_4_mov_to_cr3_drops_upper_entries() {
    let with_leaf = |leaf| {
        let mut tables = tables();
        edit(&mut tables, PTE, leaf);
        tables.forget_all();
        edit(&mut tables, PDE, 0x14_027);
        tables.forget_non_global();
        tables
    };
    // The new PDE leads to the PTE 0x7027 in another table.
    assert_eq!(with_pge(&with_leaf(0x5027), Read), [Ok(0x7234)]);

    let mut global = with_leaf(0x5127);
    assert_eq!(with_pge(&global, Read), [Ok(0x7234), Ok(0x5234)]);

    // Nothing leads to an entry that came later.
    edit(&mut global, PTE, 0x9127);
    assert_eq!(with_pge(&global, Read), [Ok(0x7234), Ok(0x5234)]);

    // A in the leaf was never set, so it was not in the TLB.
    assert_eq!(with_pge(&with_leaf(0x5107), Read), [Ok(0x7234)]);
}

/// To set D the processor walks again, for which the upper entries are gone.
#[test]
fn tlb_4_after_mov_to_cr3_a_write_needs_a_global_leaf_with_d() {
    for (leaf, ends) in [(0x5127, &[Ok(0x7234)][..]), (0x5167, &[Ok(0x7234), Ok(0x5234)][..])] {
        let mut tables = tables();
        edit(&mut tables, PTE, leaf);
        tables.forget_all();
        edit(&mut tables, PDE, 0x14_027);
        tables.forget_non_global();
        assert_eq!(with_pge(&tables, Write), ends, "{leaf:#x}");
    }
}
