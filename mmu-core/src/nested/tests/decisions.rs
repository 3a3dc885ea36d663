//! Every decision of a nested walk counts: a walker that makes one of them otherwise ends otherwise.

use super::{
    GUEST_PAGE, PML4E, PTE, SECOND_PDE, SECOND_PML4E, SECOND_ROOT, UP, World, bit, ept_bit, fetch,
    read, second_pte, write,
};
use crate::access::{Access, AccessKind, Ring};
use crate::address::{PhysAddr, VirtAddr};
use crate::memory::SparseTables;
use crate::nested::{
    Answer, Dimension, Ept, NestedAccess, NestedMmu, NestedReference, NestedRights,
    NestedSemantics, Purpose, SecondFault, SecondLevel,
};
use crate::x86::fault::PageFaultCode;
use crate::x86::format::{EntryKind, Level};
use crate::x86::semantics::Rights;
use crate::x86::state::{ControlState, Efer};
use std::string::{String, ToString};

/// What a walker gets wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wrong {
    TablesAreNotTranslated,
    UnpagedIsNotTranslated,
    PdptesAreInRegisters,
    AddressesAreCut,
    RootIsAligned,
    TablesAreRead,
    AccessesHaveTheGuestsRing,
    FlagsAreWrittenAnyway,
    AlignmentIsIgnored,
    ReadMakesPresent,
    WriteOnlyIsAllowed,
    ExecuteOnlyIsAllowed,
    AnyMemoryType,
    UserBitIsNoRight,
    LeafDecides,
    TablesNeedExecute,
    RightsOnTheWay,
    AIsNotSet,
    TablesAreClean,
    GuestFlagsComeLast,
    PageComesFirst,
    PresentIsNotReported,
    FetchIsNotReported,
    FinalIsReportedForTables,
    AddressOfTheFrame,
    WriteIsReportedAsRead,
    RightsOfNothing,
    TableIsALinearAddress,
    GuestRightsAreSwapped,
}

/// A walker with one mistake.
#[derive(Clone, Copy, Debug)]
struct Walker(Wrong);

impl Walker {
    fn is(self, wrong: Wrong) -> bool {
        self.0 == wrong
    }
}

impl NestedSemantics for Walker {
    fn translates_tables(&self) -> bool {
        !self.is(Wrong::TablesAreNotTranslated)
    }

    fn translates_unpaged(&self) -> bool {
        !self.is(Wrong::UnpagedIsNotTranslated)
    }

    fn walks_guest_pdptes(&self, second: &SecondLevel) -> bool {
        !self.is(Wrong::PdptesAreInRegisters) && NestedReference.walks_guest_pdptes(second)
    }

    fn checks_reach(&self) -> bool {
        !self.is(Wrong::AddressesAreCut)
    }

    fn root(&self, _second: &SecondLevel, by_manual: PhysAddr) -> PhysAddr {
        let wrong = self.is(Wrong::RootIsAligned);
        if wrong { PhysAddr::new(by_manual.get() & !0x1fff) } else { by_manual }
    }

    fn access_to_table(&self, second: &SecondLevel, access: &Access) -> AccessKind {
        if self.is(Wrong::TablesAreRead) {
            return AccessKind::Read;
        }
        NestedReference.access_to_table(second, access)
    }

    fn is_user(&self, _purpose: Purpose, access: &Access) -> bool {
        !self.is(Wrong::AccessesHaveTheGuestsRing) || access.is_user()
    }

    fn checks_flag_writes(&self) -> bool {
        !self.is(Wrong::FlagsAreWrittenAnyway) && !self.is(Wrong::TablesAreRead)
    }

    fn reserved_bits(
        &self,
        _second: &SecondLevel,
        _level: &Level,
        kind: EntryKind,
        by_manual: u64,
    ) -> u64 {
        let forgets = self.is(Wrong::AlignmentIsIgnored) && kind == EntryKind::Leaf;
        if forgets { by_manual & !0x1f_f000 } else { by_manual }
    }

    fn ept_is_present(&self, ept: &Ept, entry: u64) -> bool {
        let present = NestedReference.ept_is_present(ept, entry);
        present && (!self.is(Wrong::ReadMakesPresent) || entry & 1 == 1)
    }

    fn forbids_write_without_read(&self) -> bool {
        !self.is(Wrong::WriteOnlyIsAllowed)
    }

    fn forbids_execute_only(&self, ept: &Ept) -> bool {
        !self.is(Wrong::ExecuteOnlyIsAllowed) && NestedReference.forbids_execute_only(ept)
    }

    fn forbids_memory_type(&self, memory_type: u8) -> bool {
        !self.is(Wrong::AnyMemoryType) && NestedReference.forbids_memory_type(memory_type)
    }

