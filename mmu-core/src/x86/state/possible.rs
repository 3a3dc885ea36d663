//! Which control states a processor can be in. MOV to a control register and WRMSR raise #GP rather
//! than leave them (SDM "MOV - Move to/from Control Registers", "Checks on Guest Control Registers";
//! APM "Long Mode Consistency Checks", "MOV `CRn`").

use super::{CR3_LAM_U48, CR3_LAM_U57, ControlState, Cr0, Cr4, Efer, PagingMode};
use crate::x86::profile::{ControlFeatures, Features, Profile, Vendor};
use core::fmt;

/// The width of the widest physical address, in bits.
const MAX_PHYSICAL_ADDRESS_BITS: u8 = 52;

/// The reason why no processor, or not this one, can be in a control state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateError {
    /// The register: `cr0`, `cr3`, `cr4` or `efer`; or `mode`.
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

        let mut state = Self { cr4: Cr4::empty(), efer: Efer::empty(), ..Self::long_mode(cr3) };
        state.cr0.set(Cr0::PG, mode != PagingMode::Unpaged);
        state.cr4.set(Cr4::PAE, long_mode || mode == PagingMode::Pae);
        state.cr4.set(Cr4::LA57, mode == PagingMode::FiveLevel);
        state.efer.set(Efer::LME | Efer::LMA, long_mode);
        let uses_nx = state.cr4.contains(Cr4::PAE);
        state.efer.set(Efer::NXE, uses_nx && profile.features.contains(Features::NX));

        state.check_on(profile)?;
        Ok(state)
    }

    /// Checks that some processor can be in this state. PKRU, PKRS and the PDPTEs can have any
    /// value.
    ///
    /// ```
    /// use mmu_core::{ControlState, Cr0};
    /// let mut state = ControlState::long_mode(0x1000);
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
    /// and its MAXPHYADDR.
    ///
    /// ```
    /// use mmu_core::{ControlState, Cr4, Profile};
    /// let mut state = ControlState::long_mode(0x1000);
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
        self.check_efer(profile)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::SparseTables;
    use crate::x86::control::Mov;
    use crate::x86::profile::GENERATIONS;
    use proptest::prelude::*;
    use std::string::ToString;

    /// The register that makes a state impossible.
    fn wrong(state: ControlState) -> Option<&'static str> {
        state.check().err().map(|error| error.register)
    }

    /// SDM "MOV - Move to/from Control Registers" and "Checks on Guest Control Registers".
    #[test]
    fn states_that_no_processor_can_be_in() {
        let good = ControlState::long_mode(0x1000);
        assert_eq!(wrong(good), None);
        let cr0 = |bits| ControlState { cr0: Cr0::from_bits_retain(bits), ..good };
        let cr4 = |bits| ControlState { cr4: Cr4::from_bits_retain(bits), ..good };
        let efer = |bits| ControlState { efer: Efer::from_bits_retain(bits), ..good };
        let cr3 = |cr3| ControlState { cr3, ..good };

        for (state, register) in [
            // Bit 32; bit 6; without ET; PG without PE; NW without CD.
            (cr0(0x1_8001_0011), "cr0"),
            (cr0(0x8001_0051), "cr0"),
            (cr0(0x8001_0001), "cr0"),
            (cr0(0x8001_0010), "cr0"),
            (cr0(0xa001_0011), "cr0"),
            // CET without WP.
            (ControlState { cr0: Cr0::from_bits_retain(0x8000_0011), ..cr4(0x80_0620) }, "cr0"),
            // Above 52 bits; bit 63, which is not stored.
            (cr3(1 << 52 | 0x1000), "cr3"),
            (cr3(1 << 63 | 0x1000), "cr3"),
            // Bits 15, 26, 29 and 33; long mode without PAE; PCIDE outside long mode.
            (cr4(0x8620), "cr4"),
            (cr4(0x400_0620), "cr4"),
            (cr4(0x2000_0620), "cr4"),
            (cr4(0x2_0000_0620), "cr4"),
            (cr4(0x600), "cr4"),
            (ControlState { efer: Efer::empty(), ..cr4(0x2_0620) }, "cr4"),
            // Bits 1, 9, 16 and 63; LMA without LME; LME and PG without LMA; LMA without PG.
            (efer(0xd02), "efer"),
            (efer(0xf00), "efer"),
            (efer(0x1_0d00), "efer"),
            (efer(0xd00 | 1 << 63), "efer"),
            (efer(0xc00), "efer"),
            (efer(0x900), "efer"),
            (ControlState { cr0: Cr0::from_bits_retain(0x1_0011), ..good }, "efer"),
        ] {
            assert_eq!(wrong(state), Some(register), "{state:x?}");
        }
    }

    #[test]
    fn states_that_some_processor_can_be_in() {
        let good = ControlState::long_mode(0x1000);
        for state in [
            // LAM bits; a CR3 that long mode left behind; LA57 outside long mode.
            ControlState { cr3: 3 << 61 | 0xf_ffff_ffff_f000, ..good },
            ControlState { cr3: 1 << 40, cr4: Cr4::empty(), efer: Efer::empty(), ..good },
            ControlState { cr4: Cr4::LA57, efer: Efer::NXE, ..good },
            // Paging is off and LME is on; real mode.
            ControlState { cr0: Cr0::PE | Cr0::ET, efer: Efer::LME, ..good },
            ControlState { cr0: Cr0::ET, cr4: Cr4::empty(), efer: Efer::empty(), ..good },
            // Both vendors' bits, of which a processor has at most one kind.
            ControlState { efer: good.efer | Efer::UAIE | Efer::TCE, ..good },
            ControlState { cr4: good.cr4 | Cr4::LASS | Cr4::LAM_SUP, ..good },
        ] {
            assert_eq!(state.check(), Ok(()), "{state:x?}");
        }
    }

    #[test]
    fn a_constructor_refuses_what_the_processor_lacks() {
        let skylake = Profile::generation("skylake").unwrap();
        let pentium_3 = Profile::generation("pentium-3").unwrap();

        for mode in PagingMode::ALL {
            let state = ControlState::in_mode(mode, 0x1000, Profile::default()).unwrap();
            assert_eq!((state.mode(), state.cr3), (mode, 0x1000));
            assert_eq!(state.check(), Ok(()));

            let refused = |profile| {
                let state = ControlState::in_mode(mode, 0x1000, profile);
                state.err().map(|error| error.register)
            };
            let no_long_mode = if mode.is_long_mode() { Some("cr4") } else { None };
            let only_five = no_long_mode.filter(|_| mode == PagingMode::FiveLevel);
            assert_eq!(refused(skylake), only_five, "{mode}");
            let on_pentium_3 = if mode == PagingMode::FourLevel { Some("efer") } else { only_five };
            assert_eq!(refused(pentium_3), on_pentium_3, "{mode}");
        }

        // Skylake has 46 bits (MODE-8), and outside long mode a CR3 has 32.
        let refused = |mode, cr3| ControlState::in_mode(mode, cr3, skylake).unwrap_err().register;
        assert_eq!(refused(PagingMode::FourLevel, 1 << 46), "cr3");
        assert_eq!(refused(PagingMode::Pae, 1 << 32), "cr3");
        assert_eq!(refused(PagingMode::Linear, 0x1000), "mode");
    }

    /// SDM "Paging Modes and Control Bits": PG, PAE, LMA and LA57 select the mode.
    #[test]
    fn there_is_a_ready_made_state_for_every_mode() {
        let pdptes = [0x2001, 0, 0x3001, 0];
        for (state, mode, cr0, paging_bits_of_cr4, efer) in [
            (ControlState::unpaged(), PagingMode::Unpaged, 0x1_0011, 0, 0),
            (ControlState::bits32(0x1000), PagingMode::Bits32, 0x8001_0011, 0, 0),
            (ControlState::pae(0x1000, pdptes), PagingMode::Pae, 0x8001_0011, 0x20, 0x800),
            (ControlState::long_mode(0x1000), PagingMode::FourLevel, 0x8001_0011, 0x20, 0xd00),
            (ControlState::five_level(0x1000), PagingMode::FiveLevel, 0x8001_0011, 0x1020, 0xd00),
        ] {
            assert_eq!(state.mode(), mode);
            assert_eq!(state.check(), Ok(()), "{mode}");
            assert_eq!(state.cr0.bits(), cr0, "{mode}");
            // Without OSFXSR and OSXMMEXCPT.
            assert_eq!(state.cr4.bits() & !0x600, paging_bits_of_cr4, "{mode}");
            assert_eq!(state.efer.bits(), efer, "{mode}");
            assert_eq!(state.cr3, if mode == PagingMode::Unpaged { 0 } else { 0x1000 });
            assert_eq!(state.pdptes, if mode == PagingMode::Pae { pdptes } else { [0; 4] });
        }
    }

    #[test]
    fn an_error_names_register_rule_and_bits() {
        let mut state = ControlState::long_mode(0x1000);
        state.cr4 |= Cr4::SMAP | Cr4::PKE;
        let ivy_bridge = Profile::generation("ivy-bridge").unwrap();
        assert_eq!(
            state.check_on(ivy_bridge).unwrap_err().to_string(),
            "cr4: the processor lacks the feature; bits 0x600000 are wrong in 0x600620"
        );
    }

    /// A load of a control register.
    fn mov() -> impl Strategy<Value = Mov> {
        // One or two bits differ from a usual value: most such loads are near a rule.
        let value = |usual: u64| {
            (0..64_u32, 0..64_u32, any::<bool>())
                .prop_map(move |(one, two, both)| usual ^ 1 << one ^ u64::from(both) << two)
        };
        prop_oneof![
            prop_oneof![value(0x8001_0011), value(0x1_0011)]
                .prop_map(|bits| Mov::Cr0(Cr0::from_bits_retain(bits))),
            prop_oneof![value(0x1000), any::<u64>()].prop_map(Mov::Cr3),
            prop_oneof![value(0x20), value(0), value(0x2_0020)]
                .prop_map(|bits| Mov::Cr4(Cr4::from_bits_retain(bits))),
            prop_oneof![value(0xd00), value(0x900), value(0)]
                .prop_map(|bits| Mov::Efer(Efer::from_bits_retain(bits))),
        ]
    }

    proptest! {
        /// From a state that a processor can be in, every load that completes leads to another one.
        #[test]
        fn loads_keep_the_state_possible(
            mode in proptest::sample::select(&PagingMode::ALL),
            generation in proptest::sample::select(GENERATIONS),
            movs in proptest::collection::vec(mov(), 1..12),
        ) {
            let profile = generation.profile;
            let Ok(mut state) = ControlState::in_mode(mode, 0, profile) else { return Ok(()) };
            let memory = SparseTables::new(&[]).with_memory_below(u64::MAX);

            for mov in movs {
                for load in state.loads(mov, profile, &memory) {
                    if let Ok(new) = load.result {
                        prop_assert_eq!(new.check_on(profile), Ok(()), "after {:?}", mov);
                        state = new;
                    }
                }
            }
        }
    }
}
