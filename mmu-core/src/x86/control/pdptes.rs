//! The PDPTE registers of PAE paging (PDPTE-1, PDPTE-2).

use super::{LoadError, require};
use crate::memory::TableMemory;
use crate::x86::format::{EntryBits, EntryKind, Format, Pae};
use crate::x86::profile::Profile;
use crate::x86::regime::{Choices, Regime};
use crate::x86::semantics::{Reference, Semantics};
use crate::x86::state::ControlState;

impl ControlState {
    /// The state with all four PDPTEs loaded from memory (PDPTE-1, PDPTE-2).
    pub(super) fn with_pdptes<M: TableMemory + ?Sized>(
        self,
        profile: Profile,
        memory: &M,
        choices: Choices,
    ) -> Result<Self, LoadError<M::Error>> {
        let regime = Regime { choices, ..Regime::new(self, profile) };
        let level = &Pae::LEVELS[0];
        let reserved = Reference.reserved_bits::<Pae>(level, EntryKind::Table, &regime);
        let root = Pae::root(&regime);

        let mut new = self;
        for (slot, pdpte) in (0..).zip(&mut new.pdptes) {
            let at = root + u64::from(Pae::ENTRY_BYTES) * slot;
            *pdpte = memory.read_entry(at, Pae::ENTRY_BYTES).map_err(LoadError::Memory)?;

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
    use super::super::test_support::{is_gp, pae, profile};
    use super::super::{Load, MAX_LOADS, Mov};
    use super::*;
    use crate::memory::SparseTables;
    use crate::x86::profile::{Pins, Vendor};
    use crate::x86::rule::Rule;
    use crate::x86::state::{Cr0, Cr4};
    use arrayvec::ArrayVec;
    use std::vec::Vec;

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