    fn entry_rights(&self, second: &SecondLevel, level: &Level, entry: u64) -> NestedRights {
        let own = NestedReference.entry_rights(second, level, entry);
        if self.is(Wrong::UserBitIsNoRight) { own | NestedRights::USER } else { own }
    }

    fn combine(&self, above: NestedRights, own: NestedRights, level: &Level) -> NestedRights {
        if self.is(Wrong::LeafDecides) {
            return own;
        }
        NestedReference.combine(above, own, level)
    }

    fn needed_rights(&self, second: &SecondLevel, access: &NestedAccess) -> NestedRights {
        let needed = NestedReference.needed_rights(second, access);
        let wrong = self.is(Wrong::TablesNeedExecute) && access.purpose == Purpose::Table;
        if wrong { needed | NestedRights::EXECUTE } else { needed }
    }

    fn denies_on_the_way(&self) -> bool {
        self.is(Wrong::RightsOnTheWay)
    }

    fn sets_accessed(&self, _level: &Level) -> bool {
        !self.is(Wrong::AIsNotSet)
    }

    fn sets_dirty(&self, access: &NestedAccess) -> bool {
        let forgets = self.is(Wrong::TablesAreClean) && access.purpose == Purpose::Table;
        !forgets && NestedReference.sets_dirty(access)
    }

    fn sets_guest_flags_before_page(&self) -> bool {
        !self.is(Wrong::GuestFlagsComeLast)
    }

    fn judges_guest_first(&self) -> bool {
        !self.is(Wrong::PageComesFirst)
    }

    fn nested_fault_code(&self, fault: SecondFault, access: &NestedAccess) -> PageFaultCode {
        let code = NestedReference.nested_fault_code(fault, access);
        if self.is(Wrong::PresentIsNotReported) { code - PageFaultCode::P } else { code }
    }

    fn reports_nested_fetch(&self, host: &ControlState) -> Answer {
        if self.is(Wrong::FetchIsNotReported) {
            return Answer::No;
        }
        NestedReference.reports_nested_fetch(host)
    }

    fn purpose_bits(&self, purpose: Purpose) -> u64 {
        let wrong = self.is(Wrong::FinalIsReportedForTables);
        NestedReference.purpose_bits(if wrong { Purpose::Page } else { purpose })
    }

    fn reported_address(&self, _access: &NestedAccess, by_manual: PhysAddr) -> PhysAddr {
        if self.is(Wrong::AddressOfTheFrame) { by_manual.frame() } else { by_manual }
    }

    fn qualification_of_access(&self, access: &NestedAccess) -> u64 {
        if self.is(Wrong::WriteIsReportedAsRead) {
            return 1;
        }
        NestedReference.qualification_of_access(access)
    }

    fn qualification_of_rights(&self, rights: NestedRights) -> u64 {
        let wrong = self.is(Wrong::RightsOfNothing);
        if wrong { 0 } else { NestedReference.qualification_of_rights(rights) }
    }

    fn qualification_of_purpose(&self, purpose: Purpose) -> u64 {
        let wrong = self.is(Wrong::TableIsALinearAddress);
        NestedReference.qualification_of_purpose(if wrong { Purpose::Page } else { purpose })
    }

    fn qualification_of_guest(&self, guest: Rights) -> u64 {
        let guest = if self.is(Wrong::GuestRightsAreSwapped) { !guest } else { guest };
        NestedReference.qualification_of_guest(guest)
    }
}

/// The likeliest end by a walker with a mistake.
fn wrong_end(world: &World, wrong: Wrong, access: Access) -> String {
    let mmu = NestedMmu::with_semantics(Walker(wrong), world.guest, world.second, world.profile);
    let memory = SparseTables::new(&world.entries);
    mmu.predict(&memory, &access).expect("a size").alternatives[0].end.to_string()
}

/// Checks the likeliest end by the reference, and by a walker with a mistake.
#[track_caller]
fn differs(world: &World, wrong: Wrong, access: Access, right: &str, otherwise: &str) {
    assert_eq!(world.ends(access)[0], right);
    assert_eq!(wrong_end(world, wrong, access), otherwise);
}

/// A world with its entries changed.
fn changed(mut world: World, changes: &[(u64, u64)]) -> World {
    for (at, value) in changes {
        *world.entry(*at) = *value;
    }
    world
}

const OK: &str = "0x54234";

