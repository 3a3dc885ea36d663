//! TLB-4 and CANON-3: what each instruction and register change drops from the caches, and what it
//! keeps.

use super::{
    AccessKind::Read, BYTE, CacheBench, Cached, ControlState, Cr0, Cr4, Features, Invalidation,
    NEIGHBOUR, NEXT_PTE, PDE, PDPTE, PML4E, PTE, Profile, RegisterWrite, Ring, Rule, Vector,
    Vendor, VirtAddr, bit,
};
use crate::cache::{invalidated_by, must_be_invalidated_by};
use crate::x86::format::{Bits32, FiveLevel, FourLevel, Pae};
use crate::x86::regime::Regime;
use crate::x86::state::Efer;

const NO_FLUSH: u64 = 1 << 63;

/// The page is cached with PCID 0, and if there are PCIDs, with PCID 5 too. Its neighbour is cached
/// as a global page. All PCIDs use the same root. Memory no longer maps either page.
fn cached(cr4: Cr4) -> CacheBench {
    let mut bench = CacheBench::with_cr4(cr4 | Cr4::PGE);
    bench.set(NEXT_PTE, 0x6007 | bit::G);
    for pcid in [0, 5] {
        if cr4.contains(Cr4::PCIDE) {
            bench.mov_to_cr3(0x10_000 | pcid | NO_FLUSH);
        }
        bench.reads(BYTE, 0x5234);
        bench.reads(NEIGHBOUR, 0x6000);
    }

    bench.set(PTE, 0);
    bench.set(NEXT_PTE, 0);
    bench
}

/// Which translations are still cached: that of the page with PCID 0, with PCID 5, and the global
/// one; and the number of PCIDs with paging-structure entries.
fn kept(mmu: &Cached) -> ([bool; 3], usize) {
    let holds = |page: u64, pcid| {
        mmu.tlb().iter().any(|entry| entry.page == page >> 12 && entry.pcid == pcid)
    };
    let structures = [0, 5].map(|pcid| mmu.structures().iter().any(|entry| entry.pcid == pcid));
    let translations = [holds(BYTE, 0), holds(BYTE, 5), holds(NEIGHBOUR, 0)];

    (translations, structures.into_iter().filter(|any| *any).count())
}

#[test]
fn pcids_are_separate_and_global_pages_are_not() {
    let mut bench = cached(Cr4::PCIDE);
    // One translation of the neighbour serves both PCIDs.
    assert_eq!(kept(&bench.mmu), ([true, true, true], 2));

    bench.reads(BYTE, 0x5234);
    bench.mov_to_cr3(0x10_009 | NO_FLUSH);
    bench.reads(NEIGHBOUR, 0x6000);
    bench.faults(Read, BYTE, Ring::Three, 4);

    bench.mov_to_cr3(0x10_000 | NO_FLUSH);
    bench.reads(BYTE, 0x5234);
}

#[test]
fn tlb_4_invlpg_drops_the_address_and_all_structure_entries_of_the_pcid() {
    let mut bench = cached(Cr4::PCIDE);
    bench.mmu.invlpg(VirtAddr::new(BYTE));
    assert_eq!(kept(&bench.mmu), ([true, false, true], 1));

    // The structure entries are dropped whatever the address.
    let mut bench = cached(Cr4::PCIDE);
    bench.mmu.invlpg(VirtAddr::new(0));
    assert_eq!(kept(&bench.mmu), ([true, true, true], 1));

    // Global translations are dropped too, whatever PCID they were cached with.
    bench.mmu.invlpg(VirtAddr::new(NEIGHBOUR));
    assert_eq!(kept(&bench.mmu), ([true, true, false], 1));
    assert!(bench.mmu.rules().contains(Rule::Tlb4));

    // The structure entries of other PCIDs stay.
    let mut bench = cached(Cr4::PCIDE);
    bench.mov_to_cr3(0x10_000 | NO_FLUSH);
    bench.mmu.invlpg(VirtAddr::new(BYTE));
    assert_eq!(kept(&bench.mmu), ([false, true, true], 1));
}

