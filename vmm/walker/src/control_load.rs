//! The load of the control state, which comes before the access: the MOV to CR3 may fault, in long mode
//! for a bit of CR3 (MODE-8), in PAE paging for a PDPTE (PDPTE-2).

use arrayvec::ArrayVec;
use crosswalk_case::Case;
use mmu_core::memory::{SparseTables, TableMemory};
use mmu_core::outcome::EntryUpdates;
use mmu_core::x86::control::{LoadError, Mov};
use mmu_core::x86::format::{Format, Pae};
use mmu_core::{
    Alternative, ControlState, Outcome, PagingMode, Prediction, Profile, Regime, Rule, RuleSet,
    Semantics,
};

/// The prediction for a case in long mode whose CR3 cannot be loaded: the MOV faults, and no access is
/// made (MODE-8).
pub(super) fn predict_cr3_fault(case: &Case) -> Option<Prediction> {
    if !case.mode().is_long_mode() {
        return None;
    }
    let unread = SparseTables::new(&[]);
    let Err(LoadError::Fault(fault)) = case.state.load_cr3(case.state.cr3, case.profile, &unread)
    else {
        return None;
    };

    let outcome = Outcome::Fault(fault);
    let alternative = Alternative { outcome, updates: EntryUpdates::new(), choice: None };
    let mut rules = RuleSet::default();
    rules.insert(Rule::Mode8);
    Some(Prediction { alternatives: [alternative].into_iter().collect(), rules })
}

/// Predicts a case whose control state is loaded first. `predict` predicts the access alone, in a
/// state and on a processor. If CR3 or a PDPTE is bad when it is loaded, the load may fault, and the
/// access is not made.
pub(super) fn predict_with_control_load(
    semantics: impl Semantics,
    case: &Case,
    predict: impl Fn(ControlState, Profile) -> Prediction,
) -> Prediction {
    if case.mode() != PagingMode::Pae {
        return match predict_cr3_fault(case) {
            Some(fault) => fault,
            None => predict(case.state, case.profile),
        };
    }

    let LoadedPdptes { memory, registers } = LoadedPdptes::of(semantics, case);
    let state = ControlState { pdptes: registers, ..case.state };
    if !semantics.checks_loaded_pdptes() {
        return predict(state, case.profile);
    }

    let memory = SparseTables::new(&memory);
    let loads = case.state.loads(Mov::Cr3(case.state.cr3), case.profile, &memory);
    let mut faults: ArrayVec<Alternative, 3> = ArrayVec::new();
    let mut walked: Option<Prediction> = None;
    for load in loads {
        if let Err(LoadError::Fault(fault)) = load.result {
            let outcome = Outcome::Fault(fault);
            faults.push(Alternative { outcome, updates: EntryUpdates::new(), choice: load.choice });
            continue;
        }

        // Into registers, or nowhere if the processor reads PDPTEs during the walk.
        let mut prediction = predict(state, profile_after_load(case.profile, load.choice));
        let is_first = faults.is_empty() && walked.is_none();
        if !is_first {
            for way in &mut prediction.alternatives {
                way.choice = way.choice.or(load.choice);
            }
        }
        walked = Some(join(walked, prediction));
    }
    faults_first(faults, walked)
}

