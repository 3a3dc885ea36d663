//! Loading the control registers, with the checks that MOV to CR0, CR3 and CR4 make, and the loading
//! of PAE's PDPTE registers (SDM "MOV - Move to/from Control Registers", "PDPTE Registers").

use crate::address::PhysAddr;
use crate::fault::{Fault, Vector};
use crate::format::{EntryBits, EntryKind, Format, Pae};
use crate::memory::{OutsideMemory, TableMemory};
use crate::profile::{Features, Profile};
use crate::regime::Regime;
use crate::state::{CR3_LAM_U48, CR3_LAM_U57, ControlState, Cr0, Cr4, Efer, PagingMode};

/// CR3 bit 63: with CR4.PCIDE the MOV is not to invalidate anything (MODE-9).
pub const CR3_NO_FLUSH: u64 = 1 << 63;

/// Why a MOV to a control register does not complete. Nothing is loaded then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoadError {
    /// The exception it raises: #GP(0).
    Fault(Fault),
    /// The PDPTEs lie outside memory.
    Outside(OutsideMemory),
}

impl From<OutsideMemory> for LoadError {
    fn from(outside: OutsideMemory) -> Self {
        Self::Outside(outside)
    }
}

/// #GP(0) unless a condition holds.
fn require(condition: bool) -> Result<(), LoadError> {
    let fault = Fault { vector: Vector::GeneralProtection, error_code: 0, cr2: None };
    if condition { Ok(()) } else { Err(LoadError::Fault(fault)) }
}

impl ControlState {
    /// The state after MOV to CR3.
    ///
    /// # Errors
    /// #GP for a bit above MAXPHYADDR in long mode, LAM bits aside where there is LAM, and bit 63
    /// while PCIDE=0 (MODE-8); #GP for a bad PDPTE (PDPTE-2).
    pub fn load_cr3<M: TableMemory>(
        &self,
        value: u64,
        profile: Profile,
        memory: &M,
    ) -> Result<Self, LoadError> {
        let mut new = *self;
        new.cr3 = value;
        if self.efer.contains(Efer::LMA) {
            let mut free = (1 << profile.physical_address_bits) - 1;
            if profile.features.contains(Features::LAM) {
                free |= CR3_LAM_U57 | CR3_LAM_U48;
            }
            if self.cr4.contains(Cr4::PCIDE) {
                free |= CR3_NO_FLUSH;
                new.cr3 &= !CR3_NO_FLUSH;
            }
            require(value & !free == 0)?;
        } else {
            // Outside 64-bit mode the register has 32 bits.
            new.cr3 &= 0xffff_ffff;
        }
        new.with_pdptes_if(new.mode() == PagingMode::Pae, profile, memory)
    }

    /// The state after MOV to CR4.
    ///
    /// # Errors
    /// #GP for a change of LA57 or PAE in long mode (MODE-2), for PCIDE outside long mode or while
    /// CR3\[11:0\] is not 0 (MODE-8); #GP for a bad PDPTE (PDPTE-2).
    pub fn load_cr4<M: TableMemory>(
        &self,
        value: Cr4,
        profile: Profile,
        memory: &M,
    ) -> Result<Self, LoadError> {
        let new = Self { cr4: value, ..*self };
        let changed = self.cr4 ^ value;
        let long_mode = self.efer.contains(Efer::LMA);
        require(!(long_mode && changed.intersects(Cr4::LA57 | Cr4::PAE)))?;
        let sets_pcide = changed.contains(Cr4::PCIDE) && value.contains(Cr4::PCIDE);
        require(!sets_pcide || (long_mode && self.cr3.is_multiple_of(0x1000)))?;
        let reloads = Cr4::PAE | Cr4::PGE | Cr4::PSE | Cr4::SMEP;
        let loads = new.mode() == PagingMode::Pae && changed.intersects(reloads);
        new.with_pdptes_if(loads, profile, memory)
    }

