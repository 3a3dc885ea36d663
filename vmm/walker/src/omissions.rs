//! Omissions: the reference with one rule left out, or reversed.
//!
//! Mutants are mistakes that happened; omissions fill the gaps between them. Together they decide
//! whether a case tests a rule: it does if an omission or a mutant of the rule predicts another
//! outcome.

use super::{Erased, Walker};
use mmu_core::x86::format::{EntryBits, EntryKind, Format, Level};
use mmu_core::x86::semantics::{AlignmentCheck, Cause, Denial, EntryError, Rights};
use mmu_core::{
    Access, AccessKind, Cr0, Cr4, PageFaultCode, PagingMode, PhysAddr, Reference, Regime, Rule,
    Semantics, VirtAddr,
};

/// The reference without one rule.
#[derive(Clone, Copy)]
pub struct Omission {
    /// The rule; `None` if the walker breaks no rule but walks to another place.
    pub rule: Option<Rule>,
    /// What the walker does instead.
    pub instead: &'static str,
    /// The semantics without the rule.
    pub semantics: &'static dyn super::DynSemantics,
    /// The walker.
    pub walker: &'static dyn Walker,
}

/// Defines omissions: the rule, what the walker does instead, and the method that does it.
macro_rules! omissions {
    ($($name:ident, $rule:expr, $instead:literal, { $method:item })+) => {
        $(
            #[derive(Clone, Copy)]
            struct $name;

            impl Semantics for $name {
                $method
            }
        )+

        /// Every omission.
        pub const OMISSIONS: &[Omission] = &[$(
            Omission {
                rule: $rule,
                instead: $instead,
                semantics: &$name,
                walker: &Erased(&$name),
            },
        )+];
    };
}

const XD: u64 = EntryBits::XD.bits();

