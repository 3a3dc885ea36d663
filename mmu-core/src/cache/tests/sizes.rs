//! The caches themselves: sizes, sets, replacement, page sizes.

use super::{
    Access, AccessKind::Read, BYTE, CacheBench, NEIGHBOUR, NEXT_PTE, PAGE, PDE, PDPTE, PTE, Ring,
    VirtAddr, bit,
};
use crate::address::PhysAddr;
use crate::cache::{CachedMmu, Invalidation, Tlb, TlbEntry};
use crate::outcome::{AccessError, Translation};
use crate::x86::format::FourLevel;
use crate::x86::regime::Regime;
use crate::x86::semantics::{Reference, Rights};
use std::vec::Vec;

fn entry(page: u64) -> TlbEntry {
    TlbEntry {
        page,
        shift: 12,
        pcid: 0,
        global: false,
        above: Rights::all(),
        rights: Rights::all(),
        leaf: 0,
        dirty: false,
    }
}

fn holds<const S: usize, const W: usize>(tlb: &Tlb<S, W>, page: u64, pcid: u16) -> bool {
    tlb.lookup(VirtAddr::new(page << 12), pcid).is_some_and(|entry| entry.page == page)
}

#[test]
fn a_full_set_replaces_its_entries_in_turn() {
    let mut tlb = Tlb::<4, 2>::new();
    // Pages 1, 5, 9 and 13 share set 1; page 2 is in another set.
    for page in [1, 5, 2, 9] {
        tlb.insert(entry(page));
    }

    assert_eq!([1, 5, 9, 2].map(|page| holds(&tlb, page, 0)), [false, true, true, true]);
    tlb.insert(entry(13));
    assert_eq!([1, 5, 9, 13].map(|page| holds(&tlb, page, 0)), [false, false, true, true]);

    // A free place is used first.
    tlb.invalidate(Invalidation::Address { address: VirtAddr::new(13 << 12), pcid: 0 });
    tlb.insert(entry(1));
    assert_eq!([1, 9, 13].map(|page| holds(&tlb, page, 0)), [true, true, false]);
}

#[test]
fn a_page_has_one_entry_per_pcid() {
    let mut tlb = Tlb::<4, 2>::new();
    tlb.insert(entry(1));
    tlb.insert(TlbEntry { dirty: true, ..entry(1) });
    assert_eq!(tlb.iter().count(), 1);
    assert!(tlb.lookup(VirtAddr::new(0x1000), 0).unwrap().dirty);
    tlb.insert(TlbEntry { pcid: 7, ..entry(1) });
    assert_eq!(tlb.iter().count(), 2);
    assert!(holds(&tlb, 1, 7) && !holds(&tlb, 1, 8));
}

#[test]
fn a_global_entry_serves_every_pcid() {
    let mut tlb = Tlb::<4, 2>::new();
    tlb.insert(TlbEntry { global: true, pcid: 3, ..entry(1) });
    assert!(holds(&tlb, 1, 3) && holds(&tlb, 1, 8));

    // A translation of the page with another PCID replaces it.
    tlb.insert(TlbEntry { pcid: 8, ..entry(1) });
    assert!(!holds(&tlb, 1, 3) && holds(&tlb, 1, 8));
}

#[test]
fn large_pages_are_one_entry() {
    for (at, bytes, frame, above) in
        [(PDE, 2 << 20, 0x4000_0000_u64, 2), (PDPTE, 1 << 30, 0x8000_0000, 1)]
    {
        let mut bench = CacheBench::new();
        bench.set(at, frame | 0x87);
        let base = PAGE & !(bytes - 1);
        bench.reads(BYTE, frame + (BYTE & (bytes - 1)));
        assert_eq!(bench.cached(), (1, above));
        bench.set(at, 0);
        for offset in [0, bytes - 1] {
            bench.reads(base + offset, frame + offset);
        }
        // INVLPG of any address in the page drops it.
        bench.mmu.invlpg(VirtAddr::new(base + bytes - 1));
        bench.faults(Read, BYTE, Ring::Three, 4);
    }
}

#[test]
fn tlb_5_of_two_page_sizes_the_smaller_is_used() {
    let mut tlb = Tlb::<1, 2>::new();
    tlb.insert(TlbEntry { shift: 21, ..entry(0) });
    tlb.insert(entry(1));
    assert_eq!(tlb.lookup(VirtAddr::new(0x1000), 0).unwrap().shift, 12);
    assert_eq!(tlb.lookup(VirtAddr::new(0x2000), 0).unwrap().shift, 21);

    // INVLPG drops both.
    tlb.invalidate(Invalidation::Page { address: VirtAddr::new(0x1000), pcid: 0 });
    assert_eq!(tlb.iter().count(), 0);
}

#[test]
fn caches_of_size_0_cache_nothing() {
    let mut bench = CacheBench::new();
    let Regime { state, profile, .. } = *bench.mmu.mmu().regime();
    let mut off =
        CachedMmu::<FourLevel, Reference, 1, 0, 0>::with_semantics(Reference, state, profile);
    let read = Access::read(VirtAddr::new(BYTE), 1, Ring::Three);

    for frame in [0x5000, 0x7000] {
        bench.set(PTE, frame | 7);
        let translated = off.translate(&bench.memory, &read).unwrap();
        assert_eq!(translated.address(), PhysAddr::new(frame + 0x234));
    }

    assert_eq!((off.tlb().iter().count(), off.structures().iter().count()), (0, 0));
    off.invalidate(Invalidation::Everything);
}

#[test]
fn an_entry_is_as_small_as_documented() {
    assert_eq!(size_of::<Tlb<16, 3>>(), 17 * 64);
}

/// What is asked for beforehand changes no answer: a fault in the list drops what is cached, and the same
/// address behind it is walked again.
#[test]
fn a_list_is_one_address_after_the_other() {
    let mut bench = CacheBench::new();
    bench.writes(BYTE, 0x5234);
    bench.set(PTE, 0x7001);

    // The TLB still has the page, for users and for writes.
    let list = [BYTE, NEIGHBOUR, 0x1000, BYTE].map(VirtAddr::new);
    let write = Access::write(VirtAddr::new(0), 1, Ring::Three);
    let mut found = Vec::new();
    let mut keep = |_, result: Result<Translation, AccessError>| {
        found.push(result.map(|page| page.address.get()).ok());
    };
    bench.mmu.walk_batch(&bench.memory, &list, &write, &mut keep);
    bench.mmu.invlpg(VirtAddr::new(BYTE));
    bench.mmu.walk_batch(&bench.memory, &list, &write, keep);

    let first = [Some(0x5234), Some(0x6000), None, Some(0x5234)];
    assert_eq!(found[..4], first);
    assert_eq!(found[4..], [None, Some(0x6000), None, None]);
    assert_eq!(bench.get(NEXT_PTE), 0x6007 + bit::A + bit::D);
}