#[test]
fn tlb_4_invlpg_with_tce_keeps_upper_entries_that_lead_elsewhere() {
    // An address that reaches the same table through other entries.
    let far = 2 << 39 | 3 << 30 | 4 << 21 | 4 << 12 | 0x234;
    let both_cached = |efer| {
        let mut bench = CacheBench::new();
        bench.change(|state| state.efer |= efer);
        for (at, entry) in [(PML4E, 0x11_007), (PDPTE, 0x12_007), (PDE, 0x13_007)] {
            bench.set(at + 8, entry);
        }
        bench.reads(BYTE, 0x5234);
        bench.reads(far, 0x5234);
        assert_eq!(bench.cached(), (2, 6));
        bench
    };
    let mut bench = both_cached(Efer::empty());
    bench.mmu.invlpg(VirtAddr::new(BYTE));
    assert_eq!(bench.cached(), (1, 0));

    let mut bench = both_cached(Efer::TCE);
    bench.mmu.invlpg(VirtAddr::new(BYTE));
    assert_eq!(bench.cached(), (1, 3));

    // Entries that lead to the address are gone, entries that lead elsewhere are used.
    bench.set(PDE, 0);
    bench.faults(Read, BYTE, Ring::Three, 4);
    bench.reads(far + 0x1000, 0x6234);

    // A processor may drop the others as well. An address that is not canonical drops nothing.
    let Regime { state, profile, .. } = *bench.mmu.mmu().regime();
    let address = VirtAddr::new(BYTE);
    let path = Invalidation::Path { address, pcid: 0 };
    let page = Invalidation::Page { address, pcid: 0 };
    assert_eq!(Invalidation::invlpg::<FourLevel>(&state, &profile, address)[..], [path, page]);
    let bad = Invalidation::invlpg::<FourLevel>(&state, &profile, VirtAddr::new(1 << 57));
    assert_eq!(bad[..], [Invalidation::Nothing]);
}

#[test]
fn canon_3_invlpg_of_a_non_canonical_address_does_nothing() {
    let mut bench = cached(Cr4::empty());
    assert!(!bench.mmu.rules().contains(Rule::Canon3));

    // The address has the same low 48 bits.
    bench.mmu.invlpg(VirtAddr::new(BYTE | 1 << 60));
    assert_eq!(kept(&bench.mmu), ([true, false, true], 1));
    assert!(bench.mmu.rules().contains(Rule::Canon3));

    // LAM does not make it canonical.
    let Regime { state, profile, .. } = *bench.mmu.mmu().regime();
    let lam = ControlState { cr3: state.cr3 | 1 << 62, ..state };
    let masked = Invalidation::invlpg::<FourLevel>(&lam, &profile, VirtAddr::new(BYTE | 1 << 60));
    assert_eq!(masked[..], [Invalidation::Nothing]);
}

/// A processor with 57-bit linear addresses, and one without.
fn wide_and_narrow() -> [Profile; 2] {
    let wide = Profile { features: Features::all(), ..Profile::default() };
    [wide, Profile { features: Features::all() - Features::LA57, ..wide }]
}

#[test]
fn canon_3_the_width_of_the_processor_decides_what_is_canonical() {
    // Bit 50 is part of a canonical address of 57 bits, not of one of 48; CR4.LA57 does not matter
    // (Intel's white paper on 5-level paging, "Canonicality Checking").
    let state = ControlState::four_level(0x1000);
    let [wide, narrow] = wide_and_narrow();
    let address = VirtAddr::new(1 << 50 | 0x5000);
    let page = |address| Invalidation::Page { address, pcid: 0 };
    let dropped = Invalidation::invlpg::<FourLevel>(&state, &wide, address);
    assert_eq!(dropped[..], [page(address)]);
    let dropped = Invalidation::invlpg::<FourLevel>(&state, &narrow, address);
    assert_eq!(dropped[..], [Invalidation::Nothing]);

    let five_levels = ControlState { cr4: state.cr4 | Cr4::LA57, ..state };
    for profile in [wide, narrow] {
        let dropped = Invalidation::invlpg::<FiveLevel>(&five_levels, &profile, address);
        assert_eq!(dropped[..], [page(address)]);
        let beyond = VirtAddr::new(1 << 57);
        let dropped = Invalidation::invlpg::<FiveLevel>(&five_levels, &profile, beyond);
        assert_eq!(dropped[..], [Invalidation::Nothing]);

        let cut = page(VirtAddr::new(0x5000));
        assert_eq!(Invalidation::invlpg::<Bits32>(&state, &profile, address)[..], [cut]);
        assert_eq!(Invalidation::invlpg::<Pae>(&state, &profile, address)[..], [cut]);
    }
}

