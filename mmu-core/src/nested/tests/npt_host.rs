//! NPT: what of the host's control state governs the nested tables (APM "Nested Paging").

use super::{GUEST_PAGE, PTE, SECOND_PML4E, World, bit, fetch, read, second_pte, write};
use crate::access::{Access, Ring};
use crate::address::VirtAddr;
use crate::nested::{AnyRule, NestedEnd, NestedExit, NestedRule, SecondLevel};
use crate::x86::profile::Vendor;
use crate::x86::rule::Rule;
use crate::x86::state::{ControlState, Cr0, Cr4, Efer};
use std::string::ToString;

#[test]
fn nest_7_the_hosts_protections_do_not_restrict() {
    let mut world = World::npt();
    let host = world.host();
    host.cr4 |= Cr4::SMEP | Cr4::SMAP | Cr4::PKE | Cr4::PKS;
    host.pkru = !0;
    host.pkrs = !0;
    for access in [read(), write(), fetch()] {
        assert_eq!(world.end(access), "0x54234");
        let supervisor = Access { ring: Ring::Zero, ..access };
        assert_eq!(world.end(supervisor), "0x54234");
    }

    // CR0.WP=0 allows nothing: each access is a user access.
    *world.entry(second_pte(GUEST_PAGE)) &= !bit::RW;
    world.host().cr0 -= Cr0::WP;
    let supervisor = Access { ring: Ring::Zero, ..write() };
    assert_eq!(world.exit(supervisor), 0x1_0000_0007);
}

#[test]
fn nest_7_the_guests_protections_do_not_restrict_the_second_level() {
    let mut world = World::npt();
    world.guest.cr4 |= Cr4::SMEP | Cr4::SMAP;
    world.guest.efer -= Efer::NXE;
    *world.entry(second_pte(GUEST_PAGE)) |= bit::NX;

    assert_eq!(world.end(read()), "0x54234");
    assert_eq!(world.exit(fetch()), 0x1_0000_0015);
}

/// With the host's NXE=0 bit 63 is reserved, for tables as well (CODE-3).
#[test]
fn nest_7_the_hosts_nxe_governs_nx() {
    let mut world = World::npt();
    *world.entry(second_pte(GUEST_PAGE)) |= bit::NX;
    world.host().efer -= Efer::NXE;
    assert_eq!(world.exit(read()), 0x1_0000_000d);

    *world.entry(second_pte(PTE)) |= bit::NX;
    assert_eq!(world.exit(read()), 0x2_0000_000f);
}

/// Bit 4 of EXITINFO1 without NXE: the manual defines it there and not for a page fault.
#[test]
fn nest_8_id_without_nxe_is_open() {
    let mut world = World::npt();
    *world.entry(second_pte(GUEST_PAGE)) = 0;
    world.host().efer -= Efer::NXE;
    assert_eq!(
        world.ends(fetch()),
        ["NPF 0x100000004 at GPA 0x14234", "NPF 0x100000014 at GPA 0x14234"]
    );

    world.host().cr4 |= Cr4::SMEP;
    assert_eq!(
        world.ends(fetch()),
        ["NPF 0x100000014 at GPA 0x14234", "NPF 0x100000004 at GPA 0x14234"]
    );
    let choice = world.predict(fetch()).alternatives[1].choice;
    assert_eq!(choice, Some((AnyRule::Nested(NestedRule::Nest8), "I/D is 0 without NXE")));
    // Only a fetch is reported as one.
    assert_eq!(world.ends(read()).len(), 1);
}