#[test]
fn decisions_about_what_is_translated() {
    let world = World::npt();
    // The guest's root is read at the guest-physical address, where there is nothing.
    differs(&world, Wrong::TablesAreNotTranslated, read(), OK, "#PF(U) at 0x8080604234");

    let mut world = World::npt();
    world.guest = ControlState::unpaged();
    let low = Access::read(VirtAddr::new(0x14_234), 4, Ring::Zero);
    differs(&world, Wrong::UnpagedIsNotTranslated, low, OK, "0x14234");

    let mut world = changed(World::npt(), &[(0x10_008 + UP, 0x11_001)]);
    world.guest = ControlState::pae(0x10_000, [0; 4]);
    *world.guest_entry(0x11_010) = 0x12_007;
    *world.guest_entry(0x12_018) = GUEST_PAGE | 7;
    let low = Access::read(VirtAddr::new(super::LINEAR_32), 4, Ring::Three);
    differs(&world, Wrong::PdptesAreInRegisters, low, OK, "#PF(U) at 0x40403234");

    let mut world = World::npt();
    world.second = SecondLevel::Npt(ControlState::pae(0x91_000, [0; 4]));
    *world.entry(0x91_000) = 0x92_001;
    *world.guest_entry(PTE) |= 1 << 32;
    let refused = "NPF 0x100000004 at GPA 0x100014234";
    differs(&world, Wrong::AddressesAreCut, read(), refused, OK);

    let mut world = changed(World::npt(), &[(SECOND_ROOT + 0x5000, 0x91_007)]);
    world.host().cr3 = SECOND_ROOT + 0x5000;
    *world.entry(SECOND_ROOT + 0x4000) = 0;
    differs(&world, Wrong::RootIsAligned, read(), OK, "NPF 0x200000006 at GPA 0x10008");
}

#[test]
fn decisions_about_accesses() {
    let read_only = changed(World::npt(), &[(second_pte(PTE), 0x53_005)]);
    let refused = "NPF 0x200000007 at GPA 0x13020";
    differs(&read_only, Wrong::TablesAreRead, read(), refused, OK);

    let supervisor_page = changed(World::npt(), &[(second_pte(GUEST_PAGE), 0x54_003)]);
    let supervisor = Access { ring: Ring::Zero, ..read() };
    let refused = "NPF 0x100000005 at GPA 0x14234";
    let guests_ring = Wrong::AccessesHaveTheGuestsRing;
    differs(&supervisor_page, guests_ring, supervisor, refused, OK);
    differs(&supervisor_page, Wrong::UserBitIsNoRight, read(), refused, OK);

    let mut world = changed(World::ept(), &[(second_pte(PTE), 0x53_031)]);
    *world.ept_mut() = world.ept_mut().with_flags(false);
    let refused = "EPT violation 0x8b at GPA 0x13020";
    differs(&world, Wrong::FlagsAreWrittenAnyway, read(), refused, OK);

    let no_execute = changed(World::npt(), &[(second_pte(PTE), 0x53_007 | bit::NX)]);
    let refused = "NPF 0x200000007 at GPA 0x13020";
    differs(&no_execute, Wrong::TablesNeedExecute, read(), OK, refused);

    let upper = changed(World::npt(), &[(SECOND_PDE, 0x93_005)]);
    let refused = "NPF 0x200000007 at GPA 0x10008";
    differs(&upper, Wrong::LeafDecides, read(), refused, OK);
}

#[test]
fn decisions_about_entries() {
    let large = changed(World::npt(), &[(SECOND_PDE, 0x2087)]);
    let refused = "NPF 0x20000000f at GPA 0x10008";
    let not_mapped = "#PF(U) at 0x8080604234";
    let mut world = large;
    world.entries.push((0x10_000, 0));
    differs(&world, Wrong::AlignmentIsIgnored, read(), refused, not_mapped);

    let page = |low: u64| changed(World::ept(), &[(second_pte(GUEST_PAGE), 0x54_000 | low)]);
    let misconfigured = "EPT misconfiguration at GPA 0x14234";
    differs(&page(0x32), Wrong::WriteOnlyIsAllowed, write(), misconfigured, OK);
    differs(&page(0x17), Wrong::AnyMemoryType, read(), misconfigured, OK);
    differs(
        &page(0x34),
        Wrong::ReadMakesPresent,
        fetch(),
        OK,
        "EPT violation 0x1a4 at GPA 0x14234",
    );
    let mut world = page(0x34);
    world.ept_mut().capabilities = crate::nested::EptCapabilities::empty();
    differs(&world, Wrong::ExecuteOnlyIsAllowed, fetch(), misconfigured, OK);
}

