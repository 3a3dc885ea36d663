//! Where cases come from: streams of cases, one for each generator and paging mode. A stream has an
//! order, so that every case has a name, such as `random:4level:7:12345`, and that a run can be cut
//! into shards, stopped and resumed.
//!
//! - [`random`]: a plain mapping with none, one or a few unusual bits, placed anywhere;
//! - [`exhaustive`]: every combination of the bits of an entry, the access and the control bits;
//! - [`guided`]: random cases, chosen by how rarely chance comes to what they show;
//! - [`sequence`]: cases that run alone, most of them with other actions before their access.
//!
//! No case changes the page size of a live mapping: every batch starts with all translations
//! forgotten (TLB-5).

mod case_builder;
pub mod exhaustive;
mod graph;
pub mod guided;
mod name;
mod placement;
pub mod random;
mod schedule;
pub mod sequence;
mod state;
mod unusual;

pub use name::{CaseName, Generator};
pub use schedule::{Schedule, Shard, Turn};

use crosswalk_guest::layout::{Arena, MAX_LANES};
use crosswalk_machine::batch::Batch;
use mmu_core::PagingMode;

/// Cases of one paging mode in a fixed order, cut into batches that alternate between the arenas. The
/// same machine gives the same cases.
pub trait Stream: Send + Sync {
    /// The mode.
    fn mode(&self) -> PagingMode;

    /// How many batches there are; [`ENDLESS`] if there is no end.
    fn batches(&self) -> u64;

    /// How many cases all batches before this one have: the index of its first case.
    fn cases_before(&self, batch: u64) -> u64;

    /// The first cases of a batch, at most `most`.
    fn batch(&self, number: u64, most: usize) -> Batch;

    /// How many cases there are.
    fn cases(&self) -> u64 {
        self.cases_before(self.batches())
    }

    /// The batch that has the case with this index, and its place there.
    fn locate(&self, index: u64) -> Option<(u64, usize)> {
        let (mut low, mut high) = (0, self.batches());
        if index >= self.cases_before(high) {
            return None;
        }
        while high - low > 1 {
            let middle = low.midpoint(high);
            if self.cases_before(middle) <= index { low = middle } else { high = middle }
        }
        Some((low, (index - self.cases_before(low)) as usize))
    }
}

/// More batches than anybody waits for.
pub const ENDLESS: u64 = 1 << 40;

/// Of so many batches of a random stream two, the last of one arena and the first of the other, hold
/// a single case of a kind that a machine may get wrong in a way that involves other lanes, or give up
/// on: tables or code outside memory, canonical edges, PDPTEs.
const PERIOD: u64 = 16;

/// Whether the batch of a random stream has a single case.
const fn is_alone(mode: PagingMode, batch: u64) -> bool {
    !matches!(mode, PagingMode::Unpaged) && matches!(batch % PERIOD, 7 | 8)
}

/// How many cases come before a batch of a random stream.
const fn random_cases_before(mode: PagingMode, batch: u64) -> u64 {
    let lanes = MAX_LANES as u64;
    if matches!(mode, PagingMode::Unpaged) {
        return batch * lanes;
    }
    let (whole, part) = (batch / PERIOD, batch % PERIOD);
    let alone = whole * 2
        + match part {
            0..=7 => 0,
            8 => 1,
            _ => 2,
        };
    (batch - alone) * lanes + alone
}

/// What a stream draws a batch from: neighbouring numbers and modes give unrelated streams.
fn stream_seed(seed: u64, mode: PagingMode, batch: u64) -> u64 {
    // SplitMix64 in seed_from_u64 spreads what is close.
    seed ^ (batch * 8 + mode as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// The arena of a batch.
const fn arena_of_batch(batch: u64) -> Arena {
    Arena::for_batch(batch)
}

#[cfg(test)]
pub(crate) mod tests;
