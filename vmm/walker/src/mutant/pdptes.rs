//! The mutant that reads PAE's PDPTEs again when only a translation is dropped. It takes a sequence to
//! show.

use super::in_sequences::{InSequences, SequenceMistake};
use super::{Mutant, Need};
use crate::Walker;
use crosswalk_case::{Action, Case};
use mmu_core::{Alternative, PagingMode, Prediction, Reference, Rule};

pub(super) const MUTANTS: &[Mutant] = &[Mutant {
    id: "B17",
    rule: Some(Rule::Pdpte1),
    mistake: "INVLPG makes PAE's PDPTEs be read again",
    origin: "Bochs 10505dca8, e40206249",
    needs: &[Need::Mode(PagingMode::Pae), Need::PdptesInRegisters],
    semantics: None,
    walker: &InSequences(B17),
}];

/// Loads the PDPTE registers at each INVLPG.
struct B17;

impl SequenceMistake for B17 {
    fn predict_all(&self, case: &Case) -> Vec<Prediction> {
        let correct = Reference.predict_accesses(case);
        let stores_pdpte = case.before.iter().any(
            |action| matches!(action, Action::Write(entry) if case.pdpte_at(entry.at).is_some()),
        );
        if !stores_pdpte {
            return correct;
        }
        let seen = Reference.predict_accesses(&with_loads(case));
        correct.into_iter().zip(seen).map(loaded_again).collect()
    }
}

/// The sequence with a load of CR3 after each INVLPG.
fn with_loads(case: &Case) -> Case {
    let actions = case.before.iter().flat_map(|action| {
        let load = matches!(action, Action::Invlpg(_)).then_some(Action::ReloadCr3);
        [Some(*action), load].into_iter().flatten()
    });
    Case { before: actions.collect(), ..case.clone() }
}

/// What the loads lead to, if that is not allowed without them. A load of CR3 drops translations, too, but
/// what is seen then is allowed.
fn loaded_again((correct, seen): (Prediction, Prediction)) -> Prediction {
    let is_allowed = |way: &Alternative| {
        correct.alternatives.iter().any(|allowed| allowed.outcome == way.outcome)
    };
    if seen.alternatives.iter().all(is_allowed) { correct } else { seen }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crosswalk_case::TableEntry;
    use crosswalk_guest::layout::Arena;
    use mmu_core::{Profile, Ring, Vendor};

    /// The outcomes of the last access as the mutant has them: whether each is a fault.
    fn faults(before: impl Fn(&Case) -> Vec<Action>, vendor: Vendor) -> Vec<bool> {
        let profile = Profile { vendor, ..Profile::default() };
        let mut case = Case::plain_in(PagingMode::Pae, Arena::ALL[0], 3, Ring::Three, profile);
        let before = before(&case);
        case.before = before;
        let predicted = InSequences(B17).predict(&case);
        predicted.alternatives.iter().map(|way| way.outcome.fault().is_some()).collect()
    }

    /// SDM "PDPTE Registers": MOV to CR0, CR3 and CR4 load them, and nothing else does.
    #[test]
    fn pdpte_1_it_shows_where_the_registers_are_not_what_memory_has() {
        let cleared = |case: &Case| Action::Write(TableEntry { value: 0, ..case.entries[0] });
        let invlpg = |case: &Case| Action::Invlpg(case.access.address);

        let intel = Vendor::Intel;
        assert_eq!(faults(|case| vec![cleared(case), invlpg(case)], intel), [true]);
        assert_eq!(faults(|case| vec![cleared(case)], intel), [false]);
        assert_eq!(faults(|case| vec![invlpg(case)], intel), [false]);
        // Where the PDPTE may be read during the walk (PDPTE-4), both are right.
        let both = faults(|case| vec![cleared(case), invlpg(case)], Vendor::Amd);
        assert!(both.contains(&true) && both.contains(&false), "{both:?}");
    }
}
