//! The story of a scenario: its timeline, where pages were, its claims, and what it cost.

use super::Comparison;
use super::page_map::{PageMap, PagePlace};
use mmu_core::space::{AccessCounts, Decision, Region, SlotNumber, Statistics};
use mmu_core::{AccessKind, Fault, PagingMode, PhysAddr, VirtAddr};

/// A scenario that was run.
#[derive(Clone, Debug)]
pub struct Story {
    /// The name of the scenario.
    pub name: String,
    /// What it shows, as a sentence without a full stop.
    pub shows: String,
    /// The paging mode.
    pub mode: PagingMode,
    /// What happened, in request.
    pub timeline: Vec<TimelineEntry>,
    /// Where the pages of each process were, in the middle and at the end.
    pub pages: Vec<PageRow>,
    /// The claims, and whether they hold.
    pub claims: Vec<Claim>,
    /// What is wrong, each problem with its cause.
    pub problems: Vec<String>,
    /// What the system has counted.
    pub statistics: Statistics,
    /// What the accesses cost.
    pub accesses: AccessCounts,
    /// The maximum number of bytes that tables took at one time.
    pub table_bytes: u64,
    /// The number of frames of the system, 4 KiB each.
    pub frames: usize,
    /// How the machine compares, if there was one.
    pub comparison: Option<Comparison>,
    /// Where on the timeline the machine's history parts from it, if it does.
    pub parting: Option<Parting>,
}

/// How a scenario ended, the best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum StoryEnding {
    /// Every claim holds, nothing is wrong, and the machine has the same history.
    Passed,
    /// The same, but no claim was tested: each was left out by its `when`.
    Untested,
    /// A claim does not hold, something is wrong, or the machine has another history.
    Failed,
}

/// Where two histories part.
#[derive(Clone, Debug)]
pub struct Parting {
    /// The index of the first entry of the timeline that the machine does not have, or that leaves other memory there.
    pub entry: usize,
    /// The index of the first entry of the same request.
    pub from: usize,
    /// What the machine did instead, from there to the end of the request. It then ran no more.
    pub machine: Vec<TimelineEntry>,
}

impl Story {
    /// How it ended.
    pub fn ending(&self) -> StoryEnding {
        let divergence =
            self.comparison.as_ref().and_then(|comparison| comparison.divergence.as_ref());
        let is_right = divergence.is_none()
            && self.problems.is_empty()
            && self.claims.iter().all(|claim| claim.holds);

        match is_right {
            false => StoryEnding::Failed,
            true if self.claims.is_empty() => StoryEnding::Untested,
            true => StoryEnding::Passed,
        }
    }

    /// Whether every claim holds, of which there is one, nothing is wrong, and the machine has the same history.
    pub fn passed(&self) -> bool {
        self.ending() == StoryEnding::Passed
    }
}

/// The comparison of single entries.
impl Story {
    /// Whether the machine has the entry of this index, too. `None` without a machine, and behind the place where
    /// the histories part.
    pub fn same(&self, index: usize) -> Option<bool> {
        self.comparison.as_ref()?;
        match &self.parting {
            Some(parting) if index > parting.entry => None,
            Some(parting) => Some(index < parting.entry),
            None => Some(true),
        }
    }
}

/// A claim of a scenario.
#[derive(Clone, Debug)]
pub struct Claim {
    /// The claim, as a sentence.
    pub claim: String,
    /// Whether it holds.
    pub holds: bool,
}

/// One line of the timeline.
#[derive(Clone, Debug)]
pub struct TimelineEntry {
    /// The process that the entry is about, if any.
    pub process: Option<char>,
    /// What happened.
    pub what: Happened,
    /// The page map when the next entry begins, or at the end. Without one, those before it were too many.
    pub map: Option<Box<PageMap>>,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Happened {
    /// What a process or the scenario did.
    Did(String),
    /// A fault, and the decision on it.
    Fault {
        /// The fault as the processor reported it.
        fault: Fault,
        /// The decision.
        decision: Decision,
        /// The frame that the page has now.
        frame: Option<PhysAddr>,
    },
    /// A stack grew down to this address.
    Grown(VirtAddr),
    /// The clock cleared A of this number of frames, which stay in memory.
    SecondChances(usize),
    /// The clock took a frame.
    Evicted {
        /// The frame.
        frame: PhysAddr,
        /// The page that was in it.
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
    /// The kind of its region.
    pub region: &'static str,
    /// The page.
    pub page: VirtAddr,
    /// Where it was in the middle; `None` if it was not anywhere yet.
    pub before: Option<PagePlace>,
    /// Where it was at the end.
    pub after: Option<PagePlace>,
}

/// The verb for an access.
pub(super) fn verb(kind: AccessKind) -> &'static str {
    match kind {
        AccessKind::Fetch => "execute",
        kind if kind.writes() => "write",
        _ => "read",
    }
}

/// A region in words.
pub(super) fn describe(region: &Region) -> String {
    let (kind, start, pages) = (region.kind.name(), region.start, region.pages);
    let limit = match region.limit {
        limit if limit == pages => String::new(),
        limit => format!(" to {limit}"),
    };
    format!("{kind} at {start} ({pages}{limit})")
}
