//! WRMSR of EFER.

use super::{Load, LoadError, MAX_LOADS, require};
use crate::x86::fault::Fault;
use crate::x86::profile::{Pin, Profile};
use crate::x86::rule::Rule;
use crate::x86::state::{ControlState, Cr0, Efer};
use arrayvec::ArrayVec;

/// MODE-1: what a processor does with a written LMA that differs from the current one.
const IGNORED: &str = "a written EFER.LMA is ignored";
const CHECKED: &str = "a written EFER.LMA that differs raises #GP";

impl ControlState {
    /// Every result that is allowed for a WRMSR of EFER.
    pub(super) fn efer_loads(&self, value: Efer, profile: Profile) -> ArrayVec<Load, MAX_LOADS> {
        let pin = profile.checks_written_lma();
        let mut loads = ArrayVec::new();
        let result = self.with_efer(value, profile, pin == Pin::Yes).map_err(LoadError::Fault);
        loads.push(Load { result, choice: None });

        let other = self.with_efer(value, profile, pin != Pin::Yes).map_err(LoadError::Fault);
        if pin == Pin::Open && other != loads[0].result {
            loads[0].choice = Some((Rule::Mode1, IGNORED));
            loads.push(Load { result: other, choice: Some((Rule::Mode1, CHECKED)) });
        }
        loads
    }

    /// The state with another EFER. LMA stays as it is, or must be written as it is.
    pub(super) fn with_efer(
        &self,
        value: Efer,
        profile: Profile,
        checks_lma: bool,
    ) -> Result<Self, Fault> {
        // Without any of its bits there is no such register.
        let available = Efer::available(profile);
        require(!available.is_empty() && available.contains(value))?;

        let changed = self.efer ^ value;
        require(!(changed.contains(Efer::LME) && self.cr0.contains(Cr0::PG)))?;
        require(!(checks_lma && changed.contains(Efer::LMA)))?;

        let mut efer = value;
        efer.set(Efer::LMA, self.efer.contains(Efer::LMA));
        Ok(Self { efer, ..*self })
    }
}

#[cfg(test)]
mod tests {
    use super::super::Mov;
    use super::super::test_support::{NOTHING, is_gp, pae, profile, unpaged};
    use super::*;
    use crate::x86::profile::{ControlFeatures, Features, Vendor};
    use std::vec::Vec;

    /// SDM `IA32_EFER`, WRMSR; APM "Extended Feature Enable Register": a reserved bit is #GP(0).
    /// Of bits 7:1 the APM says only that they read as zero.
    #[test]
    fn wrmsr_efer_reserved_bits_are_gp() {
        let state = ControlState::four_level(0x1000);
        for bit in 0..64 {
            let is_reserved = matches!(bit, 1..=7 | 9 | 16 | 19 | 22..=63);
            let value = state.efer | Efer::from_bits_retain(1 << bit);
            assert_eq!(is_gp(&state.load_efer(value, profile())), is_reserved, "bit {bit}");
        }
    }

    /// The same sections: a bit is reserved where its feature is not reported.
    #[test]
    fn wrmsr_efer_a_bit_without_its_feature_is_gp() {
        let lacks = |feature| Profile { features: Features::all() - feature, ..profile() };
        let lacks_control =
            |feature| Profile { control_features: ControlFeatures::all() - feature, ..profile() };

        let state = ControlState { efer: Efer::empty(), ..pae(0x1000) };
        let unpaged = ControlState { efer: Efer::empty(), ..unpaged() };
        for (bit, processor) in [
            (Efer::SCE, lacks_control(ControlFeatures::SYSCALL)),
            (Efer::LME, lacks_control(ControlFeatures::LONG_MODE)),
            (Efer::NXE, lacks(Features::NX)),
            (Efer::SVME, lacks_control(ControlFeatures::SVM)),
            (Efer::LMSLE, lacks_control(ControlFeatures::LMSLE)),
            (Efer::FFXSR, lacks_control(ControlFeatures::FFXSR)),
            (Efer::TCE, lacks_control(ControlFeatures::TCE)),
            (Efer::MCOMMIT, lacks_control(ControlFeatures::MCOMMIT)),
            (Efer::INTWB, lacks_control(ControlFeatures::INT_WBINVD)),
            (Efer::UAIE, lacks_control(ControlFeatures::UAI)),
            (Efer::AIBRSE, lacks_control(ControlFeatures::AUTOMATIC_IBRS)),
        ] {
            let before = if bit == Efer::LME { unpaged } else { state };
            assert!(before.load_efer(bit, profile()).unwrap().efer == bit, "{bit:?}");
            assert!(is_gp(&before.load_efer(bit, processor)), "{bit:?}");
        }

        // A Pentium III has no EFER at all (SDM `IA32_EFER`).
        let pentium_3 = Profile::generation("pentium-3").unwrap();
        assert!(is_gp(&state.load_efer(Efer::empty(), pentium_3)));
    }

    /// SDM WRMSR, "Initializing IA-32e Mode"; APM "Long Mode Consistency Checks": LME cannot change
    /// while PG=1.
    #[test]
    fn wrmsr_efer_lme_cannot_change_while_paging() {
        let long_mode = ControlState::four_level(0x1000);
        assert!(is_gp(&long_mode.load_efer(long_mode.efer - Efer::LME, profile())));
        let legacy = pae(0x1000);
        assert!(is_gp(&legacy.load_efer(legacy.efer | Efer::LME, profile())));

        let state = unpaged();
        assert!(state.load_efer(state.efer - Efer::LME, profile()).is_ok());
        assert!(long_mode.load_efer(long_mode.efer - Efer::NXE, profile()).is_ok());
    }

    /// SDM `IA32_EFER` has LMA read-only; by the APM ("Long Mode Active (LMA) Bit") a write of another
    /// value is #GP.
    #[test]
    fn mode_1_lma_cannot_be_written() {
        let long_mode = ControlState::four_level(0x1000);
        let state = unpaged();
        for (before, value) in
            [(long_mode, long_mode.efer - Efer::LMA), (state, state.efer | Efer::LMA)]
        {
            let results = |vendor| -> Vec<_> {
                let loads =
                    before.loads(Mov::Efer(value), Profile { vendor, ..profile() }, &NOTHING);
                loads.iter().map(|load| (load.result, load.choice.map(|(rule, _)| rule))).collect()
            };

            assert_eq!(results(Vendor::Intel), [(Ok(before), None)]);
            let [(on_amd, None)] = results(Vendor::Amd)[..] else { panic!("one result") };
            assert!(is_gp(&on_amd));
            let rule = Some(Rule::Mode1);
            assert_eq!(results(Vendor::Unknown), [(Ok(before), rule), (on_amd, rule)]);
        }

        // Writing it as it is, is what every processor wants.
        for vendor in Vendor::ALL {
            let loads =
                state.loads(Mov::Efer(state.efer), Profile { vendor, ..profile() }, &NOTHING);
            assert_eq!(loads.len(), 1);
            assert_eq!(loads[0].result, Ok(state));
        }
    }
}
