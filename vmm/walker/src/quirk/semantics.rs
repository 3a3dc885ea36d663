//! The quirks that are decisions of a single walk.

use super::Quirks;
use mmu_core::x86::format::{EntryBits, EntryKind, Format, Level};
use mmu_core::x86::semantics::{AlignmentCheck, Cause, Denial, Rights};
use mmu_core::{
    Access, AccessKind, Cr0, Efer, Fault, PageFaultCode, PagingMode, PhysAddr, Reference, Regime,
    Semantics, Vector,
};

/// The quirks that are decisions of a single walk.
#[derive(Clone, Copy, Debug)]
pub(super) struct QuirkySemantics {
    quirks: Quirks,
    /// Whether ring 0 has left the page open for writes of ring 3 (`OPEN_AFTER_WRITE`).
    is_open: bool,
}

impl QuirkySemantics {
    /// With these quirks.
    pub(super) const fn of(quirks: Quirks) -> Self {
        Self { quirks, is_open: false }
    }

    /// With these quirks, for a page that ring 0 has left open.
    pub(super) const fn of_open_page(quirks: Quirks) -> Self {
        Self { quirks, is_open: true }
    }

    const fn has(self, quirk: Quirks) -> bool {
        self.quirks.contains(quirk)
    }
}

/// The low reserved bits of a PAE PDPTE: 2:1 and 8:5 (SDM "PDPTE Registers").
const LOW_RESERVED_OF_PDPTE: u64 = 0x1e6;
/// Bits 20:13 of a 4 MiB PDE, which PSE-36 makes bits 39:32 of the address (MODE-5).
const PSE_36_ADDRESS: u64 = 0x001f_e000;
/// Those that are bits 39:36 of the address.
const PSE_36_ADDRESS_FROM_36: u64 = 0x001e_0000;

/// WD of every key.
const WRITE_DISABLE: u32 = 0xaaaa_aaaa;

impl Semantics for QuirkySemantics {
    fn has_64_bit_address(&self, access: &Access) -> bool {
        self.has(Quirks::GOES_ON_AT_4_GIB) || Reference.has_64_bit_address(access)
    }

    fn page_fault_code(&self, cause: Cause, access: &Access, regime: &Regime) -> PageFaultCode {
        let mut code = Reference.page_fault_code(cause, access, regime);
        let is_fetch = access.kind == AccessKind::Fetch;
        code.set(PageFaultCode::I, is_fetch && self.reports_fetch(regime));

        if self.has(Quirks::RSVD_WITHOUT_P) && code.contains(PageFaultCode::RSVD) {
            code -= PageFaultCode::P;
        }
        let by_page = matches!(cause, Cause::Denied(why) if why.contains(Denial::SUPERVISOR_PAGE));
        if self.has(Quirks::KEY_AFTER_PAGE) && by_page {
            code -= PageFaultCode::PK;
        }
        code
    }

    fn reports_fetch(&self, regime: &Regime) -> bool {
        let by_nxe = self.has(Quirks::FETCH_BY_NXE_ALONE) && regime.state.efer.contains(Efer::NXE);
        by_nxe || Reference.reports_fetch(regime)
    }

    fn alignment_check(&self, access: &Access, regime: &Regime) -> AlignmentCheck {
        if self.has(Quirks::NO_ALIGNMENT_CHECK) {
            return AlignmentCheck::Passes;
        }

        let mut regime = *regime;
        if self.has(Quirks::AM_IS_ALWAYS_1) {
            regime.state.cr0 |= Cr0::AM;
        }
        Reference.alignment_check(access, &regime)
    }

    fn non_canonical_fault(&self, access: &Access) -> Fault {
        let mut fault = Reference.non_canonical_fault(access);
        if self.has(Quirks::STACK_IS_GP) {
            fault.vector = Vector::GeneralProtection;
        }
        if self.has(Quirks::NON_CANONICAL_SETS_CR2) {
            fault.cr2 = Some(access.address);
        }
        fault
    }

    fn combine(&self, above: Rights, entry: u64) -> Rights {
        let ignored = if self.has(Quirks::NOTHING_IS_RESERVED) { EntryBits::XD.bits() } else { 0 };
        Reference.combine(above, entry & !ignored)
    }

    fn smap_denied(&self, rights: Rights, access: &Access, regime: &Regime) -> bool {
        let is_excused = self.has(Quirks::AC_EXCUSES_IMPLICIT) && access.ac;
        !is_excused && Reference.smap_denied(rights, access, regime)
    }

    fn write_denied(&self, rights: Rights, access: &Access, regime: &Regime) -> bool {
        let is_open = self.is_open && access.is_user();
        !is_open && Reference.write_denied(rights, access, regime)
    }

    fn key_denied(&self, rights: Rights, leaf: u64, access: &Access, regime: &Regime) -> bool {
        if !self.has(Quirks::KEYS_BY_RING) {
            return Reference.key_denied(rights, leaf, access, regime);
        }

        // AD of PKRU binds user accesses alone, but its WD those of the supervisor, too.
        let is_user = access.is_user();
        let mut of_pkru = *regime;
        if !is_user {
            of_pkru.state.pkru &= WRITE_DISABLE;
        }
        let by_pkru = Reference.key_denied(Rights::USER, leaf, access, &of_pkru);
        by_pkru || !is_user && Reference.key_denied(Rights::empty(), leaf, access, regime)
    }

    fn address<F: Format>(&self, level: &Level, kind: EntryKind, entry: u64) -> PhysAddr {
        let whole = Reference.address::<F>(level, kind, entry);
        let is_cut = self.has(Quirks::NOTHING_IS_RESERVED);
        if is_cut { PhysAddr::new(whole.get() & u64::from(u32::MAX)) } else { whole }
    }

    fn checks_loaded_pdptes(&self) -> bool {
        !self.has(Quirks::NOTHING_IS_RESERVED)
    }

    fn is_leaf<F: Format>(&self, level: &Level, entry: u64, regime: &Regime) -> bool {
        let is_large = F::IS_LONG_MODE && level.number == 3 && entry & EntryBits::PS.bits() != 0;
        (is_large && self.has(Quirks::ALWAYS_1_GIB)) || F::is_leaf(level, entry, regime)
    }

    fn reserved_bits<F: Format>(&self, level: &Level, kind: EntryKind, regime: &Regime) -> u64 {
        if self.has(Quirks::NOTHING_IS_RESERVED) {
            return 0;
        }

        let is_leaf = kind == EntryKind::Leaf;
        let is_4_mib = F::MODE == PagingMode::Bits32 && level.number == 2 && is_leaf;
        let mut free = 0;
        let mut also_reserved = 0;

        if self.has(Quirks::GLOBAL_IS_FREE) && level.number >= 4 {
            free |= EntryBits::G.bits();
        }
        if self.has(Quirks::LOOSE_PDPTES) && !level.has_flags {
            free |= LOW_RESERVED_OF_PDPTE;
        }
        if self.has(Quirks::PSE_36_IS_FREE) && is_4_mib {
            free |= PSE_36_ADDRESS;
        }
        if self.has(Quirks::PAT_IS_FREE) && is_leaf && !F::IS_LONG_MODE {
            let pat = if level.number == 1 { EntryBits::PS } else { EntryBits::LARGE_PAT };
            free |= pat.bits();
        }
        if self.has(Quirks::PSE_36_ENDS_AT_36) && is_4_mib {
            also_reserved |= PSE_36_ADDRESS_FROM_36;
        }
        (Reference.reserved_bits::<F>(level, kind, regime) & !free) | also_reserved
    }
}
