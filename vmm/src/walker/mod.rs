//! Walkers: what predicts. The reference, and mutants of it with one known mistake each.

mod control_load;
mod dyn_rules;
mod mutant;
mod omissions;
pub mod quirk;
mod sequence;
mod spec;
pub mod value;

pub use dyn_rules::{Boxed, Combined, DynRules};
pub use mutant::{MUTANTS, Mutant, Need, PAIRS, Pair, UNREACHABLE, Unreachable};
pub use omissions::{OMISSIONS, Omission};
pub use spec::WalkerSpec;

use crosswalk_case::Case;
use mmu_core::walk::{Path, Translation, WalkError, predict_in_mode, walk_in_mode};
use mmu_core::{Prediction, Semantics, VirtAddr};

/// Something that predicts what a machine does with a case.
pub trait Walker: Send + Sync {
    /// All outcomes that it allows. Of a sequence: of its last access, with all that the whole of it
    /// does to entries.
    fn predict(&self, case: &Case) -> Prediction;

    /// The outcomes that it allows of a sequence's accesses before the last.
    fn predict_earlier(&self, case: &Case) -> Vec<Prediction> {
        let _ = case;
        Vec::new()
    }

    /// Its walk for one page of the case's access, entry by entry.
    fn walk(&self, case: &Case, address: VirtAddr) -> (Path, Result<Translation, WalkError>);
}

/// A set of rules is a walker, in the mode that the case's control state selects.
impl<R: Semantics + Send + Sync> Walker for R {
    fn predict(&self, case: &Case) -> Prediction {
        if case.is_sequence() {
            let mut all = sequence::predict(case, |_, _, _| *self);
            return all.pop().expect("a case has an access");
        }
        control_load::predict_with_control_load(*self, case, |state, profile| {
            predict_in_mode(*self, state, profile, case, &case.access)
        })
    }

    fn predict_earlier(&self, case: &Case) -> Vec<Prediction> {
        if !case.is_sequence() {
            return Vec::new();
        }
        let mut all = sequence::predict(case, |_, _, _| *self);
        all.pop();
        all
    }

    fn walk(&self, case: &Case, address: VirtAddr) -> (Path, Result<Translation, WalkError>) {
        let case = &case.accesses().pop().expect("a case has an access");
        let mut path = Path::default();
        let at = (address, &case.access);
        let end = walk_in_mode(*self, case.state, case.profile, case, at, &mut path);
        (path, end)
    }
}
