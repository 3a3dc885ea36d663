//! Two mistakes at once, for machines that make both.

use super::{MUTANTS, Mutant};
use crate::{Combined, Erased, Walker};
use crosswalk_case::Case;
use mmu_core::walk::{Path, WalkError};
use mmu_core::{Prediction, Translation, VirtAddr};
use std::sync::LazyLock;

/// Two mutants whose mistakes are in one access: a walker that makes both.
pub struct Pair {
    /// The mutant with the lower id.
    pub first: &'static Mutant,
    /// The other mutant.
    pub second: &'static Mutant,
    /// The semantics with both mistakes.
    pub semantics: Combined,
}

impl Walker for Pair {
    fn predict(&self, case: &Case) -> Prediction {
        Erased(&self.semantics).predict(case)
    }

    fn predict_earlier(&self, case: &Case) -> Vec<Prediction> {
        Erased(&self.semantics).predict_earlier(case)
    }

    fn walk(&self, case: &Case, address: VirtAddr) -> (Path, Result<Translation, WalkError>) {
        Erased(&self.semantics).walk(case, address)
    }
}

/// Every pair, by ids.
pub static PAIRS: LazyLock<Vec<Pair>> = LazyLock::new(|| {
    let of_one_access = |mutant: &'static Mutant| Some((mutant, mutant.semantics?));
    let mutants: Vec<_> = MUTANTS.iter().filter_map(of_one_access).collect();

    let mut pairs = Vec::new();
    for (place, (first, first_semantics)) in mutants.iter().enumerate() {
        for (second, second_semantics) in &mutants[place + 1..] {
            let semantics = Combined(*first_semantics, *second_semantics);
            pairs.push(Pair { first, second, semantics });
        }
    }
    pairs
});
