//! MOV to CR0.

use super::require;
use crate::x86::fault::Fault;
use crate::x86::state::{ControlState, Cr0, Cr4, Efer};

/// Bits 63:32 are reserved and must be 0.
const UPPER_HALF: Cr0 = Cr0::from_bits_retain(!0 << 32);

impl ControlState {
    /// The state with another CR0, and whether that loads PDPTEs.
    pub(super) fn with_cr0(&self, value: Cr0) -> Result<(Self, bool), Fault> {
        require(!value.intersects(UPPER_HALF))?;

        let mut new = Self { cr0: value.stored(), ..*self };
        let changed = self.cr0 ^ new.cr0;
        let paging = value.contains(Cr0::PG);
        if changed.contains(Cr0::PG) {
            let long_mode = paging && self.efer.contains(Efer::LME);
            require(!long_mode || self.cr4.contains(Cr4::PAE))?;
            require(paging || !self.cr4.contains(Cr4::PCIDE))?;
            new.efer.set(Efer::LMA, long_mode);
        }
        require(new.check_cr0().is_ok())?;

        let loading = Cr0::CD | Cr0::NW | Cr0::PG;
        Ok((new, changed.intersects(loading)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::LoadError;
    use super::super::test_support::{NOTHING, is_gp, profile, unpaged};
    use super::*;

    fn load(state: ControlState, value: Cr0) -> Result<ControlState, LoadError> {
        state.load_cr0(value, profile(), &NOTHING)
    }

    /// SDM "MOV - Move to/from Control Registers", "Control Registers": in 64-bit mode an attempt to
    /// set one of bits 63:32 is #GP(0).
    #[test]
    fn mov_cr0_bits_63_32_are_gp() {
        let state = ControlState::four_level(0x1000);
        for bit in 32..64 {
            let value = state.cr0 | Cr0::from_bits_retain(1 << bit);
            assert!(is_gp(&load(state, value)), "bit {bit}");
        }
    }

    /// SDM "MOV - Move to/from Control Registers": "Reserved bits in CR0 remain clear after any load";
    /// ET remains set.
    #[test]
    fn mov_cr0_reserved_bits_stay_clear_and_et_stays_set() {
        let state = ControlState::four_level(0x1000);
        // Bits 28:19, 17 and 15:6; without ET.
        let reserved = 0x1ff8_0000 | 1 << 17 | 0xffc0;
        let value = Cr0::from_bits_retain(0x8001_0001 | reserved);
        assert_eq!(load(state, value).unwrap().cr0.bits(), 0x8001_0011);

        // MP, EM, TS, NE and AM are stored.
        let named = Cr0::from_bits_retain(0x8005_003f);
        assert_eq!(load(state, named).unwrap().cr0.bits(), 0x8005_003f);
    }

    /// SDM "MOV - Move to/from Control Registers", exceptions; APM "MOV `CRn`": CD=0 with NW=1.
    #[test]
    fn mov_cr0_nw_without_cd_is_gp() {
        let state = ControlState::four_level(0x1000);
        assert!(is_gp(&load(state, state.cr0 | Cr0::NW)));
        assert!(load(state, state.cr0 | Cr0::CD).is_ok());

        let both = load(state, state.cr0 | Cr0::NW | Cr0::CD).unwrap();
        assert!(is_gp(&load(both, both.cr0 - Cr0::CD)));
        assert!(load(both, both.cr0 - Cr0::NW - Cr0::CD).is_ok());
    }

    /// The same sections: PG=1 with PE=0, whether PG is set or PE is cleared.
    #[test]
    fn mov_cr0_pg_without_pe_is_gp() {
        let state = ControlState::four_level(0x1000);
        assert!(is_gp(&load(state, state.cr0 - Cr0::PE)));

        let real_mode = ControlState { cr0: Cr0::ET, ..unpaged() };
        assert!(is_gp(&load(real_mode, Cr0::ET | Cr0::PG)));
        assert!(load(real_mode, Cr0::ET | Cr0::PE).is_ok());
    }

    /// SDM "MOV - Move to/from Control Registers": clearing WP while CR4.CET=1.
    #[test]
    fn mov_cr0_wp_cannot_be_cleared_under_cet() {
        let mut state = ControlState::four_level(0x1000);
        assert!(load(state, state.cr0 - Cr0::WP).is_ok());

        state.cr4 |= Cr4::CET;
        assert!(is_gp(&load(state, state.cr0 - Cr0::WP)));
        assert!(load(state, state.cr0 | Cr0::TS).is_ok());
    }

    /// SDM "MOV - Move to/from Control Registers": setting PG with LME=1 and PAE=0, and clearing PG
    /// while PCIDE=1.
    #[test]
    fn mov_cr0_pg_needs_pae_with_lme_and_stays_with_pcide() {
        let mut state = unpaged();
        let active = load(state, state.cr0 | Cr0::PG).unwrap();
        assert!(active.efer.contains(Efer::LMA));

        state.cr4 -= Cr4::PAE;
        assert!(is_gp(&load(state, state.cr0 | Cr0::PG)));

        let left = load(active, active.cr0 - Cr0::PG).unwrap();
        assert!(!left.efer.contains(Efer::LMA) && left.efer.contains(Efer::LME));
        let with_pcids = ControlState { cr4: active.cr4 | Cr4::PCIDE, ..active };
        assert!(is_gp(&load(with_pcids, active.cr0 - Cr0::PG)));
    }
}
