//! The references of a single walk.

use super::{GUEST_PAGE, LINEAR, PTE, UP, World, bit, read, second_pte};
use crate::access::{Access, Ring};
use crate::address::VirtAddr;
use crate::memory::{OutsideMemory, SparseTables};
use crate::nested::{Dimension, Ept, NestedError, NestedRights, NestedWalk, SecondLevel};
use crate::x86::semantics::EntryError;
use crate::x86::state::ControlState;
use std::string::ToString;

fn walk(world: &World, access: Access) -> NestedWalk {
    world.mmu().walk(&SparseTables::new(&world.entries), &access).expect("memory")
}

/// Four levels in both dimensions: 4 × (4 + 1) + 4.
#[test]
fn nest_1_4_levels_in_4_levels_are_24_references() {
    let walk = walk(&World::npt(), read());
    assert_eq!(walk.references.len(), 24);
    assert_eq!(walk.end.to_string(), "0x54234");

    let guest: std::vec::Vec<_> = walk
        .references
        .iter()
        .enumerate()
        .filter(|(_, reference)| reference.dimension == Dimension::Guest)
        .map(|(number, reference)| {
            (number, reference.level.entry_name, reference.at.unwrap().get())
        })
        .collect();
    assert_eq!(
        guest,
        [
            (4, "PML4E", 0x50_008),
            (9, "PDPTE", 0x51_010),
            (14, "PDE", 0x52_018),
            (19, "PTE", 0x53_020)
        ]
    );

    // The last one translates the page.
    let last = walk.references[23];
    assert_eq!(last.guest_physical.get(), 0x14_234);
    assert_eq!(last.at.unwrap().get(), second_pte(GUEST_PAGE));
    assert_eq!(last.target.get(), GUEST_PAGE + UP);
}

/// Five levels in both: 5 × (5 + 1) + 5.
#[test]
fn nest_1_5_levels_in_5_levels_are_35_references() {
    let mut world = World::ept();
    let ept = Ept::four_level(0x8f_000);
    world.second = SecondLevel::Ept(Ept { eptp: ept.eptp & !0x38 | 4 << 3, ..ept });
    *world.entry(0x8f_000) = 0x90_007;
    world.guest = ControlState::five_level(0x15_000);
    *world.guest_entry(0x15_000) = 0x10_007;

    let walk = walk(&world, read());
    assert_eq!(walk.end.to_string(), "0x54234");
    assert_eq!(walk.references.len(), 35);
    assert_eq!(walk.references[0].level.entry_name, "EPT PML5E");
}

#[test]
fn nest_5_the_references_end_at_the_failure() {
    let mut world = World::npt();
    *world.entry(second_pte(PTE)) &= !bit::RW;
    let refused = walk(&world, read());
    assert_eq!(refused.end.to_string(), "NPF 0x200000007 at GPA 0x13020");
    assert_eq!(refused.references.len(), 19);
    assert_eq!(refused.references[18].missing, NestedRights::WRITE);
    assert_eq!(refused.references[18].error, None);

    let mut world = World::npt();
    *world.guest_entry(PTE) = 0;
    let faulting = walk(&world, read());
    assert_eq!(faulting.references.len(), 20);
    assert_eq!(faulting.references[19].error, Some(EntryError::NotPresent));
    assert_eq!(faulting.end.to_string(), "#PF(U) at 0x8080604234");
}

/// A PDPTE that a register holds is not in memory, even if a table is where it would be.
#[test]
fn nest_13_a_register_has_no_address() {
    let mut world = World::ept();
    world.guest = ControlState::pae(0x10_000, [0x10_001, 0, 0, 0]);
    // Linear address 0: the directory is where CR3 points, its entry is where PDPTE 0 would be.
    *world.guest_entry(0x10_000) = 0x11_007;
    *world.guest_entry(0x11_000) = GUEST_PAGE | 7;

    let walk = walk(&world, Access::read(VirtAddr::new(0x234), 4, Ring::Three));
    assert_eq!(walk.end.to_string(), "0x54234");
    assert_eq!(walk.references[0].at, None);
    assert_eq!(walk.references.len(), 1 + 5 + 5 + 4);
}

#[test]
fn out_1_errors_of_the_memory_are_returned() {
    let mut world = World::npt();
    *world.entry(0x91_000) = 0xee_000 | 7;
    let error = world.mmu().walk(&SparseTables::new(&world.entries), &read()).unwrap_err();
    let outside = OutsideMemory(crate::PhysAddr::new(0xee_000));
    assert_eq!(error, NestedError::Memory(outside));

    let far = Access { address: VirtAddr::new(LINEAR ^ 1 << 60), ..read() };
    assert_eq!(walk(&World::npt(), far).end.to_string(), "#GP(0)");
}
