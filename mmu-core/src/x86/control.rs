//! Loading the control registers: the checks of MOV to CR0, CR3 and CR4, and the PDPTE registers of
//! PAE paging, which these instructions load (SDM "MOV - Move to/from Control Registers", "PDPTE
//! Registers").

use crate::memory::{OutsideMemory, TableMemory};
use crate::x86::fault::{Fault, Vector};
use crate::x86::format::{EntryBits, EntryKind, Format, Pae};
use crate::x86::profile::{Features, Pin, Profile};
use crate::x86::regime::{Choices, Regime};
use crate::x86::rule::Rule;
use crate::x86::semantics::{Reference, Semantics};
use crate::x86::state::{CR3_LAM_U48, CR3_LAM_U57, ControlState, Cr0, Cr4, Efer, PagingMode};
use arrayvec::ArrayVec;

/// Bit 63 of the value moved to CR3: with CR4.PCIDE, nothing is invalidated (MODE-9).
pub const CR3_NO_FLUSH: u64 = 1 << 63;

/// The reason why a MOV to a control register does not complete. Nothing is loaded then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoadError {
    /// The exception it raises: #GP(0).
    Fault(Fault),
    /// The PDPTEs are outside memory.
    Outside(OutsideMemory),
}

impl From<OutsideMemory> for LoadError {
    fn from(outside: OutsideMemory) -> Self {
        Self::Outside(outside)
    }
}

/// Raises #GP(0) unless a condition holds.
fn require(condition: bool) -> Result<(), LoadError> {
    let fault = Fault { vector: Vector::GeneralProtection, error_code: 0, cr2: None };
    if condition { Ok(()) } else { Err(LoadError::Fault(fault)) }
}

/// A MOV to a control register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mov {
    /// MOV to CR0. Turning paging on while EFER.LME=1 activates long mode; turning it off leaves
    /// long mode.
    Cr0(Cr0),
    /// MOV to CR3.
    Cr3(u64),
    /// MOV to CR4.
    Cr4(Cr4),
}

/// One result that is allowed for a MOV to a control register.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Load {
    /// The state afterwards, or the reason why the MOV does not complete.
    pub result: Result<ControlState, LoadError>,
    /// If a rule leaves a choice: the rule, and the member of the choice that leads here.
    pub choice: Option<(Rule, &'static str)>,
}

/// Maximum number of results of a MOV: the likeliest, and one for each of the choices that PDPTE-2
/// and PDPTE-4 leave.
pub const MAX_LOADS: usize = 3;

/// A choice that the manuals leave to processors when PDPTEs are loaded.
struct OpenChoice {
    rule: Rule,
    /// The likeliest member, and the other one.
    members: [&'static str; 2],
    /// The regime's choices with the other member.
    other: Choices,
}

/// The choices that are open on a processor.
fn open_choices(profile: Profile, choices: Choices) -> impl Iterator<Item = OpenChoice> {
    let absent_are_checked = OpenChoice {
        rule: Rule::Pdpte2,
        members: ["a PDPTE with P=0 is not checked", "a PDPTE with P=0 is checked too"],
        other: Choices { absent_pdptes_are_checked: true, ..choices },
    };
    let are_walked = OpenChoice {
        rule: Rule::Pdpte4,
        members: ["PDPTEs are checked when they are loaded", "PDPTEs are read during the walk"],
        other: Choices { pdptes_are_walked: true, ..choices },
    };

    let pins = [profile.absent_pdptes_are_checked(), profile.pdptes_are_walked()];
    let open = pins.into_iter().zip([absent_are_checked, are_walked]);
    open.filter(|(pin, _)| *pin == Pin::Open).map(|(_, choice)| choice)
}

impl ControlState {
    /// Every result that is allowed for a MOV, the likeliest first. There are several only where
    /// PAE paging loads a PDPTE with reserved bits.
    ///
    /// ```
    /// use mmu_core::x86::control::Mov;
    /// use mmu_core::memory::SparseTables;
    /// use mmu_core::{ControlState, Efer, Profile};
    /// let pae = ControlState { efer: Efer::empty(), ..ControlState::long_mode(0) };
    /// let absent_but_reserved = [(0x2000, 0x100)];
    /// let memory = SparseTables::new(&absent_but_reserved);
    /// let loads = pae.loads(Mov::Cr3(0x2000), Profile::default(), &memory);
    /// // It is loaded, or raises #GP on a processor that checks PDPTEs with P=0 too.
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
        let mut loads = ArrayVec::new();
        loads.push(Load { result: self.after(mov, profile, memory, choices), choice: None });

        for OpenChoice { rule, members: [likeliest, other_member], other } in
            open_choices(profile, choices)
        {
            let result = self.after(mov, profile, memory, other);
            if loads.iter().all(|known| known.result != result) {
                loads[0].choice.get_or_insert((rule, likeliest));
                loads.push(Load { result, choice: Some((rule, other_member)) });
            }
        }
        loads
    }

