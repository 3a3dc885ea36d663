//! Which control states a processor can be in. MOV to a control register and WRMSR raise #GP rather
//! than leave them (SDM "MOV - Move to/from Control Registers", "Checks on Guest Control Registers";
//! APM "Long Mode Consistency Checks", "MOV `CRn`").

#[cfg(test)]
mod tests;

use super::{CR3_LAM_U48, CR3_LAM_U57, ControlState, Cr0, Cr4, Efer, PagingMode};
use crate::x86::format::{EntryBits, EntryKind, Format, Pae};
use crate::x86::profile::{ControlFeatures, Features, Pin, Profile, Vendor};
use crate::x86::regime::Regime;
use crate::x86::semantics::{Reference, Semantics};
use core::fmt;

/// The width of the widest physical address, in bits.
const MAX_PHYSICAL_ADDRESS_BITS: u8 = 52;

/// The reason why no processor, or not this one, can be in a control state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateError {
    /// The register: `cr0`, `cr3`, `cr4`, `efer` or `pdptes`; or `mode`.
    pub register: &'static str,
    /// Its value.
    pub value: u64,
    /// The bits of it that are wrong, set or not.
    pub bits: u64,
    /// The rule that they break.
    pub reason: &'static str,
}

/// `cr0: PG=1 needs PE=1; bits 0x1 are wrong in 0x80000010`.
impl fmt::Display for StateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { register, value, bits, reason } = self;
        write!(f, "{register}: {reason}; bits {bits:#x} are wrong in {value:#x}")
    }
}

impl core::error::Error for StateError {}

