//! EPT: exit qualifications, and misconfigurations (SDM "EPT-Induced VM Exits", "Exit Qualification for
//! EPT Violations").

use super::{
    GUEST_PAGE, PML4E, PTE, SECOND_PDE, SECOND_PML4E, World, bit, ept_bit, fetch, read, second_pte,
    write,
};
use crate::access::{Access, AccessKind};
use crate::nested::{AnyRule, EptCapabilities, NestedEnd, NestedExit, NestedRule, SecondLevel};
use crate::x86::profile::Features;
use crate::x86::state::Efer;
use std::string::ToString;

const R: u64 = ept_bit::R;
const W: u64 = ept_bit::W;
const X: u64 = ept_bit::X;

/// A world whose page has these rights in its last entry.
fn page_with(rights: u64) -> World {
    let mut world = World::ept();
    *world.entry(second_pte(GUEST_PAGE)) &= !7;
    *world.entry(second_pte(GUEST_PAGE)) |= rights;
    world
}

#[test]
fn nest_10_qualifications_of_a_page() {
    let not_present = page_with(0);
    assert_eq!(not_present.end(read()), "EPT violation 0x181 at GPA 0x14234");
    assert_eq!(not_present.end(write()), "EPT violation 0x182 at GPA 0x14234");
    assert_eq!(not_present.end(fetch()), "EPT violation 0x184 at GPA 0x14234");

    let read_only = page_with(R);
    assert_eq!(read_only.end(read()), "0x54234");
    assert_eq!(read_only.end(write()), "EPT violation 0x18a at GPA 0x14234");
    assert_eq!(read_only.end(fetch()), "EPT violation 0x18c at GPA 0x14234");

    assert_eq!(page_with(R | W).end(fetch()), "EPT violation 0x19c at GPA 0x14234");
    assert_eq!(page_with(R | X).end(write()), "EPT violation 0x1aa at GPA 0x14234");
}

/// Bits 5:3 are what all entries allow together.
#[test]
fn nest_10_rights_of_upper_entries() {
    let mut world = World::ept();
    *world.entry(SECOND_PDE) &= !X;
    *world.entry(second_pte(GUEST_PAGE)) &= !W;
    assert_eq!(world.end(write()), "EPT violation 0x18a at GPA 0x14234");
    assert_eq!(world.end(fetch()), "EPT violation 0x18c at GPA 0x14234");
}

/// "If such an access causes an EPT violation, the processor sets both bit 0 and bit 1."
#[test]
fn nest_9_qualifications_of_a_table_with_flags() {
    let mut world = World::ept();
    *world.entry(second_pte(PTE)) = 0;
    for access in [read(), write(), fetch()] {
        assert_eq!(world.end(access), "EPT violation 0x83 at GPA 0x13020");
    }

    let mut world = World::ept();
    *world.entry(second_pte(PTE)) &= !W;
    *world.guest_entry(PTE) |= bit::A | bit::D;
    assert_eq!(world.end(read()), "EPT violation 0xab at GPA 0x13020");
}

#[test]
fn nest_9_qualifications_of_a_table_without_flags() {
    let mut world = World::ept();
    *world.ept_mut() = world.ept_mut().with_flags(false);
    *world.entry(second_pte(PTE)) = 0;
    assert_eq!(world.end(read()), "EPT violation 0x81 at GPA 0x13020");
    assert_eq!(world.end(fetch()), "EPT violation 0x81 at GPA 0x13020");
}

/// The linear address is that of the access, for a table as well.
#[test]
fn nest_10_the_linear_address() {
    let mut world = World::ept();
    *world.entry(second_pte(PTE)) = 0;
    let NestedEnd::Exit(exit) = world.predict(read()).alternatives[0].end else {
        panic!("the table is not present");
    };
    let NestedExit::EptViolation { linear, qualification_known, .. } = exit else {
        panic!("{exit}");
    };
    assert_eq!(linear, Some(super::LINEAR));
    // Bit 6 is not defined, nor are bits 9 to 16 here.
    assert_eq!(qualification_known & 0x1_ffff, 0x1bf);
}

/// "Sets bit 1. Whether it also sets bit 0 is implementation-specific."
#[test]
fn nest_10_a_read_modify_write() {
    let access = Access { kind: AccessKind::ReadModifyWrite, ..write() };
    let prediction = page_with(R).predict(access);
    let ends = prediction
        .alternatives
        .iter()
        .map(|alternative| (alternative.end.to_string(), alternative.choice.expect("a choice")));
    let rule = AnyRule::Nested(NestedRule::Nest10);
    assert_eq!(
        ends.collect::<std::vec::Vec<_>>(),
        [
            (
                "EPT violation 0x18a at GPA 0x14234".into(),
                (rule, "a read-modify-write sets bit 1 alone")
            ),
            (
                "EPT violation 0x18b at GPA 0x14234".into(),
                (rule, "a read-modify-write sets bits 0 and 1")
            ),
        ]
    );
}

