//! Mutants that move the operands of an instruction that faults.

use super::Mutant;
use crate::Walker;
use crosswalk_case::{AccessStep, Case, Moved};
use crosswalk_guest::stub::Form;
use mmu_core::walk::{Path, WalkError};
use mmu_core::{Access, Outcome, Prediction, Reference, Translation, VirtAddr};

pub(super) const MUTANTS: &[Mutant] = &[
    Mutant {
        id: "B64",
        rule: None,
        mistake: "REP MOVS counts the iteration that faults",
        origin: "the class of v86 7604505b, PCem 1980a2b1",
        needs: &[],
        semantics: None,
        walker: &Hasty(of_one_iteration),
    },
    Mutant {
        id: "B64b",
        rule: None,
        mistake: "PUSH, POP and CALL that fault have moved RSP",
        origin: "icicle-python #10, dosemu2 #1059",
        needs: &[],
        semantics: None,
        walker: &Hasty(of_stack),
    },
];

/// Moves operands before an instruction completes: this far.
struct Hasty(fn(&AccessStep) -> Moved);

fn of_one_iteration(step: &AccessStep) -> Moved {
    match step.form {
        Form::RepeatedMove => {
            AccessStep { access: Access { size: 1, ..step.access }, ..*step }.moves()
        }
        _ => Moved::default(),
    }
}

fn of_stack(step: &AccessStep) -> Moved {
    if step.form.moves_stack() { step.moves() } else { Moved::default() }
}

impl Walker for Hasty {
    fn predict(&self, case: &Case) -> Prediction {
        Reference.predict(case)
    }

    fn predict_earlier(&self, case: &Case) -> Vec<Prediction> {
        Reference.predict_earlier(case)
    }

    fn predict_accesses(&self, case: &Case) -> Vec<Prediction> {
        Reference.predict_accesses(case)
    }

    fn moved(&self, case: &Case, outcome: &Outcome) -> Moved {
        match outcome {
            Outcome::Translated(_) => Reference.moved(case, outcome),
            Outcome::Fault(_) => self.0(&case.access_step()),
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

    /// What a walker expects where the source is absent.
    fn moved_by_fault(walker: &dyn Walker, form: Form) -> Moved {
        let mut case = Case::plain(Arena::ALL[0], 3, Ring::Three, Profile::default());
        case.form = form;
        case.access.kind = form.kind();
        case.value = case.access.address.get() + 0x40;
        case.entries[3].value = 0;
        let prediction = walker.predict(&case);
        walker.moved(&case, &prediction.alternatives[0].outcome)
    }

    #[test]
    fn each_moves_its_own_operands() {
        let [b64, b64b] = [MUTANTS[0].walker, MUTANTS[1].walker];
        let still = Moved::default();
        for (form, by_b64, by_b64b) in [
            (Form::RepeatedMove, Moved { rsi: 1, rdi: 1, rcx: -1 }, still),
            (Form::Push, still, Moved { rdi: -8, ..still }),
            (Form::Call, still, Moved { rdi: -8, ..still }),
            (Form::Pop, still, Moved { rdi: 8, ..still }),
            (Form::MoveString, still, still),
        ] {
            assert_eq!(moved_by_fault(b64, form), by_b64, "{form:?}");
            assert_eq!(moved_by_fault(b64b, form), by_b64b, "{form:?}");
            assert_eq!(moved_by_fault(&Reference, form), still, "{form:?}");
        }
    }
}