/// One rule: whether the state breaks it, the bits that do, and the rule in words.
type Check = (bool, u64, &'static str);

/// The first rule that a register breaks.
fn first_broken<const N: usize>(
    register: &'static str,
    value: u64,
    checks: [Check; N],
) -> Result<(), StateError> {
    let broken = checks.into_iter().find(|(is_broken, ..)| *is_broken);
    broken.map_or(Ok(()), |(_, bits, reason)| Err(StateError { register, value, bits, reason }))
}

impl Cr0 {
    /// The bits that are not reserved.
    const NAMED: Self = Self::PE
        .union(Self::MP)
        .union(Self::EM)
        .union(Self::TS)
        .union(Self::ET)
        .union(Self::NE)
        .union(Self::WP)
        .union(Self::AM)
        .union(Self::NW)
        .union(Self::CD)
        .union(Self::PG);

    /// The register after a MOV of this value: reserved bits stay clear, and ET stays set (SDM "MOV -
    /// Move to/from Control Registers").
    pub(crate) fn stored(self) -> Self {
        self & Self::NAMED | Self::ET
    }
}

impl Cr4 {
    /// The bits that a processor has. The others are reserved on it (SDM "Control Registers").
    ///
    /// ```
    /// use mmu_core::{Cr4, Profile};
    /// let zen = Profile::generation("zen").unwrap();
    /// assert!(Cr4::available(zen).contains(Cr4::SMAP));
    /// assert!(!Cr4::available(zen).intersects(Cr4::PKE | Cr4::UMIP));
    /// // Bit 15 is reserved on every processor.
    /// assert!(!Cr4::available(Profile::default()).contains(Cr4::from_bits_retain(1 << 15)));
    /// ```
    pub fn available(profile: Profile) -> Self {
        let has = |feature| profile.features.contains(feature);
        let also_has = |feature| profile.control_features.contains(feature);
        // Shadow stacks and indirect-branch tracking share the bit.
        let has_cet = has(Features::CET_SS) || also_has(ControlFeatures::CET_IBT);

        [
            (Self::VME | Self::PVI, also_has(ControlFeatures::VME)),
            (Self::TSD, also_has(ControlFeatures::TSC)),
            (Self::DE, also_has(ControlFeatures::DE)),
            (Self::PSE, also_has(ControlFeatures::PSE)),
            (Self::PAE, also_has(ControlFeatures::PAE)),
            (Self::MCE, also_has(ControlFeatures::MCE)),
            (Self::PGE, has(Features::PGE)),
            // Since the Pentium Pro, without a bit in CPUID.
            (Self::PCE, true),
            (Self::OSFXSR, also_has(ControlFeatures::FXSR)),
            (Self::OSXMMEXCPT, also_has(ControlFeatures::SSE)),
            (Self::UMIP, also_has(ControlFeatures::UMIP)),
            (Self::LA57, has(Features::LA57)),
            (Self::VMXE, also_has(ControlFeatures::VMX)),
            (Self::SMXE, also_has(ControlFeatures::SMX)),
            (Self::FSGSBASE, also_has(ControlFeatures::FSGSBASE)),
            (Self::PCIDE, has(Features::PCID)),
            (Self::OSXSAVE, also_has(ControlFeatures::XSAVE)),
            (Self::KL, also_has(ControlFeatures::KEY_LOCKER)),
            (Self::SMEP, has(Features::SMEP)),
            (Self::SMAP, has(Features::SMAP)),
            (Self::PKE, has(Features::PKU)),
            (Self::CET, has_cet),
            (Self::PKS, has(Features::PKS)),
            (Self::UINTR, also_has(ControlFeatures::UINTR)),
            (Self::LASS, also_has(ControlFeatures::LASS)),
            (Self::LAM_SUP, has(Features::LAM)),
            (Self::FRED, also_has(ControlFeatures::FRED)),
        ]
        .into_iter()
        .filter(|(_, is_available)| *is_available)
        .fold(Self::empty(), |all, (bits, _)| all | bits)
    }
}

impl Efer {
    /// The bits that a processor has (SDM `IA32_EFER`; APM "Extended Feature Enable Register"). The
    /// others are reserved on it, and without any bit there is no such register.
    ///
    /// ```
    /// use mmu_core::{Efer, Profile};
    /// assert!(Efer::available(Profile::generation("zen-4").unwrap()).contains(Efer::TCE));
    /// assert!(Efer::available(Profile::generation("pentium-3").unwrap()).is_empty());
    /// ```
    pub fn available(profile: Profile) -> Self {
        let also_has = |feature| profile.control_features.contains(feature);

        [
            (Self::SCE, also_has(ControlFeatures::SYSCALL)),
            (Self::LME | Self::LMA, also_has(ControlFeatures::LONG_MODE)),
            (Self::NXE, profile.features.contains(Features::NX)),
            (Self::SVME, also_has(ControlFeatures::SVM)),
            (Self::LMSLE, also_has(ControlFeatures::LMSLE)),
            (Self::FFXSR, also_has(ControlFeatures::FFXSR)),
            (Self::TCE, also_has(ControlFeatures::TCE)),
            (Self::MCOMMIT, also_has(ControlFeatures::MCOMMIT)),
            (Self::INTWB, also_has(ControlFeatures::INT_WBINVD)),
            (Self::UAIE, also_has(ControlFeatures::UAI)),
            (Self::AIBRSE, also_has(ControlFeatures::AUTOMATIC_IBRS)),
        ]
        .into_iter()
        .filter(|(_, is_available)| *is_available)
        .fold(Self::empty(), |all, (bits, _)| all | bits)
    }
}

/// The bits of CR3 that a MOV can store in long mode: an address below MAXPHYADDR, the flags below
/// it, and the LAM bits where there is LAM (MODE-8).
pub(crate) fn available_cr3(profile: Profile) -> u64 {
    let width = profile.physical_address_bits.min(MAX_PHYSICAL_ADDRESS_BITS);
    let lam = if profile.features.contains(Features::LAM) { CR3_LAM_U57 | CR3_LAM_U48 } else { 0 };
    ((1 << width) - 1) | lam
}

impl ControlState {
    /// The state of a mode with this CR3: write protection on, execute-disable on if the processor has
    /// it and the mode can use it, everything else off. In PAE paging
    /// [`load_cr3`](Self::load_cr3) loads the PDPTEs, too.
    ///
    /// ```
    /// use mmu_core::memory::SparseTables;
    /// use mmu_core::{ControlState, PagingMode, Profile};
    /// let skylake = Profile::generation("skylake").unwrap();
    ///
    /// let state = ControlState::in_mode(PagingMode::FourLevel, 0x1000, skylake)?;
    /// assert_eq!(state.mode(), PagingMode::FourLevel);
    ///
    /// let error = ControlState::in_mode(PagingMode::FiveLevel, 0x1000, skylake).unwrap_err();
    /// assert_eq!(error.register, "cr4");
    ///
    /// let pdpt = [(0x1000, 0x5001)];
    /// let pae = ControlState::in_mode(PagingMode::Pae, 0, skylake)?
    ///     .load_cr3(0x1000, skylake, &SparseTables::new(&pdpt))
    ///     .unwrap();
    /// assert_eq!(pae.pdptes[0], 0x5001);
    /// # Ok::<(), mmu_core::x86::state::StateError>(())
    /// ```
    ///
    /// # Errors
    /// If the processor has no such mode, or cannot hold this CR3 in it.
    pub fn in_mode(mode: PagingMode, cr3: u64, profile: Profile) -> Result<Self, StateError> {
        if mode == PagingMode::Linear {
            let reason = "no processor has the flat table of textbooks";
            return Err(StateError { register: "mode", value: 0, bits: 0, reason });
        }
        let long_mode = mode.is_long_mode();
        if !long_mode {
            // Outside long mode a MOV to CR3 has 32 bits.
            let above = cr3 >> 32 << 32;
            first_broken("cr3", cr3, [(above != 0, above, "it has 32 bits outside long mode")])?;
        }

        let mut state = Self { cr4: Cr4::empty(), efer: Efer::empty(), ..Self::four_level(cr3) };
        state.cr0.set(Cr0::PG, mode != PagingMode::Unpaged);
        state.cr4.set(Cr4::PAE, long_mode || mode == PagingMode::Pae);
        state.cr4.set(Cr4::LA57, mode == PagingMode::FiveLevel);
        state.efer.set(Efer::LME | Efer::LMA, long_mode);
        let uses_nx = state.cr4.contains(Cr4::PAE);
        state.efer.set(Efer::NXE, uses_nx && profile.features.contains(Features::NX));

        state.check_on(profile)?;
        Ok(state)
    }

    /// Checks that some processor can be in this state, and that the model knows what every bit of it does
    /// to a translation. PKRU and PKRS can have any value, and so can the PDPTEs, since some processors
    /// read them during the walk (PDPTE-4).
    ///
    /// ```
    /// use mmu_core::{ControlState, Cr0};
    /// let mut state = ControlState::four_level(0x1000);
    /// assert!(state.check().is_ok());
    /// state.cr0 -= Cr0::PE;
    /// assert_eq!(
    ///     state.check().unwrap_err().to_string(),
    ///     "cr0: PG=1 needs PE=1; bits 0x1 are wrong in 0x80010010"
    /// );
    /// ```
    ///
    /// # Errors
    /// With the register, its bits, and the rule that they break.
    pub fn check(&self) -> Result<(), StateError> {
        let any = Profile {
            vendor: Vendor::Unknown,
            physical_address_bits: MAX_PHYSICAL_ADDRESS_BITS,
            ..Profile::default()
        };
        self.check_on(any)
    }

    /// Checks that this processor can be in this state: as [`check`](Self::check), with its features
    /// and its MAXPHYADDR, and its PDPTE registers if it has them.
    ///
    /// ```
    /// use mmu_core::{ControlState, Cr4, Profile};
    /// let mut state = ControlState::four_level(0x1000);
    /// state.cr4 |= Cr4::PKE;
    /// assert!(state.check_on(Profile::generation("broadwell").unwrap()).is_err());
    /// assert!(state.check_on(Profile::generation("skylake").unwrap()).is_ok());
    /// ```
    ///
    /// # Errors
    /// With the register, its bits, and the rule that they break.
    pub fn check_on(&self, profile: Profile) -> Result<(), StateError> {
        self.check_cr0()?;
        self.check_cr3(profile)?;
        self.check_cr4(profile)?;
        self.check_efer(profile)?;
        self.check_pdptes(profile)?;
        self.check_modelled()
    }

    pub(crate) fn check_cr0(&self) -> Result<(), StateError> {
        let has = |bit| self.cr0.contains(bit);
        let reserved = self.cr0 - Cr0::NAMED;

        first_broken(
            "cr0",
            self.cr0.bits(),
            [
                (!reserved.is_empty(), reserved.bits(), "reserved bits are 0"),
                (!has(Cr0::ET), Cr0::ET.bits(), "ET is always 1"),
                (has(Cr0::PG) && !has(Cr0::PE), Cr0::PE.bits(), "PG=1 needs PE=1"),
                (has(Cr0::NW) && !has(Cr0::CD), Cr0::CD.bits(), "NW=1 needs CD=1"),
                (
                    self.cr4.contains(Cr4::CET) && !has(Cr0::WP),
                    Cr0::WP.bits(),
                    "CR4.CET=1 needs WP=1",
                ),
            ],
        )
    }

    /// Outside long mode CR3 may still have what long mode left in it, so one rule does for all modes.
    fn check_cr3(&self, profile: Profile) -> Result<(), StateError> {
        let wrong = self.cr3 & !available_cr3(profile);
        let reason = "bits above MAXPHYADDR are 0, except the LAM bits where there is LAM";
        first_broken("cr3", self.cr3, [(wrong != 0, wrong, reason)])
    }

    pub(crate) fn check_cr4(&self, profile: Profile) -> Result<(), StateError> {
        let has = |bit| self.cr4.contains(bit);
        let long_mode = self.efer.contains(Efer::LMA);
        let reserved = self.cr4 - Cr4::available(Profile::default());
        let missing = self.cr4 - Cr4::available(profile);

        first_broken(
            "cr4",
            self.cr4.bits(),
            [
                (!reserved.is_empty(), reserved.bits(), "reserved bits are 0"),
                (!missing.is_empty(), missing.bits(), "the processor lacks the feature"),
                (has(Cr4::PCIDE) && !long_mode, Cr4::PCIDE.bits(), "PCIDE=1 needs long mode"),
                (long_mode && !has(Cr4::PAE), Cr4::PAE.bits(), "EFER.LMA=1 needs PAE=1"),
            ],
        )
    }

    /// A load of the PDPTE registers refuses reserved bits, so no register has one (PDPTE-2).
    fn check_pdptes(&self, profile: Profile) -> Result<(), StateError> {
        if self.mode() != PagingMode::Pae || profile.pdptes_are_walked() != Pin::No {
            return Ok(());
        }

        let regime = Regime::new(*self, profile);
        let reserved = Reference.reserved_bits::<Pae>(&Pae::LEVELS[0], EntryKind::Table, &regime);
        for pdpte in self.pdptes {
            let wrong = pdpte & reserved;
            let is_present = pdpte & EntryBits::P.bits() != 0;
            let reason = "reserved bits of a present PDPTE are 0";
            first_broken("pdptes", pdpte, [(is_present && wrong != 0, wrong, reason)])?;
        }
        Ok(())
    }

    /// Of the bits that a processor may have, the model must know all that decide about addresses.
    /// EFER.LMSLE gives data segments a limit in 64-bit mode (APM "Data Limit Checks in 64-bit Mode"), and
    /// neither a state nor an access has a segment's limit.
    fn check_modelled(&self) -> Result<(), StateError> {
        let limits = self.efer.contains(Efer::LMSLE | Efer::LMA);
        let reason = "LMSLE=1 gives segments a limit in long mode, which the model does not know";
        first_broken("efer", self.efer.bits(), [(limits, Efer::LMSLE.bits(), reason)])
    }

    pub(crate) fn check_efer(&self, profile: Profile) -> Result<(), StateError> {
        let reserved = self.efer - Efer::available(Profile::default());
        let missing = self.efer - Efer::available(profile);
        let long_mode = self.efer.contains(Efer::LME) && self.cr0.contains(Cr0::PG);
        let is_active = self.efer.contains(Efer::LMA);

        first_broken(
            "efer",
            self.efer.bits(),
            [
                (!reserved.is_empty(), reserved.bits(), "reserved bits are 0"),
                (!missing.is_empty(), missing.bits(), "the processor lacks the feature"),
                (is_active != long_mode, Efer::LMA.bits(), "LMA=1 exactly if LME=1 and CR0.PG=1"),
            ],
        )
    }
}