/// CODE-7: G must be zero in a PML4E on AMD.
#[test]
fn nest_7_g_in_a_nested_pml4e() {
    let mut world = World::npt();
    *world.entry(SECOND_PML4E) |= bit::G;
    assert_eq!(world.exit(read()), 0x2_0000_000f);

    world.profile.vendor = Vendor::Unknown;
    let prediction = world.predict(read());
    assert_eq!(prediction.alternatives[0].end.to_string(), "0x54234");
    let choices = prediction.alternatives.iter().map(|alternative| alternative.choice);
    let rule = AnyRule::Paging(Rule::Code7);
    let ignored = Some((rule, "G in a nested PML4E is ignored"));
    let reserved = Some((rule, "G in a nested PML4E is reserved"));
    assert_eq!(choices.collect::<std::vec::Vec<_>>(), [ignored, reserved, reserved]);
}

#[test]
fn nest_7_a_host_of_5_levels() {
    let mut world = World::npt();
    world.second = SecondLevel::Npt(ControlState::five_level(0x8f_000));
    *world.entry(0x8f_000) = 0x90_000 | bit::P | bit::RW | bit::US;
    assert_eq!(world.end(read()), "0x54234");

    *world.entry(0x8f_000) |= bit::G;
    assert_eq!(world.exit(read()), 0x2_0000_000f);
}

/// PDPTEs are read during the walk; the registers play no part. They have no rights.
#[test]
fn nest_7_a_host_in_pae() {
    let mut world = World::npt();
    world.second = SecondLevel::Npt(ControlState::pae(0x91_000, [0; 4]));
    *world.entry(0x91_000) = 0x92_000 | bit::P;
    assert_eq!(world.end(write()), "0x54234");

    // Bits 2:1 and 8:5 are reserved.
    for number in [1, 2, 5, 8, 63] {
        *world.entry(0x91_000) = 0x92_000 | bit::P | 1 << number;
        assert_eq!(world.exit(read()), 0x2_0000_000f, "{number}");
    }
    *world.entry(0x91_000) = 0;
    assert_eq!(world.exit(read()), 0x2_0000_0006);
}

#[test]
fn nest_7_a_host_in_32_bit_paging() {
    let mut world = World::npt();
    world.second = SecondLevel::Npt(ControlState::bits32(0x91_000));
    *world.entry(0x91_000) = 0x93_007;
    for frame in 0x10..0x15_u64 {
        *world.entry(0x93_000 + frame * 4) = (frame + 0x40) << 12 | 7;
    }
    assert_eq!(world.end(write()), "0x54234");

    *world.entry(0x93_000 + 0x14 * 4) = 0;
    assert_eq!(world.exit(write()), 0x1_0000_0006);
}

/// A PAE host translates 4 GiB.
#[test]
fn nest_12_an_address_beyond_the_second_level() {
    let mut world = World::npt();
    world.second = SecondLevel::Npt(ControlState::pae(0x91_000, [0; 4]));
    *world.entry(0x91_000) = 0x92_000 | bit::P;
    *world.guest_entry(PTE) |= 1 << 32;

    let prediction = world.predict(read());
    let NestedEnd::Exit(NestedExit::NestedPageFault { info1, info1_known, info2 }) =
        prediction.alternatives[0].end
    else {
        panic!("nothing translates it");
    };
    assert_eq!(info2, 0x1_0001_4234);
    // P and RSV are not defined.
    assert_eq!(info1 & info1_known, 0x1_0000_0004);
    assert_eq!(info1_known & 0b1001, 0);
    assert!(prediction.nested_rules.contains(NestedRule::Nest12));
}

/// A guest's entry above the guest's MAXPHYADDR is the guest's own fault.
#[test]
fn nest_4_an_address_above_maxphyaddr() {
    let mut world = World::npt();
    *world.guest_entry(PTE) |= 1 << 51;
    assert_eq!(world.end(read()), "#PF(P|U|RSVD) at 0x8080604234");
    assert!(world.predict(read()).nested_rules.contains(NestedRule::Nest4));

    // A tag of bits that are not translated is no part of the address.
    let far = Access { address: VirtAddr::new(1 << 47), ..read() };
    assert_eq!(world.end(far), "#GP(0)");
}
