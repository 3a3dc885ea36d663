//! Two mistakes at once, for machines that make both.

use super::{MUTANTS, Mutant};
use crate::walker::Combined;
use std::sync::LazyLock;

/// Two mutants whose mistakes are in one access, and the walker that makes both.
pub struct Pair {
    /// The mutant with the lower id.
    pub first: &'static Mutant,
    /// The other mutant.
    pub second: &'static Mutant,
    /// The walker with both mistakes.
    pub walker: Combined,
}

/// Every pair, by ids.
pub static PAIRS: LazyLock<Vec<Pair>> = LazyLock::new(|| {
    let of_one_access = |mutant: &'static Mutant| Some((mutant, mutant.semantics?));
    let mutants: Vec<_> = MUTANTS.iter().filter_map(of_one_access).collect();

    let mut pairs = Vec::new();
    for (place, (first, first_semantics)) in mutants.iter().enumerate() {
        for (second, second_semantics) in &mutants[place + 1..] {
            let walker = Combined(*first_semantics, *second_semantics);
            pairs.push(Pair { first, second, walker });
        }
    }
    pairs
});
