//! The mutant that delivers faults like traps.

use super::Mutant;
use crate::Walker;
use crosswalk_case::Case;
use crosswalk_case::observation::SavedRip;
use mmu_core::walk::{Path, WalkError};
use mmu_core::{Fault, Prediction, Reference, Translation, VirtAddr};

pub(super) const MUTANTS: &[Mutant] = &[Mutant {
    id: "B34",
    rule: None,
    mistake: "a fault saves the RIP of the instruction after the one that caused it",
    origin: "ACRN eb328d78e, IBMulator 0a91b27, wtf #21",
    needs: &[],
    semantics: None,
    walker: &B34,
}];

/// Saves the RIP past the instruction.
struct B34;

impl Walker for B34 {
    fn predict(&self, case: &Case) -> Prediction {
        Reference.predict(case)
    }

    fn predict_earlier(&self, case: &Case) -> Vec<Prediction> {
        Reference.predict_earlier(case)
    }

    fn saved_rip(&self, case: &Case, fault: &Fault) -> SavedRip {
        /// Bytes of the shortest instruction with a base register and an operand in memory.
        const LENGTH: i8 = 2;

        match Reference.saved_rip(case, fault) {
            SavedRip::FromInstruction(from) => SavedRip::FromInstruction(from + LENGTH),
            SavedRip::Address(address) => SavedRip::Address(address.wrapping_add(LENGTH as u64)),
        }
    }

    fn walk(&self, case: &Case, address: VirtAddr) -> (Path, Result<Translation, WalkError>) {
        Reference.walk(case, address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crosswalk_guest::layout::Arena;
    use mmu_core::{Profile, Ring};

    /// It shows in every fault, and in nothing else.
    #[test]
    fn a_fault_saves_what_follows() {
        let mut case = Case::plain(Arena::ALL[0], 3, Ring::Three, Profile::default());
        assert_eq!(B34.predict(&case), Reference.predict(&case));

        case.entries[3].value = 0;
        let prediction = B34.predict(&case);
        let fault = prediction.alternatives[0].outcome.fault().expect("the page is absent");
        assert_eq!(Reference.saved_rip(&case, fault), SavedRip::AT_INSTRUCTION);
        assert_eq!(B34.saved_rip(&case, fault), SavedRip::FromInstruction(2));
    }
}
