//! Processors with one mistake each show what the manuals forbid.

use super::*;
use crate::cache::Invalidation;
use crate::litmus::{CachedEnd, CachedPath, LitmusSemantics};
use crate::x86::fault::PageFaultCode;

/// The outcomes of a test that only a processor with a mistake shows.
fn forbidden<S: LitmusSemantics>(semantics: S, bench: &Bench) -> Vec<String> {
    let allowed = bench.explore();
    let shown = bench.0.explore_on(semantics, 20_000).unwrap();
    let outcomes = shown.outcomes.keys();
    outcomes.filter(|outcome| !allowed.outcomes.contains_key(*outcome)).map(written).collect()
}

macro_rules! mistake {
    ($name:ident: $($override:item)+) => {
        #[derive(Clone, Copy)]
        struct $name;
        impl LitmusSemantics for $name {
            $($override)+
        }
    };
}

#[test]
fn invlpg_that_does_nothing() {
    mistake!(Idle: fn invlpg(&self, _: Invalidation) -> Invalidation { Invalidation::Nothing });
    let bench = Bench::new(&[&[read(), set(B), invlpg(), read()]]);
    assert_eq!(forbidden(Idle, &bench), ["a a"]);
}

#[test]
fn invlpg_that_forgets_the_paging_structure_caches() {
    mistake!(Forgets: fn drops(&self, path: &CachedPath, _: Invalidation, by_manual: bool) -> bool {
        by_manual && path.end != CachedEnd::Table
    });
    let bench = Bench::new(&[&[read(), Action::Store(PDE, OTHER_TABLE), invlpg(), read()]]);
    assert_eq!(forbidden(Forgets, &bench), ["a a"]);
}

#[test]
fn absent_entries_that_are_cached() {
    mistake!(Caches: fn caches_absent_entries(&self) -> bool { true });
    let bench = Bench::new(&[&[Action::Store(PTE, B), Action::Fence, read()]]).with(PTE, 0);
    assert_eq!(forbidden(Caches, &bench), ["np"]);
}

#[test]
fn entries_that_are_cached_without_a() {
    mistake!(Caches: fn caches_before_accessed(&self) -> bool { true });
    // A is clear throughout, so nothing was cached unless A was set.
    let exchange = Action::Locked(PTE, LockedOperation::Exchange(B & !ACCESSED));
    let bench = Bench::new(&[&[exchange, read()]]).with(PTE, A & !ACCESSED);
    assert_eq!(forbidden(Caches, &bench), ["0x50007 a"]);
}

#[test]
fn flags_that_are_set_without_a_lock() {
    mistake!(Tears: fn updates_flags_atomically(&self) -> bool { false });
    let exchange = Action::Locked(PTE, LockedOperation::Exchange(0));
    let bench = Bench::new(&[&[exchange], &[write()]]).observing(PTE, P);
    assert!(forbidden(Tears, &bench).contains(&"0x50027 ok 0x1".into()));
}

#[test]
fn a_write_by_a_clean_cached_entry() {
    mistake!(Clean: fn sets_dirty_on_hit(&self) -> bool { false });
    let bench = Bench::new(&[&[read(), write()]]).observing(PTE, DIRTY);
    assert_eq!(forbidden(Clean, &bench), ["a ok 0x0"]);
}

#[test]
fn invlpg_that_does_not_wait_for_stores() {
    mistake!(Passes: fn serializing_waits_for_stores(&self) -> bool { false });
    let first = [set(B), invlpg(), Action::Load(FLAG)];
    let second = [Action::Store(FLAG, 1), invlpg(), read()];
    assert_eq!(forbidden(Passes, &Bench::new(&[&first, &second])), ["0x0 a"]);
}

#[test]
fn stores_out_of_order() {
    mistake!(Reorders: fn stores_in_order(&self) -> bool { false });
    let first = [set(B), Action::Store(FLAG, 1)];
    let second = [Action::WaitFor(FLAG, 1), read()];
    assert_eq!(forbidden(Reorders, &Bench::new(&[&first, &second]).with(PTE, 0)), ["np"]);
}

#[test]
fn a_fault_that_leaves_what_is_cached() {
    mistake!(Keeps: fn page_fault(&self, _: PageFaultCode, _: Invalidation) -> Invalidation { Invalidation::Nothing });
    let actions = [read(), set(A | RW | DIRTY), write(), write()];
    let bench = Bench::new(&[&actions]).with(PTE, A & !RW);
    assert_eq!(forbidden(Keeps, &bench), ["a pf pf"]);
}

#[test]
fn global_translations_that_survive_pge() {
    mistake!(Survive: fn drops(&self, path: &CachedPath, _: Invalidation, by_manual: bool) -> bool {
        by_manual && !path.global
    });
    let with_pge = ControlState::four_level(0).cr4 | Cr4::PGE;
    let toggle = [Action::WriteCr4(with_pge - Cr4::PGE), Action::WriteCr4(with_pge)];
    let actions = [read(), set(B | G), toggle[0], toggle[1], read()];
    let bench = Bench::new(&[&actions]).with(PTE, A | G).with_cr4(Cr4::PGE);
    assert_eq!(forbidden(Survive, &bench), ["a a"]);
}

#[test]
fn a_walk_that_passes_earlier_stores() {
    mistake!(Passes: fn walk_sees_own_stores(&self) -> bool { false });
    let bench = Bench::new(&[&[read(), set(B), read()]]).with(PTE, 0);
    assert_eq!(forbidden(Passes, &bench), ["np np"]);
}