const MISCONFIGURED: &str = "EPT misconfiguration at GPA 0x14234";

/// -W- and -WX are misconfigured, whatever the access; --X is without the capability.
#[test]
fn nest_3_combinations_of_rights() {
    for access in [read(), write(), fetch()] {
        assert_eq!(page_with(W).end(access), MISCONFIGURED);
        assert_eq!(page_with(W | X).end(access), MISCONFIGURED);
    }

    let mut world = page_with(X);
    assert_eq!(world.end(fetch()), "0x54234");
    assert_eq!(world.end(read()), "EPT violation 0x1a1 at GPA 0x14234");
    world.ept_mut().capabilities -= EptCapabilities::EXECUTE_ONLY;
    assert_eq!(world.end(fetch()), MISCONFIGURED);
}

#[test]
fn nest_3_memory_types() {
    for (memory_type, is_reserved) in [
        (0, false),
        (1, false),
        (2, true),
        (3, true),
        (4, false),
        (5, false),
        (6, false),
        (7, true),
    ] {
        let mut world = page_with(R | W | X);
        let entry = world.entry(second_pte(GUEST_PAGE));
        *entry = *entry & !(7 << 3) | memory_type << 3;
        let expected = if is_reserved { MISCONFIGURED } else { "0x54234" };
        assert_eq!(world.end(read()), expected, "{memory_type}");
    }
}

/// In a table's entry bits 7:3 are reserved.
#[test]
fn nest_3_reserved_bits() {
    for number in [3, 4, 5, 6, 7, 48, 51] {
        let mut world = World::ept();
        *world.entry(SECOND_PML4E) |= 1 << number;
        assert_eq!(world.end(read()), "EPT misconfiguration at GPA 0x10008", "{number}");
    }
    for number in [8, 9, 10, 11, 52, 63] {
        let mut world = World::ept();
        *world.entry(SECOND_PML4E) |= 1 << number;
        assert_eq!(world.end(read()), "0x54234", "{number}");
    }

    // In the last entry bits 6 and 7 are not: ignore PAT, and ignored.
    let mut world = page_with(R | W | X | 1 << 6 | 1 << 7);
    assert_eq!(world.end(read()), "0x54234");
    *world.entry(second_pte(GUEST_PAGE)) |= 1 << 50;
    assert_eq!(world.end(read()), MISCONFIGURED);
}

#[test]
fn nest_3_large_pages() {
    let large = R | W | X | ept_bit::WB | ept_bit::PAGE;
    let at_once = |at: u64, entry: u64| {
        let mut world = World::ept();
        for (from, value) in world.entries.clone() {
            if (0x50_000..0x54_000).contains(&from) {
                *world.entry(from - super::UP) = value;
            }
        }
        *world.entry(at) = entry;
        world
    };

    // 2 MiB: bits 20:12 are reserved, PAT has no bit. 1 GiB: bits 29:12.
    assert_eq!(at_once(SECOND_PDE, large).end(read()), "0x14234");
    assert_eq!(
        at_once(SECOND_PDE, large | 1 << 12).end(read()),
        "EPT misconfiguration at GPA 0x10008"
    );
    let mut world = at_once(super::SECOND_PDPTE, large);
    assert_eq!(world.end(read()), "0x14234");
    // The processor's own 1 GiB pages do not matter.
    world.profile.features -= Features::PAGE_1GB;
    assert_eq!(world.end(read()), "0x14234");
    world.ept_mut().capabilities -= EptCapabilities::PAGE_1GB;
    assert_eq!(world.end(read()), "EPT misconfiguration at GPA 0x10008");
}

/// A misconfigured entry outranks rights that an upper entry lacks (SDM "Prioritization of EPT
/// Misconfigurations and EPT Violations"), and an entry that is not present comes first if it is further up.
#[test]
fn nest_3_a_misconfiguration_outranks_a_violation() {
    let mut world = page_with(W);
    *world.entry(SECOND_PDE) &= !(W | X);
    // With A and D the tables could not be read.
    *world.ept_mut() = world.ept_mut().with_flags(false);
    for entry in [PML4E, 0x11_010, 0x12_018, PTE] {
        *world.guest_entry(entry) |= bit::A | bit::D;
    }
    assert_eq!(world.end(write()), MISCONFIGURED);

    *world.entry(SECOND_PDE) = 0;
    assert_eq!(world.end(write()), "EPT violation 0x81 at GPA 0x10008");
}

