//! A random sample of what comes, the same for the same seed.

use rand::{Rng, SeedableRng};
use rand_xoshiro::SplitMix64;
use std::cmp::Ordering;
use std::collections::BinaryHeap;

/// Maximum size of what a sample keeps, in bytes.
const MAX_BYTES: usize = 512 << 20;

/// A sample of a fixed number of items. Each item draws a number, and those with the smallest numbers are kept. So a
/// larger sample with the same seed holds the smaller one.
pub struct Sample<T> {
    limit: usize,
    numbers: SplitMix64,
    offered: u64,
    kept: BinaryHeap<Drawn<T>>,
    bytes: usize,
}

struct Drawn<T> {
    number: u64,
    /// Its place among those that were offered.
    place: u64,
    bytes: usize,
    item: T,
}

/// The items of a sample take too much memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the sample takes more than {} MiB: expected a smaller one", MAX_BYTES >> 20)]
pub struct SampleTooLarge;

impl<T> Sample<T> {
    /// An empty sample, of at most `limit` items.
    pub fn new(limit: usize, seed: u64) -> Self {
        Self {
            limit,
            numbers: SplitMix64::seed_from_u64(seed),
            offered: 0,
            kept: BinaryHeap::new(),
            bytes: 0,
        }
    }

    /// Offers an item of a size in bytes. It is made only if it is kept.
    ///
    /// # Errors
    /// When all that would be kept takes too much memory.
    pub fn offer(&mut self, make: impl FnOnce() -> (T, usize)) -> Result<(), SampleTooLarge> {
        let number = self.numbers.next_u64();
        let place = self.offered;
        self.offered = place.saturating_add(1);

        let is_full = self.kept.len() >= self.limit;
        let is_larger = self.kept.peek().is_none_or(|largest| number >= largest.number);
        if is_full && is_larger {
            return Ok(());
        }
        if is_full && let Some(Drawn { bytes, .. }) = self.kept.pop() {
            self.bytes = self.bytes.saturating_sub(bytes);
        }

        let (item, bytes) = make();
        self.bytes = self.bytes.saturating_add(bytes);
        self.kept.push(Drawn { number, place, bytes, item });
        if self.bytes > MAX_BYTES { Err(SampleTooLarge) } else { Ok(()) }
    }

    /// The items, in the order in which they were offered.
    pub fn finish(self) -> impl Iterator<Item = T> {
        let mut kept = self.kept.into_vec();
        kept.sort_by_key(|drawn| drawn.place);
        kept.into_iter().map(|drawn| drawn.item)
    }
}

impl<T> Ord for Drawn<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.number, self.place).cmp(&(other.number, other.place))
    }
}

impl<T> PartialOrd for Drawn<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> PartialEq for Drawn<T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<T> Eq for Drawn<T> {}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(limit: usize, seed: u64) -> Vec<u32> {
        let mut sample = Sample::new(limit, seed);
        for number in 0..1000 {
            sample.offer(|| (number, 1)).expect("a few bytes");
        }
        sample.finish().collect()
    }

    #[test]
    fn a_seed_gives_the_same_sample_in_order() {
        let first = sample(10, 1);
        assert_eq!(first.len(), 10);
        assert!(first.is_sorted());
        assert_eq!(first, sample(10, 1));
        assert_ne!(first, sample(10, 2));
        assert_eq!(sample(2000, 1), (0..1000).collect::<Vec<_>>());
    }

    #[test]
    fn a_larger_sample_holds_a_smaller_one() {
        let larger = sample(100, 7);
        assert!(sample(10, 7).iter().all(|number| larger.contains(number)));
        // Not only those that come first, or last.
        assert!(larger.iter().filter(|number| (250..750).contains(*number)).count() > 20);
    }

    #[test]
    fn a_sample_has_a_maximum_size() {
        let mut sample = Sample::new(3, 1);
        assert_eq!(sample.offer(|| ((), MAX_BYTES)), Ok(()));
        assert_eq!(sample.offer(|| ((), 1)), Err(SampleTooLarge));
    }
}
