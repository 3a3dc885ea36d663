//! The mutants that take 64-bit mode for compatibility mode, or compatibility mode for legacy mode.

use super::{Mutant, Need};
use crate::{Erased, Walker};
use crosswalk_case::Case;
use mmu_core::memory::TableMemory;
use mmu_core::walk::{Path, WalkError};
use mmu_core::{
    Access, Efer, PhysAddr, Prediction, Reference, Rule, Semantics, Translation, VirtAddr,
};

pub(super) const MUTANTS: &[Mutant] = &[
    Mutant {
        id: "C01",
        rule: Some(Rule::Mode1),
        mistake: "addresses of compatibility mode not cut to 32 bits",
        origin: "QEMU 7.2, found by this program (T16)",
        needs: &[Need::Compatibility],
        semantics: Some(&C01),
        walker: &Erased(&C01),
    },
    Mutant {
        id: "C02",
        rule: Some(Rule::Mode1),
        mistake: "CS.L decides between 4-level and PAE paging",
        origin: "no report is known",
        needs: &[Need::Compatibility],
        semantics: None,
        walker: &C02,
    },
];

#[derive(Clone, Copy)]
struct C01;

impl Semantics for C01 {
    fn has_64_bit_address(&self, _access: &Access) -> bool {
        true
    }
}

/// Walks PAE's tables when CS.L is 0.
struct C02;

impl C02 {
    /// The case as it sees it. The PDPTEs are what memory has at CR3.
    fn seen(case: &Case) -> Case {
        let mut seen = case.clone();
        if !case.access.compatibility {
            return seen;
        }

        let table = case.state.cr3 & 0xffff_ffe0;
        for (at, pdpte) in (table..).step_by(8).zip(&mut seen.state.pdptes) {
            *pdpte = case.read_entry(PhysAddr::new(at), 8).unwrap_or(0);
        }
        seen.state.efer -= Efer::LMA;
        seen
    }
}

impl Walker for C02 {
    fn predict(&self, case: &Case) -> Prediction {
        Reference.predict(&Self::seen(case))
    }

    fn predict_earlier(&self, case: &Case) -> Vec<Prediction> {
        Reference.predict_earlier(case)
    }

    fn walk(&self, case: &Case, address: VirtAddr) -> (Path, Result<Translation, WalkError>) {
        Reference.walk(&Self::seen(case), address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crosswalk_guest::layout::Arena;
    use crosswalk_guest::tables::TableUse;
    use mmu_core::{PagingMode, Profile, Ring, Vector};

    fn plain(compatibility: bool) -> Case {
        let table_use = TableUse { mode: PagingMode::FourLevel, compatibility };
        Case::plain_with(table_use, Arena::ALL[0], 3, Ring::Three, Profile::default())
    }

    /// A read of 4 bytes at 4 GiB less 2, with page 0 absent.
    #[test]
    fn c01_goes_on_at_4_gib() {
        let mut case = plain(true);
        let pdpte = case.state.cr3 + 0x1000 + 3 * 8;
        case.entries[1].at = pdpte;
        case.entries[2].at |= 0xff8;
        case.entries[3].at |= 0xff8;
        case.access.address = VirtAddr::new(0xffff_fffe);

        let cr2 = |walker: &dyn Walker| walker.predict(&case).alternatives[0].outcome.fault()?.cr2;
        assert_eq!(cr2(&Reference), Some(VirtAddr::new(0)));
        assert_eq!(cr2(&Erased(&C01)), Some(VirtAddr::new(1 << 32)));
    }

    /// R/W, U/S and A of a PML4E are reserved in a PDPTE.
    #[test]
    fn c02_takes_a_pml4e_for_a_bad_pdpte() {
        let vector = |case: &Case| {
            C02.predict(case).alternatives[0].outcome.fault().map(|fault| fault.vector)
        };
        assert_eq!(vector(&plain(true)), Some(Vector::GeneralProtection));
        assert_eq!(vector(&plain(false)), None);
    }
}
