//! Cases at the edges of paging, with the right answers written by hand: address masking, control
//! registers, implicit accesses, addresses near 4 GiB, and memory that no lane uses. Most come from
//! public bug reports of other walkers. Every answer follows from the manual section that stands beside
//! it; SDM sections are those of volume 3 unless an instruction is named.
//!
//! The frames are F0 at 0x40044000 and F1 at 0x40045000. Error codes are written as the program writes
//! them: 5 is `P|U`.

use crosswalk_test_support as support;
use support::answers::Refusal::{self, Everywhere, On, OnSomeKvm};
use support::answers::{RightAnswer, answer, assert_machine, assert_reference, case_path};
use support::{require_kvm, require_qemu, run};

const F0: &str = "completed: 8 bytes at 0x40044000";
const WRAPPED: &str = "completed: 2 bytes at 0x40045ffe, then 2 bytes at 0x40044000";

/// A table of which the case has no entry reads as zeros, or as ones if there is no memory (OUT-1): then a
/// present entry has reserved bits. To cut its address to 32 bits would lead to F0.
const NO_TABLE: [&str; 2] = ["#PF(U) at 0x18140e09000", "#PF(P|U|RSVD) at 0x18140e09000"];

const ANSWERS: &[RightAnswer] = &[
    // RIGHT-4; SDM "Determination of Access Rights": implicit supervisor-mode accesses to user-mode
    // addresses are not allowed under SMAP, whatever EFLAGS.AC is.
    answer("B05-implicit-smap-ac1", "", &["#PF(P) at 0x18140e09000"]),
    // MODE-7; SDM "32-Bit Paging": a PTE gives bits 31:12 of a 32-bit physical address.
    answer("B10-bit31", "", &["completed: 4 bytes at 0x90000018"]),
    // MODE-8, OUT-1; SDM "4-Level Paging and 5-Level Paging", "PAE Paging", "Hierarchical Paging
    // Structures: An Overview": bits M-1:12 of the entry, or of CR3, are the address of the table.
    answer("B12-4l-table-above-4g", "", &NO_TABLE),
    answer("B12-pae-table-above-4g", "", &["#PF(U) at 0x80e09000", "#PF(P|U|RSVD) at 0x80e09000"]),
    answer("B12-cr3-above-4g", "", &NO_TABLE),
    // MODE-8; SDM volume 2 "MOV - Move to/from Control Registers": #GP(0) "if an attempt is made to
    // write a 1 to any reserved bit in CR3", and bit 63 is reserved while CR4.PCIDE=0.
    answer("B31-cr3-63-without-pcide", "", &["#GP(0)"]),
    answer("B32-cr3-above-maxphyaddr", "", &["#GP(0)"]),
    // RIGHT-2, CODE-9; SDM "Determination of Access Rights": an implicit write is a supervisor's, which
    // CR0.WP decides. U is 0.
    answer("B35-implicit-write-ro-wp1", "", &["#PF(P|W) at 0x18140e09000"]),
    answer("B36-implicit-write-ro-wp0", "", &["completed: 1 byte at 0x40044000"]),
    // The same for the load of a segment, which sets the accessed bit of its descriptor. No manual says
    // which bytes of the descriptor are written.
    answer(
        "B35-implicit-write-ro-wp1-by-mov-to-es",
        "",
        &["#PF(P|W) at 0x18140e0912d", "#PF(P|W) at 0x18140e0912c", "#PF(P|W) at 0x18140e09128"],
    ),
    answer("B36-implicit-write-ro-wp0-by-mov-to-es", "", &["completed: 1 byte at 0x4004412d"]),
    // CANON-1; SDM volume 1 "Canonical Addressing": any access to memory.
    answer("B37-implicit-non-canonical", "", &["#GP(0)"]),
    // CANON-2; SDM "Limit Checking" leaves it to the implementation whether an access past the
    // effective limit of 4 GiB wraps or faults. Paging sees 32-bit addresses: 0 follows 0xffffffff.
    answer("B60-wrap-32bit", "", &[WRAPPED, "#GP(0)"]),
    answer("B60-wrap-pae", "", &[WRAPPED, "#GP(0)"]),
    // CANON-4; APM "Upper Address Ignore", "Address Tag Storage": CR2 is not guaranteed to hold the tag.
    answer("B70-uai-cr2", "", &["#PF(U) at 0x18140e09000", "#PF(U) at 0xb400018140e09000"]),
    // CANON-4, CANON-1; APM "Upper Address Ignore": DS and ES only.
    answer("B70-uai-data-segment", "", &[F0]),
    answer("B70-uai-stack-segment", "", &["#SS(0)"]),
    // RIGHT-1; SDM "4-Level Paging and 5-Level Paging". The place is like any other.
    answer("F2-plain-read-of-a-data-frame-in-no-lane", "", &["completed: 8 bytes at 0x41644000"]),
    answer(
        "F2b-write-to-a-data-frame-of-the-other-arena",
        "",
        &["completed: 8 bytes at 0x40046000"],
    ),
    answer("F8-fetch-where-there-is-no-code", "", &["completed: 4 bytes at 0x40044200"]),
    // CANON-5; SDM "Linear-Address-Space Separation (LASS)": a user access to an address whose bit 63 is 1
    // is #GP, before paging.
    answer("lass-user-read-of-upper-half", "", &["#GP(0)"]),
    // CANON-4, CODE-12; APM "Upper Address Ignore": with 57 address bits there is no canonical check.
    // Either page may be reported. Bit 56 of the upper one is set, so that with the tag removed bits
    // 63:57 are ones.
    answer(
        "uai-5level-straddle",
        "",
        &[
            "#PF(U) at 0xfffffffffffffc",
            "#PF(U) at 0xff00000000000000",
            "#PF(U) at 0x100000000000000",
        ],
    ),
    // CANON-2, CODE-12; SDM "Linear-Address Masking" does not say whether each byte is masked, or the
    // first one and the others follow. Byte by byte, bits 63 and 47 of the upper half differ.
    answer("lam-sup-across-2-64", "", &["#GP(0)", "#PF(0) at 0xfffffffffffffffc", "#PF(0) at 0x0"]),
];

