//! Guests of every mode, below both second levels.

use super::{GUEST_PAGE, GUEST_ROOT, LINEAR, LINEAR_32, PTE, UP, World, bit, read, second_pte};
use crate::access::{Access, Ring};
use crate::address::VirtAddr;
use crate::nested::{Dimension, NestedRule};
use crate::x86::state::ControlState;

fn read_32() -> Access {
    Access::read(VirtAddr::new(LINEAR_32), 4, Ring::Three)
}

/// The linear address, cut to 32 bits, is the guest-physical address (MODE-12).
#[test]
fn nest_1_a_guest_without_paging_is_translated() {
    for mut world in [World::npt(), World::ept()] {
        world.guest = ControlState::unpaged();
        let read = Access::read(VirtAddr::new(0x1_0001_4234), 4, Ring::Zero);
        assert_eq!(world.end(read), "0x54234");

        *world.entry(second_pte(GUEST_PAGE)) = 0;
        let by_npt = world.second.has_flags()
            && world.predict(read).nested_rules.contains(NestedRule::Nest7);
        let expected = if by_npt {
            "NPF 0x100000004 at GPA 0x14234"
        } else {
            "EPT violation 0x181 at GPA 0x14234"
        };
        assert_eq!(world.end(read), expected);
    }
}

#[test]
fn nest_1_a_guest_in_32_bit_paging() {
    for mut world in [World::npt(), World::ept()] {
        world.guest = ControlState::bits32(GUEST_ROOT);
        // Entry 0x101 of the directory, 3 of the table.
        *world.guest_entry(GUEST_ROOT + 0x101 * 4) = 0x11_007;
        *world.guest_entry(0x11_00c) = GUEST_PAGE | 7;
        assert_eq!(world.end(read_32()), "0x54234");

        let update = |at: u64| {
            let prediction = world.predict(read_32());
            let updates = prediction.alternatives[0].updates.iter();
            let mut of_entry = updates.filter(|update| update.at.get() == at + UP);
            of_entry.next().map(|update| (update.dimension, update.bytes, update.must_set))
        };
        assert_eq!(update(0x11_00c), Some((Dimension::Guest, 4, bit::A)));
    }
}

/// NPT reads PDPTEs from the guest's memory during the walk; a bad one is a page fault with RSVD.
#[test]
fn nest_13_a_pae_guest_below_npt() {
    let mut world = World::npt();
    world.guest = ControlState::pae(GUEST_ROOT, [0; 4]);
    *world.guest_entry(GUEST_ROOT + 8) = 0x11_000 | bit::P;
    *world.guest_entry(0x11_010) = 0x12_007;
    *world.guest_entry(0x12_018) = GUEST_PAGE | 7;
    assert_eq!(world.end(read_32()), "0x54234");
    assert!(world.predict(read_32()).nested_rules.contains(NestedRule::Nest13));

    *world.guest_entry(GUEST_ROOT + 8) |= bit::RW;
    assert_eq!(world.end(read_32()), "#PF(P|U|RSVD) at 0x40403234");
    *world.guest_entry(GUEST_ROOT + 8) = 0;
    assert_eq!(world.end(read_32()), "#PF(U) at 0x40403234");
    *world.entry(second_pte(GUEST_ROOT)) = 0;
    assert_eq!(world.exit(read_32()), 0x2_0000_0006);
}

/// EPT takes them from registers, and their memory plays no part.
#[test]
fn nest_13_a_pae_guest_below_ept() {
    let mut world = World::ept();
    world.guest = ControlState::pae(GUEST_ROOT, [0, 0x11_001, 0, 0]);
    *world.guest_entry(0x11_010) = 0x12_007;
    *world.guest_entry(0x12_018) = GUEST_PAGE | 7;
    *world.entry(second_pte(GUEST_ROOT)) = 0;
    assert_eq!(world.end(read_32()), "0x54234");

    world.guest.pdptes[1] = 0;
    assert_eq!(world.end(read_32()), "#PF(U) at 0x40403234");
}

#[test]
fn nest_1_a_guest_of_5_levels() {
    for mut world in [World::npt(), World::ept()] {
        world.guest = ControlState::five_level(0x15_000);
        *world.guest_entry(0x15_000) = GUEST_ROOT | 7;
        assert_eq!(world.end(read()), "0x54234");
        *world.guest_entry(PTE) = 0;
        assert_eq!(world.end(read()), format!("#PF(U) at {LINEAR:#x}"));
    }
}
