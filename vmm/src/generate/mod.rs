//! Where cases come from: streams of cases, one for each generator and paging mode. A stream has an
//! order, so that every case has a name, such as `random:4level:7:12345`, and a run can be cut into
//! shards, stopped and resumed.
//!
//! - [`random`]: a plain mapping with no, one or a few unusual bits, placed anywhere;
//! - [`exhaustive`]: every combination of the bits of an entry, the access and the control bits;
//! - [`guided`]: random cases, chosen by how rarely chance shows what they show;
//! - [`single`]: cases that run alone, of kinds that the others do not have;
//! - [`sequence`]: accesses with other actions before and between them;
//! - `given`: nothing, for cases that the user gave.
//!
//! Every batch starts after an invalidation of all translations. Only a few sequences change the page
//! size of a live mapping, and none where a processor walks the guest's tables itself (TLB-5).

mod alone;
mod builder;
pub mod exhaustive;
mod given;
pub mod guided;
mod name;
mod origin;
mod placement;
pub mod random;
mod relocation;
mod schedule;
pub mod sequence;
mod shadow_stacks;
pub mod single;
mod state;
mod wrap;

pub use name::{CaseName, FullCaseName, Generator};
pub use origin::Origin;
pub use schedule::{Schedule, SequenceUse, Shard, Turn};

use crosswalk_guest::layout::MAX_LANES;
use crosswalk_machine::batch::Batch;
use mmu_core::{PagingMode, VirtAddr};
use name::GOLDEN_GAMMA;

/// Cases of one paging mode in a fixed order, cut into batches that alternate between the arenas. The
/// same machine gives the same cases.
pub trait Stream: Send + Sync {
    /// The mode.
    fn mode(&self) -> PagingMode;

    /// The number of batches; [`ENDLESS`] if there is no end.
    fn batches(&self) -> u64;

    /// The number of cases in all batches before this one: the index of its first case.
    fn cases_before(&self, batch: u64) -> u64;

    /// The first cases of a batch, at most `most`.
    fn batch(&self, number: u64, most: usize) -> Batch;

    /// The number of cases.
    fn cases(&self) -> u64 {
        self.cases_before(self.batches())
    }

    /// The batch that has the case with this index, and its place in the batch.
    fn locate(&self, index: u64) -> Option<(u64, usize)> {
        let mut low = 0;
        let mut high = self.batches();
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

/// The number of batches of an endless stream: more than any run gets to.
pub const ENDLESS: u64 = 1 << 40;

/// In so many batches of a random stream, two have a single case each, of a kind that a machine may
/// handle in a way that involves other lanes, or give up on: tables or code outside memory, canonical
/// edges, PDPTEs. One of the two is in each arena.
const PERIOD: u64 = 16;

/// Whether a batch of a random stream has a single case.
const fn is_alone(mode: PagingMode, batch: u64) -> bool {
    !matches!(mode, PagingMode::Unpaged) && matches!(batch % PERIOD, 7 | 8)
}

/// The number of cases before a batch of a random stream.
const fn random_cases_before(mode: PagingMode, batch: u64) -> u64 {
    match mode {
        PagingMode::Unpaged => batch * MAX_LANES as u64,
        _ => paged_cases_before(MAX_LANES as u64, batch),
    }
}

/// The same where some batches have a single case, and the others one in each of so many lanes.
const fn paged_cases_before(lanes: u64, batch: u64) -> u64 {
    let alone_in_period = match batch % PERIOD {
        0..=7 => 0,
        8 => 1,
        _ => 2,
    };
    let alone = batch / PERIOD * 2 + alone_in_period;
    (batch - alone) * lanes + alone
}

/// The seed of a batch: neighbouring batches and modes have unrelated ones.
fn stream_seed(seed: u64, mode: PagingMode, batch: u64) -> u64 {
    // `seed_from_u64` spreads what is close, by SplitMix64.
    seed ^ (batch * 8 + mode as u64).wrapping_mul(GOLDEN_GAMMA)
}

/// The reserved bits below the address in a PDPTE of PAE (SDM "PDPTE Registers").
const PDPTE_LOW_RESERVED_BITS: [u32; 6] = [1, 2, 5, 6, 7, 8];

/// Bits of a linear address that are translated, in the modes whose addresses must be canonical.
const fn address_bits(mode: PagingMode) -> Option<u8> {
    match mode {
        PagingMode::FourLevel => Some(48),
        PagingMode::FiveLevel => Some(57),
        _ => None,
    }
}

/// The canonical address with these translated bits.
fn canonical(mode: PagingMode, address: u64) -> u64 {
    match address_bits(mode) {
        Some(bits) => VirtAddr::new(address).sign_extended(bits).get(),
        None => address,
    }
}

#[cfg(test)]
pub(crate) mod tests;
