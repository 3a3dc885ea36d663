//! The decisions of a nested walk, one method each. The defaults are the manuals; a walker with one
//! known mistake overrides one of them.

use super::level::{Ept, EptCapabilities, SecondLevel};
use crate::access::{Access, AccessKind};
use crate::address::PhysAddr;
use crate::x86::fault::PageFaultCode;
use crate::x86::format::{EntryBits, EntryKind, EptBits, Level};
use crate::x86::semantics::Rights;
use crate::x86::state::{ControlState, Cr4, Efer};
use bitflags::bitflags;

/// What a guest-physical address is the address of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Purpose {
    /// An entry of a guest's table.
    Table,
    /// The page that the guest accesses.
    Page,
}

/// An access to a guest-physical address, as the second level sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NestedAccess {
    /// What is at the address.
    pub purpose: Purpose,
    /// What is done there.
    pub kind: AccessKind,
    /// Whether NPT takes it for a user access.
    pub user: bool,
    /// Whether the linear address is a user-mode one: U/S is 1 at every level of the guest (NEST-11).
    /// Without meaning for a table.
    pub user_address: bool,
}

bitflags! {
    /// The rights that the second level grants.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct NestedRights: u8 {
        /// Data reads. Each entry of NPT grants them.
        const READ = 1 << 0;
        /// Data writes.
        const WRITE = 1 << 1;
        /// Fetches; with mode-based execute control, from supervisor-mode linear addresses.
        const EXECUTE = 1 << 2;
        /// Fetches from user-mode linear addresses.
        const EXECUTE_USER = 1 << 3;
        /// User accesses. Each entry of EPT grants them.
        const USER = 1 << 4;
    }
}

/// Why the second level does not translate a guest-physical address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SecondFault {
    /// An entry is not present.
    NotPresent,
    /// These bits of an entry make it ill-formed: a reserved bit of NPT, a misconfiguration of EPT.
    Malformed(u64),
    /// The access lacks these rights.
    Denied(NestedRights),
    /// The address has more bits than are translated (NEST-12).
    OutOfReach,
}

/// What a processor does, where the manuals may leave it open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Answer {
    /// It does not.
    No,
    /// It does.
    Yes,
    /// The manuals leave it open. Processors probably do if `likely`.
    Open {
        /// The likelier member of the choice.
        likely: bool,
    },
}

impl Answer {
    /// The likeliest answer.
    pub const fn likely(self) -> bool {
        matches!(self, Self::Yes | Self::Open { likely: true })
    }
}

/// The decisions of a nested walk. The defaults are the reference.
///
/// The methods whose last argument is `by_manual` may change what the manuals say there; the others say
/// it themselves.
///
/// ```
/// use mmu_core::nested::{NestedSemantics, SecondLevel};
/// use mmu_core::{Access, AccessKind};
///
/// /// Forgets that the tables of a guest are written.
/// #[derive(Clone, Copy)]
/// struct TablesAreRead;
/// impl NestedSemantics for TablesAreRead {
///     fn access_to_table(&self, _second: &SecondLevel, _access: &Access) -> AccessKind {
///         AccessKind::Read
///     }
/// }
/// ```
pub trait NestedSemantics: Copy {
    /// Whether the addresses of the guest's tables are translated (NEST-1).
    fn translates_tables(&self) -> bool {
        true
    }

    /// Whether the linear address of a guest without paging is translated (NEST-1).
    fn translates_unpaged(&self) -> bool {
        true
    }

    /// Whether a PAE guest's PDPTEs are read from its memory during the walk rather than held in registers
    /// (NEST-13; APM "Handling of PDPT Entries in PAE Mode", SDM "PDPTE Registers").
    fn walks_guest_pdptes(&self, second: &SecondLevel) -> bool {
        matches!(second, SecondLevel::Npt(_))
    }

    /// Whether an address with more bits than the second level translates is refused (NEST-12). Otherwise
    /// the bits above are ignored.
    fn checks_reach(&self) -> bool {
        true
    }

    /// The root of the second level's tables, from nCR3 or the EPT pointer.
    fn root(&self, _second: &SecondLevel, by_manual: PhysAddr) -> PhysAddr {
        by_manual
    }

    /// What an access of the guest does to one of its tables: NPT writes (NEST-2); EPT reads and writes
    /// while its A and D are enabled, and otherwise reads (NEST-9).
    fn access_to_table(&self, second: &SecondLevel, _access: &Access) -> AccessKind {
        match second {
            SecondLevel::Npt(_) => AccessKind::Write,
            SecondLevel::Ept(ept) if ept.has_flags() => AccessKind::ReadModifyWrite,
            SecondLevel::Ept(_) => AccessKind::Read,
        }
    }

