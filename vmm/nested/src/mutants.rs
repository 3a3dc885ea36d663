//! Mutants: walkers of two dimensions with one mistake each, to see that it would be found.

use crate::walker::{Deciding, NestedWalker};
use mmu_core::nested::{
    Answer, Ept, NestedAccess, NestedReference, NestedRights, NestedRule, NestedSemantics, Purpose,
    SecondFault, SecondLevel,
};
use mmu_core::x86::fault::PageFaultCode;
use mmu_core::x86::format::{EntryKind, Level};
use mmu_core::x86::state::ControlState;
use mmu_core::{Access, AccessKind};

/// A walker with one mistake.
pub struct NestedMutant {
    /// Its id.
    pub id: &'static str,
    /// The rule that it breaks.
    pub rule: NestedRule,
    /// The mistake.
    pub mistake: &'static str,
    /// Where it happened, if it is known.
    pub origin: Option<&'static str>,
    /// What a machine must have for the mistake to show.
    pub need: MutantNeed,
    /// The walker.
    pub walker: &'static dyn NestedWalker,
}

impl std::fmt::Debug for NestedMutant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.id)
    }
}

/// What a machine must have for a mistake to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MutantNeed {
    /// Either kind of second level.
    Any,
    /// NPT.
    Npt,
    /// EPT.
    Ept,
    /// EPT with accessed and dirty flags.
    EptFlags,
    /// Mode-based execute control.
    ModeBasedExecute,
}

impl MutantNeed {
    /// The need in words.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Any => "nested paging",
            Self::Npt => "NPT",
            Self::Ept => "EPT",
            Self::EptFlags => "EPT with accessed and dirty flags",
            Self::ModeBasedExecute => "mode-based execute control",
        }
    }
}

/// The mistakes. One type for all of them, so that the walk is compiled once and not for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mistake {
    TablesUntranslated,
    UnpagedUntranslated,
    TablesAreRead,
    TablesAreSupervisor,
    TablesStayClean,
    TablesNeedExecute,
    PagesByRing,
    LeafRightsOnly,
    RootRightsIgnored,
    GuestJudgedLast,
    GuestFlagsLate,
    PurposeSwapped,
    PurposeMissing,
    CodeWithoutUser,
    CodeOfTableWithoutWrite,
    ReservedWithoutPresent,
    FetchUnreported,
    LargePagesUnchecked,
    WidthUnchecked,
    UpperUnaccessed,
    AlwaysDirty,
    DeniedOnTheWay,
    RightsReversed,
    WriteOnlyAllowed,
    ExecuteOnlyForbidden,
    MemoryTypeUnchecked,
    FlagWritesUnchecked,
    PresentByRead,
    TableIsFinal,
    UserExecuteIgnored,
}

/// Each decision with the mistakes that change it.
impl NestedSemantics for Mistake {
    fn translates_tables(&self) -> bool {
        *self != Self::TablesUntranslated
    }

    fn translates_unpaged(&self) -> bool {
        *self != Self::UnpagedUntranslated
    }

    fn access_to_table(&self, second: &SecondLevel, access: &Access) -> AccessKind {
        match self {
            Self::TablesAreRead => AccessKind::Read,
            _ => NestedReference.access_to_table(second, access),
        }
    }

    fn is_user(&self, purpose: Purpose, access: &Access) -> bool {
        match self {
            Self::TablesAreSupervisor => purpose == Purpose::Page,
            Self::PagesByRing => purpose == Purpose::Table || access.is_user(),
            _ => NestedReference.is_user(purpose, access),
        }
    }

    fn checks_flag_writes(&self) -> bool {
        *self != Self::FlagWritesUnchecked
    }

    fn reserved_bits(
        &self,
        _second: &SecondLevel,
        level: &Level,
        kind: EntryKind,
        by_manual: u64,
    ) -> u64 {
        let is_large = kind == EntryKind::Leaf && level.number > 1;
        match self {
            Self::LargePagesUnchecked if is_large => {
                by_manual & !(((1 << level.shift) - 1) & !0x1fff)
            }
            Self::WidthUnchecked => by_manual & !0x000f_ffff_0000_0000,
            _ => by_manual,
        }
    }

