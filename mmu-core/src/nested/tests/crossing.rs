//! Accesses to two pages, each of which is walked in both dimensions.

use super::{GUEST_PAGE, PTE, UP, World, bit, second_pte};
use crate::access::{Access, Ring, SizeError};
use crate::address::VirtAddr;
use crate::memory::SparseTables;
use crate::nested::{AnyRule, Dimension};
use crate::x86::rule::Rule;
use crate::x86::state::Cr0;
use std::string::ToString;

/// The last two bytes of the page, and the first two of the next.
const CROSSING: u64 = 0x80_8060_4ffe;
/// The second page.
const NEXT_PAGE: u64 = 0x15_000;

fn world(base: World) -> World {
    let mut world = base;
    *world.guest_entry(PTE + 8) = NEXT_PAGE | 7;
    world
}

fn write() -> Access {
    Access::write(VirtAddr::new(CROSSING), 4, Ring::Three)
}

#[test]
fn nest_1_both_pages_are_translated() {
    let mut world = world(World::npt());
    assert_eq!(world.end(write()), "0x54ffe, 0x55000");

    // They need not be adjacent.
    *world.entry(second_pte(NEXT_PAGE)) = 0x77_007;
    assert_eq!(world.end(write()), "0x54ffe, 0x77000");
    let second = |page| world.update(write(), Dimension::Second, second_pte(page));
    assert_eq!(second(GUEST_PAGE), (bit::A | bit::D, 0));
    assert_eq!(second(NEXT_PAGE), (bit::A | bit::D, 0));
}

/// The address is that of the first byte in the page that is refused.
#[test]
fn code_12_the_second_page_is_refused() {
    let mut npt = world(World::npt());
    *npt.entry(second_pte(NEXT_PAGE)) = 0;
    assert_eq!(npt.end(write()), "NPF 0x100000006 at GPA 0x15000");

    let mut ept = world(World::ept());
    *ept.entry(second_pte(NEXT_PAGE)) = 0;
    let prediction = ept.predict(write());
    let exit = prediction.alternatives[0].end.exit().expect("an exit");
    assert_eq!(exit.to_string(), "EPT violation 0x182 at GPA 0x15000");
    assert!(matches!(
        exit,
        crate::nested::NestedExit::EptViolation { linear: Some(0x80_8060_5000), .. }
    ));

    // The first page is not written, but its flags may be set (AD-7).
    assert_eq!(npt.update(write(), Dimension::Guest, PTE + UP), (0, bit::A | bit::D));
    let first = npt.update(write(), Dimension::Second, second_pte(GUEST_PAGE));
    assert_eq!(first, (0, bit::A | bit::D));

    // Nor does it say whether the second page's were set before the exit.
    assert_eq!(npt.update(write(), Dimension::Guest, PTE + 8 + UP), (0, bit::A | bit::D));
    // The tables of the page that is reported were read.
    let table = npt.update(write(), Dimension::Second, second_pte(PTE));
    assert_eq!(table, (bit::A | bit::D, 0));
}

/// ALIGN-1: the page is not written, but the tables may have been read.
#[test]
fn align_1_a_misaligned_access_below_a_second_level() {
    let mut world = world(World::npt());
    world.guest.cr0 |= Cr0::AM;
    let misaligned = Access { ac: true, ..write() };
    assert_eq!(world.end(misaligned), "#AC(0)");
    let second = |at| world.update(misaligned, Dimension::Second, second_pte(at));
    assert_eq!(second(PTE), (0, bit::A | bit::D));
    assert_eq!(second(GUEST_PAGE), (0, bit::A));
    assert_eq!(world.update(misaligned, Dimension::Guest, PTE + UP), (0, bit::A));

    // Which comes first is open.
    *world.entry(second_pte(GUEST_PAGE)) = 0;
    assert_eq!(world.ends(misaligned), ["NPF 0x100000006 at GPA 0x14ffe", "#AC(0)"]);
}

/// Which of two is reported is open, also if one is the guest's and the other is not.
#[test]
fn code_12_both_pages_fail() {
    let mut world = world(World::npt());
    *world.guest_entry(PTE + 8) = 0;
    *world.entry(second_pte(GUEST_PAGE)) = 0;

    let prediction = world.predict(write());
    let ends = prediction
        .alternatives
        .iter()
        .map(|alternative| (alternative.end.to_string(), alternative.choice.expect("a choice")));
    let rule = AnyRule::Paging(Rule::Code12);
    assert_eq!(
        ends.collect::<std::vec::Vec<_>>(),
        [
            ("NPF 0x100000006 at GPA 0x14ffe".into(), (rule, "the lower page is reported")),
            ("#PF(W|U) at 0x8080605000".into(), (rule, "the upper page is reported")),
        ]
    );
}

#[test]
fn an_access_of_no_bytes_is_refused() {
    let world = World::npt();
    let nothing = Access { size: 0, ..write() };
    let predicted = world.mmu().predict(&SparseTables::new(&world.entries), &nothing);
    assert_eq!(predicted, Err(SizeError::Empty));
}