    /// Whether NPT takes the access for a user access (NEST-2, NEST-7).
    fn is_user(&self, _purpose: Purpose, _access: &Access) -> bool {
        true
    }

    /// Whether a change of A or D in a guest's table needs the right to write there, where the access to
    /// the table was a read (NEST-9).
    fn checks_flag_writes(&self) -> bool {
        true
    }

    /// The reserved bits of an entry of the second level.
    fn reserved_bits(
        &self,
        _second: &SecondLevel,
        _level: &Level,
        _kind: EntryKind,
        by_manual: u64,
    ) -> u64 {
        by_manual
    }

    /// Whether an entry of EPT is present: it grants anything (SDM "EPT Translation Mechanism").
    fn ept_is_present(&self, ept: &Ept, entry: u64) -> bool {
        let entry = EptBits::from_bits_retain(entry);
        let any = EptBits::READ | EptBits::WRITE | EptBits::EXECUTE;
        entry.intersects(any) || (ept.mode_based_execute && entry.contains(EptBits::EXECUTE_USER))
    }

    /// Whether W without R is a misconfiguration (NEST-3).
    fn forbids_write_without_read(&self) -> bool {
        true
    }

    /// Whether X without R is a misconfiguration (NEST-3).
    fn forbids_execute_only(&self, ept: &Ept) -> bool {
        !ept.capabilities.contains(EptCapabilities::EXECUTE_ONLY)
    }

    /// Whether a memory type, bits 5:3 of a leaf, is a misconfiguration (NEST-3).
    fn forbids_memory_type(&self, memory_type: u8) -> bool {
        matches!(memory_type, 2 | 3 | 7)
    }

    /// The rights that an entry grants by itself. The PDPTEs of PAE have none, and restrict nothing.
    fn entry_rights(&self, second: &SecondLevel, level: &Level, entry: u64) -> NestedRights {
        let mut own = NestedRights::all();
        match second {
            SecondLevel::Npt(_) if !level.has_flags => {}
            SecondLevel::Npt(_) => {
                let entry = EntryBits::from_bits_retain(entry);
                let executable = !entry.contains(EntryBits::XD);
                own.set(NestedRights::WRITE, entry.contains(EntryBits::RW));
                own.set(NestedRights::USER, entry.contains(EntryBits::US));
                own.set(NestedRights::EXECUTE | NestedRights::EXECUTE_USER, executable);
            }
            SecondLevel::Ept(ept) => {
                let entry = EptBits::from_bits_retain(entry);
                let user =
                    if ept.mode_based_execute { EptBits::EXECUTE_USER } else { EptBits::EXECUTE };
                own.set(NestedRights::READ, entry.contains(EptBits::READ));
                own.set(NestedRights::WRITE, entry.contains(EptBits::WRITE));
                own.set(NestedRights::EXECUTE, entry.contains(EptBits::EXECUTE));
                own.set(NestedRights::EXECUTE_USER, entry.contains(user));
            }
        }
        own
    }

    /// The rights of a path that is one entry longer: what all of its entries grant.
    fn combine(&self, above: NestedRights, own: NestedRights, _level: &Level) -> NestedRights {
        above & own
    }

    /// The rights that an access needs (NEST-2, NEST-7, NEST-11).
    fn needed_rights(&self, _second: &SecondLevel, access: &NestedAccess) -> NestedRights {
        let mut needed = match access.kind {
            AccessKind::Read | AccessKind::Clflush => NestedRights::READ,
            AccessKind::Write => NestedRights::WRITE,
            AccessKind::ReadModifyWrite => NestedRights::READ | NestedRights::WRITE,
            AccessKind::Fetch if access.user_address => NestedRights::EXECUTE_USER,
            AccessKind::Fetch => NestedRights::EXECUTE,
        };
        needed.set(NestedRights::USER, access.user);
        needed
    }

    /// Whether missing rights of upper entries end the walk before a lower entry is looked at. They do
    /// not: a misconfiguration, or an entry that is not present, comes first (NEST-3).
    fn denies_on_the_way(&self) -> bool {
        false
    }

    /// Whether a completed translation sets A in an entry of the second level. It is asked only where
    /// entries have A and D.
    fn sets_accessed(&self, _level: &Level) -> bool {
        true
    }

