//! Cases that the user gave: nothing is generated.

use super::Stream;
use crosswalk_guest::layout::Arena;
use crosswalk_machine::batch::Batch;
use mmu_core::PagingMode;

/// A stream without a case.
pub(super) struct GivenStream(pub(super) PagingMode);

impl Stream for GivenStream {
    fn mode(&self) -> PagingMode {
        self.0
    }

    fn batches(&self) -> u64 {
        0
    }

    fn cases_before(&self, _batch: u64) -> u64 {
        0
    }

    fn batch(&self, _number: u64, _most: usize) -> Batch {
        Batch { arena: Arena::for_batch(0), cases: Vec::new() }
    }
}
