//! Predictions: the set of outcomes that the manuals allow for an access, each with what it does
//! to the entries of its path.

use crate::address::PhysAddr;
use crate::x86::fault::Fault;
use crate::x86::format::Level;
use crate::x86::rule::{Rule, RuleSet};
use arrayvec::ArrayVec;

/// A run of bytes in physical memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Span {
    /// The first byte.
    pub address: PhysAddr,
    /// How many bytes.
    pub len: u16,
}

/// How an access ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It reaches these bytes: one span, or two when it crosses a page.
    Translated(ArrayVec<Span, 2>),
    /// It faults.
    Fault(Fault),
}

impl Outcome {
    /// Where the first byte of a completed access lies.
    pub fn physical_address(&self) -> Option<PhysAddr> {
        match self {
            Self::Translated(spans) => spans.first().map(|span| span.address),
            Self::Fault(_) => None,
        }
    }

    /// The fault, if it is one.
    pub fn fault(&self) -> Option<&Fault> {
        match self {
            Self::Translated(_) => None,
            Self::Fault(fault) => Some(fault),
        }
    }
}

/// What an outcome does to one entry: the A and D bits that it sets, and those that it may set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryUpdate {
    /// Where the entry lies.
    pub at: PhysAddr,
    /// Its level.
    pub level: &'static Level,
    /// Its value before the access.
    pub before: u64,
    /// Bits that are set afterwards.
    pub must_set: u64,
    /// Bits that may or may not be set afterwards.
    pub may_set: u64,
    /// The rule that leaves the `may_set` bits open; meaningless when there are none.
    pub open_by: Rule,
}

impl EntryUpdate {
    /// Whether this value is a legal one after the access.
    pub const fn allows(&self, after: u64) -> bool {
        // Not merely `may_set`: a processor never clears A or D (SDM "Accessed and Dirty Flags").
        (after ^ (self.before | self.must_set)) & !self.open_bits() == 0
    }

    /// The bits whose setting was open: not yet set before, and free to be set or not.
    pub const fn open_bits(&self) -> u64 {
        self.may_set & !(self.before | self.must_set)
    }
}

/// The most ways an access can go: two outcomes of a crossing access, for each of two members of three
/// open choices (CODE-7, CODE-8, OUT-1).
pub const MAX_ALTERNATIVES: usize = 16;

/// The most entries an access meets: five levels for each of two pages.
pub const MAX_ENTRIES: usize = 10;

/// One allowed way for an access to go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alternative {
    /// How it ends.
    pub outcome: Outcome,
    /// What it does to the entries it meets. An entry met twice is listed once.
    pub updates: ArrayVec<EntryUpdate, MAX_ENTRIES>,
    /// The rule that makes this one of several, with the member it stands for.
    pub choice: Option<(Rule, &'static str)>,
}

/// All allowed ways for an access to go, the likeliest first, and the rules that led there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prediction {
    /// At least one.
    pub alternatives: ArrayVec<Alternative, MAX_ALTERNATIVES>,
    /// The rules that decided.
    pub rules: RuleSet,
}
