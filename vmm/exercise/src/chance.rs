//! Chance that a seed repeats.

use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use std::ops::RangeInclusive;

/// A source of chance.
pub(crate) struct Chance(Xoshiro256PlusPlus);

impl Chance {
    /// That of a seed.
    pub(crate) fn new(seed: u64) -> Self {
        Self(Xoshiro256PlusPlus::seed_from_u64(seed))
    }

    /// A number of a range.
    pub(crate) fn of(&mut self, range: RangeInclusive<u64>) -> u64 {
        self.0.random_range(range)
    }

    /// The same for numbers of bits, levels and the like.
    pub(crate) fn few(&mut self, range: RangeInclusive<u32>) -> u32 {
        self.0.random_range(range)
    }

    /// One of these, of which there is at least one.
    pub(crate) fn pick<T: Copy>(&mut self, among: &[T]) -> T {
        among[self.0.random_range(0..among.len())]
    }

    /// Whether something happens that happens `of` times in a hundred.
    pub(crate) fn percent(&mut self, of: u32) -> bool {
        self.0.random_range(0..100) < of
    }

    /// Different numbers of a range that has enough of them, in any order.
    pub(crate) fn different(&mut self, count: usize, range: RangeInclusive<u64>) -> Vec<u64> {
        let mut all: Vec<u64> = range.collect();
        (0..count).map(|_| all.swap_remove(self.0.random_range(0..all.len()))).collect()
    }
}
