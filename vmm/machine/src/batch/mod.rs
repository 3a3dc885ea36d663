//! Batches: many cases, encoded into one arena of guest memory, run by the guest in one go, and
//! read back. The same for every machine.
//!
//! Case `i` of a batch is in lane `i`; of several sequences, each has two lanes
//! (`crosswalk_guest::layout::lane_of_sequence`). Lanes are independent: no two share a page-table entry
//! (except PAE's PDPTEs) or a data frame, so the order in which they run does not matter.
//! Afterwards the host inspects every record, every slot of every table, and every byte of every
//! data frame.

mod admission;
mod data_frames;
mod elsewhere;
mod encode;
mod list;
mod owner;
mod read_back;
mod registers;
mod requirements;
mod stubs;
mod tables;

pub use admission::arena_of;
pub(crate) use data_frames::take_changed_bytes;
pub use encode::Encoded;
pub use requirements::cannot_run;

use crosswalk_case::Case;
use crosswalk_guest::layout::Arena;

/// Cases that run together. Apart from PKRU they have the same initial control state, and in
/// PAE paging the same PDPTEs. Either all of them are sequences, or none.
#[derive(Clone, Debug)]
pub struct Batch {
    /// The arena in which the batch runs.
    pub arena: Arena,
    /// At least one case, and at most [`MAX_LANES`](crosswalk_guest::layout::MAX_LANES), or
    /// [`MAX_SEQUENCES`](crosswalk_guest::layout::MAX_SEQUENCES).
    pub cases: Vec<Case>,
}

/// CR2 before the first case of a batch.
const CR2_AT_START: u64 = 0x0000_0c0f_fee0_0000;
