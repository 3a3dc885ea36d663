//! What is cached and how it is used: TLB-1 to TLB-3, rights of cached translations, and D.

use super::{
    Access,
    AccessKind::{Fetch, Read, Write},
    BYTE, CacheBench, Cr0, Cr4, Fault, NEIGHBOUR, NEXT_PTE, Outcome, PAGE, PATH, PDE, PML4E, PTE,
    Ring, Rule, Vec, Vector, VirtAddr, bit,
};

/// Error codes of user reads (SDM "Page-Fault Exceptions").
const NOT_PRESENT: u32 = 4;
const RESERVED: u32 = 8 + 4 + 1;

#[test]
fn tlb_1_an_entry_that_is_not_present_is_not_cached() {
    for at in PATH {
        let mut bench = CacheBench::new();
        let entry = bench.get(at);
        bench.set(at, entry & !bit::P);
        bench.faults(Read, BYTE, Ring::Three, NOT_PRESENT);
        assert_eq!(bench.cached(), (0, 0));
        assert!(bench.mmu.rules().contains(Rule::Tlb1));

        // Setting P needs no invalidation (TLB-2).
        bench.set(at, entry);
        bench.reads(BYTE, 0x5234);
    }
}

#[test]
fn tlb_1_an_entry_with_a_reserved_bit_is_not_cached() {
    for at in PATH {
        let mut bench = CacheBench::new();
        let entry = bench.get(at);
        bench.set(at, entry | bit::RESERVED);
        bench.faults(Read, BYTE, Ring::Three, RESERVED);
        assert_eq!(bench.cached(), (0, 0));
        bench.set(at, entry);
        bench.reads(BYTE, 0x5234);
    }
}

#[test]
fn tlb_1_a_is_set_in_memory_before_anything_is_cached() {
    let mut bench = CacheBench::new();
    bench.reads(BYTE, 0x5234);
    for (at, entry) in PATH.into_iter().zip([0x11_027, 0x12_027, 0x13_027, 0x5027]) {
        assert_eq!(bench.get(at), entry, "the entry at {at:#x}");
    }

    assert_eq!(bench.cached(), (1, 3));
    let entry = bench.mmu.tlb().iter().next().unwrap();
    assert_eq!((entry.page, entry.shift, entry.leaf), (PAGE >> 12, 12, 0x5027));
    assert!(!entry.dirty && !entry.global);

    // The neighbour is reached through the cached PDE, so A in the PDE is not set again.
    bench.set(PDE, 0x13_007);
    bench.reads(NEIGHBOUR, 0x6000);
    assert_eq!(bench.get(PDE), 0x13_007);
    assert_eq!(bench.get(NEXT_PTE), 0x6027);
}

#[test]
fn tlb_1_a_denied_access_caches_nothing() {
    let mut bench = CacheBench::new();
    bench.set(PTE, 0x5003);
    bench.faults(Read, BYTE, Ring::Three, 4 + 1);
    assert_eq!(bench.cached(), (0, 0));
    assert_eq!(PATH.map(|at| bench.get(at) & bit::A), [0; 4]);
}

#[test]
fn tlb_2_an_edit_is_not_seen_until_it_is_invalidated() {
    let mut bench = CacheBench::new();
    bench.reads(BYTE, 0x5234);
    bench.set(PTE, 0);
    bench.reads(BYTE, 0x5234);
    assert_eq!(bench.get(PTE), 0, "a hit does not write to memory");

    // The old PDE with a new PTE, although the PDE in memory is absent by now.
    bench.set(PDE, 0);
    bench.set(NEXT_PTE, 0x7007);
    bench.reads(NEIGHBOUR, 0x7000);
    bench.mmu.invlpg(VirtAddr::new(BYTE));
    bench.faults(Read, BYTE, Ring::Three, NOT_PRESENT);
}

#[test]
fn tlb_2_added_rights_cause_no_spurious_fault() {
    for at in PATH {
        let mut bench = CacheBench::new();
        let entry = bench.get(at);
        bench.set(at, entry & !bit::RW);
        bench.reads(BYTE, 0x5234);
        bench.set(at, entry);
        bench.writes(BYTE, 0x5234);
    }
}

#[test]
fn tlb_3_a_fault_drops_what_is_cached_for_its_address() {
    let mut bench = CacheBench::new();
    bench.set(PTE, 0x5005);
    bench.reads(BYTE, 0x5234);
    bench.reads(NEIGHBOUR, 0x6000);

    // The old frame is cached until a write faults.
    bench.set(PTE, 0x7005);
    bench.reads(BYTE, 0x5234);
    bench.faults(Write, BYTE, Ring::Three, 4 + 2 + 1);
    assert!(bench.mmu.rules().contains(Rule::Tlb3));
    bench.reads(BYTE, 0x7234);

    // The neighbour is still cached.
    bench.set(NEXT_PTE, 0);
    bench.reads(NEIGHBOUR, 0x6000);
}

