//! Before the access comes the load of the control state: in PAE paging it may fault (PDPTE-2).

use crate::case::Case;
use arrayvec::ArrayVec;
use mmu_core::control::{LoadError, Mov};
use mmu_core::memory::SparseTables;
use mmu_core::{Alternative, Outcome, PagingMode, Prediction, Rule};

/// The prediction for a case, given that for its access: where a PDPTE is bad as it is loaded, the
/// load may fault, and then the access is never made.
pub(super) fn before(case: &Case, mut walked: Prediction) -> Prediction {
    if case.mode() != PagingMode::Pae {
        return walked;
    }
    let root = case.state.cr3 & 0xffff_ffe0;
    let at_load: ArrayVec<_, 4> = (0..4).map(|i| root + 8 * i).zip(case.state.pdptes).collect();
    let memory = SparseTables::new(&at_load);
    let loads = case.state.loads(Mov::Cr3(case.state.cr3), case.profile, &memory);
    let loads_registers = loads
        .iter()
        .any(|load| load.result.is_ok() && !matches!(load.choice, Some((Rule::Pdpte4, _))));
    let faults = loads.into_iter().filter_map(|load| match load.result {
        Err(LoadError::Fault(fault)) => {
            let (outcome, updates) = (Outcome::Fault(fault), ArrayVec::new());
            Some(Alternative { outcome, updates, choice: load.choice })
        }
        _ => None,
    });
    let faults: ArrayVec<Alternative, 3> = faults.collect();
    if faults.is_empty() {
        return walked;
    }
    walked.rules.insert(Rule::Pdpte2);
    if !loads_registers {
        // Only a processor that reads PDPTEs during the walk gets as far as the access.
        let pinned = case.profile.pins.pdptes_are_walked == Some(true);
        walked.alternatives.retain(|alternative| {
            pinned
                || alternative.choice.is_some_and(|(rule, member)| {
                    rule == Rule::Pdpte4 && member.contains("during the walk")
                })
        });
    }
    let place = if loads_registers { walked.alternatives.len() } else { 0 };
    for fault in faults.into_iter().rev() {
        if !walked.alternatives.is_full() {
            walked.alternatives.insert(place, fault);
        }
    }
    walked
}
