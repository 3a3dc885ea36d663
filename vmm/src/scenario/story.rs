//! What is told of a scenario: the timeline, where pages were, what was claimed, what it cost.

use super::{Comparison, Scenario};
use mmu_core::space::{AccessCounts, Decision, Region, SlotNumber, Statistics};
use mmu_core::{AccessKind, Fault, PagingMode, PhysAddr, VirtAddr};

/// A scenario that was run.
#[derive(Clone, Debug)]
pub struct Story {
    /// Which.
    pub scenario: Scenario,
    /// The paging mode.
    pub mode: PagingMode,
    /// What happened, in order.
    pub timeline: Vec<TimelineEntry>,
    /// The pages of each process, where they were in the middle and at the end.
    pub pages: Vec<PageRow>,
    /// What was claimed, and whether it holds.
    pub claims: Vec<Claim>,
    /// What is wrong, each with its cause.
    pub problems: Vec<String>,
    /// What the system did.
    pub statistics: Statistics,
    /// What the accesses cost.
    pub accesses: AccessCounts,
    /// The most bytes that tables took at one time.
    pub table_bytes: u64,
    /// Frames of the system, 4 KiB each.
    pub frames: usize,
    /// What a machine made of it, if one took part.
    pub comparison: Option<Comparison>,
}

impl Story {
    /// Whether every claim holds, nothing is wrong, and a machine has the same history.
    pub fn passed(&self) -> bool {
        let parted = self.comparison.as_ref().and_then(|comparison| comparison.parted.as_ref());
        parted.is_none() && self.problems.is_empty() && self.claims.iter().all(|claim| claim.holds)
    }
}

/// Something that was claimed.
#[derive(Clone, Debug)]
pub struct Claim {
    /// What.
    pub claim: String,
    /// Whether it holds.
    pub holds: bool,
}

/// One line of the timeline.
#[derive(Clone, Debug)]
pub struct TimelineEntry {
    /// The process, if it is about one.
    pub process: Option<char>,
    /// What happened.
    pub what: Happened,
}

/// What happened.
#[derive(Clone, Debug)]
pub enum Happened {
    /// Something that the scenario did.
    Did(String),
    /// A fault, and what was decided.
    Fault {
        /// What the processor said.
        fault: Fault,
        /// What was decided.
        decision: Decision,
        /// The frame that the page has now.
        frame: Option<PhysAddr>,
    },
    /// A stack grew down to this address.
    Grown(VirtAddr),
    /// The clock cleared A of so many frames, which stay.
    SecondChances(usize),
    /// The clock took a frame.
    Evicted {
        /// The frame.
        frame: PhysAddr,
        /// Where it was.
        page: Option<VirtAddr>,
        /// The slot it was written to, if it was dirty.
        written: Option<SlotNumber>,
    },
}

/// A page of a process, in the middle and at the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageRow {
    /// The process.
    pub process: char,
    /// What its region is for.
    pub region: &'static str,
    /// The page.
    pub page: VirtAddr,
    /// Where it was in the middle; `None` if it was nowhere.
    pub before: Option<PagePlace>,
    /// Where it was at the end.
    pub after: Option<PagePlace>,
}

/// Where a page is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PagePlace {
    /// In a frame, with this entry.
    Frame(PhysAddr, u64),
    /// In the store.
    Slot(SlotNumber),
}

/// What an access does.
pub(super) fn verb(kind: AccessKind) -> &'static str {
    match kind {
        AccessKind::Fetch => "execute",
        kind if kind.writes() => "write",
        _ => "read",
    }
}

/// A region, as it is told.
pub(super) fn describe(region: &Region) -> String {
    let (kind, start, pages) = (region.kind.name(), region.start, region.pages);
    let limit = match region.limit {
        limit if limit == pages => String::new(),
        limit => format!(" to {limit}"),
    };
    format!("{kind} at {start} ({pages}{limit})")
}