    /// Whether a completed translation sets D in the leaf of the second level (NEST-2, NEST-9).
    fn sets_dirty(&self, access: &NestedAccess) -> bool {
        access.kind.writes()
    }

    /// Whether the guest's A and D are set although the last step of the second level fails (NEST-6).
    fn sets_guest_flags_before_page(&self) -> bool {
        true
    }

    /// Whether the guest's rights are judged before its page is translated (NEST-5).
    fn judges_guest_first(&self) -> bool {
        true
    }

    /// Bits 0 to 3 and 6 of EXITINFO1: the error code of a nested page fault, apart from I/D (NEST-8).
    fn nested_fault_code(&self, fault: SecondFault, access: &NestedAccess) -> PageFaultCode {
        let is_reserved = matches!(fault, SecondFault::Malformed(_));
        let is_present = is_reserved || matches!(fault, SecondFault::Denied(_));

        let mut code = PageFaultCode::empty();
        code.set(PageFaultCode::P, is_present);
        code.set(PageFaultCode::W, access.kind.writes());
        code.set(PageFaultCode::U, access.user);
        code.set(PageFaultCode::RSVD, is_reserved);
        code
    }

    /// Whether bit 4 of EXITINFO1, I/D, reports a fetch. Where EFER.NXE is 0, the manual defines I/D of a
    /// page fault no longer, but that of a nested page fault without a condition (NEST-8; APM "Page-Fault
    /// Error Code", "Nested versus Guest Page Faults, Fault Ordering"). Processors follow CODE-8 there.
    fn reports_nested_fetch(&self, host: &ControlState) -> Answer {
        let nx = host.cr4.contains(Cr4::PAE) && host.efer.contains(Efer::NXE);
        if nx { Answer::Yes } else { Answer::Open { likely: host.cr4.contains(Cr4::SMEP) } }
    }

    /// Bits 32 and 33 of EXITINFO1: exactly one of them is set (NEST-8).
    fn purpose_bits(&self, purpose: Purpose) -> u64 {
        match purpose {
            Purpose::Page => 1 << 32,
            Purpose::Table => 1 << 33,
        }
    }

    /// The guest-physical address that an exit reports.
    fn reported_address(&self, _access: &NestedAccess, by_manual: PhysAddr) -> PhysAddr {
        by_manual
    }

    /// Whether the exit for a misconfiguration clears the exit qualification (NEST-3; SDM "Basic VM-Exit
    /// Information").
    fn misconfiguration_clears_qualification(&self) -> bool {
        true
    }

    /// Bits 2:0 of an exit qualification: the access (NEST-10).
    fn qualification_of_access(&self, access: &NestedAccess) -> u64 {
        match access.kind {
            AccessKind::Read | AccessKind::Clflush => 1,
            AccessKind::Write => 2,
            AccessKind::ReadModifyWrite => 3,
            AccessKind::Fetch => 4,
        }
    }

    /// Bits 6:3 of an exit qualification: what all entries grant. Bit 6 counts with mode-based execute
    /// control only (NEST-10).
    fn qualification_of_rights(&self, rights: NestedRights) -> u64 {
        let bit = |right: NestedRights, number: u8| u64::from(rights.contains(right)) << number;
        bit(NestedRights::READ, 3)
            | bit(NestedRights::WRITE, 4)
            | bit(NestedRights::EXECUTE, 5)
            | bit(NestedRights::EXECUTE_USER, 6)
    }

    /// Bits 7 and 8 of an exit qualification: the linear address is known, and the guest-physical address
    /// is its translation rather than that of a table's entry (NEST-10).
    fn qualification_of_purpose(&self, purpose: Purpose) -> u64 {
        match purpose {
            Purpose::Page => 1 << 7 | 1 << 8,
            Purpose::Table => 1 << 7,
        }
    }

    /// Bits 9 to 11 of an exit qualification: the rights of the guest's page, which processors with the
    /// capability report (NEST-11; SDM "Exit Qualification for EPT Violations").
    fn qualification_of_guest(&self, guest: Rights) -> u64 {
        let bit = |set: bool, number: u8| u64::from(set) << number;
        bit(guest.contains(Rights::USER), 9)
            | bit(guest.contains(Rights::WRITE), 10)
            | bit(!guest.contains(Rights::EXECUTE), 11)
    }
}

/// What the manuals say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NestedReference;

impl NestedSemantics for NestedReference {}
