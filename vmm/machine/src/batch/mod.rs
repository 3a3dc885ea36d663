//! Batches: many cases encoded into one arena of guest memory, run by the guest in one go, and read
//! back. The same for every machine.
//!
//! Case `i` of a batch is lane `i`. Lanes are independent: no entry and no data frame belongs to
//! two of them, so that the order in which they run cannot matter. Afterwards everything is looked
//! at: every record, every slot of every table, every byte of every data frame.

mod admission;
mod encode;
mod read_back;
mod tables;

pub use admission::{arena_of, cannot_run};
pub use encode::Encoded;
pub use read_back::DataFrames;

use crosswalk_case::Case;
use crosswalk_guest::layout::Arena;

/// Cases to be run together. They have one control state, PKRU and EFLAGS.AC aside, and in PAE
/// paging the same PDPTEs.
#[derive(Clone, Debug)]
pub struct Batch {
    /// Where it runs.
    pub arena: Arena,
    /// At most [`crosswalk_guest::layout::MAX_LANES`].
    pub cases: Vec<Case>,
}

/// What CR2 holds before the first case of a batch.
const CR2_AT_START: u64 = 0x0000_0c0f_fee0_0000;
