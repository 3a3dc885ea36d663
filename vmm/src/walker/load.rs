//! Before the access comes the load of the control state: in PAE paging it may fault (PDPTE-2).

use crate::case::Case;
use arrayvec::ArrayVec;
use mmu_core::control::LoadError;
use mmu_core::memory::SparseTables;
use mmu_core::{Alternative, Outcome, PagingMode, Prediction, Rule};

/// The prediction for a case, given that for its access: when a PDPTE is bad as it is loaded, the
/// load faults and the access is never made; unless the processor reads PDPTEs during the walk
/// (PDPTE-4), whose alternatives stay.
pub(super) fn before(case: &Case, mut walked: Prediction) -> Prediction {
    if case.mode() != PagingMode::Pae {
        return walked;
    }
    let root = case.state.cr3 & 0xffff_ffe0;
    let mut loaded = [(0, 0); 4];
    for (i, (entry, pdpte)) in (0..).zip(loaded.iter_mut().zip(case.state.pdptes)) {
        *entry = (root + 8 * i, pdpte);
    }
    let load = case.state.load_cr3(case.state.cr3, case.profile, &SparseTables::new(&loaded));
    let Err(LoadError::Fault(fault)) = load else { return walked };
    walked.rules.insert(Rule::Pdpte2);
    let choice = (Rule::Pdpte4, "PDPTEs are checked when they are loaded");
    let faults =
        Alternative { outcome: Outcome::Fault(fault), updates: ArrayVec::new(), choice: None };
    let is_walk = |alternative: &Alternative| {
        case.profile.pins.pdptes_are_walked == Some(true)
            || matches!(alternative.choice, Some((Rule::Pdpte4, member)) if member != REGISTERS)
    };
    walked.alternatives.retain(|alternative| is_walk(alternative));
    if case.profile.pins.pdptes_are_walked == Some(true) {
        return walked;
    }
    let choice = (!walked.alternatives.is_empty()).then_some(choice);
    walked.alternatives.insert(0, Alternative { choice, ..faults });
    walked
}

/// The member of PDPTE-4 that has registers.
const REGISTERS: &str = "PDPTEs are in registers";
