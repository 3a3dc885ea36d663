//! Scenarios as a page: a player of the history, step by step, and the history as a table for who has no scripts.

mod data;

use super::explanation::explanation;
use super::text::{place_name, words};
use super::{NarratedScenarios, UNTESTED};
use crate::report::style::number::numbered;
use crate::report::style::page::{rendered, script_data};
use crate::scenario::story::{Claim, Happened, PageRow, Story, StoryEnding, TimelineEntry};
use askama::Template;
use crosswalk_machine::Identity;
use data::StoryData;
use mmu_core::{PhysAddr, VirtAddr};

/// The maximum number of entries of all histories that a page has.
const MAX_ENTRIES: usize = 1_000;

/// The maximum number of pages in the table at the end of a history.
const MAX_PAGES: usize = 200;

/// The maximum number of bytes that the maps of all histories take on a page. With them it is below 1 MB.
const MAX_MAP_BYTES: usize = 400_000;

#[derive(Template)]
#[template(path = "scenario.html")]
struct ScenarioPage<'r> {
    name: &'r str,
    shows: &'r str,
    verdict: String,
    is_bad: bool,
    machine: String,
    compared: String,
    histories: Vec<History>,
    /// What the player plays, as JSON.
    data: String,
}

/// The history in one paging mode.
struct History {
    mode: &'static str,
    frames: usize,
    cut: String,
    machine: String,
    differences: Vec<String>,
    /// Why there are no claims, if there are none.
    untested: &'static str,
    claims: Vec<Claim>,
    problems: Vec<String>,
    rows: Vec<Row>,
    pages: Vec<PageLine>,
}

/// Where a page was in the middle, and at the end.
struct PageLine {
    process: char,
    region: &'static str,
    page: String,
    before: String,
    after: String,
}

/// A step of a history.
struct Row {
    process: String,
    words: String,
    about: String,
    class: &'static str,
    machine: Vec<String>,
    sign: &'static str,
}

/// The page of one scenario, in each mode in which it was run.
///
/// # Panics
/// Never: the data is plain data.
pub fn page(narrated: &NarratedScenarios<'_>) -> String {
    let stories = narrated.stories;
    let first = stories.first();
    let [failed, untested] =
        [StoryEnding::Failed, StoryEnding::Untested].map(|ending| narrated.count(ending) as u64);
    let machine = narrated.machine.map_or_else(String::new, |(identity, _)| machine_name(identity));

    let share = MAX_MAP_BYTES / stories.len().max(1);
    let shown: Vec<_> = stories
        .iter()
        .map(|story| StoryData::of(story, MAX_ENTRIES / stories.len().max(1), share))
        .collect();
    let histories = stories
        .iter()
        .zip(&shown)
        .map(|(story, data)| history(story, data.steps(), &machine))
        .collect();

    let page = ScenarioPage {
        name: first.map_or("", |story| &story.name),
        shows: first.map_or("", |story| &story.shows),
        verdict: match (failed, untested) {
            (0, 0) => "passed: every claim holds".into(),
            (0, _) if stories.len() == 1 => "NOTHING TESTED".into(),
            (0, count) => format!("NOTHING TESTED in {}", numbered(count, "paging mode")),
            _ if stories.len() == 1 => "FAILED".into(),
            (count, _) => format!("FAILED in {}", numbered(count, "paging mode")),
        },
        is_bad: failed + untested > 0,
        compared: narrated.comparison_sentence(),
        machine,
        histories,
        data: script_data(&shown),
    };
    rendered(&page)
}

/// `kvm (pvm)`.
fn machine_name(Identity { kind, flavour, .. }: &Identity) -> String {
    format!("{kind} ({flavour})")
}

fn history(story: &Story, steps: usize, machine: &str) -> History {
    let left_out = story.timeline.len() - steps;
    let divergence = story.comparison.as_ref().and_then(|known| known.divergence.as_ref());
    let differences = divergence.map_or_else(Vec::new, |divergence| {
        let cause = divergence.cause.iter();
        cause.chain(&divergence.differences).cloned().collect()
    });

    History {
        mode: story.mode.name(),
        frames: story.frames,
        cut: match left_out {
            0 => String::new(),
            _ => format!(
                "The history is long: this page ends after step {steps} of {}. `--json` has all of them.",
                story.timeline.len()
            ),
        },
        machine: machine.to_owned(),
        differences,
        untested: if story.ending() == StoryEnding::Untested { UNTESTED } else { "" },
        claims: story.claims.clone(),
        problems: story.problems.clone(),
        rows: (0..steps).map(|index| row(story, index)).collect(),
        pages: story.pages.iter().take(MAX_PAGES).map(|row| page_line(story, row)).collect(),
    }
}

fn page_line(story: &Story, row: &PageRow) -> PageLine {
    PageLine {
        process: row.process,
        region: row.region,
        page: row.page.to_string(),
        before: place_name(story.mode, row.before),
        after: place_name(story.mode, row.after),
    }
}

fn row(story: &Story, index: usize) -> Row {
    let entry = &story.timeline[index];
    let (sign, machine) = beside(story, index);
    Row {
        process: entry.process.map_or_else(String::new, String::from),
        words: shown(&entry.what),
        about: explanation(&entry.what),
        class: class(&entry.what),
        machine,
        sign,
    }
}

/// Whether the machine has an entry, too, and what it has there.
fn beside(story: &Story, index: usize) -> (&'static str, Vec<String>) {
    let here = shown(&story.timeline[index].what);
    let parting = match (story.same(index), &story.parting) {
        (Some(true), _) => return ("=", vec![here]),
        (Some(false), Some(parting)) => parting,
        _ => return ("", Vec::new()),
    };

    let machine = parting.machine.iter().skip(index.saturating_sub(parting.from));
    let machine: Vec<_> = machine.map(|entry| shown(&entry.what)).collect();
    let sentences = match machine.first() {
        // What was asked for is the same, or so are the events; what they left in memory is not.
        None if matches!(story.timeline[index].what, Happened::Did(_)) => {
            vec![format!("{here}, and leaves other memory")]
        }
        Some(first) if *first == here => vec![format!("{here}, and leaves other memory")],
        None => vec!["nothing of the kind".into()],
        Some(_) => machine,
    };
    ("\u{2260}", sentences)
}

/// The words of an entry, with an arrow that stays with its address.
fn shown(what: &Happened) -> String {
    words(what).replace(" -> ", " \u{2192}\u{a0}")
}

/// What kind of step it is, for its colour and its sign.
const fn class(what: &Happened) -> &'static str {
    match what {
        Happened::Did(_) => "did",
        Happened::Fault { decision, .. } => decision.kind(),
        Happened::Grown(_) => "grown",
        Happened::SecondChances(_) | Happened::Evicted { .. } => "clock",
    }
}

/// The frame and the page that a step is about.
fn subject(TimelineEntry { what, .. }: &TimelineEntry) -> (Option<u64>, Option<u64>) {
    match what {
        Happened::Fault { fault, frame, .. } => {
            (frame.map(PhysAddr::get), fault.cr2.map(|address| address.get() & !0xfff))
        }
        Happened::Evicted { frame, page, .. } => (Some(frame.get()), page.map(VirtAddr::get)),
        Happened::Grown(start) => (None, Some(start.get())),
        Happened::Did(_) | Happened::SecondChances(_) => (None, None),
    }
}
