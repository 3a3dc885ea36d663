//! Where cases come from.
//!
//! No case changes the page size of a live mapping: every batch starts with all translations
//! forgotten (TLB-5).

mod placement;
mod random;

use crate::case::Case;
use crate::machine::Capabilities;
use crate::machine::batch::Batch;
use guest::layout::{Arena, MAX_LANES};
use rand::SeedableRng;
use rand_xoshiro::Xoshiro256PlusPlus;

/// One batch in so many holds a single case of a kind that a machine may get wrong in a way that
/// involves other lanes, or give up on: tables or code outside memory, canonical edges.
const ALONE_EVERY: u64 = 8;

/// Random batches. The same seed, machine and number give the same batch.
#[derive(Clone, Debug)]
pub struct RandomBatches {
    seed: u64,
    capabilities: Capabilities,
}

impl RandomBatches {
    /// Batches for a machine with these capabilities.
    pub fn new(seed: u64, capabilities: Capabilities) -> Self {
        Self { seed, capabilities }
    }

    /// The batch with this number, of at most `most` cases.
    pub fn batch(&self, number: u64, most: usize) -> Batch {
        // SplitMix64 in seed_from_u64 spreads neighbouring numbers over unrelated streams.
        let stream = self.seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(stream);
        let arena = Arena::for_batch(number);
        let lanes = most.min(MAX_LANES);
        let cases: Vec<Case> = if number % ALONE_EVERY == ALONE_EVERY - 1 {
            vec![random::alone(&mut rng, arena, &self.capabilities)]
        } else {
            random::together(&mut rng, arena, &self.capabilities, lanes)
        };
        Batch { arena, cases }
    }
}