    /// The state after MOV to CR0. Paging switched on with EFER.LME activates long mode, paging
    /// switched off leaves it.
    ///
    /// # Errors
    /// #GP for PG without PE, for PG with LME and without PAE, for clearing PG while PCIDE=1; #GP
    /// for a bad PDPTE (PDPTE-2).
    pub fn load_cr0<M: TableMemory>(
        &self,
        value: Cr0,
        profile: Profile,
        memory: &M,
    ) -> Result<Self, LoadError> {
        let mut new = Self { cr0: value, ..*self };
        let changed = self.cr0 ^ value;
        let paging = value.contains(Cr0::PG);
        require(!paging || value.contains(Cr0::PE))?;
        if changed.contains(Cr0::PG) {
            let long_mode = paging && self.efer.contains(Efer::LME);
            require(!long_mode || self.cr4.contains(Cr4::PAE))?;
            require(paging || !self.cr4.contains(Cr4::PCIDE))?;
            new.efer.set(Efer::LMA, long_mode);
        }
        let reloads = Cr0::CD | Cr0::NW | Cr0::PG;
        let loads = new.mode() == PagingMode::Pae && changed.intersects(reloads);
        new.with_pdptes_if(loads, profile, memory)
    }

    /// PDPTE-1 and PDPTE-2: loads all four PDPTEs, or none.
    fn with_pdptes_if<M: TableMemory>(
        self,
        loads: bool,
        profile: Profile,
        memory: &M,
    ) -> Result<Self, LoadError> {
        let mut new = self;
        if !loads {
            return Ok(new);
        }
        let regime = Regime::new(self, profile);
        let level = &Pae::LEVELS[0];
        let groups = Pae::reserved_bits(level, EntryKind::Table, &regime);
        let reserved = groups.iter().fold(0, |mask, (bits, _)| mask | bits);
        for (slot, pdpte) in (0..).zip(&mut new.pdptes) {
            let at: PhysAddr = Pae::root(&regime) + 8 * slot;
            *pdpte = memory.read_entry(at, 8)?;
            // With P=0 nothing else is looked at; some processors do (a choice of PDPTE-2).
            let present = *pdpte & EntryBits::P.bits() != 0;
            require(!present || *pdpte & reserved == 0)?;
        }
        Ok(new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::SparseTables;

    const NOTHING: SparseTables<'static> = SparseTables::new(&[]);

    fn profile() -> Profile {
        Profile { physical_address_bits: 40, ..Profile::default() }
    }

    fn pae(cr3: u64) -> ControlState {
        let mut state = ControlState::long_mode(cr3);
        state.efer = Efer::NXE;
        assert_eq!(state.mode(), PagingMode::Pae);
        state
    }

    fn is_gp<T>(result: &Result<T, LoadError>) -> bool {
        let gp = Vector::GeneralProtection;
        matches!(result, Err(LoadError::Fault(Fault { vector, error_code: 0, cr2: None })) if *vector == gp)
    }

    #[test]
    fn mode_2_la57_cannot_change_in_long_mode() {
        let state = ControlState::long_mode(0x1000);
        assert!(is_gp(&state.load_cr4(state.cr4 | Cr4::LA57, profile(), &NOTHING)));
        assert!(is_gp(&state.load_cr4(state.cr4 - Cr4::PAE, profile(), &NOTHING)));
        let mut before = state;
        before.cr0.remove(Cr0::PG);
        before.efer.remove(Efer::LMA);
        let after = before.load_cr4(state.cr4 | Cr4::LA57, profile(), &NOTHING).unwrap();
        let paging = after.load_cr0(after.cr0 | Cr0::PG, profile(), &NOTHING).unwrap();
        assert_eq!(paging.mode(), PagingMode::FiveLevel);
    }

    #[test]
    fn mode_8_cr3_bits_above_maxphyaddr_are_gp_in_long_mode() {
        let state = ControlState::long_mode(0x1000);
        assert!(is_gp(&state.load_cr3(1 << 40, profile(), &NOTHING)));
        assert!(is_gp(&state.load_cr3(1 << 63, profile(), &NOTHING)));
        assert_eq!(state.load_cr3(1 << 39, profile(), &NOTHING).unwrap().cr3, 1 << 39);
        let lam = 1 << 62 | 1 << 61 | 0x5000;
        assert_eq!(state.load_cr3(lam, profile(), &NOTHING).unwrap().cr3, lam);
        let without = Profile { features: Features::all() - Features::LAM, ..profile() };
        assert!(is_gp(&state.load_cr3(lam, without, &NOTHING)));
    }

    #[test]
    fn mode_8_pcide_needs_long_mode_and_an_empty_pcid() {
        let state = ControlState::long_mode(0x1000);
        let with = state.cr4 | Cr4::PCIDE;
        assert!(state.load_cr4(with, profile(), &NOTHING).is_ok());
        let flagged = ControlState { cr3: 0x1008, ..state };
        assert!(is_gp(&flagged.load_cr4(with, profile(), &NOTHING)));
        let legacy = pae(0x1000);
        assert!(is_gp(&legacy.load_cr4(legacy.cr4 | Cr4::PCIDE, profile(), &NOTHING)));
    }

    #[test]
    fn mode_9_bit_63_is_not_stored() {
        let mut state = ControlState::long_mode(0x1000);
        state.cr4 |= Cr4::PCIDE;
        let after = state.load_cr3(CR3_NO_FLUSH | 0x7005, profile(), &NOTHING).unwrap();
        assert_eq!(after.cr3, 0x7005);
    }

    #[test]
    fn pdpte_1_a_load_of_cr3_loads_all_four() {
        let table = [(0x2020, 0x5001), (0x2028, 0), (0x2030, 0x6019), (0x2038, 0x7001)];
        let after = pae(0).load_cr3(0x2020, profile(), &SparseTables::new(&table)).unwrap();
        assert_eq!(after.pdptes, [0x5001, 0, 0x6019, 0x7001]);
    }

    #[test]
    fn pdpte_1_changes_of_cr0_and_cr4_load_them_too() {
        let table = [(0x2000, 0x5001)];
        let memory = SparseTables::new(&table);
        let state = pae(0x2000);
        for cr4 in [Cr4::PGE, Cr4::PSE, Cr4::SMEP] {
            let after = state.load_cr4(state.cr4 | cr4, profile(), &memory).unwrap();
            assert_eq!(after.pdptes[0], 0x5001, "{cr4:?}");
        }
        let after = state.load_cr0(state.cr0 | Cr0::CD, profile(), &memory).unwrap();
        assert_eq!(after.pdptes[0], 0x5001);
        // CR0.WP and CR4.SMAP are not among them.
        let after = state.load_cr0(state.cr0 - Cr0::WP, profile(), &memory).unwrap();
        assert_eq!(after.pdptes[0], 0);
        let after = state.load_cr4(state.cr4 | Cr4::SMAP, profile(), &memory).unwrap();
        assert_eq!(after.pdptes[0], 0);
    }

    #[test]
    fn pdpte_2_a_reserved_bit_is_gp_and_nothing_is_loaded() {
        // Bits 2:1, 8:5, and 63:MAXPHYADDR, which is 40 here; bit 63 whatever NXE is.
        for bit in [1, 2, 5, 6, 7, 8, 40, 51, 62, 63] {
            let present = [(0x2018, 1 | 1 << bit)];
            let loaded = pae(0).load_cr3(0x2000, profile(), &SparseTables::new(&present));
            assert!(is_gp(&loaded), "bit {bit}");
            let absent = [(0x2018, 1_u64 << bit)];
            assert!(pae(0).load_cr3(0x2000, profile(), &SparseTables::new(&absent)).is_ok());
        }
        // PWT, PCD and the ignored bits 11:9 are free.
        let free = [(0x2000, 0x5e19)];
        assert!(pae(0).load_cr3(0x2000, profile(), &SparseTables::new(&free)).is_ok());
    }
}