#[test]
fn tlb_3_a_fault_drops_the_entries_above_too() {
    let mut bench = CacheBench::new();
    bench.reads(BYTE, 0x5234);
    assert_eq!(bench.cached(), (1, 3));
    bench.set(NEXT_PTE, 0);
    bench.faults(Read, NEIGHBOUR, Ring::Three, NOT_PRESENT);
    assert_eq!(bench.cached(), (1, 0), "the other page is still cached");

    // A new table is used, whatever the old one contains.
    bench.set(NEXT_PTE, 0x7007);
    bench.set(0x14_028, 0x8007);
    bench.set(PDE, 0x14_007);
    bench.reads(NEIGHBOUR, 0x8000);
}

#[test]
fn right_5_a_changed_pkru_applies_to_a_cached_translation() {
    let mut bench = CacheBench::with_cr4(Cr4::PKE);
    bench.set(PTE, 0x5007 | 3 << 59);
    bench.reads(BYTE, 0x5234);

    // Access-disable of key 3 is bit 6.
    bench.change(|state| state.pkru = 1 << 6);
    bench.faults(Read, BYTE, Ring::Three, 32 + 4 + 1);
    bench.reads(NEIGHBOUR, 0x6000);

    bench.change(|state| state.pkru = 0);
    bench.reads(BYTE, 0x5234);
}

#[test]
fn right_2_a_changed_wp_applies_to_a_cached_translation() {
    let mut bench = CacheBench::new();
    bench.set(PTE, 0x5005);
    bench.change(|state| state.cr0.remove(Cr0::WP));

    let outcome = bench.does(Write, BYTE, Ring::Zero);
    assert!(outcome.fault().is_none());
    assert_eq!(bench.get(PTE), 0x5065, "D is set");

    bench.change(|state| state.cr0.insert(Cr0::WP));
    bench.faults(Write, BYTE, Ring::Zero, 2 + 1);
    bench.reads(BYTE, 0x5234);

    bench.change(|state| state.cr0.remove(Cr0::WP));
    assert!(bench.does(Write, BYTE, Ring::Zero).fault().is_none());
}

#[test]
fn right_3_and_4_apply_to_a_cached_translation() {
    let mut bench = CacheBench::new();
    assert!(bench.does(Read, BYTE, Ring::Zero).fault().is_none());

    bench.change(|state| state.cr4.insert(Cr4::SMAP));
    bench.faults(Read, BYTE, Ring::Zero, 1);
    // AC belongs to the code that runs: STAC and CLAC drop nothing.
    bench.reads(BYTE, 0x5234);
    let cached = bench.cached();
    let with_ac = Access { ac: true, ..Access::read(VirtAddr::new(BYTE), 1, Ring::Zero) };
    assert!(bench.performs(&with_ac).fault().is_none());
    assert_eq!(bench.cached(), cached);
    bench.faults(Read, BYTE, Ring::Zero, 1);

    assert!(bench.does(Fetch, BYTE, Ring::Zero).fault().is_none());
    bench.change(|state| state.cr4.insert(Cr4::SMEP));
    bench.faults(Fetch, BYTE, Ring::Zero, 16 + 1);
    bench.reads(BYTE, 0x5234);
}

#[test]
fn right_1_a_cached_supervisor_page_is_denied_to_users() {
    let mut bench = CacheBench::new();
    bench.set(PDE, 0x13_003);
    assert!(bench.does(Read, BYTE, Ring::Zero).fault().is_none());
    bench.faults(Read, BYTE, Ring::Three, 4 + 1);
}

#[test]
fn right_7_the_cached_leaf_decides_whether_a_page_is_a_shadow_stack() {
    let mut bench = CacheBench::with_cr4(Cr4::CET);
    // Read-only and dirty in the leaf, writable above.
    bench.set(PTE, 0x5045);
    bench.reads(BYTE, 0x5234);

    let write = Access::write(VirtAddr::new(PAGE), 8, Ring::Three);
    let user_push = Access { shadow_stack: true, ..write };
    for _ in 0..2 {
        let outcome = Outcome::of(bench.mmu.translate(&bench.memory, &user_push)).unwrap();
        assert!(outcome.fault().is_none(), "{outcome:?}");
    }

    // It is not a supervisor shadow stack: P, W and SS.
    let supervisor_push = Access { ring: Ring::Zero, ..user_push };
    let outcome = Outcome::of(bench.mmu.translate(&bench.memory, &supervisor_push)).unwrap();
    assert_eq!(outcome.fault().unwrap().error_code, 64 + 2 + 1);
}