#[test]
fn canon_3_invpcid_judges_by_the_width_of_the_processor() {
    let state = ControlState::four_level(0x1000);
    let [wide, narrow] = wide_and_narrow();
    let allows = |profile, address| {
        Invalidation::invpcid::<FourLevel>(&state, &profile, 0, [0, address]).is_ok()
    };
    assert!(allows(wide, 1 << 50) && !allows(narrow, 1 << 50));
    assert!(!allows(wide, 1 << 57) && !allows(narrow, 1 << 57));
    assert!(allows(narrow, 0x7fff_ffff_f000) && !allows(narrow, 1 << 47));
}

#[test]
fn canon_3_an_address_of_57_bits_drops_structure_entries_with_four_levels() {
    // The SDM lets INVLPG drop all paging-structure entries of the PCID; no translation has this
    // address, not even that of the page with the same low 48 bits.
    let mut bench = cached(Cr4::empty());
    bench.mmu.invlpg(VirtAddr::new(BYTE | 1 << 50));
    assert_eq!(kept(&bench.mmu), ([true, false, true], 0));
    assert!(!bench.mmu.rules().contains(Rule::Canon3));
}

#[test]
fn tlb_4_invpcid_type_0_drops_one_address_of_one_pcid() {
    let mut bench = cached(Cr4::PCIDE);
    bench.mmu.invpcid(0, [0, BYTE]).unwrap();
    assert_eq!(kept(&bench.mmu), ([false, true, true], 1));

    // Global translations stay.
    bench.mmu.invpcid(0, [0, NEIGHBOUR]).unwrap();
    assert_eq!(kept(&bench.mmu), ([false, true, true], 1));

    // The structure entries that lead to the address are dropped too.
    bench.mmu.invpcid(0, [5, BYTE]).unwrap();
    assert_eq!(kept(&bench.mmu), ([false, false, true], 0));
}

#[test]
fn tlb_4_invpcid_types_1_to_3() {
    for (kind, pcid, expected) in [
        (1, 5, ([true, false, true], 1)),
        (1, 0, ([false, true, true], 1)),
        (2, 0, ([false, false, false], 0)),
        (3, 0, ([false, false, true], 0)),
    ] {
        let mut bench = cached(Cr4::PCIDE);
        bench.mmu.invpcid(kind, [pcid, 0]).unwrap();
        assert_eq!(kept(&bench.mmu), expected, "type {kind} of PCID {pcid}");
    }
}

#[test]
fn tlb_4_invpcid_raises_gp() {
    let without_pcids = cached(Cr4::empty());
    let with_pcids = cached(Cr4::PCIDE);

    for (bench, kind, descriptor) in [
        // CANON-3.
        (&with_pcids, 0, [5, 1 << 57]),
        (&without_pcids, 0, [0, 1 << 60]),
        // A type above 3, and reserved bits of the descriptor.
        (&with_pcids, 4, [0, 0]),
        (&with_pcids, 1 << 32, [0, 0]),
        (&with_pcids, 2, [0x1000, 0]),
        // A PCID while CR4.PCIDE=0.
        (&without_pcids, 0, [5, 0]),
        (&without_pcids, 1, [5, 0]),
    ] {
        let mut mmu = bench.mmu.clone();
        let fault = mmu.invpcid(kind, descriptor).unwrap_err();
        let expected = (Vector::GeneralProtection, 0, None);
        assert_eq!((fault.vector, fault.error_code, fault.cr2), expected);
        assert_eq!(kept(&mmu), kept(&bench.mmu), "nothing is dropped");
    }

    // Types 2 and 3 ignore the PCID and the address, type 1 ignores the address.
    for (kind, descriptor) in [(1, [0, 1 << 60]), (2, [5, 1 << 60]), (3, [5, 1 << 60])] {
        assert!(without_pcids.mmu.clone().invpcid(kind, descriptor).is_ok(), "type {kind}");
    }
}

#[test]
fn tlb_4_mov_to_cr3_keeps_global_pages() {
    let mut bench = cached(Cr4::empty());
    bench.mov_to_cr3(0x10_000);
    assert_eq!(kept(&bench.mmu), ([false, false, true], 0));
    bench.faults(Read, BYTE, Ring::Three, 4);
    bench.reads(NEIGHBOUR, 0x6000);
}

