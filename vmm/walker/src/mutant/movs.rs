//! The mutants that are wrong about MOVs to control registers. They take a sequence to show.

use super::{Mutant, Need};
use crate::{PredictedPrivileged, Walker};
use crosswalk_case::Case;
use mmu_core::walk::{Path, WalkError};
use mmu_core::x86::control::{CR3_NO_FLUSH, Mov};
use mmu_core::{Cr4, Features, Prediction, Reference, Rule, Translation, VirtAddr};

pub(super) const MUTANTS: &[Mutant] = &[
    Mutant {
        id: "B31",
        rule: Some(Rule::Mode8),
        mistake: "MOV to CR3 stores bit 63 while PCIDE=0",
        origin: "Xen b68c4f1ebe, Bochs 27a792581",
        needs: &[Need::ReservedMovs],
        semantics: None,
        walker: &MovMistake(accept_bit_63),
    },
    Mutant {
        id: "B32",
        rule: Some(Rule::Mode8),
        mistake: "MOV to CR3 accepts bits above MAXPHYADDR",
        origin: "Xen 80872597e6",
        needs: &[Need::ReservedMovs],
        semantics: None,
        walker: &MovMistake(accept_address),
    },
    Mutant {
        id: "B33",
        rule: Some(Rule::Mode2),
        mistake: "MOV to CR4 changes LA57 in long mode",
        origin: "the class of Bochs 41c2bb8be and Xen 18c128ba66",
        needs: &[Need::OneOf(&[Need::Feature(Features::LA57), Need::ReservedMovs])],
        semantics: None,
        walker: &MovMistake(accept_la57),
    },
    Mutant {
        id: "B33b",
        rule: None,
        mistake: "a MOV to a control register that raises #GP has changed the register",
        origin: "the class of KVM (kvm-unit-tests 63f684f3, cfe95239)",
        needs: &[],
        semantics: None,
        walker: &MovMistake(load_before_fault),
    },
];

/// A walker that gets this wrong about a MOV, and is right about accesses.
struct MovMistake(fn(Mov, &mut PredictedPrivileged));

fn accept(mov: Mov, predicted: &mut PredictedPrivileged) {
    predicted.fault = None;
    predicted.register = Some(mov.value());
}

fn accept_bit_63(mov: Mov, predicted: &mut PredictedPrivileged) {
    if matches!(mov, Mov::Cr3(value) if value & CR3_NO_FLUSH != 0) {
        accept(mov, predicted);
    }
}

fn accept_address(mov: Mov, predicted: &mut PredictedPrivileged) {
    if matches!(mov, Mov::Cr3(value) if value & CR3_NO_FLUSH == 0) {
        accept(mov, predicted);
    }
}

fn accept_la57(mov: Mov, predicted: &mut PredictedPrivileged) {
    let changed = predicted.register.unwrap_or(0) ^ mov.value();
    if matches!(mov, Mov::Cr4(_)) && changed & Cr4::LA57.bits() != 0 {
        accept(mov, predicted);
    }
}

fn load_before_fault(mov: Mov, predicted: &mut PredictedPrivileged) {
    predicted.register = Some(mov.value());
}

impl Walker for MovMistake {
    fn predict(&self, case: &Case) -> Prediction {
        Reference.predict(case)
    }

    fn predict_earlier(&self, case: &Case) -> Vec<Prediction> {
        Reference.predict_earlier(case)
    }

    fn predict_accesses(&self, case: &Case) -> Vec<Prediction> {
        Reference.predict_accesses(case)
    }

    fn predict_privileged(&self, case: &Case) -> Vec<PredictedPrivileged> {
        let mut all = Reference.predict_privileged(case);
        for predicted in all.iter_mut().filter(|predicted| predicted.fault.is_some()) {
            if let Some(mov) = predicted.mov {
                (self.0)(mov, predicted);
            }
        }
        all
    }

    fn walk(&self, case: &Case, address: VirtAddr) -> (Path, Result<Translation, WalkError>) {
        Reference.walk(case, address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MUTANTS;
    use crosswalk_case::Action;
    use crosswalk_guest::layout::Arena;
    use mmu_core::{ControlState, Cr0, Profile, Ring};

    /// The mutants that differ from the reference about a MOV that the state decides.
    fn wrong_about(mov: impl Fn(&ControlState) -> Mov) -> Vec<&'static str> {
        let features = Features::all() - Features::LAM;
        let profile = Profile { physical_address_bits: 40, features, ..Profile::default() };
        let mut case = Case::plain(Arena::ALL[0], 3, Ring::Zero, profile);
        case.before = vec![Action::Mov(mov(&case.state))];

        let correct = Reference.predict_privileged(&case);
        let mutants = MUTANTS.iter();
        let wrong = mutants.filter(|mutant| mutant.walker.predict_privileged(&case) != correct);
        wrong.map(|mutant| mutant.id).collect()
    }

    #[test]
    fn each_shows_in_its_mov_alone() {
        assert_eq!(wrong_about(|state| Mov::Cr3(state.cr3 | 1 << 63)), ["B31", "B33b"]);
        assert_eq!(wrong_about(|state| Mov::Cr3(state.cr3 | 1 << 40)), ["B32", "B33b"]);
        assert_eq!(wrong_about(|state| Mov::Cr4(state.cr4 ^ Cr4::LA57)), ["B33", "B33b"]);

        let reserved = Cr4::from_bits_retain(1 << 15);
        assert_eq!(wrong_about(|state| Mov::Cr4(state.cr4 | reserved)), ["B33b"]);
        assert_eq!(wrong_about(|state| Mov::Cr4(state.cr4 ^ Cr4::PGE)), [""; 0]);
        assert_eq!(wrong_about(|state| Mov::Cr0(state.cr0 ^ Cr0::WP)), [""; 0]);
    }
}