/// The cases that machines cannot run, and why.
const REFUSALS: &[Refusal] = &[
    OnSomeKvm("B05-implicit-smap-ac1", "implicit accesses cannot be tested"),
    OnSomeKvm("B10-bit31", "this machine does not run 32bit"),
    OnSomeKvm("B12-pae-table-above-4g", "this machine does not run pae"),
    On("qemu", "B31-cr3-63-without-pcide", "ends the guest"),
    On("qemu", "B32-cr3-above-maxphyaddr", "ends the guest"),
    Everywhere("B35-implicit-write-ro-wp1", "an implicit access is what lsl does"),
    Everywhere("B36-implicit-write-ro-wp0", "an implicit access is what lsl does"),
    OnSomeKvm("B35-implicit-write-ro-wp1-by-mov-to-es", "implicit accesses cannot be tested"),
    OnSomeKvm("B36-implicit-write-ro-wp0-by-mov-to-es", "implicit accesses cannot be tested"),
    OnSomeKvm("B37-implicit-non-canonical", "implicit accesses cannot be tested"),
    OnSomeKvm("B60-wrap-32bit", "this machine does not run 32bit"),
    OnSomeKvm("B60-wrap-pae", "this machine does not run pae"),
    Everywhere("B70-uai-cr2", "its EFER is 0x100d00"),
    Everywhere("B70-uai-data-segment", "its EFER is 0x100d00"),
    Everywhere("B70-uai-stack-segment", "its EFER is 0x100d00"),
    Everywhere("F8-fetch-where-there-is-no-code", "it would run data as code"),
    Everywhere("lass-user-read-of-upper-half", "CR4.LASS lets no supervisor fetch"),
    Everywhere("uai-5level-straddle", "its EFER is 0x100d00"),
    Everywhere("lam-sup-across-2-64", "its CR4 is 0x10000620"),
];

#[test]
fn the_reference_gives_the_right_answers() {
    assert_reference(ANSWERS);
}

/// SDM "Accessed and Dirty Flags": a write that CR0.WP=0 allows sets D, too.
#[test]
fn an_implicit_write_sets_d() {
    let drawing = run(&["explain", &case_path("B36-implicit-write-ro-wp0")]).expect_code(0).stdout;
    assert!(drawing.contains("sets A and D in the PTE at 0x445048"), "{drawing}");
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