#[test]
fn ad_1_a_write_through_a_clean_entry_sets_d() {
    let mut bench = CacheBench::new();
    bench.reads(BYTE, 0x5234);
    assert_eq!(bench.get(PTE), 0x5027);
    bench.writes(BYTE, 0x5234);
    assert_eq!(bench.get(PTE), 0x5067);
    assert_eq!(bench.cached(), (1, 3), "the clean entry is replaced");

    // It is cached as dirty now: software that clears D must invalidate (TLB-2).
    bench.set(PTE, 0x5027);
    bench.writes(BYTE, 0x5234);
    assert_eq!(bench.get(PTE), 0x5027);

    bench.mmu.invlpg(VirtAddr::new(BYTE));
    bench.writes(BYTE, 0x5234);
    assert_eq!(bench.get(PTE), 0x5067);
}

#[test]
fn ad_1_a_write_through_a_clean_entry_uses_the_leaf_in_memory() {
    let mut bench = CacheBench::new();
    bench.reads(BYTE, 0x5234);
    bench.set(PTE, 0);
    bench.reads(BYTE, 0x5234);
    bench.faults(Write, BYTE, Ring::Three, NOT_PRESENT + 2);
    assert_eq!(bench.get(PTE), 0, "D is not set in an entry with P=0");

    // With another frame the write completes there.
    bench.set(PTE, 0x5007);
    bench.reads(BYTE, 0x5234);
    bench.set(PTE, 0x7007);
    bench.writes(BYTE, 0x7234);
    assert_eq!(bench.get(PTE), 0x7067);
    bench.reads(BYTE, 0x7234);
}

#[test]
fn ad_6_an_entry_used_at_two_levels_gets_both_updates() {
    let mut bench = CacheBench::new();
    // Entry 1 of the PML4 points to the PML4, and the address uses it at all four levels.
    bench.set(PML4E, 0x10_007);

    let address = 1 << 39 | 1 << 30 | 1 << 21 | 1 << 12 | 8;
    bench.writes(address, 0x10_008);
    assert_eq!(bench.get(PML4E), 0x10_067);
}

#[test]
fn ad_7_a_crossing_write_that_faults_leaves_its_first_page_dirty() {
    let mut bench = CacheBench::new();
    bench.set(NEXT_PTE, 0);

    let write = Access::write(VirtAddr::new(PAGE + 0xffe), 4, Ring::Three);
    let outcome = Outcome::of(bench.mmu.translate(&bench.memory, &write)).unwrap();
    let fault = outcome.fault().unwrap();
    assert_eq!((fault.error_code, fault.cr2.unwrap().get()), (NOT_PRESENT + 2, NEIGHBOUR));
    assert_eq!(bench.get(PTE) & bit::D, bit::D);

    bench.set(NEXT_PTE, 0x6007);
    let outcome = Outcome::of(bench.mmu.translate(&bench.memory, &write)).unwrap();
    let Outcome::Translated(spans) = outcome else { panic!("{outcome:?}") };
    let spans: Vec<_> = spans.iter().map(|span| (span.address.get(), span.len)).collect();
    assert_eq!(spans, [(0x5ffe, 2), (0x6000, 2)]);
}

#[test]
fn canon_1_an_address_that_is_not_canonical_caches_nothing() {
    let mut bench = CacheBench::new();
    let outcome = bench.does(Read, 1 << 47, Ring::Three);
    assert_eq!(outcome.fault().unwrap().vector, Vector::GeneralProtection);
    assert_eq!(bench.cached(), (0, 0));
}

/// The check comes before the walk, which would set D (ALIGN-1).
#[test]
fn align_1_a_misaligned_write_leaves_caches_and_tables_alone() {
    let mut bench = CacheBench::new();
    let write = Access { size: 8, ac: true, ..Access::write(VirtAddr::new(BYTE), 8, Ring::Three) };
    assert!(bench.performs(&write).fault().is_none(), "without CR0.AM");

    let mut bench = CacheBench::new();
    bench.change(|state| state.cr0.insert(Cr0::AM));
    let outcome = bench.performs(&write);
    assert_eq!(outcome.fault(), Some(&Fault::ALIGNMENT_CHECK));
    assert_eq!((bench.get(PTE), bench.cached()), (0x5007, (0, 0)));

    // The address is checked before.
    let beyond = Access { address: VirtAddr::new(0x8000_0000_0001), ..write };
    let outcome = bench.performs(&beyond);
    assert_eq!(outcome.fault().map(|fault| fault.vector), Some(Vector::GeneralProtection));

    let aligned = Access { address: VirtAddr::new(BYTE - 4), ..write };
    assert!(bench.performs(&aligned).fault().is_none());
}
