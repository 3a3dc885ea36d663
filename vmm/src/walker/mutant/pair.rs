//! Two mistakes at once, for machines that make both.

use super::{MUTANTS, Mutant};
use crate::walker::Combined;
use std::sync::LazyLock;

/// Two mutants of rules, and the walker that makes both mistakes.
pub struct Pair {
    /// The one with the lower id.
    pub first: &'static Mutant,
    /// The other.
    pub second: &'static Mutant,
    /// The walker.
    pub walker: Combined,
}

/// Every pair, by ids.
pub static PAIRS: LazyLock<Vec<Pair>> = LazyLock::new(|| {
    let all: Vec<_> = MUTANTS.iter().filter_map(|mutant| Some((mutant, mutant.rules?))).collect();
    let mut pairs = Vec::new();
    for (place, (first, its)) in all.iter().enumerate() {
        for (second, others) in &all[place + 1..] {
            pairs.push(Pair { first, second, walker: Combined(*its, *others) });
        }
    }
    pairs
});