omissions! {
    PseForAll, Some(Rule::Mode3), "CR4.PSE asked for large pages in every mode", {
        fn is_leaf<F: Format>(&self, level: &Level, entry: u64, regime: &Regime) -> bool {
            let has_pse = regime.state.cr4.contains(Cr4::PSE);
            Reference.is_leaf::<F>(level, entry, regime) && (has_pse || level.number == 1)
        }
    }
    ThirtySixBits, None, "physical addresses cut to 36 bits", {
        fn address<F: Format>(&self, level: &Level, kind: EntryKind, entry: u64) -> PhysAddr {
            PhysAddr::new(Reference.address::<F>(level, kind, entry).get() & 0x000f_ffff_ffff)
        }
    }
    FreeBitsOf4Mib, Some(Rule::Mode6), "bits 21:13 of a 4 MiB PDE are free", {
        fn reserved_bits<F: Format>(&self, level: &Level, kind: EntryKind, regime: &Regime) -> u64 {
            let is_4_mib = F::MODE == PagingMode::Bits32 && level.number == 2;
            let free = if is_4_mib { 0x003f_e000 } else { 0 };
            Reference.reserved_bits::<F>(level, kind, regime) & !free
        }
    }
    RightsInPdptes, Some(Rule::Pdpte3), "PAE's PDPTEs restrict like other entries", {
        fn combine(&self, above: Rights, entry: u64) -> Rights {
            // In a PAE PDPTE these are reserved, and so clear.
            let flags = EntryBits::RW | EntryBits::US | EntryBits::A;
            if entry & flags.bits() == 0 {
                return above - Rights::WRITE - Rights::USER;
            }
            Reference.combine(above, entry)
        }
    }
    AbsentTables, Some(Rule::Code1), "P is not checked in entries that point to tables", {
        fn entry_error(
            &self,
            level: &Level,
            kind: EntryKind,
            entry: u64,
            reserved: u64,
        ) -> Option<EntryError> {
            let is_table = kind == EntryKind::Table && entry & EntryBits::ADDRESS != 0;
            let seen = if is_table { entry | EntryBits::P.bits() } else { entry };
            Reference.entry_error(level, kind, seen, reserved)
        }
    }
    AbsentSmallPages, Some(Rule::Code1), "P is not checked in the entry of a 4 KiB page, if another bit is set", {
        fn entry_error(
            &self,
            level: &Level,
            kind: EntryKind,
            entry: u64,
            reserved: u64,
        ) -> Option<EntryError> {
            let is_small_page = level.number == 1 && entry != 0;
            let seen = if is_small_page { entry | EntryBits::P.bits() } else { entry };
            Reference.entry_error(level, kind, seen, reserved)
        }
    }
    NxAlways, Some(Rule::Code3), "XD is never reserved", {
        fn reserved_bits<F: Format>(&self, level: &Level, kind: EntryKind, regime: &Regime) -> u64 {
            Reference.reserved_bits::<F>(level, kind, regime) & !XD
        }
    }
    NoFetchBit, Some(Rule::Code8), "I/D is never reported", {
        fn reports_fetch(&self, _regime: &Regime) -> bool {
            false
        }
    }
    NoUserBit, Some(Rule::Code9), "U/S is never reported", {
        fn page_fault_code(&self, cause: Cause, access: &Access, regime: &Regime) -> PageFaultCode {
            Reference.page_fault_code(cause, access, regime) - PageFaultCode::U
        }
    }
    RmwIsRead, Some(Rule::Code10), "a read-modify-write counts as a read", {
        fn is_write(&self, access: &Access) -> bool {
            access.kind == AccessKind::Write
        }
    }
    NoKeyBit, Some(Rule::Code11), "PK is never reported", {
        fn page_fault_code(&self, cause: Cause, access: &Access, regime: &Regime) -> PageFaultCode {
            Reference.page_fault_code(cause, access, regime) - PageFaultCode::PK
        }
    }
    LeafRights, Some(Rule::Right1), "only the leaf's rights count", {
        fn combine(&self, _above: Rights, entry: u64) -> Rights {
            Reference.combine(Rights::all(), entry)
        }
    }
    WriteLeaf, Some(Rule::Right1), "R/W counts in the leaf only", {
        fn combine(&self, above: Rights, entry: u64) -> Rights {
            Reference.combine(above | Rights::WRITE, entry)
        }
    }
    UserLeaf, Some(Rule::Right1), "U/S counts in the leaf only", {
        fn combine(&self, above: Rights, entry: u64) -> Rights {
            Reference.combine(above | Rights::USER, entry)
        }
    }
    ExecuteLeaf, Some(Rule::Right1), "XD counts in the leaf only", {
        fn combine(&self, above: Rights, entry: u64) -> Rights {
            Reference.combine(above | Rights::EXECUTE, entry)
        }
    }
    NoRights, Some(Rule::Right1), "rights are not checked", {
        fn denial(
            &self,
            _above: Rights,
            _rights: Rights,
            _leaf: u64,
            _access: &Access,
            _regime: &Regime,
        ) -> Denial {
            Denial::empty()
        }
    }
    NoExecuteDisable, Some(Rule::Right1), "XD is not obeyed", {
        fn denial(
            &self,
            above: Rights,
            rights: Rights,
            leaf: u64,
            access: &Access,
            regime: &Regime,
        ) -> Denial {
            Reference.denial(above, rights | Rights::EXECUTE, leaf, access, regime)
        }
    }
    AlwaysWp, Some(Rule::Right2), "CR0.WP taken as 1", {
        fn write_denied(&self, rights: Rights, access: &Access, regime: &Regime) -> bool {
            let mut regime = *regime;
            regime.state.cr0 |= Cr0::WP;
            Reference.write_denied(rights, access, &regime)
        }
    }
    NeverWp, Some(Rule::Right2), "CR0.WP taken as 0", {
        fn write_denied(&self, rights: Rights, access: &Access, regime: &Regime) -> bool {
            let mut regime = *regime;
            regime.state.cr0 -= Cr0::WP;
            Reference.write_denied(rights, access, &regime)
        }
    }
    NoSmep, Some(Rule::Right3), "SMEP is not obeyed", {
        fn smep_denied(&self, _rights: Rights, _access: &Access, _regime: &Regime) -> bool {
            false
        }
    }
    NoSmap, Some(Rule::Right4), "SMAP is not obeyed", {
        fn smap_denied(&self, _rights: Rights, _access: &Access, _regime: &Regime) -> bool {
            false
        }
    }
    NoAc, Some(Rule::Right4), "EFLAGS.AC excuses nothing", {
        fn smap_denied(&self, rights: Rights, access: &Access, regime: &Regime) -> bool {
            Reference.smap_denied(rights, &Access { ac: false, ..*access }, regime)
        }
    }
    NoKeys, Some(Rule::Right5), "protection keys are not obeyed", {
        fn key_denied(
            &self,
            _rights: Rights,
            _leaf: u64,
            _access: &Access,
            _regime: &Regime,
        ) -> bool {
            false
        }
    }
    NoAccessed, Some(Rule::Ad1), "A is not set", {
        fn sets_accessed(&self, _level: &Level) -> bool {
            false
        }
    }
    NoDirty, Some(Rule::Ad1), "D is not set", {
        fn sets_dirty(&self, _rights: Rights, _access: &Access) -> bool {
            false
        }
    }
    DirtyOnRead, Some(Rule::Ad1), "D is set on a read", {
        fn sets_dirty(&self, _rights: Rights, _access: &Access) -> bool {
            true
        }
    }
    NoCanonicalCheck, Some(Rule::Canon1), "addresses need not be canonical", {
        fn is_canonical(&self, _access: &Access, _address_bits: u8, _regime: &Regime) -> bool {
            true
        }
    }
    NoAlignmentCheck, Some(Rule::Align1), "alignment is not checked", {
        fn alignment_check(&self, _access: &Access, _regime: &Regime) -> AlignmentCheck {
            AlignmentCheck::Passes
        }
    }
    NoSeparation, Some(Rule::Canon5), "LASS is not obeyed", {
        fn violates_lass(&self, _access: &Access, _regime: &Regime) -> bool {
            false
        }
    }
    NoMasking, Some(Rule::Canon4), "LAM and UAI are not obeyed", {
        fn masked_address(&self, access: &Access, _regime: &Regime) -> Option<VirtAddr> {
            Some(access.address)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crosswalk_case::Case;
    use crosswalk_guest::layout::Arena;
    use mmu_core::{Profile, Ring};

    fn lane(ring: Ring) -> Case {
        let profile = Profile { physical_address_bits: 40, ..Profile::default() };
        Case::plain(Arena::ALL[0], 3, ring, profile)
    }

    fn omission(instead: &str) -> &'static dyn Walker {
        let found = OMISSIONS.iter().find(|omission| omission.instead == instead);
        found.expect("it is listed").walker
    }

    fn error_code(walker: &dyn Walker, case: &Case) -> Option<u32> {
        walker.predict(case).alternatives[0].outcome.fault().map(|fault| fault.error_code)
    }

    /// A write by ring 3 through a PDPTE without R/W.
    fn denied_write() -> Case {
        let mut write = lane(Ring::Three);
        write.access.kind = AccessKind::Write;
        write.form = Case::default_form(AccessKind::Write);
        write.entries[1].value &= !2;
        write
    }

    #[test]
    fn an_omission_changes_what_its_rule_decides() {
        let write = denied_write();
        assert_eq!(error_code(&Reference, &write), Some(0b111));
        assert_eq!(error_code(omission("R/W counts in the leaf only"), &write), None);
        assert_eq!(error_code(omission("U/S is never reported"), &write), Some(0b011));
    }

    /// U/S is set in every entry, so that it does not matter which entries count.
    #[test]
    fn an_omission_changes_nothing_else() {
        let by_leaf = omission("U/S counts in the leaf only");
        assert_eq!(error_code(by_leaf, &denied_write()), Some(0b111));
    }

    /// CODE-1: P is bit 0. Entry 2 of the lane points to its last table, entry 3 to its page.
    #[test]
    fn p_can_be_left_out_where_an_entry_points_to_a_table_or_to_a_small_page() {
        for (entry, instead) in [
            (2, "P is not checked in entries that point to tables"),
            (3, "P is not checked in the entry of a 4 KiB page, if another bit is set"),
        ] {
            for absent in [2, 3] {
                let mut read = lane(Ring::Three);
                read.entries[absent].value &= !1;
                assert_eq!(error_code(&Reference, &read), Some(0b100));

                let code = (absent != entry).then_some(0b100);
                assert_eq!(error_code(omission(instead), &read), code, "{instead}");
                read.entries[absent].value = 0;
                assert_eq!(error_code(omission(instead), &read), Some(0b100), "{instead}");
            }
        }
    }

    #[test]
    fn smap_can_be_left_out() {
        let mut supervisor = lane(Ring::Zero);
        supervisor.state.cr4 |= Cr4::SMAP;
        assert_eq!(error_code(&Reference, &supervisor), Some(0b001));
        assert_eq!(error_code(omission("SMAP is not obeyed"), &supervisor), None);
    }
}