/// Bit 10 decides about user-mode linear addresses, bit 2 about supervisor-mode ones.
#[test]
fn nest_11_mode_based_execute_control() {
    let mut world = page_with(R | X);
    assert_eq!(world.end(fetch()), "0x54234");
    world.ept_mut().mode_based_execute = true;
    for at in [SECOND_PML4E, super::SECOND_PDPTE, SECOND_PDE] {
        *world.entry(at) |= ept_bit::XU;
    }
    assert_eq!(world.end(fetch()), "EPT violation 0x1ac at GPA 0x14234");

    // A ring-3 fetch is from a user-mode address. The guest's U/S makes it one, not the ring.
    let supervisor = Access { ring: crate::Ring::Zero, ..fetch() };
    assert_eq!(world.end(supervisor), "EPT violation 0x1ac at GPA 0x14234");
    *world.guest_entry(PTE) &= !bit::US;
    assert_eq!(world.end(supervisor), "0x54234");

    *world.entry(second_pte(GUEST_PAGE)) ^= X | ept_bit::XU;
    assert_eq!(world.end(supervisor), "EPT violation 0x1cc at GPA 0x14234");
    *world.guest_entry(PTE) |= bit::US;
    assert_eq!(world.end(supervisor), "0x54234");

    // Without paging each address is a user-mode one.
    let mut unpaged = world.clone();
    unpaged.guest = crate::ControlState::unpaged();
    let access = Access { address: crate::VirtAddr::new(0x14_234), ..supervisor };
    assert_eq!(unpaged.end(access), "0x54234");
    *unpaged.entry(second_pte(GUEST_PAGE)) ^= X | ept_bit::XU;
    assert_eq!(unpaged.end(access), "EPT violation 0x1ac at GPA 0x14234");

    // An entry with bit 10 alone is present, and without execute-only it is misconfigured.
    let mut world = page_with(ept_bit::XU);
    assert_eq!(world.end(read()), "EPT violation 0x181 at GPA 0x14234");
    world.ept_mut().mode_based_execute = true;
    assert_eq!(world.end(read()), "EPT violation 0x181 at GPA 0x14234");
    world.ept_mut().capabilities -= EptCapabilities::EXECUTE_ONLY;
    assert_eq!(world.end(read()), MISCONFIGURED);
}

/// Bits 9 to 11: a user-mode linear address, a writable page, an execute-disable page.
#[test]
fn nest_11_advanced_information() {
    let mut world = page_with(0);
    world.ept_mut().capabilities |= EptCapabilities::ADVANCED_EXIT_INFORMATION;
    assert_eq!(world.exit(read()), 0x181 | 1 << 9 | 1 << 10);

    *world.guest_entry(PTE) |= bit::NX;
    *world.guest_entry(PTE) &= !bit::RW;
    assert_eq!(world.exit(read()), 0x181 | 1 << 9 | 1 << 11);

    // Without paging the address is a user-mode one, writable and executable.
    world.guest = crate::ControlState::unpaged();
    let access = Access { address: crate::VirtAddr::new(0x14_234), ..read() };
    assert_eq!(world.exit(access), 0x181 | 1 << 9 | 1 << 10);

    // They are not defined for a table.
    let mut world = World::ept();
    world.ept_mut().capabilities |= EptCapabilities::ADVANCED_EXIT_INFORMATION;
    *world.entry(second_pte(PTE)) = 0;
    assert_eq!(world.exit(read()), 0x83);
}

/// The guest's EFER does not govern EPT.
#[test]
fn nest_10_fetches_do_not_need_nxe() {
    let mut world = page_with(R);
    world.guest.efer -= Efer::NXE;
    assert_eq!(world.end(fetch()), "EPT violation 0x18c at GPA 0x14234");
}

/// 4 levels translate 48 bits.
#[test]
fn nest_12_an_address_beyond_the_second_level() {
    let mut world = World::ept();
    world.profile.physical_address_bits = 52;
    *world.guest_entry(PTE) |= 1 << 48;
    let prediction = world.predict(read());
    let Some(NestedExit::EptViolation {
        qualification, qualification_known, guest_physical, ..
    }) = prediction.alternatives[0].end.exit()
    else {
        panic!("nothing translates it");
    };
    assert_eq!(*guest_physical, 0x1_0000_0001_4234);
    assert_eq!(qualification & qualification_known, 0x181);
    assert_eq!(qualification_known & 0x38, 0);

    assert!(matches!(world.second, SecondLevel::Ept(ept) if ept.levels() == 4));
    assert!(prediction.nested_rules.contains(NestedRule::Nest12));
}