#[test]
fn decisions_about_the_order() {
    let mut world = changed(World::npt(), &[(second_pte(GUEST_PAGE), 0)]);
    *world.guest_entry(PTE) &= !bit::RW;
    let (fault, refused) = ("#PF(P|W|U) at 0x8080604234", "NPF 0x100000006 at GPA 0x14234");
    differs(&world, Wrong::PageComesFirst, write(), fault, refused);

    let mut world = World::ept();
    *world.ept_mut() = world.ept_mut().with_flags(false);
    *world.entry(SECOND_PML4E) &= !(ept_bit::R | ept_bit::W);
    *world.entry(SECOND_PDE) |= 1 << 3;
    let misconfigured = "EPT misconfiguration at GPA 0x10008";
    let denied = "EPT violation 0xa1 at GPA 0x10008";
    differs(&world, Wrong::RightsOnTheWay, read(), misconfigured, denied);
}

#[test]
fn decisions_about_flags() {
    let update = |world: &World, wrong, dimension, at: u64| {
        let mmu =
            NestedMmu::with_semantics(Walker(wrong), world.guest, world.second, world.profile);
        let memory = SparseTables::new(&world.entries);
        let prediction = mmu.predict(&memory, &read()).expect("a size");
        let mut updates = prediction.alternatives[0].updates.iter();
        let update = updates.find(|update| update.dimension == dimension && update.at.get() == at);
        update.map_or((0, 0), |update| (update.must_set, update.may_set))
    };

    let world = World::npt();
    let second = |wrong, at| update(&world, wrong, Dimension::Second, at);
    assert_eq!(second(Wrong::AIsNotSet, SECOND_PDE), (0, 0));
    assert_eq!(second(Wrong::AIsNotSet, second_pte(PTE)), (bit::D, 0));
    assert_eq!(second(Wrong::TablesAreClean, second_pte(PTE)), (bit::A, 0));

    let world = changed(World::npt(), &[(second_pte(GUEST_PAGE), 0)]);
    let guest = |wrong| update(&world, wrong, Dimension::Guest, PML4E + UP);
    assert_eq!(guest(Wrong::GuestFlagsComeLast), (0, bit::A));
    assert_eq!(guest(Wrong::AIsNotSet), (bit::A, 0));
}

#[test]
fn decisions_about_exits() {
    let world = changed(World::npt(), &[(second_pte(GUEST_PAGE), 0x54_005 | bit::NX)]);
    let (right, wrong) = ("NPF 0x100000007 at GPA 0x14234", "NPF 0x100000006 at GPA 0x14234");
    differs(&world, Wrong::PresentIsNotReported, write(), right, wrong);
    let (right, wrong) = ("NPF 0x100000015 at GPA 0x14234", "NPF 0x100000005 at GPA 0x14234");
    differs(&world, Wrong::FetchIsNotReported, fetch(), right, wrong);
    let (right, wrong) = ("NPF 0x100000015 at GPA 0x14234", "NPF 0x100000015 at GPA 0x14000");
    differs(&world, Wrong::AddressOfTheFrame, fetch(), right, wrong);

    let world = changed(World::npt(), &[(second_pte(PTE), 0)]);
    let (right, wrong) = ("NPF 0x200000006 at GPA 0x13020", "NPF 0x100000006 at GPA 0x13020");
    differs(&world, Wrong::FinalIsReportedForTables, read(), right, wrong);

    let mut world = changed(World::ept(), &[(second_pte(GUEST_PAGE), 0x54_031)]);
    let refused = |qualification| format!("EPT violation {qualification:#x} at GPA 0x14234");
    differs(&world, Wrong::WriteIsReportedAsRead, write(), &refused(0x18a), &refused(0x189));
    differs(&world, Wrong::RightsOfNothing, write(), &refused(0x18a), &refused(0x182));

    world.ept_mut().capabilities = crate::nested::EptCapabilities::all();
    let (right, wrong) = (refused(0x18a | 0x600), refused(0x18a | 0x800));
    differs(&world, Wrong::GuestRightsAreSwapped, write(), &right, &wrong);

    let world = changed(World::ept(), &[(second_pte(PTE), 0)]);
    let refused = |qualification| format!("EPT violation {qualification:#x} at GPA 0x13020");
    differs(&world, Wrong::TableIsALinearAddress, read(), &refused(0x83), &refused(0x183));
}

/// A host whose NXE is 0 leaves I/D open, unless a walker settles it.
#[test]
fn a_settled_answer_leaves_nothing_open() {
    let mut world = changed(World::npt(), &[(second_pte(GUEST_PAGE), 0)]);
    world.host().efer -= Efer::NXE;
    assert_eq!(world.ends(fetch()).len(), 2);

    let wrong = Walker(Wrong::FetchIsNotReported);
    let mmu = NestedMmu::with_semantics(wrong, world.guest, world.second, world.profile);
    let prediction = mmu.predict(&SparseTables::new(&world.entries), &fetch()).expect("a size");
    assert_eq!(prediction.alternatives.len(), 1);
}
