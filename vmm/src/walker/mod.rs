//! Walkers: what predicts. The reference, and mutants of it with one known mistake each.

mod any_rules;
mod load;
mod mutant;
pub mod quirk;
mod sequence;

pub use any_rules::{AnyRules, Both, One};
pub use mutant::{MUTANTS, Mutant, Need, UNREACHABLE, Unreachable};

use crate::case::Case;
use mmu_core::walk::{Path, Translation, WalkError, predict_in_mode, walk_in_mode};
use mmu_core::{Prediction, Reference, Rules, VirtAddr};

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
impl<R: Rules + Send + Sync> Walker for R {
    fn predict(&self, case: &Case) -> Prediction {
        if case.is_sequence() {
            let mut all = sequence::predict(case, |_, _, _| *self);
            return all.pop().expect("a case has an access");
        }
        load::then(*self, case, |state, profile| {
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

/// Which walker is meant, as the command line names it.
#[derive(Clone, Copy)]
pub enum Choice {
    /// `reference`
    Reference,
    /// `mutant:ID`
    Mutant(&'static Mutant),
}

impl Choice {
    /// The walker itself.
    pub fn walker(self) -> &'static dyn Walker {
        match self {
            Self::Reference => &Reference,
            Self::Mutant(mutant) => mutant.walker,
        }
    }

    /// Whether it is the reference.
    pub const fn is_reference(self) -> bool {
        matches!(self, Self::Reference)
    }
}

impl std::str::FromStr for Choice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "reference" {
            return Ok(Self::Reference);
        }
        let known = |mutant: &&Mutant| text.strip_prefix("mutant:") == Some(mutant.id);
        MUTANTS.iter().find(known).map(Self::Mutant).ok_or_else(|| {
            let ids: Vec<_> = MUTANTS.iter().map(|mutant| mutant.id).collect();
            format!("expected reference or mutant:ID, where ID is one of {}", ids.join(", "))
        })
    }
}

impl std::fmt::Display for Choice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Reference => f.write_str("reference"),
            Self::Mutant(mutant) => write!(f, "mutant:{}", mutant.id),
        }
    }
}

impl std::fmt::Debug for Choice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}
