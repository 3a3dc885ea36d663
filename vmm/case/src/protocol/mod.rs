//! Candidates: other walkers, which are put to the test. A candidate answers what it can about a case:
//! everything that a processor would do, or only where an address leads. It is marked on what it
//! claims, and on nothing else.
//!
//! A walker in Rust implements [`Candidate`], and [`serve()`] makes a program of it that speaks the line
//! protocol, as programs in any language can: a case per line on standard input, an answer per line on
//! standard output. `docs/walker-protocol.md` describes the protocol.

mod serve;
mod text;

pub use serve::serve;
pub use text::MAX_ANSWER_BYTES;

use crate::{Case, TableEntry};
use bitflags::bitflags;

/// A walker that answers cases.
///
/// ```
/// use crosswalk_case::Case;
/// use crosswalk_case::protocol::{Answer, Candidate};
///
/// /// Takes linear addresses for physical ones.
/// struct NoPaging;
///
/// impl Candidate for NoPaging {
///     fn answer(&mut self, case: &Case) -> Answer {
///         Answer::translated(case.access.address.get())
///     }
/// }
/// ```
pub trait Candidate {
    /// What it claims about a case.
    fn answer(&mut self, case: &Case) -> Answer;
}

/// What a candidate claims about a case.
///
/// ```
/// use crosswalk_case::protocol::Answer;
///
/// let answer = Answer::translated(0x201108);
/// assert_eq!(answer.to_line(), r#"{"translated":{"address":"0x201108"}}"#);
/// assert_eq!(Answer::from_line(&answer.to_line()), Ok(answer));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The access completes.
    Translated(Translated),
    /// The access faults.
    Fault(Faulted),
    /// The candidate claims nothing, for this reason.
    Silent(String),
}

impl Answer {
    /// The access completes, and this is the physical address of its first byte.
    pub fn translated(address: u64) -> Self {
        Self::Translated(Translated { address, ..Translated::default() })
    }
}

/// An access that completes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Translated {
    /// The physical address of its first byte.
    pub address: u64,
    /// The physical address of its first byte on a second page; `None` claims nothing about it.
    pub second: Option<u64>,
    /// The faults that the candidate does not look for.
    pub ignores: Ignores,
    /// The rights of the page, from a candidate that knows them but does not check accesses: the
    /// access is then checked against them.
    pub page: Option<PageRights>,
    /// Every entry that the access changes, with its new value; `None` claims nothing about entries.
    pub entries: Option<Vec<TableEntry>>,
}

/// An access that faults. A field that is `None` claims nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faulted {
    /// The vector; 14 for a page fault.
    pub vector: Option<u8>,
    /// The error code that is pushed.
    pub error_code: Option<u32>,
    /// The address that a page fault leaves in CR2.
    pub cr2: Option<u64>,
    /// Every entry that the access changes, with its new value.
    pub entries: Option<Vec<TableEntry>>,
}

/// What all entries of a path together allow. A field that is `None` claims nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PageRights {
    /// Whether the page can be written.
    pub writable: Option<bool>,
    /// Whether user code may access the page.
    pub user: Option<bool>,
    /// Whether the page can be executed.
    pub executable: Option<bool>,
}

bitflags! {
    /// Reasons for a fault that a candidate does not look for: a translation is not marked wrong where
    /// a processor faults for one of these.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Ignores: u8 {
        /// An entry is not present.
        const PRESENT = 1 << 0;
        /// A reserved bit is set.
        const RESERVED = 1 << 1;
        /// The rights deny the access.
        const RIGHTS = 1 << 2;
        /// The address is not canonical, or a PDPTE cannot be loaded: #GP and #SS.
        const ADDRESS = 1 << 3;
    }
}
