//! NPT: what EXITINFO1 and EXITINFO2 report (APM "Nested versus Guest Page Faults, Fault Ordering"), and
//! which bits are set.

use super::{
    GUEST_PAGE, LINEAR, PML4E, PTE, SECOND_PDE, SECOND_PML4E, UP, World, bit, fetch, read,
    second_pte, write,
};
use crate::address::VirtAddr;
use crate::nested::{AnyRule, Dimension, NestedRule};
use crate::x86::rule::Rule;

#[test]
fn nest_1_both_dimensions_lead_to_the_page() {
    let world = World::npt();
    assert_eq!(world.end(read()), "0x54234");
    assert_eq!(world.end(write()), "0x54234");
    assert_eq!(world.end(fetch()), "0x54234");
    assert!(world.predict(read()).nested_rules.contains(NestedRule::Nest1));
}

#[test]
fn nest_8_a_page_that_is_not_present() {
    let mut world = World::npt();
    *world.entry(second_pte(GUEST_PAGE)) = 0;

    assert_eq!(world.end(read()), "NPF 0x100000004 at GPA 0x14234");
    assert_eq!(world.end(write()), "NPF 0x100000006 at GPA 0x14234");
    assert_eq!(world.end(fetch()), "NPF 0x100000014 at GPA 0x14234");
}

/// "Host table walks for guest page tables are always treated as data writes."
#[test]
fn nest_2_a_table_that_is_not_present() {
    for table in [0x10_000, 0x11_000, 0x12_000, 0x13_000] {
        let mut world = World::npt();
        *world.entry(second_pte(table)) = 0;
        for access in [read(), write(), fetch()] {
            assert_eq!(world.exit(access), 0x2_0000_0006, "{table:#x}");
        }
    }
}

#[test]
fn nest_2_a_table_needs_the_right_to_write() {
    let mut world = World::npt();
    *world.entry(second_pte(PTE)) &= !bit::RW;
    for entry in [PML4E, 0x11_010, 0x12_018, PTE] {
        *world.guest_entry(entry) |= bit::A | bit::D;
    }

    // Although A and D are set already, and whatever the access.
    for access in [read(), write(), fetch()] {
        assert_eq!(world.exit(access), 0x2_0000_0007);
    }
}

#[test]
fn nest_2_a_table_needs_to_be_a_user_page_and_may_be_nx() {
    let mut world = World::npt();
    *world.entry(second_pte(PTE)) |= bit::NX;
    assert_eq!(world.end(fetch()), "0x54234");

    *world.entry(second_pte(PTE)) &= !bit::US;
    assert_eq!(world.exit(read()), 0x2_0000_0007);
    assert_eq!(world.exit(fetch()), 0x2_0000_0007);
}

#[test]
fn nest_7_rights_of_the_page() {
    let mut world = World::npt();
    *world.entry(second_pte(GUEST_PAGE)) &= !bit::RW;
    assert_eq!(world.end(read()), "0x54234");
    assert_eq!(world.end(write()), "NPF 0x100000007 at GPA 0x14234");

    let mut world = World::npt();
    *world.entry(second_pte(GUEST_PAGE)) |= bit::NX;
    assert_eq!(world.end(write()), "0x54234");
    assert_eq!(world.end(fetch()), "NPF 0x100000015 at GPA 0x14234");

    let mut world = World::npt();
    *world.entry(second_pte(GUEST_PAGE)) &= !bit::US;
    assert_eq!(world.end(read()), "NPF 0x100000005 at GPA 0x14234");
    assert_eq!(world.end(write()), "NPF 0x100000007 at GPA 0x14234");
}

/// R/W is an AND over the levels, and so is the absence of NX (RIGHT-1).
#[test]
fn nest_7_rights_of_upper_entries() {
    let mut world = World::npt();
    *world.entry(SECOND_PDE) |= bit::NX;
    assert_eq!(world.exit(fetch()), 0x1_0000_0015);
    assert_eq!(world.end(read()), "0x54234");

    *world.entry(SECOND_PML4E) &= !bit::RW;
    assert_eq!(world.exit(read()), 0x2_0000_0007);
}

#[test]
fn nest_8_reserved_bits() {
    // Bit 51 is above MAXPHYADDR.
    let mut world = World::npt();
    *world.entry(second_pte(GUEST_PAGE)) |= 1 << 51;
    assert_eq!(world.end(read()), "NPF 0x10000000d at GPA 0x14234");
    assert_eq!(world.end(write()), "NPF 0x10000000f at GPA 0x14234");
    assert_eq!(world.end(fetch()), "NPF 0x10000001d at GPA 0x14234");

    let mut world = World::npt();
    *world.entry(second_pte(PTE)) |= 1 << 51;
    assert_eq!(world.exit(read()), 0x2_0000_000f);
    assert_eq!(world.exit(fetch()), 0x2_0000_000f);
}

/// Bits 20:13 of a 2 MiB page are reserved, bit 12 is PAT.
#[test]
fn nest_8_reserved_bits_of_a_large_page() {
    let large = bit::P | bit::RW | bit::US | bit::PS;
    let mut world = World::npt();
    *world.entry(SECOND_PDE) = large | 1 << 12;
    for (at, entry) in world.entries.clone() {
        *world.entry(at - if (0x50_000..0x54_000).contains(&at) { UP } else { 0 }) = entry;
    }
    assert_eq!(world.end(read()), "0x14234");

    *world.entry(SECOND_PDE) = large | 1 << 13;
    assert_eq!(world.exit(read()), 0x2_0000_000f);
}