    /// The likeliest result of MOV to CR3.
    ///
    /// # Errors
    /// #GP in long mode for a bit above MAXPHYADDR, except the LAM bits where there is LAM and bit
    /// 63 while PCIDE=1 (MODE-8); #GP for a bad PDPTE (PDPTE-2).
    pub fn load_cr3<M: TableMemory>(
        &self,
        value: u64,
        profile: Profile,
        memory: &M,
    ) -> Result<Self, LoadError> {
        self.likeliest(Mov::Cr3(value), profile, memory)
    }

    /// The likeliest result of MOV to CR4.
    ///
    /// # Errors
    /// #GP for changing LA57 or PAE in long mode (MODE-2), for setting PCIDE outside long mode or
    /// while CR3\[11:0\] is not 0 (MODE-8), and for a bad PDPTE (PDPTE-2).
    pub fn load_cr4<M: TableMemory>(
        &self,
        value: Cr4,
        profile: Profile,
        memory: &M,
    ) -> Result<Self, LoadError> {
        self.likeliest(Mov::Cr4(value), profile, memory)
    }

    /// The likeliest result of MOV to CR0.
    ///
    /// # Errors
    /// #GP for PG without PE, for setting PG with LME and without PAE, for clearing PG while
    /// PCIDE=1, and for a bad PDPTE (PDPTE-2).
    pub fn load_cr0<M: TableMemory>(
        &self,
        value: Cr0,
        profile: Profile,
        memory: &M,
    ) -> Result<Self, LoadError> {
        self.likeliest(Mov::Cr0(value), profile, memory)
    }

    /// The state after a MOV, with the likeliest member of each choice.
    fn likeliest<M: TableMemory>(
        &self,
        mov: Mov,
        profile: Profile,
        memory: &M,
    ) -> Result<Self, LoadError> {
        self.after(mov, profile, memory, Regime::new(*self, profile).choices)
    }

    /// The state after a MOV, with these choices.
    fn after<M: TableMemory>(
        &self,
        mov: Mov,
        profile: Profile,
        memory: &M,
        choices: Choices,
    ) -> Result<Self, LoadError> {
        let (new, loads_pdptes) = match mov {
            Mov::Cr0(value) => self.with_cr0(value)?,
            Mov::Cr3(value) => (self.with_cr3(value, profile)?, true),
            Mov::Cr4(value) => self.with_cr4(value)?,
        };

        if loads_pdptes && new.mode() == PagingMode::Pae {
            return new.with_pdptes(profile, memory, choices);
        }
        Ok(new)
    }

    /// The state with another CR3.
    fn with_cr3(&self, value: u64, profile: Profile) -> Result<Self, LoadError> {
        if !self.efer.contains(Efer::LMA) {
            // Outside 64-bit mode the register has 32 bits.
            return Ok(Self { cr3: value & 0xffff_ffff, ..*self });
        }

        let mut allowed = profile.physical_address_mask();
        let mut cr3 = value;
        if profile.features.contains(Features::LAM) {
            allowed |= CR3_LAM_U57 | CR3_LAM_U48;
        }
        if self.cr4.contains(Cr4::PCIDE) {
            allowed |= CR3_NO_FLUSH;
            cr3 &= !CR3_NO_FLUSH;
        }
        require(value & !allowed == 0)?;

        Ok(Self { cr3, ..*self })
    }

    /// The state with another CR4, and whether that loads PDPTEs.
    fn with_cr4(&self, value: Cr4) -> Result<(Self, bool), LoadError> {
        let changed = self.cr4 ^ value;
        let long_mode = self.efer.contains(Efer::LMA);
        require(!(long_mode && changed.intersects(Cr4::LA57 | Cr4::PAE)))?;

        let sets_pcide = changed.contains(Cr4::PCIDE) && value.contains(Cr4::PCIDE);
        require(!sets_pcide || (long_mode && self.cr3.is_multiple_of(0x1000)))?;

        let loading = Cr4::PAE | Cr4::PGE | Cr4::PSE | Cr4::SMEP;
        Ok((Self { cr4: value, ..*self }, changed.intersects(loading)))
    }

    /// The state with another CR0, and whether that loads PDPTEs.
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