    fn ept_is_present(&self, ept: &Ept, entry: u64) -> bool {
        match self {
            Self::PresentByRead => entry & 1 != 0,
            _ => NestedReference.ept_is_present(ept, entry),
        }
    }

    fn forbids_write_without_read(&self) -> bool {
        *self != Self::WriteOnlyAllowed
    }

    fn forbids_execute_only(&self, ept: &Ept) -> bool {
        *self == Self::ExecuteOnlyForbidden || NestedReference.forbids_execute_only(ept)
    }

    fn forbids_memory_type(&self, memory_type: u8) -> bool {
        *self != Self::MemoryTypeUnchecked && NestedReference.forbids_memory_type(memory_type)
    }

    fn combine(&self, above: NestedRights, own: NestedRights, level: &Level) -> NestedRights {
        match self {
            Self::LeafRightsOnly => own,
            Self::RootRightsIgnored if level.number >= 4 => above,
            _ => above & own,
        }
    }

    fn needed_rights(&self, second: &SecondLevel, access: &NestedAccess) -> NestedRights {
        let mut seen = *access;
        if *self == Self::UserExecuteIgnored {
            seen.user_address = false;
        }

        let needed = NestedReference.needed_rights(second, &seen);
        if *self == Self::TablesNeedExecute && access.purpose == Purpose::Table {
            return needed | NestedRights::EXECUTE;
        }
        needed
    }

    fn denies_on_the_way(&self) -> bool {
        *self == Self::DeniedOnTheWay
    }

    fn sets_accessed(&self, level: &Level) -> bool {
        *self != Self::UpperUnaccessed || level.number == 1
    }

    fn sets_dirty(&self, access: &NestedAccess) -> bool {
        match self {
            Self::TablesStayClean => access.purpose == Purpose::Page && access.kind.writes(),
            Self::AlwaysDirty => true,
            _ => NestedReference.sets_dirty(access),
        }
    }

    fn sets_guest_flags_before_page(&self) -> bool {
        *self != Self::GuestFlagsLate
    }

    fn judges_guest_first(&self) -> bool {
        *self != Self::GuestJudgedLast
    }

    fn nested_fault_code(&self, fault: SecondFault, access: &NestedAccess) -> PageFaultCode {
        let code = NestedReference.nested_fault_code(fault, access);
        let wrong = match self {
            Self::CodeWithoutUser => PageFaultCode::U,
            Self::CodeOfTableWithoutWrite if access.purpose == Purpose::Table => PageFaultCode::W,
            Self::ReservedWithoutPresent if code.contains(PageFaultCode::RSVD) => PageFaultCode::P,
            _ => PageFaultCode::empty(),
        };
        code - wrong
    }

    fn reports_nested_fetch(&self, host: &ControlState) -> Answer {
        match self {
            Self::FetchUnreported => Answer::No,
            _ => NestedReference.reports_nested_fetch(host),
        }
    }

    fn purpose_bits(&self, purpose: Purpose) -> u64 {
        let other = match purpose {
            Purpose::Page => Purpose::Table,
            Purpose::Table => Purpose::Page,
        };
        match self {
            Self::PurposeSwapped => NestedReference.purpose_bits(other),
            Self::PurposeMissing => 0,
            _ => NestedReference.purpose_bits(purpose),
        }
    }

    fn qualification_of_rights(&self, rights: NestedRights) -> u64 {
        let right = NestedReference.qualification_of_rights(rights);
        match self {
            Self::RightsReversed => right & !0x28 | (right >> 3 & 1) << 5 | (right >> 5 & 1) << 3,
            _ => right,
        }
    }

    fn qualification_of_purpose(&self, purpose: Purpose) -> u64 {
        match self {
            Self::TableIsFinal => 1 << 7 | 1 << 8,
            _ => NestedReference.qualification_of_purpose(purpose),
        }
    }
}