#[test]
fn tlb_4_g_is_ignored_without_pge() {
    let mut bench = CacheBench::new();
    bench.set(PTE, 0x5007 | bit::G);
    bench.reads(BYTE, 0x5234);
    bench.set(PTE, 0x7007);
    bench.mov_to_cr3(0x10_000);
    bench.reads(BYTE, 0x7234);
}

#[test]
fn tlb_4_g_matters_in_the_leaf_only() {
    let mut bench = CacheBench::with_cr4(Cr4::PGE);
    for at in [PML4E, PDE] {
        let entry = bench.get(at);
        bench.set(at, entry | bit::G);
    }

    bench.reads(BYTE, 0x5234);
    bench.mov_to_cr3(0x10_000);
    assert_eq!(bench.cached(), (0, 0));
}

#[test]
fn tlb_4_mov_to_cr3_with_pcids_drops_the_new_pcid_only() {
    let mut bench = cached(Cr4::PCIDE);
    bench.mov_to_cr3(0x10_000);
    assert_eq!(kept(&bench.mmu), ([false, true, true], 1));

    let mut bench = cached(Cr4::PCIDE);
    bench.mov_to_cr3(0x10_005);
    assert_eq!(kept(&bench.mmu), ([true, false, true], 1));

    let mut bench = cached(Cr4::PCIDE);
    for pcid in [0, 5, 9] {
        bench.mov_to_cr3(0x10_000 | pcid | NO_FLUSH);
    }
    assert_eq!(kept(&bench.mmu), ([true, true, true], 2));
}

/// A function that changes the registers.
type StateChange = fn(&mut ControlState);

#[test]
fn tlb_4_changes_of_control_bits() {
    let everything = Invalidation::Everything;
    let whole = Invalidation::WholeContext { pcid: 0 };
    let rows: &[(StateChange, StateChange, Invalidation, Invalidation)] = &[
        // Turning a bit off, turning it on, what turning it on drops, what turning it off drops.
        (|s| s.cr0 -= Cr0::PG, |s| s.cr0 |= Cr0::PG, everything, everything),
        (|s| s.cr4 -= Cr4::PGE, |s| s.cr4 |= Cr4::PGE, everything, everything),
        (|s| s.cr4 -= Cr4::PCIDE, |s| s.cr4 |= Cr4::PCIDE, Invalidation::Nothing, everything),
        (|s| s.cr4 -= Cr4::SMEP, |s| s.cr4 |= Cr4::SMEP, whole, Invalidation::Nothing),
        (|s| s.cr4 -= Cr4::PSE, |s| s.cr4 |= Cr4::PSE, everything, everything),
        (|s| s.cr4 -= Cr4::PKE, |s| s.cr4 |= Cr4::PKE, everything, Invalidation::Nothing),
        (|s| s.cr4 -= Cr4::LA57, |s| s.cr4 |= Cr4::LA57, everything, everything),
        (|s| s.efer -= Efer::NXE, |s| s.efer |= Efer::NXE, everything, everything),
        (|s| s.cr4 -= Cr4::PAE, |s| s.cr4 |= Cr4::PAE, everything, everything),
        (
            |s| s.cr4 -= Cr4::SMAP,
            |s| s.cr4 |= Cr4::SMAP,
            Invalidation::Nothing,
            Invalidation::Nothing,
        ),
        (|s| s.cr0 -= Cr0::WP, |s| s.cr0 |= Cr0::WP, Invalidation::Nothing, Invalidation::Nothing),
        (|s| s.pkru = 0, |s| s.pkru = 7, Invalidation::Nothing, Invalidation::Nothing),
    ];

    for (row, (off, on, switched_on, switched_off)) in rows.iter().enumerate() {
        let mut without = ControlState::four_level(0x1000);
        off(&mut without);

        let mut with = ControlState::four_level(0x1000);
        on(&mut with);

        let dropped = |old, new| invalidated_by(RegisterWrite::Other, old, new);
        assert_eq!(dropped(&without, &with), *switched_on, "row {row}, on");
        assert_eq!(dropped(&with, &without), *switched_off, "row {row}, off");
    }
}

