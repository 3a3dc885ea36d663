//! Before the access comes the load of the control state: in PAE paging it may fault (PDPTE-2).

use arrayvec::ArrayVec;
use crosswalk_case::Case;
use mmu_core::memory::{SparseTables, TableMemory};
use mmu_core::x86::control::{LoadError, Mov};
use mmu_core::x86::format::{Format, Pae};
use mmu_core::{
    Alternative, ControlState, Outcome, PagingMode, Prediction, Profile, Regime, Rule, Semantics,
};

/// The prediction for a case by rules, given how its access is predicted in a state and on a
/// processor: where a PDPTE is bad as it is loaded, the load may fault, and then the access is never
/// made.
pub(super) fn predict_with_control_load(
    rules: impl Semantics,
    case: &Case,
    predict: impl Fn(ControlState, Profile) -> Prediction,
) -> Prediction {
    if case.mode() != PagingMode::Pae {
        return predict(case.state, case.profile);
    }
    let (at_load, pdptes) = as_loaded(rules, case);
    let state = ControlState { pdptes, ..case.state };
    if !rules.checks_loaded_pdptes() {
        return predict(state, case.profile);
    }
    let predict = |profile| predict(state, profile);
    let memory = SparseTables::new(&at_load);
    let loads = case.state.loads(Mov::Cr3(case.state.cr3), case.profile, &memory);
    let mut predicted: Option<Prediction> = None;
    let mut faults: ArrayVec<Alternative, 3> = ArrayVec::new();
    for load in loads {
        if let Err(LoadError::Fault(fault)) = load.result {
            let (outcome, updates) = (Outcome::Fault(fault), ArrayVec::new());
            faults.push(Alternative { outcome, updates, choice: load.choice });
            continue;
        }
        // Loaded: into registers, or not at all by a processor that reads PDPTEs during the walk.
        let mut profile = case.profile;
        if matches!(load.choice, Some((Rule::Pdpte4, _))) {
            profile.pins.pdptes_are_walked = Some(true);
        }
        let mut walked = predict(profile);
        if faults.is_empty() && predicted.is_none() {
            predicted = Some(walked);
            continue;
        }
        for way in &mut walked.alternatives {
            way.choice = way.choice.or(load.choice);
        }
        join(&mut predicted, walked);
    }
    let mut predicted = predicted.unwrap_or_else(|| Prediction {
        alternatives: ArrayVec::new(),
        rules: mmu_core::RuleSet::default(),
    });
    for (place, fault) in faults.into_iter().enumerate() {
        predicted.rules.insert(Rule::Pdpte2);
        if !predicted.alternatives.is_full() {
            predicted.alternatives.insert(place, fault);
        }
    }
    predicted
}

/// PAE's PDPTEs in memory when they are loaded, from where the rules find the root, and in their
/// registers then.
fn as_loaded(rules: impl Semantics, case: &Case) -> (ArrayVec<(u64, u64), 8>, [u64; 4]) {
    let regime = Regime::new(case.state, case.profile);
    let (right, found) = (Pae::root(&regime), rules.root::<Pae>(&regime));
    let (mut memory, mut pdptes) = (ArrayVec::new(), case.state.pdptes);
    memory.extend((0..4).map(|i| right.get() + 8 * i).zip(pdptes));
    if found != right {
        let at = |i: u64| found + 8 * i;
        for (i, pdpte) in (0..).zip(&mut pdptes) {
            let listed = memory.iter().find(|(address, _)| *address == at(i).get());
            *pdpte =
                listed.map_or_else(|| case.read_entry(at(i), 8).unwrap_or(0), |(_, value)| *value);
        }
        memory = (0..4).map(|i| right.get() + 8 * i).zip(pdptes).collect();
    }
    (memory, pdptes)
}

/// Adds the ways of another prediction.
fn join(predicted: &mut Option<Prediction>, more: Prediction) {
    let Some(known) = predicted else {
        *predicted = Some(more);
        return;
    };
    known.rules.extend(more.rules);
    for way in more.alternatives {
        if !known.alternatives.is_full() {
            known.alternatives.push(way);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::walker::Walker;
    use crosswalk_guest::layout::Arena;
    use mmu_core::{Fault, Reference, Ring, Vector, Vendor};

    /// PDPTE 2 with bit 8, which is reserved (SDM "PDPTE Registers").
    fn bad(vendor: Vendor) -> Case {
        let profile = Profile { vendor, physical_address_bits: 40, ..Profile::default() };
        let mut case = Case::plain_in(PagingMode::Pae, Arena::ALL[0], 5, Ring::Three, profile);
        case.state.pdptes[2] |= 1 << 8;
        case.entries[0].value = case.state.pdptes[2];
        case
    }

    fn ends(case: &Case) -> Vec<(Vector, u32)> {
        let ways = Reference.predict(case).alternatives;
        let end = |fault: &Fault| (fault.vector, fault.error_code);
        ways.iter().map(|way| way.outcome.fault().map(end).expect("a fault")).collect()
    }

    #[test]
    fn pdpte_2_the_load_faults_by_the_sdm() {
        assert_eq!(ends(&bad(Vendor::Intel)), [(Vector::GeneralProtection, 0)]);
    }

    #[test]
    fn pdpte_4_a_walk_may_find_it_by_the_apm() {
        let expected = [(Vector::GeneralProtection, 0), (Vector::PageFault, 0xd)];
        assert_eq!(ends(&bad(Vendor::Amd)), expected);
    }

    #[test]
    fn pdpte_2_an_absent_one_is_loaded_and_may_be_checked() {
        let mut case = bad(Vendor::Intel);
        case.state.pdptes[2] &= !1;
        case.entries[0].value = case.state.pdptes[2];
        let mut found = ends(&case);
        found.sort_unstable();
        assert_eq!(found, [(Vector::GeneralProtection, 0), (Vector::PageFault, 0x4)]);
    }
}
