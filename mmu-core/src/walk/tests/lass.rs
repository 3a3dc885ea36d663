//! Linear-address space separation: CANON-5 (SDM "Linear-Address Space Separation (LASS)").

use super::{
    Access, BYTE, Cr4, Efer, PTE, PagingMode, Rule, TestMachine, Vector, access, bit, code,
    on_stack, with_ac,
};
use crate::access::AccessKind;
use crate::access::Ring::{Three, Zero};
use crate::address::VirtAddr;

/// The page of `BYTE` in the upper half: entry 0x101 of the PML4.
const UPPER: u64 = 0xffff_8080_8060_4234;
const UPPER_PML4E: u64 = 0x10_808;

const LASS_AND_SMAP: Cr4 = Cr4::LASS.union(Cr4::SMAP);

/// A user page at `BYTE` and at `UPPER`.
fn user_page(cr4: Cr4) -> TestMachine {
    TestMachine::page_4k().set(UPPER_PML4E, 0x11_007).cr4(cr4)
}

/// A supervisor page there, so that SMAP itself denies nothing.
fn supervisor_page(cr4: Cr4) -> TestMachine {
    user_page(cr4).clear(PTE, bit::US)
}

#[track_caller]
fn assert_violation(machine: &TestMachine, access: Access, vector: Vector) {
    machine.does(access).raises(vector).by(Rule::Canon5).not_by(Rule::Canon1).updates(&[]);
}

#[track_caller]
fn assert_allowed(machine: &TestMachine, access: Access) {
    machine.does(access).reaches(0x1_4000_0234).not_by(Rule::Canon5);
}

/// A user-mode access violates LASS if bit 63 of its address is 1. SMAP and EFLAGS.AC do not matter.
#[test]
fn canon_5_users_stay_in_the_lower_half() {
    for cr4 in [Cr4::LASS, LASS_AND_SMAP] {
        let machine = user_page(cr4);
        for kind in AccessKind::ALL {
            for change in [|access| access, with_ac] {
                assert_allowed(&machine, change(access(kind, BYTE, Three)));
                let upper = change(access(kind, UPPER, Three));
                assert_violation(&machine, upper, Vector::GeneralProtection);
            }
        }
    }
}

/// Every combination of CR4.SMAP, EFLAGS.AC, and how a supervisor accesses the lower half. The last
/// column is whether it violates LASS.
#[test]
fn canon_5_a_supervisor_stays_in_the_upper_half_where_smap_separates_data() {
    use AccessKind::{Clflush, Fetch, Read, ReadModifyWrite, Write};

    for (smap, ac, kind, implicit, violates) in [
        // Data are separated with SMAP only, and AC excuses an explicit access.
        (false, false, Read, false, false),
        (false, true, Read, false, false),
        (true, false, Read, false, true),
        (true, true, Read, false, false),
        (false, false, Write, false, false),
        (false, true, Write, false, false),
        (true, false, Write, false, true),
        (true, true, Write, false, false),
        (true, false, ReadModifyWrite, false, true),
        (true, true, ReadModifyWrite, false, false),
        (true, false, Clflush, false, true),
        (true, true, Clflush, false, false),
        // AC does not excuse an implicit one.
        (false, false, Read, true, false),
        (false, true, Read, true, false),
        (true, false, Read, true, true),
        (true, true, Read, true, true),
        (false, false, Write, true, false),
        (false, true, Write, true, false),
        (true, false, Write, true, true),
        (true, true, Write, true, true),
        // Fetches are separated always.
        (false, false, Fetch, false, true),
        (false, true, Fetch, false, true),
        (true, false, Fetch, false, true),
        (true, true, Fetch, false, true),
    ] {
        let machine = supervisor_page(if smap { LASS_AND_SMAP } else { Cr4::LASS });
        // An implicit access is a supervisor's in ring 3, too.
        let rings: &[_] = if implicit { &[Zero, Three] } else { &[Zero] };

        for ring in rings {
            let made = |address| Access { implicit, ac, ..access(kind, address, *ring) };
            assert_allowed(&machine, made(UPPER));
            if violates {
                assert_violation(&machine, made(BYTE), Vector::GeneralProtection);
            } else {
                assert_allowed(&machine, made(BYTE));
            }
        }
    }
}

#[test]
fn canon_5_without_lass_nothing_is_separated() {
    for kind in AccessKind::ALL {
        assert_allowed(&user_page(Cr4::SMAP), access(kind, UPPER, Three));
        assert_allowed(&supervisor_page(Cr4::SMAP), access(kind, BYTE, Zero));
    }
}

#[test]
fn canon_5_a_violation_on_the_stack_is_a_stack_fault() {
    let user = on_stack(access(AccessKind::Write, UPPER, Three));
    assert_violation(&user_page(Cr4::LASS), user, Vector::StackFault);

    let supervisor = on_stack(access(AccessKind::Read, BYTE, Zero));
    assert_violation(&supervisor_page(LASS_AND_SMAP), supervisor, Vector::StackFault);
}

