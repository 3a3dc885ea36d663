//! Loading the control registers, with the checks that MOV to CR0, CR3 and CR4 make, and the loading
//! of PAE's PDPTE registers (SDM "MOV - Move to/from Control Registers", "PDPTE Registers").

use crate::address::PhysAddr;
use crate::memory::{OutsideMemory, TableMemory};
use crate::x86::fault::{Fault, Vector};
use crate::x86::format::{EntryBits, EntryKind, Format, Pae};
use crate::x86::profile::{Features, Pin, Profile};
use crate::x86::regime::{Choices, Regime};
use crate::x86::rule::Rule;
use crate::x86::state::{CR3_LAM_U48, CR3_LAM_U57, ControlState, Cr0, Cr4, Efer, PagingMode};
use arrayvec::ArrayVec;

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

/// A MOV to a control register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mov {
    /// MOV to CR0. Paging switched on with EFER.LME activates long mode, paging switched off leaves
    /// it.
    Cr0(Cr0),
    /// MOV to CR3.
    Cr3(u64),
    /// MOV to CR4.
    Cr4(Cr4),
}

/// One allowed way for a MOV to a control register to go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Load {
    /// The state afterwards, or why there is none.
    pub result: Result<ControlState, LoadError>,
    /// The rule that makes this one of several, with the member it stands for.
    pub choice: Option<(Rule, &'static str)>,
}

/// The most ways a MOV can go: what PDPTE-2 and PDPTE-4 leave open, beside the likeliest.
pub const MAX_LOADS: usize = 3;

impl ControlState {
    /// Every way in which a MOV may go, the likeliest first. They differ only where PAE paging loads
    /// PDPTEs, and one of these has reserved bits.
    ///
    /// ```
    /// use mmu_core::x86::control::Mov;
    /// use mmu_core::memory::SparseTables;
    /// use mmu_core::{ControlState, Efer, Profile};
    /// let pae = ControlState { efer: Efer::empty(), ..ControlState::long_mode(0) };
    /// let absent_but_reserved = [(0x2000, 0x100)];
    /// let memory = SparseTables::new(&absent_but_reserved);
    /// let loads = pae.loads(Mov::Cr3(0x2000), Profile::default(), &memory);
    /// // Loaded, or #GP on a processor that looks at the other bits of a PDPTE with P=0.
    /// assert!(loads[0].result.is_ok() && loads[1].result.is_err());
    /// assert_eq!(loads[1].choice.unwrap().0.id(), "PDPTE-2");
    /// ```
    pub fn loads<M: TableMemory>(
        &self,
        mov: Mov,
        profile: Profile,
        memory: &M,
    ) -> ArrayVec<Load, MAX_LOADS> {
        let choices = Regime::new(*self, profile).choices;
        let first = Load { result: self.after(mov, profile, memory, choices), choice: None };
        let mut loads = ArrayVec::<Load, MAX_LOADS>::new();
        loads.push(first);
        let checked = Choices { absent_pdptes_are_checked: true, ..choices };
        let walked = Choices { pdptes_are_walked: true, ..choices };
        for (pin, choices, rule, members) in [
            (
                profile.absent_pdptes_are_checked(),
                checked,
                Rule::Pdpte2,
                ["a PDPTE with P=0 is not checked", "a PDPTE with P=0 is checked too"],
            ),
            (
                profile.pdptes_are_walked(),
                walked,
                Rule::Pdpte4,
                ["PDPTEs are checked when they are loaded", "PDPTEs are read during the walk"],
            ),
        ] {
            let result = self.after(mov, profile, memory, choices);
            if pin == Pin::Open && loads.iter().all(|known| known.result != result) {
                loads[0].choice.get_or_insert((rule, members[0]));
                loads.push(Load { result, choice: Some((rule, members[1])) });
            }
        }
        loads
    }