        let loading = Cr0::CD | Cr0::NW | Cr0::PG;
        Ok((new, changed.intersects(loading)))
    }

    /// The state with all four PDPTEs loaded from memory (PDPTE-1, PDPTE-2).
    fn with_pdptes<M: TableMemory>(
        self,
        profile: Profile,
        memory: &M,
        choices: Choices,
    ) -> Result<Self, LoadError> {
        let regime = Regime { choices, ..Regime::new(self, profile) };
        let level = &Pae::LEVELS[0];
        let reserved = Reference.reserved_bits::<Pae>(level, EntryKind::Table, &regime);
        let root = Pae::root(&regime);

        let mut new = self;
        for (slot, pdpte) in (0..).zip(&mut new.pdptes) {
            let at = root + u64::from(Pae::ENTRY_BYTES) * slot;
            *pdpte = memory.read_entry(at, Pae::ENTRY_BYTES)?;

            // PDPTE-4: PDPTEs that the walk reads are checked by the walk (APM "Handling of PDPT
            // Entries in PAE Mode").
            let present = *pdpte & EntryBits::P.bits() != 0;
            let checked = present || choices.absent_pdptes_are_checked;
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
        const GP: Fault = Fault { vector: Vector::GeneralProtection, error_code: 0, cr2: None };

        matches!(result, Err(LoadError::Fault(fault)) if *fault == GP)
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
    fn pdpte_1_a_load_of_cr3_loads_all_four_pdptes() {
        let table = [(0x2020, 0x5001), (0x2028, 0), (0x2030, 0x6019), (0x2038, 0x7001)];
        let after = pae(0).load_cr3(0x2020, profile(), &SparseTables::new(&table)).unwrap();
        assert_eq!(after.pdptes, [0x5001, 0, 0x6019, 0x7001]);
    }

    #[test]
    fn pdpte_1_changes_of_cr0_and_cr4_load_the_pdptes() {
        let table = [(0x2000, 0x5001)];
        let memory = SparseTables::new(&table);
        let state = pae(0x2000);

        for cr4 in [Cr4::PGE, Cr4::PSE, Cr4::SMEP] {
            let after = state.load_cr4(state.cr4 | cr4, profile(), &memory).unwrap();
            assert_eq!(after.pdptes[0], 0x5001, "{cr4:?}");
        }
        let cd = state.load_cr0(state.cr0 | Cr0::CD, profile(), &memory).unwrap();
        assert_eq!(cd.pdptes[0], 0x5001);

        // CR0.WP and CR4.SMAP load nothing.
        let wp = state.load_cr0(state.cr0 - Cr0::WP, profile(), &memory).unwrap();
        assert_eq!(wp.pdptes[0], 0);
        let smap = state.load_cr4(state.cr4 | Cr4::SMAP, profile(), &memory).unwrap();
        assert_eq!(smap.pdptes[0], 0);
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

    /// The results of loading these PDPTEs: whether each completes, and the rule that allows it
    /// beside others. They are the same for each of the three registers.
    fn results(table: &[(u64, u64)], profile: Profile) -> Vec<(bool, Option<Rule>)> {
        let memory = SparseTables::new(table);
        let all = [
            pae(0).loads(Mov::Cr3(0x2000), profile, &memory),
            pae(0x2000).loads(Mov::Cr0(pae(0).cr0 | Cr0::CD), profile, &memory),
            pae(0x2000).loads(Mov::Cr4(pae(0).cr4 | Cr4::PGE), profile, &memory),
        ];

        let results_of = |loads: &ArrayVec<Load, MAX_LOADS>| -> Vec<_> {
            assert!(loads.iter().all(|load| load.result.is_ok() || is_gp(&load.result)));
            let rule = |load: &Load| load.choice.map(|(rule, _)| rule);
            loads.iter().map(|load| (load.result.is_ok(), rule(load))).collect()
        };
        let [cr3, cr0, cr4] = all.each_ref().map(results_of);

        assert_eq!(cr0, cr3);
        assert_eq!(cr4, cr3);
        cr3
    }

    fn intel() -> Profile {
        Profile { vendor: Vendor::Intel, ..profile() }
    }

    #[test]
    fn pdpte_2_an_absent_pdpte_may_be_checked() {
        let both = [(true, Some(Rule::Pdpte2)), (false, Some(Rule::Pdpte2))];
        let with = |checked| {
            let pins = Pins { absent_pdptes_are_checked: Some(checked), ..Pins::default() };
            Profile { pins, ..intel() }
        };

        for bit in [1, 2, 5, 8, 40, 63] {
            let absent = [(0x2008, 1_u64 << bit)];
            assert_eq!(results(&absent, intel()), both, "bit {bit}");
            assert_eq!(results(&absent, with(true)), [(false, None)]);
            assert_eq!(results(&absent, with(false)), [(true, None)]);
        }

        // If no reserved bit is set, or P is, there is nothing to choose.
        assert_eq!(results(&[(0x2008, 0xe18)], intel()), [(true, None)]);
        assert_eq!(results(&[(0x2008, 0x101)], intel()), [(false, None)]);
    }

    #[test]
    fn pdpte_4_pdptes_that_are_walked_are_not_checked_when_loaded() {
        let bad = [(0x2008, 0x101)];
        let amd = Profile { vendor: Vendor::Amd, ..profile() };

        assert_eq!(results(&bad, amd), [(false, Some(Rule::Pdpte4)), (true, Some(Rule::Pdpte4))]);
        assert_eq!(results(&bad, amd.emulated_by_tcg()), [(true, None)]);
        assert_eq!(results(&bad, amd.shadowed_by_kvm()), [(false, None)]);
    }
}