/// LASS does not traverse the paging structures: what would be a page fault is none.
#[test]
fn canon_5_is_checked_before_the_walk() {
    let absent = user_page(Cr4::LASS).clear(UPPER_PML4E, bit::P);
    assert_violation(&absent, access(AccessKind::Read, UPPER, Three), Vector::GeneralProtection);

    let reserved = user_page(LASS_AND_SMAP).set(PTE, 1 << 51 | 7);
    assert_violation(&reserved, access(AccessKind::Write, BYTE, Zero), Vector::GeneralProtection);

    // What LASS allows, paging may still deny.
    let denied = supervisor_page(Cr4::LASS).reads(BYTE, Three);
    denied.faults(code::P | code::U, BYTE).not_by(Rule::Canon5);
}

/// Masking keeps bit 63, and an address that is not canonical is judged by it, too.
#[test]
fn canon_5_bit_63_is_that_before_masking() {
    let tag = 0x2a << 57;
    let masked = user_page(Cr4::LASS | Cr4::LAM_SUP).cr3(0x10_000 | 1 << 61);
    assert_allowed(&masked, access(AccessKind::Read, BYTE | tag, Three));

    let upper = UPPER & !(0x3f << 57) | tag;
    assert_violation(&masked, access(AccessKind::Read, upper, Three), Vector::GeneralProtection);
    assert_allowed(&masked, access(AccessKind::Read, upper, Zero));

    // UAI ignores bit 63, but only afterwards. No processor has both.
    let mut ignored = user_page(Cr4::LASS);
    ignored.state.efer |= Efer::UAIE;
    let tagged = access(AccessKind::Read, BYTE | 1 << 63, Three);
    assert_violation(&ignored, tagged, Vector::GeneralProtection);

    let not_canonical = access(AccessKind::Read, 1 << 63, Three);
    assert_violation(&user_page(Cr4::LASS), not_canonical, Vector::GeneralProtection);
}

/// Every byte counts: an access that wraps at 2^64 leaves the upper half.
#[test]
fn canon_5_a_supervisor_does_not_wrap_into_the_lower_half() {
    let across = access(AccessKind::Read, 0xffff_ffff_ffff_fffc, Zero);
    assert_violation(&supervisor_page(LASS_AND_SMAP), across, Vector::GeneralProtection);

    // With LAM each byte is masked, or all follow the first. Bit 47 of the byte after that is not bit
    // 63 (CANON-2), and the byte that follows has wrapped.
    let masked = supervisor_page(LASS_AND_SMAP | Cr4::LAM_SUP);
    let tagged = Access { address: VirtAddr::new(0xfeff_ffff_ffff_fffc), ..across };
    masked.does(tagged).raises(Vector::GeneralProtection).updates(&[]);
}

#[test]
fn canon_5_applies_with_five_levels() {
    let machine = TestMachine::page_4k().five_levels().cr4(Cr4::LASS);
    let upper = access(AccessKind::Read, 0xff05_0080_8060_4234, Three);
    assert_violation(&machine, upper, Vector::GeneralProtection);
}

/// LASS takes effect in IA-32e mode only: elsewhere no address has a bit 63.
#[test]
fn canon_5_does_nothing_outside_long_mode() {
    let mut unpaged = TestMachine::in_mode(PagingMode::Unpaged, 0, &[]);
    unpaged.state.cr4 |= LASS_AND_SMAP;
    for kind in AccessKind::ALL {
        unpaged.does(access(kind, 0x5000, Zero)).reaches(0x5000).not_by(Rule::Canon5);
    }

    let entries = [(0x1000, 0x2003), (0x2014, 0x7003)];
    let mut legacy = TestMachine::in_mode(PagingMode::Bits32, 0x1000, &entries);
    legacy.state.cr4 |= LASS_AND_SMAP;
    for kind in AccessKind::ALL {
        legacy.does(access(kind, 0x5000, Zero)).reaches(0x7000).not_by(Rule::Canon5);
    }
}

/// LASS applies in compatibility mode, too. The linear addresses there have 32 bits, so bit 63 is 0
/// whatever the address says: user accesses pass, and a supervisor's are those that SMAP separates.
#[test]
fn canon_5_in_compatibility_mode_every_address_is_in_the_lower_half() {
    let compatible = |access: Access| Access { compatibility: true, ..access };
    let low = 0xf_ffff;

    let machine = supervisor_page(LASS_AND_SMAP);
    for address in [BYTE, BYTE | 1 << 63] {
        let read = compatible(access(AccessKind::Read, address, Zero));
        assert_violation(&machine, read, Vector::GeneralProtection);
        machine.does(with_ac(read)).not_by(Rule::Canon5);
        assert_violation(
            &machine,
            compatible(access(AccessKind::Fetch, address, Zero)),
            Vector::GeneralProtection,
        );
    }
    let read = compatible(access(AccessKind::Read, low | 1 << 63, Three));
    user_page(LASS_AND_SMAP).does(read).not_by(Rule::Canon5);
}
