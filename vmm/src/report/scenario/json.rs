//! Scenarios for scripts. Counts are of the whole scenario.

use super::map::{PageMapJson, PagePlaceJson, map_json, place_json};
use super::{NarratedScenarios, entries_per_translation};
use crate::report::document::Document;
use crate::report::style::count::Count;
use crate::scenario::story::{Claim, Happened, PageRow, Story, StoryEnding, TimelineEntry};
use crate::scenario::{Comparison, Divergence, SCENARIOS};
use crosswalk_case::Hex;
use crosswalk_machine::Identity;
use serde::Serialize;

/// The scenarios that there are: `scenario` without a name.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(in crate::report) struct ScenarioListDocument {
    /// Each scenario.
    scenarios: Vec<ScenarioJson>,
}

impl Document for ScenarioListDocument {
    const SCHEMA: u32 = 1;
}

/// A scenario.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct ScenarioJson {
    /// Its name.
    name: &'static str,
    /// What it shows, in a sentence.
    shows: &'static str,
}

/// Scenarios that were run.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(in crate::report) struct ScenariosDocument<'r> {
    /// With what the software was compared.
    comparison: ComparedWithJson<'r>,
    /// The paging modes.
    modes: Vec<&'static str>,
    /// Each scenario in each mode.
    scenarios: Vec<StoryJson<'r>>,
    /// The number of scenarios.
    totals: ScenarioTotalsJson,
}

impl Document for ScenariosDocument<'_> {
    const SCHEMA: u32 = 1;
}

/// The number of scenarios.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct ScenarioTotalsJson {
    /// How many were run.
    scenarios: Count,
    /// How many of them passed.
    passed: Count,
    /// How many tested no claim: each was left out by its `when`.
    untested: Count,
}

/// With what the software was compared.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(super) struct ComparedWithJson<'r> {
    /// The machine; null if there was none.
    pub(super) machine: Option<ComparedMachineJson<'r>>,
    /// The result in words.
    pub(super) result: &'static str,
    /// Why this machine, or why none.
    pub(super) reason: &'r str,
}

/// A machine that ran scenarios.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(super) struct ComparedMachineJson<'r> {
    /// `kvm` or `qemu`.
    kind: &'r str,
    /// How it translates.
    flavour: &'r str,
    /// What lies beneath it.
    beneath: &'r str,
    /// Of an emulator, its name and version.
    version: Option<&'r str>,
}

/// A scenario in a paging mode.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct StoryJson<'r> {
    /// The name of the scenario.
    name: &'r str,
    /// What it shows.
    shows: &'r str,
    /// The paging mode.
    mode: &'static str,
    /// How the machine compares; null if there was none.
    comparison: Option<ComparisonJson<'r>>,
    /// Whether every claim holds, of which there is one, and the histories are equal.
    passed: bool,
    /// The claims of the scenario that were tested.
    claims: Vec<ClaimJson<'r>>,
    /// What is wrong, each with its cause.
    problems: &'r [String],
    /// What happened, in order.
    timeline: Vec<TimelineJson<'r>>,
    /// Where the pages were, in the middle and at the end.
    pages: Vec<PageRowJson>,
    /// What the system counted.
    statistics: StatisticsJson,
}

/// The histories of the machine and of the software.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(super) struct ComparisonJson<'r> {
    /// The number of orders that both executed.
    orders: Count,
    /// The number of events that are the same.
    events: Count,
    /// The number of frames and slots whose contents are the same, over all orders.
    frames: Count,
    /// The number of entries in which the machine has another A, which the manuals leave open.
    chosen: Count,
    /// Whether the histories are equal.
    equal: bool,
    /// A known finding of the machine that its tables show, if they show one.
    known: Option<KnownInTablesJson<'r>>,
    /// Where the histories part; null if they do not.
    parted: Option<PartedJson<'r>>,
}

/// A known finding that tables show.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct KnownInTablesJson<'r> {
    /// Its id.
    id: &'r str,
    /// How often it was seen.
    count: Count,
}

/// The first difference between two histories.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct PartedJson<'r> {
    /// The number of the order, from 1.
    order: Count,
    /// Why, where that is known.
    cause: Option<&'r str>,
    /// Everything that differs after it.
    differences: &'r [String],
    /// The index of the entry of the timeline where they part; null of random operations, which have none.
    #[serde(skip_serializing_if = "Option::is_none")]
    entry: Option<Count>,
    /// What the machine did in that order, beside the entries of the timeline from `from` on.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    machine: Vec<MachineEntryJson<'r>>,
    /// The index of the first entry of the timeline that belongs to the order.
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<Count>,
}

/// A claim.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct ClaimJson<'r> {
    /// The claim, as a sentence.
    claim: &'r str,
    /// Whether it holds.
    holds: bool,
}

