//! Walkers: what predicts. The reference, and mutants of it with one known mistake each.

mod control_load;
mod dyn_rules;
mod mutant;
mod omissions;
pub mod quirk;
mod sequence;

pub use dyn_rules::{AnyRules, Both, One};
pub use mutant::{MUTANTS, Mutant, Need, PAIRS, Pair, UNREACHABLE, Unreachable};
pub use omissions::{OMISSIONS, Omission};

use crosswalk_case::Case;
use mmu_core::walk::{Path, Translation, WalkError, predict_in_mode, walk_in_mode};
use mmu_core::{Prediction, Reference, Semantics, VirtAddr};

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
        control_load::then(*self, case, |state, profile| {
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
    /// `mutant:ID+ID`
    Pair(&'static Pair),
}

impl Choice {
    /// The walker itself.
    pub fn walker(self) -> &'static dyn Walker {
        match self {
            Self::Reference => &Reference,
            Self::Mutant(mutant) => mutant.walker,
            Self::Pair(pair) => &pair.walker,
        }
    }

    /// Whether it is the reference.
    pub const fn is_reference(self) -> bool {
        matches!(self, Self::Reference)
    }

    /// The mutants that it is made of.
    pub fn mutants(self) -> Vec<&'static Mutant> {
        match self {
            Self::Reference => Vec::new(),
            Self::Mutant(mutant) => vec![mutant],
            Self::Pair(pair) => vec![pair.first, pair.second],
        }
    }

    /// Their ids, as in `M13b+M36`.
    pub fn ids(self) -> String {
        self.joined("+", |mutant| mutant.id)
    }

    /// Their mistakes.
    pub fn mistakes(self) -> String {
        self.joined("; ", |mutant| mutant.mistake)
    }

    fn joined(self, between: &str, part: impl Fn(&Mutant) -> &'static str) -> String {
        self.mutants().into_iter().map(part).collect::<Vec<_>>().join(between)
    }
}

impl std::str::FromStr for Choice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let asked = text.strip_prefix("mutant:");
        let is_asked = |choice: &Self| asked == Some(choice.ids().as_str());
        let mutants = MUTANTS.iter().map(Self::Mutant);
        let pairs = PAIRS.iter().map(Self::Pair);
        match text {
            "reference" => Ok(Self::Reference),
            _ => mutants.chain(pairs).find(is_asked).ok_or_else(|| {
                let ids: Vec<_> = MUTANTS.iter().map(|mutant| mutant.id).collect();
                format!(
                    "expected reference, mutant:ID or mutant:ID+ID, where ID is one of {}",
                    ids.join(", ")
                )
            }),
        }
    }
}

impl std::fmt::Display for Choice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Reference => f.write_str("reference"),
            mutants => write!(f, "mutant:{}", mutants.ids()),
        }
    }
}

impl std::fmt::Debug for Choice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_walker_is_named_as_the_command_line_has_it() {
        for name in ["reference", "mutant:M13b", "mutant:M17", "mutant:M13b+M36"] {
            assert_eq!(name.parse::<Choice>().unwrap().to_string(), name);
        }
        // M17 is no mistake of one access, and the lower id comes first.
        for name in ["mutant:M13b+M17", "mutant:M36+M13b", "mutant:M13b+M13b", "mutant:", "M13b"] {
            let error = name.parse::<Choice>().unwrap_err();
            assert!(error.contains("mutant:ID+ID") && error.contains("M42"), "{name}: {error}");
        }
    }
}
