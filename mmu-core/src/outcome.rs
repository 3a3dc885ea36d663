//! Predictions: the set of outcomes that the manuals allow for an access, each with its updates of
//! the entries on the path.

use crate::address::PhysAddr;
use crate::x86::fault::Fault;
use crate::x86::format::Level;
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
    /// It completes, on these bytes: one span, or two when it crosses a page boundary.
    Translated(ArrayVec<Span, 2>),
    /// It faults.
    Fault(Fault),
}

impl Outcome {
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

/// Maximum number of alternatives: two outcomes of an access that crosses a page, for each of the
/// two members of three open choices (CODE-7, CODE-8, OUT-1), and a fault of the address (CANON-2).
pub const MAX_ALTERNATIVES: usize = 17;

/// Maximum number of entries on the paths of an access: five levels for each of two pages.
pub const MAX_ENTRIES: usize = 10;

/// One outcome that is allowed for an access.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alternative {
    /// How it ends.
    pub outcome: Outcome,
    /// The updates of the entries on its path. An entry used twice is listed once.
    pub updates: ArrayVec<EntryUpdate, MAX_ENTRIES>,
    /// If a rule leaves a choice: the rule, and the member of the choice that leads here.
    pub choice: Option<(Rule, &'static str)>,
}

/// Every outcome that is allowed for an access, and the rules that led there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prediction {
    /// The alternatives, at least one, the likeliest first.
    pub alternatives: ArrayVec<Alternative, MAX_ALTERNATIVES>,
    /// The rules that decided.
    pub rules: RuleSet,
}