    /// The state after MOV to CR3, if it goes the likeliest way.
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
        self.after(Mov::Cr3(value), profile, memory, Regime::new(*self, profile).choices)
    }

    /// The state after MOV to CR4, if it goes the likeliest way.
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
        self.after(Mov::Cr4(value), profile, memory, Regime::new(*self, profile).choices)
    }

    /// The state after MOV to CR0, if it goes the likeliest way.
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
        self.after(Mov::Cr0(value), profile, memory, Regime::new(*self, profile).choices)
    }

    /// The state after a MOV, with these choices.
    fn after<M: TableMemory>(
        &self,
        mov: Mov,
        profile: Profile,
        memory: &M,
        choices: Choices,
    ) -> Result<Self, LoadError> {
        let (new, loads) = match mov {
            Mov::Cr0(value) => self.with_cr0(value)?,
            Mov::Cr3(value) => self.with_cr3(value, profile)?,
            Mov::Cr4(value) => self.with_cr4(value)?,
        };
        if loads && new.mode() == PagingMode::Pae {
            return new.with_pdptes(profile, memory, choices);
        }
        Ok(new)
    }

    /// With another CR3, which loads PDPTEs always.
    fn with_cr3(&self, value: u64, profile: Profile) -> Result<(Self, bool), LoadError> {
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
        Ok((new, true))
    }

    /// With another CR4, and whether that loads PDPTEs.
    fn with_cr4(&self, value: Cr4) -> Result<(Self, bool), LoadError> {
        let changed = self.cr4 ^ value;
        let long_mode = self.efer.contains(Efer::LMA);
        require(!(long_mode && changed.intersects(Cr4::LA57 | Cr4::PAE)))?;
        let sets_pcide = changed.contains(Cr4::PCIDE) && value.contains(Cr4::PCIDE);
        require(!sets_pcide || (long_mode && self.cr3.is_multiple_of(0x1000)))?;
        let reloads = Cr4::PAE | Cr4::PGE | Cr4::PSE | Cr4::SMEP;
        Ok((Self { cr4: value, ..*self }, changed.intersects(reloads)))
    }

    /// With another CR0, and whether that loads PDPTEs.
    fn with_cr0(&self, value: Cr0) -> Result<(Self, bool), LoadError> {
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
        Ok((new, changed.intersects(reloads)))
    }

    /// PDPTE-1 and PDPTE-2: loads all four PDPTEs, or none.
    fn with_pdptes<M: TableMemory>(
        self,
        profile: Profile,
        memory: &M,
        choices: Choices,
    ) -> Result<Self, LoadError> {
        let mut new = self;
        let regime = Regime { choices, ..Regime::new(self, profile) };
        let level = &Pae::LEVELS[0];
        let groups = Pae::reserved_bits(level, EntryKind::Table, &regime);
        let reserved = groups.iter().fold(0, |mask, (bits, _)| mask | bits);
        for (slot, pdpte) in (0..).zip(&mut new.pdptes) {
            let at: PhysAddr = Pae::root(&regime) + 8 * slot;
            *pdpte = memory.read_entry(at, 8)?;
            let present = *pdpte & EntryBits::P.bits() != 0;
            let checked = present || choices.absent_pdptes_are_checked;
            // PDPTE-4: what the walk reads again is checked there (APM "Handling of PDPT Entries in
            // PAE Mode").
            require(*pdpte & reserved == 0 || !checked || choices.pdptes_are_walked)?;
        }
        Ok(new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::SparseTables;
    use crate::x86::profile::{Pins, Vendor};
    use std::vec::Vec;

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

    /// What a load of these PDPTEs gives: whether each way completes, and by which choice it is one.
    fn ways(table: &[(u64, u64)], profile: Profile) -> Vec<(bool, Option<Rule>)> {
        let memory = SparseTables::new(table);
        let all = [
            pae(0).loads(Mov::Cr3(0x2000), profile, &memory),
            pae(0x2000).loads(Mov::Cr0(pae(0).cr0 | Cr0::CD), profile, &memory),
            pae(0x2000).loads(Mov::Cr4(pae(0).cr4 | Cr4::PGE), profile, &memory),
        ];
        let ways_of = |loads: &ArrayVec<Load, MAX_LOADS>| {
            assert!(loads.iter().all(|way| way.result.is_ok() || is_gp(&way.result)));
            let rule = |way: &Load| way.choice.map(|(rule, _)| rule);
            loads.iter().map(|way| (way.result.is_ok(), rule(way))).collect()
        };
        let ways: Vec<_> = ways_of(&all[0]);
        assert_eq!(all.each_ref().map(ways_of), [ways.clone(), ways.clone(), ways.clone()]);
        ways
    }

    fn intel() -> Profile {
        Profile { vendor: Vendor::Intel, ..profile() }
    }

    #[test]
    fn pdpte_2_an_absent_one_may_be_checked() {
        let both = [(true, Some(Rule::Pdpte2)), (false, Some(Rule::Pdpte2))];
        let with = |checked| {
            let pins = Pins { absent_pdptes_are_checked: Some(checked), ..Pins::default() };
            Profile { pins, ..intel() }
        };
        for bit in [1, 2, 5, 8, 40, 63] {
            let absent = [(0x2008, 1_u64 << bit)];
            assert_eq!(ways(&absent, intel()), both, "bit {bit}");
            assert_eq!(ways(&absent, with(true)), [(false, None)]);
            assert_eq!(ways(&absent, with(false)), [(true, None)]);
        }
        // Where no reserved bit is set, or P is, there is nothing to choose.
        assert_eq!(ways(&[(0x2008, 0xe18)], intel()), [(true, None)]);
        assert_eq!(ways(&[(0x2008, 0x101)], intel()), [(false, None)]);
    }

    #[test]
    fn pdpte_4_who_walks_them_checks_them_there() {
        let bad = [(0x2008, 0x101)];
        let amd = Profile { vendor: Vendor::Amd, ..profile() };
        assert_eq!(ways(&bad, amd), [(false, Some(Rule::Pdpte4)), (true, Some(Rule::Pdpte4))]);
        assert_eq!(ways(&bad, amd.emulated_by_tcg()), [(true, None)]);
        assert_eq!(ways(&bad, amd.shadowed_by_kvm()), [(false, None)]);
    }
}