/// The processor that made this choice about the load (PDPTE-4).
fn profile_after_load(mut profile: Profile, choice: Option<(Rule, &'static str)>) -> Profile {
    if matches!(choice, Some((Rule::Pdpte4, _))) {
        profile.pins.pdptes_are_walked = Some(true);
    }
    profile
}

/// The ways of both predictions, as far as there is room.
fn join(known: Option<Prediction>, more: Prediction) -> Prediction {
    let Some(mut known) = known else { return more };
    known.rules.extend(more.rules);

    known.alternatives.extend(more.alternatives.iter().cloned());
    known
}

/// A prediction in which the faults of the load come before the ways of the access.
fn faults_first(faults: ArrayVec<Alternative, 3>, walked: Option<Prediction>) -> Prediction {
    let mut predicted = walked.unwrap_or_default();

    for (place, fault) in faults.into_iter().enumerate() {
        predicted.rules.insert(Rule::Pdpte2);
        predicted.alternatives.insert(place, fault);
    }
    predicted
}

/// The PDPTEs that a load of CR3 finds.
struct LoadedPdptes {
    /// Address and value of each in memory.
    memory: ArrayVec<(u64, u64), 8>,
    /// The registers after the load.
    registers: [u64; 4],
}

impl LoadedPdptes {
    /// The PDPTEs of a case, read from where these semantics find the root.
    fn of(semantics: impl Semantics, case: &Case) -> Self {
        let regime = Regime::new(case.state, case.profile);
        let correct_root = Pae::root(&regime);
        let root = semantics.root::<Pae>(&regime);

        let addresses = (0..4).map(|i| correct_root.get() + 8 * i);
        let mut memory: ArrayVec<_, 8> = addresses.clone().zip(case.state.pdptes).collect();
        let mut registers = case.state.pdptes;
        if root != correct_root {
            for (i, register) in (0..).zip(&mut registers) {
                let at = root + 8 * i;
                let listed = memory.iter().find(|(address, _)| *address == at.get());
                *register = match listed {
                    Some((_, value)) => *value,
                    None => case.read_entry(at, 8).unwrap_or(0),
                };
            }
            memory = addresses.zip(registers).collect();
        }
        Self { memory, registers }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Walker;
    use crosswalk_case::Action;
    use crosswalk_guest::layout::Arena;
    use mmu_core::{Fault, Reference, Ring, Vector, Vendor};

    /// A case with bit 8 set in PDPTE 2, which is reserved (SDM "PDPTE Registers").
    fn bad(vendor: Vendor) -> Case {
        let profile = Profile { vendor, physical_address_bits: 40, ..Profile::default() };
        let mut case = Case::plain_in(PagingMode::Pae, Arena::ALL[0], 5, Ring::Three, profile);

        case.state.pdptes[2] |= 1 << 8;
        case.entries[0].value = case.state.pdptes[2];
        case
    }

    /// The vectors and error codes of all ways.
    fn faults(case: &Case) -> Vec<(Vector, u32)> {
        let ways = Reference.predict(case).alternatives;
        let code = |fault: &Fault| (fault.vector, fault.error_code);
        ways.iter().map(|way| way.outcome.fault().map(code).expect("a fault")).collect()
    }

    /// SDM "MOV - Move to/from Control Registers": bit 63 with PCIDE=0, and a bit above MAXPHYADDR.
    #[test]
    fn mode_8_a_cr3_that_cannot_be_loaded_is_gp() {
        let profile = Profile { physical_address_bits: 40, ..Profile::default() };
        for mode in [PagingMode::FourLevel, PagingMode::FiveLevel] {
            let good = Case::plain_in(mode, Arena::ALL[0], 5, Ring::Three, profile);
            assert!(predict_cr3_fault(&good).is_none());

            for bit in [40, 51, 52, 60, 63] {
                let mut case = good.clone();
                case.state.cr3 |= 1 << bit;
                assert_eq!(faults(&case), [(Vector::GeneralProtection, 0)], "bit {bit}");

                case.before.push(Action::ReloadCr3);
                assert_eq!(faults(&case), [(Vector::GeneralProtection, 0)], "bit {bit}");
            }
        }
    }

    #[test]
    fn pdpte_2_the_load_faults_on_intel() {
        assert_eq!(faults(&bad(Vendor::Intel)), [(Vector::GeneralProtection, 0)]);
    }

    #[test]
    fn pdpte_4_a_walk_may_find_it_on_amd() {
        let expected = [(Vector::GeneralProtection, 0), (Vector::PageFault, 0xd)];
        assert_eq!(faults(&bad(Vendor::Amd)), expected);
    }

    #[test]
    fn pdpte_2_an_absent_pdpte_may_be_checked_when_loaded() {
        let mut case = bad(Vendor::Intel);
        case.state.pdptes[2] &= !1;
        case.entries[0].value = case.state.pdptes[2];

        let mut found = faults(&case);
        found.sort_unstable();
        assert_eq!(found, [(Vector::GeneralProtection, 0), (Vector::PageFault, 0x4)]);
    }
}