/// A line of the timeline.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct TimelineJson<'r> {
    /// The process that it is about, if it is about one.
    process: Option<char>,
    #[serde(flatten)]
    what: HappenedJson<'r>,
    /// Whether the machine has the same; null without a machine, and after the histories have parted.
    same: Option<bool>,
    /// The page map when the next entry begins, or at the end; null if those before it were too many.
    map: Option<PageMapJson>,
}

/// What a machine did.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct MachineEntryJson<'r> {
    /// The process that it is about, if it is about one.
    process: Option<char>,
    #[serde(flatten)]
    what: HappenedJson<'r>,
}

/// What happened.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(tag = "event", rename_all = "kebab-case")]
enum HappenedJson<'r> {
    /// A process or the scenario did something.
    Did {
        /// What, in words.
        what: &'r str,
    },
    /// A page fault, and what the kernel did about it.
    Fault {
        /// The vector of the exception.
        vector: u8,
        /// The error code.
        error_code: Hex,
        /// CR2, if the exception sets it.
        cr2: Option<String>,
        /// `minor`, `major` or `invalid`.
        kind: &'static str,
        /// What the kernel decided, in words.
        decision: String,
        /// The frame that the page has now.
        frame: Option<String>,
    },
    /// A stack grew.
    Grown {
        /// The new start of its region.
        start: String,
    },
    /// The clock spared frames that were accessed.
    SecondChances {
        /// How many.
        frames: Count,
    },
    /// The clock took a frame.
    Evicted {
        /// The frame.
        frame: String,
        /// The page that was in it.
        page: Option<String>,
        /// The slot of the store that it was written to; null if it was clean.
        written_to_slot: Option<u32>,
    },
}

/// A page of a process.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct PageRowJson {
    /// The process.
    process: char,
    /// The kind of its region.
    region: &'static str,
    /// The linear address of the page.
    page: String,
    /// Where it was in the middle; null if it was nowhere yet.
    before: Option<PagePlaceJson>,
    /// Where it was at the end.
    after: Option<PagePlaceJson>,
}

/// What the system counted.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct StatisticsJson {
    /// Page faults.
    faults: FaultCountsJson,
    /// Pages that moved.
    pages: PageCountsJson,
    /// The TLB.
    tlb: TlbCountsJson,
    /// The most bytes that tables took at one time.
    table_bytes: Count,
    /// The number of frames of 4 KiB.
    frames: Count,
}

/// Page faults.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct FaultCountsJson {
    /// Served without the store.
    minor: Count,
    /// Served from the store.
    major: Count,
    /// Those that ended a process.
    invalid: Count,
    /// Frames that were filled with zeros.
    zero_fills: Count,
    /// Frames that were copied for copy-on-write.
    copies: Count,
}

/// Pages that moved.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct PageCountsJson {
    /// Frames that the clock took.
    evicted: Count,
    /// Frames that the clock spared, since A was set.
    second_chances: Count,
    /// Pages that were written to the store.
    written: Count,
    /// Pages that were read from it.
    read: Count,
}

/// The TLB.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct TlbCountsJson {
    /// Accesses that completed.
    accesses: Count,
    /// Those whose translation was cached.
    hits: Count,
    /// Those that walked.
    misses: Count,
    /// Entries that the walks read.
    entries_read: Count,
    /// The average number of entries read for an access.
    entries_per_translation: f64,
    /// Translations of one page that were shot down.
    pages_shot_down: Count,
    /// Translations of a whole space that were.
    spaces_shot_down: Count,
}

/// The list of scenarios.
pub fn list_document() -> impl Document {
    let list =
        SCENARIOS.iter().map(|known| ScenarioJson { name: &known.name, shows: &known.shows });
    ScenarioListDocument { scenarios: list.collect() }
}

/// The stories as one JSON document.
pub fn document<'r>(narrated: &NarratedScenarios<'r>) -> impl Document + use<'r> {
    let stories = narrated.stories;
    let mut modes: Vec<_> = stories.iter().map(|story| story.mode.name()).collect();
    modes.dedup();

    ScenariosDocument {
        comparison: ComparedWithJson {
            machine: narrated.machine.map(|(identity, _)| machine_json(identity)),
            result: narrated.result(),
            reason: narrated.machine.map_or(narrated.why_none, |(_, why)| why),
        },
        modes,
        scenarios: stories.iter().map(story_json).collect(),
        totals: ScenarioTotalsJson {
            scenarios: stories.len().into(),
            passed: narrated.count(StoryEnding::Passed).into(),
            untested: narrated.count(StoryEnding::Untested).into(),
        },
    }
}

pub(super) fn machine_json(identity: &Identity) -> ComparedMachineJson<'_> {
    let Identity { kind, flavour, beneath, version, .. } = identity;
    ComparedMachineJson { kind, flavour, beneath, version: version.as_deref() }
}

