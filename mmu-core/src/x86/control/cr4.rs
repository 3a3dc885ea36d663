//! MOV to CR4.

use super::require;
use crate::x86::fault::Fault;
use crate::x86::profile::Profile;
use crate::x86::state::{ControlState, Cr4, Efer};

impl ControlState {
    /// The state with another CR4, and whether that loads PDPTEs.
    pub(super) fn with_cr4(&self, value: Cr4, profile: Profile) -> Result<(Self, bool), Fault> {
        let new = Self { cr4: value, ..*self };
        let changed = self.cr4 ^ value;
        let long_mode = self.efer.contains(Efer::LMA);
        require(!(long_mode && changed.intersects(Cr4::LA57 | Cr4::PAE)))?;

        let sets_pcide = changed.contains(Cr4::PCIDE) && value.contains(Cr4::PCIDE);
        require(!sets_pcide || self.cr3.is_multiple_of(0x1000))?;
        require(new.check_cr4(profile).is_ok() && new.check_cr0().is_ok())?;

        let loading = Cr4::PAE | Cr4::PGE | Cr4::PSE | Cr4::SMEP;
        Ok((new, changed.intersects(loading)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::LoadError;
    use super::super::test_support::{NOTHING, is_gp, pae, profile, unpaged};
    use super::*;
    use crate::x86::profile::{ControlFeatures, Features};
    use crate::x86::state::{Cr0, PagingMode};

    fn load(state: ControlState, value: Cr4, profile: Profile) -> Result<ControlState, LoadError> {
        state.load_cr4(value, profile, &NOTHING)
    }

    /// SDM "Control Registers": bits 15, 26, 31:29 and 63:33 are reserved, and setting one is #GP(0).
    #[test]
    fn mov_cr4_reserved_bits_are_gp() {
        let state = ControlState::four_level(0x1000);
        // LA57 and PAE cannot change in long mode.
        for bit in (0..64).filter(|bit| ![5, 12].contains(bit)) {
            let is_reserved = matches!(bit, 15 | 26 | 29..=31 | 33..=63);
            let loaded = load(state, state.cr4 | Cr4::from_bits_retain(1 << bit), profile());
            assert_eq!(is_gp(&loaded), is_reserved, "bit {bit}");
        }
    }

    /// SDM "Control Registers" and "CPUID": a bit is reserved where its feature is not enumerated.
    #[test]
    fn mov_cr4_a_bit_without_its_feature_is_gp() {
        let without = |features: &[Features], control: ControlFeatures| {
            let features = features.iter().fold(Features::all(), |all, less| all - *less);
            let control_features = ControlFeatures::all() - control;
            Profile { features, control_features, ..profile() }
        };
        let lacks = |feature| without(&[feature], ControlFeatures::empty());
        let lacks_control = |feature| without(&[], feature);

        for (bit, processor) in [
            (Cr4::VME, lacks_control(ControlFeatures::VME)),
            (Cr4::PVI, lacks_control(ControlFeatures::VME)),
            (Cr4::TSD, lacks_control(ControlFeatures::TSC)),
            (Cr4::DE, lacks_control(ControlFeatures::DE)),
            (Cr4::PSE, lacks_control(ControlFeatures::PSE)),
            (Cr4::PAE, lacks_control(ControlFeatures::PAE)),
            (Cr4::MCE, lacks_control(ControlFeatures::MCE)),
            (Cr4::PGE, lacks(Features::PGE)),
            (Cr4::OSFXSR, lacks_control(ControlFeatures::FXSR)),
            (Cr4::OSXMMEXCPT, lacks_control(ControlFeatures::SSE)),
            (Cr4::UMIP, lacks_control(ControlFeatures::UMIP)),
            (Cr4::LA57, lacks(Features::LA57)),
            (Cr4::VMXE, lacks_control(ControlFeatures::VMX)),
            (Cr4::SMXE, lacks_control(ControlFeatures::SMX)),
            (Cr4::FSGSBASE, lacks_control(ControlFeatures::FSGSBASE)),
            (Cr4::OSXSAVE, lacks_control(ControlFeatures::XSAVE)),
            (Cr4::KL, lacks_control(ControlFeatures::KEY_LOCKER)),
            (Cr4::SMEP, lacks(Features::SMEP)),
            (Cr4::SMAP, lacks(Features::SMAP)),
            (Cr4::PKE, lacks(Features::PKU)),
            (Cr4::CET, without(&[Features::CET_SS], ControlFeatures::CET_IBT)),
            (Cr4::PKS, lacks(Features::PKS)),
            (Cr4::UINTR, lacks_control(ControlFeatures::UINTR)),
            (Cr4::LASS, lacks_control(ControlFeatures::LASS)),
            (Cr4::LAM_SUP, lacks(Features::LAM)),
            (Cr4::FRED, lacks_control(ControlFeatures::FRED)),
        ] {
            // Without paging PAE and LA57 can change, and no PDPTEs are loaded.
            let state = ControlState { cr4: Cr4::empty(), ..unpaged() };
            assert!(load(state, bit, profile()).is_ok(), "{bit:?}");
            assert!(is_gp(&load(state, bit, processor)), "{bit:?}");
        }

        let mut state = ControlState::four_level(0x1000);
        state.cr4 = Cr4::PAE;
        let with_pcids = state.cr4 | Cr4::PCIDE;
        assert!(is_gp(&load(state, with_pcids, lacks(Features::PCID))));

        // Either half of CET is enough (SDM "Control Registers", CR4.CET).
        let tracking_only = lacks(Features::CET_SS);
        let stacks_only = lacks_control(ControlFeatures::CET_IBT);
        for processor in [tracking_only, stacks_only] {
            assert!(load(state, state.cr4 | Cr4::CET, processor).is_ok());
        }
    }

    /// SDM "MOV - Move to/from Control Registers": setting CET while CR0.WP=0.
    #[test]
    fn mov_cr4_cet_needs_wp() {
        let mut state = ControlState::four_level(0x1000);
        assert!(load(state, state.cr4 | Cr4::CET, profile()).is_ok());
        state.cr0 -= Cr0::WP;
        assert!(is_gp(&load(state, state.cr4 | Cr4::CET, profile())));
    }

    #[test]
    fn mode_2_la57_cannot_change_in_long_mode() {
        let state = ControlState::four_level(0x1000);
        assert!(is_gp(&load(state, state.cr4 | Cr4::LA57, profile())));
        assert!(is_gp(&load(state, state.cr4 - Cr4::PAE, profile())));

        let mut before = state;
        before.cr0.remove(Cr0::PG);
        before.efer.remove(Efer::LMA);

        let after = before.load_cr4(state.cr4 | Cr4::LA57, profile(), &NOTHING).unwrap();
        let paging = after.load_cr0(after.cr0 | Cr0::PG, profile(), &NOTHING).unwrap();
        assert_eq!(paging.mode(), PagingMode::FiveLevel);
    }

    #[test]
    fn mode_8_pcide_needs_long_mode_and_an_empty_pcid() {
        let state = ControlState::four_level(0x1000);
        let with = state.cr4 | Cr4::PCIDE;
        assert!(state.load_cr4(with, profile(), &NOTHING).is_ok());

        let flagged = ControlState { cr3: 0x1008, ..state };
        assert!(is_gp(&flagged.load_cr4(with, profile(), &NOTHING)));

        let legacy = pae(0x1000);
        assert!(is_gp(&legacy.load_cr4(legacy.cr4 | Cr4::PCIDE, profile(), &NOTHING)));
    }
}
