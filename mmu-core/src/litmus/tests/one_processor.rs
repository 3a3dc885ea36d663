//! One processor: what remains after an edit (TLB-1 to TLB-4; SDM "Caching Translation Information").

use super::*;

#[test]
fn test_0_without_an_invalidation_either_may_be_read() {
    Bench::new(&[&[read(), set(B), read()]]).shows(&["a a", "a b"]);
}

#[test]
fn test_1_invlpg_forbids_the_old_one() {
    Bench::new(&[&[read(), set(B), invlpg(), read()]]).shows(&["a b"]);
}

#[test]
fn test_2_invlpg_of_another_page_does_not() {
    Bench::new(&[&[read(), set(B), Action::Invlpg(Y), read()]]).shows(&["a a", "a b"]);
}

#[test]
fn test_3_mov_to_cr3_forbids_it() {
    Bench::new(&[&[read(), set(B), reload_cr3(), read()]]).shows(&["a b"]);
}

#[test]
fn test_4_mov_to_cr3_may_spare_what_is_global() {
    let bench = Bench::new(&[&[read(), set(B | G), reload_cr3(), read()]]);
    let bench = bench.with(PTE, A | G).with_cr4(Cr4::PGE);
    bench.shows(&["a b"]);
    bench.shows_by(LitmusChoices::GLOBAL_KEPT, &["a a"]);
}

#[test]
fn test_5_toggling_pge_drops_what_is_global() {
    let with_pge = ControlState::four_level(0).cr4 | Cr4::PGE;
    let actions = [
        read(),
        set(B | G),
        Action::WriteCr4(with_pge - Cr4::PGE),
        Action::WriteCr4(with_pge),
        read(),
    ];
    Bench::new(&[&actions]).with(PTE, A | G).with_cr4(Cr4::PGE).shows(&["a b"]);
}

#[test]
fn tests_6_and_7_what_is_unmapped_is_gone_after_invlpg() {
    Bench::new(&[&[read(), set(0), read()]]).shows(&["a a", "a np"]);
    Bench::new(&[&[read(), set(0), invlpg(), read()]]).shows(&["a np"]);
}

#[test]
fn test_8_mapping_a_page_needs_no_invalidation() {
    Bench::new(&[&[read(), set(B), read()]]).with(PTE, 0).shows(&["np b"]);
}

#[test]
fn test_9_added_rights_may_fault_once_on_intel_and_not_on_amd() {
    let actions = [read(), set(A | RW | DIRTY), write(), write()];
    let bench = |vendor| Bench::new(&[&actions]).with(PTE, A & !RW).on(vendor);
    bench(Vendor::Intel).shows(&["a ok ok"]);
    bench(Vendor::Intel).shows_by(LitmusChoices::SPURIOUS_FAULT, &["a ok pf", "a pf ok"]);
    bench(Vendor::Amd).shows_by(LitmusChoices::SPURIOUS_FAULT, &[]);
}

#[test]
fn tests_10_and_11_lost_rights_may_be_used_until_invlpg() {
    let read_only = A & !RW | DIRTY;
    Bench::new(&[&[read(), set(read_only), write()]]).with(PTE, A | DIRTY).shows(&["a ok", "a pf"]);
    Bench::new(&[&[read(), set(read_only), invlpg(), write()]])
        .with(PTE, A | DIRTY)
        .shows(&["a pf"]);
}

#[test]
fn tests_16_to_18_upper_entries_are_cached_until_any_invlpg() {
    let remap = Action::Store(PDE, OTHER_TABLE);
    Bench::new(&[&[read(), remap, read()]]).shows(&["a a", "a b"]);
    Bench::new(&[&[read(), remap, invlpg(), read()]]).shows(&["a b"]);
    // The PDE goes with INVLPG of any page, the translation of this page does not.
    Bench::new(&[&[read(), remap, Action::Invlpg(Y), read()]]).shows(&["a a", "a b"]);
}

#[test]
fn test_19_invlpg_of_a_page_leaves_its_sibling() {
    let remap = Action::Store(PTE_OF_Y, B);
    Bench::new(&[&[Action::Read(Y), remap, invlpg(), Action::Read(Y)]]).shows(&["a a", "a b"]);
}

#[test]
fn test_22_a_table_may_be_walked_after_its_pde_is_gone() {
    let actions = [read(), Action::Store(PDE, 0), set(B), read()];
    Bench::new(&[&actions]).shows(&["a a", "a b", "a np"]);
}

#[test]
fn invlpg_of_a_page_drops_the_pde_of_its_sibling() {
    // Nothing of y is cached below the PDE: its PTE had no A.
    let actions = [Action::Store(PDE, OTHER_TABLE), invlpg(), Action::Read(Y)];
    Bench::new(&[&actions]).with(PTE_OF_Y, A & !ACCESSED).shows_by(LitmusChoices::empty(), &["b"]);
}

#[test]
fn a_fetch_may_pass_the_store_that_maps_its_page() {
    let actions = [set(B), Action::Fetch(X)];
    let bench = Bench::new(&[&actions]).with(PTE, 0);
    bench.shows(&["b"]);
    bench.shows_by(LitmusChoices::FETCH_PASSES_STORES, &["np"]);
}

#[test]
fn two_addresses_of_one_pte_are_cached_apart() {
    // The recursive entry maps the table itself as a page: a store through it edits the PTE of x.
    let table = VirtAddr::new(0x3000);
    let mut bench = Bench::new(&[&[read(), Action::Write(table, B), invlpg(), read()]]);
    bench.0.memory.push((PhysAddr::new(0x13_018), 0x13_067));
    bench.0.memory.push((PhysAddr::new(0x13_000), 0));
    bench.shows(&["a ok a"]);
}