/// SDM "Operations that Invalidate TLBs and Paging-Structure Caches"; APM "TLB Management", "Implicit
/// Invalidations". The rows that say nothing are in neither list.
#[test]
fn tlb_4_the_manuals_require_different_invalidations() {
    let nothing = Invalidation::Nothing;
    let everything = Invalidation::Everything;
    let whole = Invalidation::WholeContext { pcid: 0 };
    let rows: &[(StateChange, StateChange, [Invalidation; 2], [Invalidation; 2])] = &[
        // Turning a bit off, turning it on, what turning it on and turning it off drop: on Intel's
        // processors, on AMD's.
        (|s| s.cr0 -= Cr0::PG, |s| s.cr0 |= Cr0::PG, [nothing, everything], [everything; 2]),
        (|s| s.cr0 -= Cr0::WP, |s| s.cr0 |= Cr0::WP, [nothing; 2], [nothing; 2]),
        (|s| s.cr4 -= Cr4::PGE, |s| s.cr4 |= Cr4::PGE, [everything; 2], [everything; 2]),
        (|s| s.cr4 -= Cr4::PCIDE, |s| s.cr4 |= Cr4::PCIDE, [nothing; 2], [everything; 2]),
        (|s| s.cr4 -= Cr4::PAE, |s| s.cr4 |= Cr4::PAE, [whole, everything], [whole, everything]),
        (|s| s.cr4 -= Cr4::SMEP, |s| s.cr4 |= Cr4::SMEP, [whole, nothing], [nothing; 2]),
        (
            |s| s.cr4 -= Cr4::PSE,
            |s| s.cr4 |= Cr4::PSE,
            [nothing, everything],
            [nothing, everything],
        ),
        (|s| s.cr4 -= Cr4::PKE, |s| s.cr4 |= Cr4::PKE, [nothing, everything], [nothing; 2]),
        (|s| s.cr4 -= Cr4::SMAP, |s| s.cr4 |= Cr4::SMAP, [nothing; 2], [nothing; 2]),
        (|s| s.efer -= Efer::NXE, |s| s.efer |= Efer::NXE, [nothing; 2], [nothing; 2]),
    ];

    for (row, (off, on, switched_on, switched_off)) in rows.iter().enumerate() {
        let mut without = ControlState::four_level(0x1000);
        off(&mut without);
        let mut with = ControlState::four_level(0x1000);
        on(&mut with);

        let dropped = |old, new| {
            [Vendor::Intel, Vendor::Amd]
                .map(|vendor| must_be_invalidated_by(RegisterWrite::Other, old, new, vendor))
        };
        assert_eq!(dropped(&without, &with), *switched_on, "row {row}, on");
        assert_eq!(dropped(&with, &without), *switched_off, "row {row}, off");
    }
}

#[test]
fn tlb_4_smep_drops_the_current_pcid_and_pge_everything() {
    let mut bench = cached(Cr4::PCIDE);
    bench.change(|state| state.cr4 |= Cr4::SMEP);
    // The global translation was cached with PCID 0.
    assert_eq!(kept(&bench.mmu), ([true, false, true], 1));

    let mut bench = cached(Cr4::PCIDE);
    bench.mov_to_cr3(0x10_000 | NO_FLUSH);
    bench.change(|state| state.cr4 |= Cr4::SMEP);
    assert_eq!(kept(&bench.mmu), ([false, true, false], 1));

    let mut bench = cached(Cr4::PCIDE);
    bench.change(|state| state.cr4 -= Cr4::PGE);
    assert_eq!(kept(&bench.mmu), ([false, false, false], 0));
}

#[test]
fn tlb_4_mov_to_cr3_drops_even_if_the_value_stays() {
    let old = ControlState::four_level(0x1000);
    let dropped = |write, old| invalidated_by(write, &old, &old);
    let all_but_global = Invalidation::Context { pcid: 0 };
    assert_eq!(
        dropped(RegisterWrite::Cr3(0x1000), old),
        all_but_global,
        "even with the same value"
    );
    assert_eq!(dropped(RegisterWrite::Other, old), Invalidation::Nothing);

    // Bit 63 is ignored unless there are PCIDs.
    assert_eq!(dropped(RegisterWrite::Cr3(0x1000 | NO_FLUSH), old), all_but_global);
    let pcids = ControlState { cr4: old.cr4 | Cr4::PCIDE, cr3: 0x1005, ..old };
    assert_eq!(dropped(RegisterWrite::Cr3(0x1005 | NO_FLUSH), pcids), Invalidation::Nothing);

    let five = Invalidation::Context { pcid: 5 };
    assert_eq!(dropped(RegisterWrite::Cr3(0x1005), pcids), five);
}
