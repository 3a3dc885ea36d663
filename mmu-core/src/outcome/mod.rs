//! What a walk returns. A *translation* is one answer: where an access goes. A *prediction* is the set
//! of outcomes that the manuals allow for an access, each with its updates of the entries on the path.

mod list;
mod translation;

pub use list::BoundedList;
pub use translation::{AccessError, AccessTranslation, Translation};

use crate::access::MAX_PAGES;
use crate::address::PhysAddr;
use crate::x86::fault::Fault;
use crate::x86::format::{Level, MAX_LEVELS};
use crate::x86::rule::{Rule, RuleSet};
use arrayvec::ArrayVec;

/// Consecutive bytes of physical memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Span {
    /// The address of the first byte.
    pub address: PhysAddr,
    /// Number of bytes.
    pub len: u16,
}

/// How an access ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It completes, on these bytes: one span for each 4 KiB page that it touches, in the order of
    /// linear addresses.
    Translated(ArrayVec<Span, MAX_PAGES>),
    /// It faults.
    Fault(Fault),
}

impl Outcome {
    /// The outcome of an access that was translated, to be compared with those of a prediction.
    ///
    /// # Errors
    /// The same error, except for a fault, which is an outcome.
    pub fn of<E>(
        translated: Result<AccessTranslation, AccessError<E>>,
    ) -> Result<Self, AccessError<E>> {
        match translated {
            Ok(translation) => Ok(Self::Translated(translation.spans().collect())),
            Err(AccessError::Fault(fault)) => Ok(Self::Fault(fault)),
            Err(error) => Err(error),
        }
    }

    /// The physical address of the first byte, if the access completes.
    pub fn physical_address(&self) -> Option<PhysAddr> {
        match self {
            Self::Translated(spans) => spans.first().map(|span| span.address),
            Self::Fault(_) => None,
        }
    }

    /// The fault, if the access faults.
    pub fn fault(&self) -> Option<&Fault> {
        match self {
            Self::Translated(_) => None,
            Self::Fault(fault) => Some(fault),
        }
    }
}

/// How an outcome changes one entry: the A and D bits that are set, and those that may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryUpdate {
    /// The entry's address.
    pub at: PhysAddr,
    /// Its level.
    pub level: &'static Level,
    /// Its value before the access.
    pub before: u64,
    /// Bits that must be set afterwards.
    pub must_set: u64,
    /// Bits that may or may not be set afterwards.
    pub may_set: u64,
    /// The rule that leaves the `may_set` bits open; meaningless if there are none.
    pub open_by: Rule,
}

impl EntryUpdate {
    /// Whether the entry may have this value after the access.
    pub const fn allows(&self, after: u64) -> bool {
        // A bit that was set before is not open: a processor never clears A or D (SDM "Accessed and
        // Dirty Flags").
        (after ^ (self.before | self.must_set)) & !self.open_bits() == 0
    }

    /// The bits that were clear before and may be set or not.
    pub const fn open_bits(&self) -> u64 {
        self.may_set & !(self.before | self.must_set)
    }
}

/// Maximum number of alternatives: a fault on each of four pages (CODE-12), for each of the two
/// members of three open choices (CODE-7, CANON-4, OUT-1): 32. Others have fewer. Of a choice of
/// CANON-2 one member is a fault of the address, so there are 4 × 2 × 2 and that fault (CODE-7 or
/// PDPTE-4, OUT-1): 17. A fetch has another choice (CODE-8), but touches two pages and has no tag:
/// 2 × 2 × 2 × 2 and a fault of the address, 17 as well.
pub const MAX_ALTERNATIVES: usize = 8 * MAX_PAGES;

/// Maximum number of entries on the paths of an access: one for each of its pages in the last level,
/// and two in each level above, since pages that follow one another lie under one upper entry or two.
/// Only old entries in caches ([`Mmu::predict_stale`](crate::Mmu::predict_stale)) or a [`Semantics`]
/// of its own can lead an access of more than two pages to more; these are left out.
///
/// [`Semantics`]: crate::Semantics
pub const MAX_ENTRIES: usize = MAX_PAGES + 2 * (MAX_LEVELS - 1);

/// Number of entries of an alternative that need no heap: those of a path of any format, and of an access
/// to two pages whose tables are the same.
const INLINE_ENTRIES: usize = MAX_LEVELS + 1;

/// The updates of the entries on the path of an access.
pub type EntryUpdates = BoundedList<EntryUpdate, INLINE_ENTRIES, MAX_ENTRIES>;

/// The outcomes that are allowed for an access. Most accesses have one.
pub type Alternatives = BoundedList<Alternative, 1, MAX_ALTERNATIVES>;

/// One outcome that is allowed for an access.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alternative {
    /// How it ends.
    pub outcome: Outcome,
    /// The updates of the entries on its path. An entry used twice is listed once.
    pub updates: EntryUpdates,
    /// If a rule leaves a choice: the rule, and the member of the choice that leads here.
    pub choice: Option<(Rule, &'static str)>,
}

/// Every outcome that is allowed for an access, and the rules that led there. The default has none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prediction {
    /// The alternatives, at least one, the likeliest first.
    pub alternatives: Alternatives,
    /// The rules that decided.
    pub rules: RuleSet,
}
