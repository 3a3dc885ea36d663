//! Walkers: models that predict the outcomes of a case. The reference, mutants of it with one known
//! mistake each, omissions of single rules, and the quirks of machines. They need no machine.
#![forbid(unsafe_code)]

mod control_load;
mod dyn_semantics;
mod instruction;
mod mutant;
mod omissions;
mod privileged;
pub mod quirk;
mod saved_frame;
mod saved_rip;
mod segment_load;
mod sequence;
mod spec;

pub use dyn_semantics::{Combined, DynSemantics, Erased};
pub use mutant::{MUTANTS, Mutant, Need, PAIRS, Pair, UNREACHABLE, Unreachable};
pub use omissions::{OMISSIONS, Omission};
pub use privileged::PredictedPrivileged;
pub use saved_frame::{ExpectedFrame, saved_frame};
pub use spec::WalkerSpec;

use crosswalk_case::observation::SavedRip;
use crosswalk_case::{Case, Moved};
use mmu_core::memory::{OutsideMemory, TableMemory};
use mmu_core::walk::{Path, WalkError};
use mmu_core::{
    Access, AnyMmu, ControlState, Fault, Outcome, Prediction, Profile, Semantics, Translation,
    VirtAddr,
};

/// Why every access of a case can be predicted: the reader of cases refuses other sizes, and the
/// generators and the shrinker stay within its limits.
const CHECKED_SIZE: &str = "an access of a case has a size that instructions have";

/// What is allowed for an access of a case, in the mode of the control state.
fn predict_case<R: Semantics, M: TableMemory<Error = OutsideMemory>>(
    semantics: R,
    state: ControlState,
    profile: Profile,
    memory: &M,
    access: &Access,
) -> Prediction {
    let mut found = Prediction::default();
    let mmu = AnyMmu::with_semantics(semantics, state, profile);
    mmu.predict_into(memory, access, &mut found).expect(CHECKED_SIZE);
    found
}

/// A model that predicts what a machine does with a case.
pub trait Walker: Send + Sync {
    /// Every outcome that it allows. For a sequence, those of the last access, with all that the whole
    /// sequence does to table entries.
    fn predict(&self, case: &Case) -> Prediction;

    /// The outcomes that it allows for each access of a sequence before the last.
    fn predict_earlier(&self, case: &Case) -> Vec<Prediction> {
        let _ = case;
        Vec::new()
    }

    /// What it expects of each privileged instruction of a sequence ([`Action::is_privileged`]), in order.
    ///
    /// [`Action::is_privileged`]: crosswalk_case::Action::is_privileged
    fn predict_privileged(&self, case: &Case) -> Vec<PredictedPrivileged> {
        privileged::predict(case)
    }

    /// The RIP that it expects a fault of the case's access to save.
    fn saved_rip(&self, case: &Case, fault: &Fault) -> SavedRip {
        saved_rip::of_fault(case, fault)
    }

    /// How far it expects the instruction of the case to move its operands. One that faults leaves them alone.
    fn moved(&self, case: &Case, outcome: &Outcome) -> Moved {
        match outcome {
            Outcome::Translated(_) => case.access_step().moves(),
            Outcome::Fault(_) => Moved::default(),
        }
    }

    /// The outcomes that it allows for each access, the last one last.
    fn predict_accesses(&self, case: &Case) -> Vec<Prediction> {
        let mut predictions = self.predict_earlier(case);
        predictions.push(self.predict(case));
        predictions
    }

    /// Its walk for one page of the case's access, entry by entry.
    fn walk(&self, case: &Case, address: VirtAddr) -> (Path, Result<Translation, WalkError>);
}

/// Semantics make a walker, in the mode that the case's control state selects.
impl<R: Semantics + Send + Sync> Walker for R {
    fn predict(&self, case: &Case) -> Prediction {
        if case.is_sequence() {
            return self.predict_accesses(case).pop().expect("a case has an access");
        }
        control_load::predict_with_control_load(*self, case, |state, profile| {
            instruction::predict(&case.access_step(), &|access| {
                predict_case(*self, state, profile, case, access)
            })
        })
    }

    fn predict_earlier(&self, case: &Case) -> Vec<Prediction> {
        if !case.is_sequence() {
            return Vec::new();
        }
        let mut predictions = self.predict_accesses(case);
        predictions.pop();
        predictions
    }

    fn predict_accesses(&self, case: &Case) -> Vec<Prediction> {
        if !case.is_sequence() {
            return vec![self.predict(case)];
        }
        let mut predictions =
            sequence::predict(case, &|moment, access| moment.predict(*self, access));
        if let Some(fault) = control_load::predict_cr3_fault(case) {
            predictions.fill(fault);
        }
        predictions
    }

    fn walk(&self, case: &Case, address: VirtAddr) -> (Path, Result<Translation, WalkError>) {
        let last = case.accesses().pop().expect("a case has an access");
        let mut path = Path::default();
        let mmu = AnyMmu::with_semantics(*self, last.state, last.profile);
        let end = mmu.walk(&last, address, &last.access, &mut path);
        (path, end)
    }
}