/// Whether EXITINFO2 has the offset of a table's entry is open; a table's first entry has none.
#[test]
fn nest_8_exitinfo2_of_a_table() {
    let mut world = World::npt();
    *world.entry(second_pte(PTE)) = 0;
    assert_eq!(
        world.ends(read()),
        ["NPF 0x200000006 at GPA 0x13020", "NPF 0x200000006 at GPA 0x13000"]
    );
    let choices = world.predict(read()).alternatives;
    let names = choices.iter().map(|alternative| alternative.choice.expect("a choice"));
    let rule = AnyRule::Nested(NestedRule::Nest8);
    assert_eq!(
        names.collect::<std::vec::Vec<_>>(),
        [
            (rule, "EXITINFO2 is the address of the entry"),
            (rule, "EXITINFO2 is the address of the table"),
        ]
    );

    let first = crate::Access { address: VirtAddr::new(LINEAR & !0x1f_f000), ..read() };
    assert_eq!(world.ends(first), ["NPF 0x200000006 at GPA 0x13000"]);
}

/// A nested fault on a table outranks what the entry holds, and what the guest's rights say.
#[test]
fn nest_5_a_table_comes_before_its_entry() {
    let mut world = World::npt();
    *world.guest_entry(PTE) = 0;
    assert_eq!(world.end(read()), "#PF(U) at 0x8080604234");
    *world.entry(second_pte(PTE)) = 0;
    assert_eq!(world.exit(read()), 0x2_0000_0006);

    // An entry further up that is bad comes before.
    *world.guest_entry(PML4E) = 0;
    assert_eq!(world.end(read()), "#PF(U) at 0x8080604234");
}

#[test]
fn nest_5_the_guests_rights_come_before_the_page() {
    let mut world = World::npt();
    *world.guest_entry(PTE) &= !bit::RW;
    *world.entry(second_pte(GUEST_PAGE)) = 0;

    assert_eq!(world.end(write()), "#PF(P|W|U) at 0x8080604234");
    assert_eq!(world.exit(read()), 0x1_0000_0004);
}

#[test]
fn nest_6_the_guests_flags_are_set_before_its_page_is_translated() {
    let mut world = World::npt();
    *world.entry(second_pte(GUEST_PAGE)) = 0;

    let guest = |at, access| world.update(access, Dimension::Guest, at + UP);
    assert_eq!(guest(PML4E, read()), (bit::A, 0));
    assert_eq!(guest(PTE, read()), (bit::A, 0));
    assert_eq!(guest(PTE, write()), (bit::A | bit::D, 0));
}

#[test]
fn nest_5_a_fault_on_a_table_leaves_the_guests_flags_open() {
    let mut world = World::npt();
    *world.entry(second_pte(PTE)) = 0;

    let guest = |at| world.update(write(), Dimension::Guest, at + UP);
    assert_eq!(guest(PML4E), (0, bit::A)); // AD-2
    assert_eq!(guest(PTE), (0, 0)); // It was not read.
}

#[test]
fn nest_2_reads_of_tables_set_a_and_d() {
    let world = World::npt();
    let second = |at, access| world.update(access, Dimension::Second, at);
    for table in [0x10_000, 0x11_000, 0x12_000, 0x13_000] {
        assert_eq!(second(second_pte(table), read()), (bit::A | bit::D, 0));
    }
    assert_eq!(second(second_pte(GUEST_PAGE), read()), (bit::A, 0));
    assert_eq!(second(second_pte(GUEST_PAGE), write()), (bit::A | bit::D, 0));
    assert_eq!(second(SECOND_PDE, write()), (bit::A, 0));

    // Also where the guest faults in the end.
    let mut world = World::npt();
    *world.guest_entry(PTE) = 0;
    let second = |at| world.update(read(), Dimension::Second, at);
    assert_eq!(second(second_pte(PTE)), (bit::A | bit::D, 0));
    assert_eq!(second(second_pte(GUEST_PAGE)), (0, 0));
}

/// AD-2 and AD-3 hold in the second level, too.
#[test]
fn nest_8_a_refused_walk_leaves_a_open() {
    let mut world = World::npt();
    *world.entry(second_pte(GUEST_PAGE)) &= !bit::RW;
    let second = |at| world.update(write(), Dimension::Second, at);
    assert_eq!(second(second_pte(GUEST_PAGE)), (0, bit::A));
    assert_eq!(second(SECOND_PDE), (bit::A, 0)); // The tables were read through it.
    assert_eq!(second(second_pte(PTE)), (bit::A | bit::D, 0));
}

/// What a machine does where there is no memory is its own work.
#[test]
fn out_1_a_second_level_outside_memory() {
    let mut world = World::npt();
    *world.entry(SECOND_PDE) = 0x00ff_0000_0007;
    let prediction = world.predict(read());
    let choices = prediction.alternatives.iter().map(|alternative| alternative.choice);
    let out = AnyRule::Paging(Rule::Out1);
    assert!(choices.clone().all(|choice| choice.is_some_and(|(rule, _)| rule == out)));
    assert_eq!(
        world.ends(read()),
        [
            "NPF 0x200000006 at GPA 0x10008",
            "NPF 0x200000006 at GPA 0x10000",
            "NPF 0x20000000f at GPA 0x10008",
            "NPF 0x20000000f at GPA 0x10000",
        ]
    );
}
