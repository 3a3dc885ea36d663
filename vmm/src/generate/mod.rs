//! Where cases come from.
//!
//! No case changes the page size of a live mapping: every batch starts with all translations
//! forgotten (TLB-5).

mod draft;
mod placement;
mod random;
mod sequence;
mod state;
mod unusual;

pub use sequence::SingleCases;

use crate::case::Case;
use crate::machine::Capabilities;
use crate::machine::batch::Batch;
use guest::layout::{Arena, MAX_LANES};
use mmu_core::PagingMode;
use rand::SeedableRng;
use rand_xoshiro::Xoshiro256PlusPlus;

/// One batch in so many holds a single case of a kind that a machine may get wrong in a way that
/// involves other lanes, or give up on: tables or code outside memory, canonical edges, PDPTEs.
const ALONE_EVERY: u64 = 8;

/// Random batches, the modes in turn. The same seed, machine, modes and number give the same batch.
#[derive(Clone, Debug)]
pub struct RandomBatches {
    seed: u64,
    capabilities: Capabilities,
    modes: Vec<PagingMode>,
}

impl RandomBatches {
    /// Batches for a machine with these capabilities, in these modes.
    ///
    /// # Panics
    /// When there is no mode.
    pub fn new(seed: u64, capabilities: Capabilities, modes: Vec<PagingMode>) -> Self {
        assert!(!modes.is_empty(), "there is a mode to run");
        Self { seed, capabilities, modes }
    }

    /// The batch with this number, of at most `most` cases.
    pub fn batch(&self, number: u64, most: usize) -> Batch {
        // SplitMix64 in seed_from_u64 spreads neighbouring numbers over unrelated streams.
        let stream = self.seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(stream);
        // Each mode gets both arenas, and its share of the batches of one case.
        let (arena, round) = (Arena::for_batch(number), number / 2);
        let count = self.modes.len() as u64;
        let mode = self.modes[(round % count) as usize];
        let is_alone = (round / count * 2 + number % 2) % ALONE_EVERY == ALONE_EVERY - 1;
        let lone = is_alone.then(|| random::alone(&mut rng, mode, arena, &self.capabilities));
        let cases: Vec<Case> = if let Some(case) = lone.flatten() {
            vec![case]
        } else {
            let lanes = most.min(MAX_LANES);
            random::together(&mut rng, mode, arena, &self.capabilities, lanes)
        };
        Batch { arena, cases }
    }
}
