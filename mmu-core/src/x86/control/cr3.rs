//! MOV to CR3.

use super::{CR3_NO_FLUSH, require};
use crate::x86::fault::Fault;
use crate::x86::profile::Profile;
use crate::x86::state::{ControlState, Cr4, Efer, available_cr3};

impl ControlState {
    /// The state with another CR3.
    pub(super) fn with_cr3(&self, value: u64, profile: Profile) -> Result<Self, Fault> {
        if !self.efer.contains(Efer::LMA) {
            // Outside 64-bit mode the operand has 32 bits.
            return Ok(Self { cr3: value & 0xffff_ffff, ..*self });
        }

        let no_flush = if self.cr4.contains(Cr4::PCIDE) { CR3_NO_FLUSH } else { 0 };
        let cr3 = value & !no_flush;
        require(cr3 & !available_cr3(profile) == 0)?;

        Ok(Self { cr3, ..*self })
    }
}

#[cfg(test)]
mod tests {
    use super::super::test_support::{NOTHING, is_gp, profile};
    use super::*;
    use crate::x86::profile::Features;

    #[test]
    fn mode_8_cr3_bits_above_maxphyaddr_are_gp_in_long_mode() {
        let state = ControlState::four_level(0x1000);
        assert!(is_gp(&state.load_cr3(1 << 40, profile(), &NOTHING)));
        assert!(is_gp(&state.load_cr3(1 << 63, profile(), &NOTHING)));
        assert_eq!(state.load_cr3(1 << 39, profile(), &NOTHING).unwrap().cr3, 1 << 39);

        let lam = 1 << 62 | 1 << 61 | 0x5000;
        assert_eq!(state.load_cr3(lam, profile(), &NOTHING).unwrap().cr3, lam);

        let without = Profile { features: Features::all() - Features::LAM, ..profile() };
        assert!(is_gp(&state.load_cr3(lam, without, &NOTHING)));
    }

    /// SDM "MOV - Move to/from Control Registers": every bit above MAXPHYADDR, bit 63 only while
    /// PCIDE=0.
    #[test]
    fn mode_8_every_cr3_bit_above_maxphyaddr_is_gp() {
        let without_lam = Profile { features: Features::all() - Features::LAM, ..profile() };
        let mut state = ControlState::four_level(0x1000);

        for pcide in [false, true] {
            state.cr4.set(Cr4::PCIDE, pcide);
            for bit in 0..64 {
                let loaded = state.load_cr3(1 << bit, without_lam, &NOTHING);
                let is_good = bit < 40 || bit == 63 && pcide;
                assert_eq!(is_gp(&loaded), !is_good, "bit {bit}, PCIDE={pcide}");
            }
        }
    }

    #[test]
    fn mode_9_bit_63_is_not_stored() {
        let mut state = ControlState::four_level(0x1000);
        state.cr4 |= Cr4::PCIDE;
        let after = state.load_cr3(CR3_NO_FLUSH | 0x7005, profile(), &NOTHING).unwrap();
        assert_eq!(after.cr3, 0x7005);
    }
}