pub(super) fn comparison_json(comparison: &Comparison) -> ComparisonJson<'_> {
    let Comparison { requests, events, frames, chosen, known, divergence, .. } = comparison;

    ComparisonJson {
        orders: (*requests).into(),
        events: (*events).into(),
        frames: (*frames).into(),
        chosen: (*chosen).into(),
        equal: divergence.is_none(),
        known: known.as_ref().map(|(id, count)| KnownInTablesJson { id, count: (*count).into() }),
        parted: divergence.as_ref().map(parted_json),
    }
}

fn parted_json(divergence: &Divergence) -> PartedJson<'_> {
    let Divergence { request, differences, cause, .. } = divergence;
    PartedJson {
        order: (*request).into(),
        cause: cause.as_deref(),
        differences,
        entry: None,
        machine: Vec::new(),
        from: None,
    }
}

/// The same of a story, whose timeline has the place where they part.
fn story_comparison_json<'r>(story: &'r Story, comparison: &'r Comparison) -> ComparisonJson<'r> {
    let mut json = comparison_json(comparison);
    if let (Some(parted), Some(parting)) = (&mut json.parted, &story.parting) {
        let entries = parting.machine.iter();
        parted.entry = Some(parting.entry.into());
        parted.from = Some(parting.from.into());
        parted.machine = entries
            .map(|TimelineEntry { process, what, .. }| MachineEntryJson {
                process: *process,
                what: happened_json(what),
            })
            .collect();
    }
    json
}

fn story_json(story: &Story) -> StoryJson<'_> {
    StoryJson {
        name: &story.name,
        shows: &story.shows,
        mode: story.mode.name(),
        comparison: story.comparison.as_ref().map(|known| story_comparison_json(story, known)),
        passed: story.passed(),
        claims: story.claims.iter().map(claim_json).collect(),
        problems: &story.problems,
        timeline: story
            .timeline
            .iter()
            .enumerate()
            .map(|(index, entry)| timeline_json(story, index, entry))
            .collect(),
        pages: story.pages.iter().map(page_json).collect(),
        statistics: statistics_json(story),
    }
}

fn claim_json(Claim { claim, holds }: &Claim) -> ClaimJson<'_> {
    ClaimJson { claim, holds: *holds }
}

fn statistics_json(story: &Story) -> StatisticsJson {
    let counts = &story.statistics;
    let accesses = &story.accesses;

    StatisticsJson {
        faults: FaultCountsJson {
            minor: counts.minor.into(),
            major: counts.major.into(),
            invalid: counts.invalid.into(),
            zero_fills: counts.zero_fills.into(),
            copies: counts.copies.into(),
        },
        pages: PageCountsJson {
            evicted: counts.evicted.into(),
            second_chances: counts.second_chances.into(),
            written: counts.written.into(),
            read: counts.read.into(),
        },
        tlb: TlbCountsJson {
            accesses: accesses.completed.into(),
            hits: accesses.hits.into(),
            misses: accesses.misses.into(),
            entries_read: accesses.entries_read.into(),
            entries_per_translation: entries_per_translation(story),
            pages_shot_down: counts.pages_forgotten.into(),
            spaces_shot_down: counts.spaces_forgotten.into(),
        },
        table_bytes: story.table_bytes.into(),
        frames: story.frames.into(),
    }
}

fn page_json(row: &PageRow) -> PageRowJson {
    PageRowJson {
        process: row.process,
        region: row.region,
        page: row.page.to_string(),
        before: row.before.map(place_json),
        after: row.after.map(place_json),
    }
}

fn timeline_json<'r>(story: &Story, index: usize, entry: &'r TimelineEntry) -> TimelineJson<'r> {
    TimelineJson {
        process: entry.process,
        what: happened_json(&entry.what),
        same: story.same(index),
        map: entry.map.as_deref().map(map_json),
    }
}

fn happened_json(what: &Happened) -> HappenedJson<'_> {
    match what {
        Happened::Did(what) => HappenedJson::Did { what },
        Happened::Fault { fault, decision, frame } => HappenedJson::Fault {
            vector: fault.vector as u8,
            error_code: Hex(fault.error_code.into()),
            cr2: fault.cr2.map(|address| address.to_string()),
            kind: decision.kind(),
            decision: decision.to_string(),
            frame: frame.map(|frame| frame.to_string()),
        },
        Happened::Grown(start) => HappenedJson::Grown { start: start.to_string() },
        Happened::SecondChances(count) => HappenedJson::SecondChances { frames: (*count).into() },
        Happened::Evicted { frame, page, written } => HappenedJson::Evicted {
            frame: frame.to_string(),
            page: page.map(|page| page.to_string()),
            written_to_slot: written.map(|slot| slot.0),
        },
    }
}
