//! Accessed and dirty flags, which the walk of one processor sets while another edits the entry (AD-1, AD-4; SDM
//! "Accessed and Dirty Flags").

use super::*;

const fn locked(operation: LockedOperation) -> Action {
    Action::Locked(PTE, operation)
}

/// XCHG of the PTE with 0 on one processor, a write on the other.
fn exchange_against_write(entry: u64) -> Bench {
    Bench::new(&[&[locked(LockedOperation::Exchange(0))], &[write()]]).with(PTE, entry)
}

#[test]
fn tests_12_to_15_a_and_d_are_set() {
    let flags = ACCESSED | DIRTY;
    Bench::new(&[&[write()]]).observing(PTE, flags).shows(&["ok 0x60"]);
    Bench::new(&[&[read()]]).observing(PTE, flags).shows(&["a 0x20"]);
    let clean = Bench::new(&[&[read(), locked(LockedOperation::And(!DIRTY)), invlpg(), write()]]);
    clean.with(PTE, A | DIRTY).observing(PTE, flags).shows(&["a 0x50067 ok 0x60"]);
}

#[test]
fn test_31_xchg_and_a_write_agree_about_d() {
    // The old value has D if the write completed. That D is there and the write faults is a choice.
    let bench = exchange_against_write(A);
    bench.shows(&["0x50027 np", "0x50067 ok"]);
    bench.shows_by(LitmusChoices::DIRTY_THEN_FAULT, &["0x50067 np"]);
}

#[test]
fn test_33_write_protection_and_a_write_agree_about_d() {
    let bench = Bench::new(&[&[locked(LockedOperation::And(!RW))], &[write()]]);
    // The write sets D before, or faults; or it goes through the cached entry, which takes D in memory.
    bench.shows(&["0x50027 pf", "0x50067 ok"]);
    bench.shows_by(LitmusChoices::DIRTY_THEN_FAULT, &["0x50067 pf"]);
    bench.shows_by(LitmusChoices::DIRTY_ALONE, &[]);
    bench.without_cet().shows_by(LitmusChoices::DIRTY_ALONE, &["0x50027 ok"]);
}

#[test]
fn test_34_a_plain_rewrite_loses_d() {
    // The software loads the entry and stores it without R/W, as no kernel should.
    let bench = Bench::new(&[&[Action::Load(PTE), set(A & !RW)], &[write()]]).observing(PTE, DIRTY);
    let found = bench.explore();
    let lost = found.outcomes.iter().any(|(outcome, ways)| {
        written(outcome) == "0x50027 ok 0x0" && ways.iter().any(|way| way.choices.is_empty())
    });
    assert!(lost, "{:#?}", found.outcomes.keys());
}

#[test]
fn test_37_xchg_to_another_frame_agrees_about_d() {
    let bench =
        Bench::new(&[&[locked(LockedOperation::Exchange(B))], &[write()]]).observing(PTE, DIRTY);
    bench.shows(&["0x50027 ok 0x40", "0x50067 ok 0x0"]);
}

#[test]
fn tests_41_and_42_a_cleared_d_is_set_again_only_after_an_invalidation() {
    let clear = locked(LockedOperation::And(!DIRTY));
    let bench = Bench::new(&[&[clear], &[write()]]).with(PTE, A | DIRTY).observing(PTE, DIRTY);
    // The write may use the entry that is cached with D.
    bench.shows(&["0x50067 ok 0x0", "0x50067 ok 0x40"]);
}

#[test]
fn speculation_may_set_a_and_never_d() {
    let bench = Bench::new(&[&[Action::Fence], &[write(), set(0), invlpg()]]);
    let bench = bench.with(PTE_OF_Y, A & !ACCESSED).observing(PTE_OF_Y, ACCESSED | DIRTY);
    bench.shows(&["ok 0x0"]);
    let mut with_y = Bench::new(&[&[set(0), invlpg(), Action::Read(Y)]]);
    with_y = with_y.with(PTE, A & !ACCESSED).observing(PTE, ACCESSED);
    with_y.shows(&["a 0x0"]);
}

#[test]
fn test_50_a_compare_exchange_fails_if_d_was_set_meanwhile() {
    let clear = locked(LockedOperation::CompareExchange(A, A & !ACCESSED));
    let bench = Bench::new(&[&[clear], &[write()]]).observing(PTE, ACCESSED | DIRTY);
    // Either it finds D, and leaves the entry, or the write sets both again, or it completes by what is cached.
    bench.shows(&["0x50027 ok 0x60", "0x50067 ok 0x60"]);
}
