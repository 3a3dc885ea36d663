//! Sequences whose outcome depends on what is cached, with the right answers written by hand: the
//! cases in `cases/`, most of them from public bug reports of other walkers. Every answer follows from
//! the manual section that stands beside it. SDM sections are those of volume 3, chapter "Paging".
//!
//! The frames are F0 at 0x40044000 and F1 at 0x40045000. Error codes are written as the program writes
//! them: 7 is `P|W|U`.

use crosswalk_test_support as support;
use support::answers::Refusal::{self, Everywhere, OnSomeKvm};
use support::answers::{RightAnswer, answer, assert_machine, assert_reference, case_path};
use support::{require_kvm, require_qemu, run};

const F0: &str = "completed: 8 bytes at 0x40044000";
const F0_AT_10: &str = "completed: 8 bytes at 0x40044010";
const F1: &str = "completed: 8 bytes at 0x40045000";
const HALF_OF_F0: &str = "completed: 4 bytes at 0x40044000";
const HALF_OF_F1: &str = "completed: 4 bytes at 0x40045000";
const READ_ONLY: &str = "#PF(P|W|U) at 0x18140e09000";

const ANSWERS: &[RightAnswer] = &[
    // PDPTE-1; SDM "PDPTE Registers": they are loaded by MOV to CR0, CR3 and CR4. INVLPG is not among
    // them. PDPTE-4: an AMD processor may read the PDPTE, whose P is 0 now.
    answer("B17-pae-invlpg-keeps-pdptes", "skylake", &[HALF_OF_F0]),
    answer("B17-pae-invlpg-keeps-pdptes", "zen", &[HALF_OF_F0, "#PF(U) at 0x80e09000"]),
    // TLB-4; SDM "Details of TLB Use": INVLPG invalidates "all TLB entries corresponding to the
    // translation specified by the paging structures". APM "INVLPG": "regardless of the page size".
    answer("B18-invlpg-large-other-offset", "", &["completed: 8 bytes at 0x41644010"]),
    answer("B18-invlpg-large-rights", "", &["#PF(P|W|U) at 0x18140e44010"]),
    // CANON-3; SDM "INVLPG": with a non-canonical address it is the same as a NOP. So nothing is
    // invalidated (TLB-2).
    answer("B19-invlpg-non-canonical", "", &[F1, F0]),
    // TLB-4; SDM "Global Pages": G is ignored while CR4.PGE=0.
    answer("B20-cr3-pge0-g1", "", &[F1]),
    answer("B20-cr3-pge0-g1-rights", "", &[READ_ONLY]),
    // TLB-4; SDM "Operations that Invalidate TLBs and Paging-Structure Caches": MOV to CR3 invalidates
    // "all TLB entries [...] except those for global pages". The first has G=0, the last G=1.
    answer("B21-cr3-pge1-g0", "", &[F1]),
    answer("B21-cr3-pge1-g0-rights", "", &[READ_ONLY]),
    answer("B21-cr3-pge1-g1", "", &[F1, F0]),
    // TLB-4; the same section: INVLPG invalidates "any global TLB entries with that page number".
    answer("B22-invlpg-global", "", &[F1]),
    // AD-1; SDM "Accessed and Dirty Flags".
    answer("B23-read-then-write-D", "", &[F0]),
    // RIGHT-4, RIGHT-3; SDM "Access Rights". P, and I/D for the fetch.
    answer("B27-user-then-supervisor-smap", "", &["#PF(P) at 0x18140e09000"]),
    answer("B28-read-then-fetch-smep", "", &["#PF(P|I) at 0x18140e09000"]),
    // TLB-2; the first fault drops what was cached (TLB-3), and rights are added after it. An Intel
    // processor may have cached the entry again before that: SDM "Optional Invalidation", a spurious
    // fault. An AMD processor walks again: APM "Use of Cached Entries When Reporting a Page Fault
    // Exception".
    answer("B29-pf-drops-stale", "skylake", &[F0, READ_ONLY]),
    answer("B29-pf-drops-stale", "zen", &[F0]),
    // RIGHT-1, RIGHT-2; SDM "Access Rights": CR0.WP=0 lets the supervisor write, not the user.
    answer("B55-supervisor-write-then-user-write", "", &[READ_ONLY]),
    // TLB-4, CODE-12: U and I/D, with P=0, at the first byte of the second page.
    answer("B65-cached-crossing-fetch", "", &["#PF(U|I) at 0x18140e0a000"]),
    answer("B65-cached-crossing-fetch-with-code", "", &["#PF(U|I) at 0x18140e0a000"]),
    // TLB-1, TLB-2: the write may have completed, and set A and D, before P was cleared.
    answer("F10-ambiguous-then-p0", "zen", &["#PF(W|U) at 0x18140e09000", F0]),
    // AD-2, TLB-2: the access that faulted on its second page may have set A on the way to the first,
    // and have cached it.
    answer(
        "F10b-crossing-read-faults-on-second-page-then-edit",
        "",
        &["#PF(P|U) at 0x18140e09010", F0_AT_10],
    ),
    // AD-7, TLB-2: and D in its leaf, if it is a write.
    answer(
        "F10c-crossing-write-faults-on-second-page-then-P0",
        "",
        &["#PF(W|U) at 0x18140e09010", F0_AT_10],
    ),
    // SDM "Accessed and Dirty Flags": software has cleared A, and "the processor might not set the
    // corresponding bit in memory on a subsequent access". So there are two ways, with A and without.
    answer("F10d-crossing-read-faults-on-second-page-then-same-value", "", &[F0_AT_10, F0_AT_10]),
    // SDM "Accessed and Dirty Flags": D may be set in an entry whose R/W was cleared, which "will never
    // occur on a processor that supports" CET.
    answer("read-then-clear-rw-then-write", "", &[READ_ONLY]),
    answer("read-then-clear-rw-then-write", "skylake", &[READ_ONLY, F0]),
    // TLB-2; SDM "Optional Invalidation" is about every paging mode.
    answer("pae-read-then-move", "skylake", &[HALF_OF_F1, HALF_OF_F0]),
    answer("32bit-read-then-move", "skylake", &[HALF_OF_F1, HALF_OF_F0]),
];

/// The cases that a machine cannot run, and why.
const REFUSALS: &[Refusal] = &[
    OnSomeKvm("B17-pae-invlpg-keeps-pdptes", "this machine does not run pae"),
    OnSomeKvm("pae-read-then-move", "this machine does not run pae"),
    OnSomeKvm("32bit-read-then-move", "this machine does not run 32bit"),
    Everywhere("B65-cached-crossing-fetch", "it would run data as code"),
];

#[test]
fn the_reference_gives_the_right_answers() {
    assert_reference(ANSWERS);
}

/// SDM "Accessed and Dirty Flags": a write sets D, whatever came before it.
#[test]
fn a_write_sets_d_after_a_read_and_after_a_fault() {
    for file in ["B23-read-then-write-D", "B29-pf-drops-stale"] {
        let drawing = run(&["explain", &case_path(file)]).expect_code(0).stdout;
        assert!(drawing.contains("sets D in the PTE at 0x445048"), "{file}\n{drawing}");
    }
}

#[test]
fn kvm_gives_one_of_the_right_answers() {
    require_kvm!();
    assert_machine("kvm", ANSWERS, REFUSALS);
}

#[test]
fn qemu_gives_one_of_the_right_answers() {
    require_qemu!();
    assert_machine("qemu", ANSWERS, REFUSALS);
}
