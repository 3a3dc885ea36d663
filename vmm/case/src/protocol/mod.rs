//! Candidates: walkers of other people, put to the test. A candidate says of a case what it can: all
//! that a processor would do, or only where an address leads. It is held to what it says, and to
//! nothing else ([`mark`]).
//!
//! One in Rust implements [`Candidate`]; [`serve`](serve::serve) makes a program of it that speaks the
//! line protocol of [`text`], as programs in any language can; [`command`] runs such a program.

pub mod serve;
pub mod text;

use crate::{Case, TableEntry};
use bitflags::bitflags;

/// A walker that answers cases.
///
/// ```
/// use crosswalk_case::protocol::{Answer, Candidate};
/// use crosswalk_case::Case;
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
    /// What it says of a case.
    fn answer(&mut self, case: &Case) -> Answer;
}

/// What a candidate says of a case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The access completes.
    Translated(Translated),
    /// The access faults.
    Fault(Faulted),
    /// It does not say, and why.
    Silent(String),
}

impl Answer {
    /// The access completes, and its first byte lies at this physical address.
    pub fn translated(address: u64) -> Self {
        Self::Translated(Translated { address, ..Translated::default() })
    }
}

/// An access that completes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Translated {
    /// Where its first byte lies in physical memory.
    pub address: u64,
    /// Where its first byte on a second page lies, if it says.
    pub second: Option<u64>,
    /// The faults that the candidate does not look for.
    pub ignores: Ignores,
    /// What the tables allow, for one that knows a page's rights and does not judge accesses: they
    /// are judged by these.
    pub page: Option<PageRights>,
    /// Every entry that the access changes, as it is then, if it says.
    pub entries: Option<Vec<TableEntry>>,
}

/// An access that faults. What is `None` is not said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faulted {
    /// 14 for a page fault.
    pub vector: Option<u8>,
    /// The error code as pushed.
    pub error_code: Option<u32>,
    /// The address that a page fault leaves in CR2.
    pub cr2: Option<u64>,
    /// Every entry that the access changes, as it is then.
    pub entries: Option<Vec<TableEntry>>,
}

/// What the entries of a path allow together. What is `None` is not said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PageRights {
    /// Whether it can be written.
    pub writable: Option<bool>,
    /// Whether it is a user's.
    pub user: Option<bool>,
    /// Whether it can be executed.
    pub executable: Option<bool>,
}

bitflags! {
    /// Reasons for a fault that a candidate does not look for: it is not blamed for a translation
    /// where a processor faults for one of them.
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
