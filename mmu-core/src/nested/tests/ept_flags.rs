//! EPT: accessed and dirty flags of both dimensions (SDM "Accessed and Dirty Flags for EPT").

use super::{
    GUEST_PAGE, PML4E, PTE, SECOND_PDE, UP, World, bit, ept_bit, fetch, read, second_pte, write,
};
use crate::nested::{AnyRule, Dimension, NestedRule};
use std::string::ToString;
use std::vec::Vec;

const A: u64 = ept_bit::A;
const D: u64 = ept_bit::D;

fn without_flags() -> World {
    let mut world = World::ept();
    *world.ept_mut() = world.ept_mut().with_flags(false);
    world
}

#[test]
fn nest_9_flags_in_use() {
    let world = World::ept();
    let second = |at, access| world.update(access, Dimension::Second, at);
    assert_eq!(second(second_pte(PTE), read()), (A | D, 0));
    assert_eq!(second(second_pte(GUEST_PAGE), read()), (A, 0));
    assert_eq!(second(second_pte(GUEST_PAGE), write()), (A | D, 0));
    assert_eq!(second(SECOND_PDE, write()), (A, 0));
}

#[test]
fn nest_9_flags_not_in_use() {
    let world = without_flags();
    let updates = &world.predict(write()).alternatives[0].updates;
    assert!(updates.iter().all(|update| update.dimension == Dimension::Guest));
    assert_eq!(world.update(write(), Dimension::Guest, PTE + UP), (bit::A | bit::D, 0));
}

/// A table in read-only memory is refused only if A or D must change: 0x8b, a read and a write, readable.
#[test]
fn nest_9_a_table_in_read_only_memory() {
    let mut world = without_flags();
    *world.entry(second_pte(PTE)) &= !(ept_bit::W | ept_bit::X);
    assert_eq!(
        world.ends(read()),
        ["EPT violation 0x8b at GPA 0x13020", "EPT violation 0x8a at GPA 0x13020"]
    );
    // What may not be written stays as it is.
    assert_eq!(world.update(read(), Dimension::Guest, PTE + UP), (0, 0));

    *world.guest_entry(PTE) |= bit::A;
    assert_eq!(world.end(read()), "0x54234");
    assert_eq!(world.end(fetch()), "0x54234");
    assert_eq!(world.ends(write())[0], "EPT violation 0x8b at GPA 0x13020");
    *world.guest_entry(PTE) |= bit::D;
    assert_eq!(world.end(write()), "0x54234");
}

/// Whether A of an upper entry is set before the entries below are read is open.
#[test]
fn nest_9_the_order_of_flags_and_reads() {
    let mut world = without_flags();
    *world.entry(second_pte(PML4E)) &= !ept_bit::W;
    *world.guest_entry(PTE) = 0;

    let rule = AnyRule::Nested(NestedRule::Nest9);
    let prediction = world.predict(read());
    let ends: Vec<_> = prediction
        .alternatives
        .iter()
        .map(|alternative| (alternative.end.to_string(), alternative.choice))
        .collect();
    let on_the_way = Some((rule, "A is set before the next entry is read"));
    assert_eq!(
        ends,
        [
            (
                "#PF(U) at 0x8080604234".into(),
                Some((rule, "A and D are set at the end of the walk"))
            ),
            ("EPT violation 0xab at GPA 0x10008".into(), on_the_way),
            ("EPT violation 0xaa at GPA 0x10008".into(), on_the_way),
        ]
    );

    // With A set there is nothing to write.
    *world.guest_entry(PML4E) |= bit::A;
    assert_eq!(world.end(read()), "#PF(U) at 0x8080604234");
}

/// The guest's rights are judged before its flags are written.
#[test]
fn nest_5_rights_come_before_flags() {
    let mut world = without_flags();
    *world.entry(second_pte(PTE)) &= !ept_bit::W;
    *world.guest_entry(PTE) &= !bit::RW;
    assert_eq!(world.ends(write())[0], "#PF(P|W|U) at 0x8080604234");
}

/// NEST-6: the guest's flags come before its page.
#[test]
fn nest_6_flags_come_before_the_page() {
    let mut world = without_flags();
    *world.entry(second_pte(GUEST_PAGE)) = 0;
    assert_eq!(world.end(write()), "EPT violation 0x182 at GPA 0x14234");
    assert_eq!(world.update(write(), Dimension::Guest, PTE + UP), (bit::A | bit::D, 0));

    *world.entry(second_pte(PTE)) &= !ept_bit::W;
    assert_eq!(world.ends(write())[0], "EPT violation 0xab at GPA 0x13020");
}