macro_rules! mutants {
    ($($id:literal, $rule:ident, $need:ident, $walker:ident, $mistake:literal $(, $origin:literal)?;)+) => {
        &[$(NestedMutant {
            id: $id,
            rule: NestedRule::$rule,
            mistake: $mistake,
            origin: origin!($($origin)?),
            need: MutantNeed::$need,
            walker: &Deciding(Mistake::$walker),
        }),+]
    };
}
macro_rules! origin {
    () => {
        None
    };
    ($origin:literal) => {
        Some($origin)
    };
}

/// Every mutant.
pub static MUTANTS: &[NestedMutant] = mutants! {
    "NM1", Nest1, Any, TablesUntranslated, "the addresses of the guest's tables are not translated";
    "NM2", Nest1, Any, UnpagedUntranslated, "the addresses of a guest without paging are not translated";
    "NM3", Nest2, Npt, TablesAreRead, "an access to a guest's table needs no right to write";
    "NM4", Nest2, Npt, TablesAreSupervisor, "an access to a guest's table is a supervisor access";
    "NM5", Nest2, Any, TablesStayClean, "D is not set for an access to a guest's table";
    "NM6", Nest2, Npt, TablesNeedExecute, "XD restricts accesses to the guest's tables";
    "NM7", Nest7, Npt, PagesByRing, "a supervisor access of the guest is one of the second level";
    "NM8", Nest2, Any, LeafRightsOnly, "the rights of the leaf decide alone";
    "NM9", Nest2, Any, RootRightsIgnored, "the rights of the root's entry do not count";
    "NM10", Nest5, Any, GuestJudgedLast, "the page is translated before the guest's rights are judged";
    "NM11", Nest6, Any, GuestFlagsLate, "the guest's A and D are not set if the page is refused";
    "NM12", Nest8, Npt, PurposeSwapped, "bits 32 and 33 of EXITINFO1 are exchanged";
    "NM13", Nest8, Npt, PurposeMissing, "bits 32 and 33 of EXITINFO1 are not set";
    "NM14", Nest8, Npt, CodeWithoutUser, "EXITINFO1 does not report a user access";
    "NM15", Nest8, Npt, CodeOfTableWithoutWrite, "EXITINFO1 does not report the write to a guest's table";
    "NM16", Nest8, Npt, ReservedWithoutPresent, "EXITINFO1 does not report P with a reserved bit";
    "NM17", Nest8, Npt, FetchUnreported, "EXITINFO1 does not report a fetch";
    "NM18", Nest7, Any, LargePagesUnchecked, "the reserved bits of large pages are not checked";
    "NM19", Nest7, Any, WidthUnchecked, "address bits above MAXPHYADDR are not checked";
    "NM20", Nest7, Any, UpperUnaccessed, "A is set in the last level only";
    "NM21", Nest2, Any, AlwaysDirty, "D is set by a read";
    "M22", Nest3, Ept, DeniedOnTheWay, "a violation comes before a misconfiguration below it", "Bochs 4d0a5c1b0";
    "M28", Nest10, Ept, RightsReversed, "the rights in the exit qualification are in the wrong order", "KVM 0780516a18f8";
    "NM22", Nest3, Ept, WriteOnlyAllowed, "W without R is no misconfiguration";
    "NM23", Nest3, Ept, ExecuteOnlyForbidden, "X alone is a misconfiguration although the processor has it";
    "NM24", Nest3, Ept, MemoryTypeUnchecked, "a reserved memory type is no misconfiguration";
    "NM25", Nest9, EptFlags, TablesAreRead, "with A and D an access to a guest's table is a read";
    "NM26", Nest9, Ept, FlagWritesUnchecked, "A and D of the guest are written without the right to write";
    "NM27", Nest3, Ept, PresentByRead, "an entry is present if it can be read";
    "NM28", Nest10, Ept, TableIsFinal, "an access to a guest's table is reported as the final one";
    "NM29", Nest11, ModeBasedExecute, UserExecuteIgnored, "bit 10 does not decide about fetches of user code";
};

/// The mutant with an id.
pub fn by_id(id: &str) -> Option<&'static NestedMutant> {
    MUTANTS.iter().find(|mutant| mutant.id == id)
}
