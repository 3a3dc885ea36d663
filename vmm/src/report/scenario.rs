//! What became of a scenario: a timeline, a map of pages to frames, claims and counts, in 80 columns
//! and as JSON.
//!
//! ```text
//! {"comparison": {"machine": null | {"kind", "flavour", "beneath", "version"}, "result", "reason"},
//!  "modes", "scenarios": [{"name", "shows", "mode", "passed", "claims": [{"claim", "holds"}],
//!    "problems": […], "comparison": null | {"orders", "events", "frames", "chosen", "equal",
//!      "known", "parted": null | {"order", "cause", "differences"}},
//!    "timeline": [{"process", "event": "did|fault|grown|second-chances|evicted", …}],
//!    "pages": [{"process", "region", "page", "before", "after"}],
//!    "statistics": {"faults": {…}, "pages": {…}, "tlb": {…}, "table_bytes", "frames"}}],
//!  "totals": {"scenarios", "passed"}}
//! ```
//!
//! A place is `{"frame", "entry"}`, `{"slot"}` or null. Counts are of the whole scenario;
//! `table_bytes` is the most at one time.

use super::json::to_text;
use super::layout::{line, new_table, trimmed, with_commas};
use crate::machine::Identity;
use crate::scenario::story::{Claim, Happened, Moment, PagePlace, PageRow, Story};
use crate::scenario::{Comparison, Parted, SCENARIOS};
use mmu_core::format::EntryBits;
use mmu_core::{PagingMode, PhysAddr};
use serde_json::{Value, json};
use std::fmt::Write;

/// What a report without a machine says.
pub(super) const NOTHING_COMPARED: &str = "software only: nothing was compared";

/// What is told of.
#[derive(Clone, Copy, Debug)]
pub struct Told<'t> {
    /// The scenarios that were run.
    pub stories: &'t [Story],
    /// The machine beside the software, and why it was chosen.
    pub machine: Option<(&'t Identity, &'t str)>,
    /// Why there is none.
    pub why_none: &'t str,
}

impl Told<'_> {
    /// The result of all comparisons.
    fn result(&self) -> &'static str {
        let comparisons = self.stories.iter().filter_map(|story| story.comparison.as_ref());
        let parted = comparisons.clone().any(|comparison| comparison.parted.is_some());
        match comparisons.count() {
            0 => NOTHING_COMPARED,
            _ if parted => "histories part",
            _ => "histories equal",
        }
    }
}

/// The scenarios there are.
pub fn list() -> String {
    let mut text = String::new();
    for scenario in SCENARIOS {
        line(&mut text, &format!("{}: {}", scenario.name, scenario.shows));
    }
    text.push_str("\ncrosswalk scenario NAME runs one of them, crosswalk scenario all each, and\n");
    text.push_str("crosswalk scenario random thousands of random operations.\n");
    text
}

/// The same as JSON: `[{"name", "shows"}]`.
pub fn json_list() -> String {
    let list = SCENARIOS.iter().map(|known| json!({"name": known.name, "shows": known.shows}));
    to_text(&list.collect::<Vec<_>>())
}

/// The stories for people; of several only the claims and the counts.
pub fn text(told: &Told<'_>) -> String {
    let mut text = String::new();
    for story in told.stories {
        heading(&mut text, story);
        if told.stories.len() == 1 {
            timeline(&mut text, story);
            pages(&mut text, story);
            statistics(&mut text, story);
        }
        claims(&mut text, story);
        if let Some(comparison) = &story.comparison {
            compared(&mut text, comparison);
        }
        text.push('\n');
    }
    if told.stories.len() > 1 {
        let passed = told.stories.iter().filter(|story| story.passed()).count();
        let mut modes: Vec<_> = told.stories.iter().map(|story| story.mode.name()).collect();
        modes.dedup();
        let (count, modes) = (told.stories.len(), modes.join(", "));
        line(&mut text, &format!("{passed} of {count} scenarios pass with {modes} tables."));
    }
    line(&mut text, &ending(told.machine, told.why_none, told.result()));
    text
}

/// The last line: with what it was compared, and what came of it.
pub(super) fn ending(
    machine: Option<(&Identity, &str)>,
    why_none: &str,
    result: &'static str,
) -> String {
    match machine {
        None => format!("{}: {why_none}.", capitalized(NOTHING_COMPARED)),
        Some((Identity { kind, flavour, version, .. }, why)) => {
            let version = version.as_ref().map_or_else(String::new, |known| format!(" {known}"));
            format!("Compared with {kind} ({why}), flavour {flavour}{version}: {result}.")
        }
    }
}

/// What a machine made of it.
pub(super) fn compared(text: &mut String, comparison: &Comparison) {
    let Comparison { machine, orders, events, frames, chosen, known, parted } = comparison;
    let (kind, flavour) = (&machine.kind, &machine.flavour);
    let (events, frames) = (with_commas(*events), with_commas(*frames));
    if let Some(parted) = parted {
        line(text, &format!("NO   {kind} ({flavour}) has the same history: {parted}"));
        for difference in &parted.differences {
            line(text, &format!("     {difference}"));
        }
    } else {
        line(
            text,
            &format!(
                "yes  {kind} ({flavour}) has the same history: {orders} orders, {events} events, \
                 {frames} pages of memory compared"
            ),
        );
    }
    if *chosen > 0 {
        let entries = with_commas(*chosen);
        line(text, &format!("     {entries} entries differ in A as they may: AD-2, AD-3"));
    }
    if let Some((id, count)) = known {
        line(text, &format!("     known finding {id} showed in {} entries", with_commas(*count)));
    }
}

fn heading(text: &mut String, story: &Story) {
    let Story { scenario, mode, .. } = story;
    let ended = if story.passed() { "passed" } else { "FAILED" };
    line(text, &format!("{}: {}", scenario.name, scenario.shows));
    line(text, &format!("{mode} tables, {} frames of 4 KiB: {ended}", story.frames));
    text.push('\n');
}

/// One line for each thing that happened, the process before it.
fn timeline(text: &mut String, story: &Story) {
    for Moment { process, what } in &story.timeline {
        let words = match what {
            Happened::Did(what) => what.clone(),
            Happened::Fault { fault, decision, frame } => {
                let frame = frame.map_or_else(String::new, |frame| format!(" -> {frame}"));
                format!("  {fault}: {decision}{frame}")
            }
            Happened::Grown(start) => format!("  the stack grows down to {start}"),
            Happened::SecondChances(1) => "  clock: A of a frame is cleared, it stays".into(),
            Happened::SecondChances(count) => {
                format!("  clock: A of {count} frames is cleared, they stay")
            }
            Happened::Evicted { frame, page, written } => {
                let page = page.map_or_else(String::new, |page| format!(" from {page}"));
                let written = match written {
                    Some(slot) => format!("dirty, written to slot {}", slot.0),
                    None => "clean, not written".into(),
                };
                format!("  clock: {frame} is taken{page}: {written}")
            }
        };
        let process = process.unwrap_or(' ');
        line(text, &format!("{process}  {words}"));
    }
    text.push('\n');
}

/// The pages of each process, in the middle and at the end.
fn pages(text: &mut String, story: &Story) {
    let mut table = new_table(&["process", "region", "page", "before", "after"]);
    for PageRow { process, region, page, before, after } in &story.pages {
        let [before, after] = [before, after].map(|place| place_name(story.mode, *place));
        table.add_row([process.to_string(), (*region).to_owned(), page.to_string(), before, after]);
    }
    let _ = write!(text, "{}\n\n", trimmed(&table));
}

/// `0x9000 RW US A D`, `slot 3`.
fn place_name(mode: PagingMode, place: Option<PagePlace>) -> String {
    match place {
        None => "-".into(),
        Some(PagePlace::Slot(slot)) => format!("slot {}", slot.0),
        Some(PagePlace::Frame(frame, entry)) => {
            let flags = flags(mode, entry);
            format!("{frame}{}{flags}", if flags.is_empty() { "" } else { " " })
        }
    }
}

/// The flags that tell something here: P and the rest go without saying.
fn flags(mode: PagingMode, entry: u64) -> String {
    if mode == PagingMode::Linear {
        return String::new();
    }
    let told = EntryBits::RW | EntryBits::US | EntryBits::A | EntryBits::D | EntryBits::XD;
    let flags = EntryBits::from_bits_truncate(entry) & told;
    flags.iter_names().map(|(name, _)| name).collect::<Vec<_>>().join(" ")
}

fn statistics(text: &mut String, story: &Story) {
    let (counts, accesses) = (&story.statistics, &story.accesses);
    line(
        text,
        &format!(
            "faults    {} minor ({} zero-filled, {} copied), {} major, {} invalid",
            counts.minor, counts.zero_fills, counts.copies, counts.major, counts.invalid
        ),
    );
    line(
        text,
        &format!(
            "clock     {} frames taken, {} second chances; store: {} pages written, {} read",
            counts.evicted, counts.second_chances, counts.written, counts.read
        ),
    );
    line(
        text,
        &format!(
            "accesses  {} completed: {} TLB hits, {} misses; {:.2} entries read a translation",
            with_commas(accesses.completed),
            with_commas(accesses.hits),
            with_commas(accesses.misses),
            entries_per_translation(story),
        ),
    );
    line(
        text,
        &format!(
            "tables    {} KiB at most; shot down: {} times a page, {} times a whole space",
            with_commas(story.table_bytes / 1024),
            counts.pages_forgotten,
            counts.spaces_forgotten
        ),
    );
    text.push('\n');
}

fn entries_per_translation(story: &Story) -> f64 {
    let accesses = &story.accesses;
    if accesses.completed == 0 {
        return 0.0;
    }
    accesses.entries_read as f64 / accesses.completed as f64
}

fn claims(text: &mut String, story: &Story) {
    for claim in &story.claims {
        let sign = if claim.holds { "yes" } else { "NO " };
        line(text, &format!("{sign}  {}", claim.claim));
    }
    for problem in &story.problems {
        line(text, &format!("wrong: {problem}"));
    }
}

/// The stories as one JSON document.
pub fn json(told: &Told<'_>) -> String {
    let passed = told.stories.iter().filter(|story| story.passed()).count();
    let mut modes: Vec<_> = told.stories.iter().map(|story| story.mode.name()).collect();
    modes.dedup();
    let machine = told.machine.map(|(identity, _)| machine_json(identity));
    let reason = told.machine.map_or(told.why_none, |(_, why)| why);
    to_text(&json!({
        "comparison": {"machine": machine, "result": told.result(), "reason": reason},
        "modes": modes,
        "scenarios": told.stories.iter().map(story_json).collect::<Vec<_>>(),
        "totals": {"scenarios": told.stories.len(), "passed": passed},
    }))
}

pub(super) fn machine_json(identity: &Identity) -> Value {
    let Identity { kind, flavour, beneath, version, .. } = identity;
    json!({"kind": kind, "flavour": flavour, "beneath": beneath, "version": version})
}

pub(super) fn comparison_json(comparison: &Comparison) -> Value {
    let Comparison { orders, events, frames, known, .. } = comparison;
    let parted = |Parted { order, differences, cause }: &Parted| json!({"order": order, "cause": cause, "differences": differences});
    json!({
        "orders": orders,
        "events": events,
        "frames": frames,
        "chosen": comparison.chosen,
        "equal": comparison.parted.is_none(),
        "known": known.as_ref().map(|(id, count)| json!({"id": id, "count": count})),
        "parted": comparison.parted.as_ref().map(parted),
    })
}

fn story_json(story: &Story) -> Value {
    let claim = |claim: &Claim| json!({"claim": claim.claim, "holds": claim.holds});
    let page = |row: &PageRow| {
        json!({
            "process": row.process,
            "region": row.region,
            "page": row.page.to_string(),
            "before": row.before.map(place_json),
            "after": row.after.map(place_json),
        })
    };
    let (counts, accesses) = (&story.statistics, &story.accesses);
    json!({
        "name": story.scenario.name,
        "shows": story.scenario.shows,
        "mode": story.mode.name(),
        "comparison": story.comparison.as_ref().map(comparison_json),
        "passed": story.passed(),
        "claims": story.claims.iter().map(claim).collect::<Vec<_>>(),
        "problems": story.problems,
        "timeline": story.timeline.iter().map(moment_json).collect::<Vec<_>>(),
        "pages": story.pages.iter().map(page).collect::<Vec<_>>(),
        "statistics": {
            "faults": {
                "minor": counts.minor,
                "major": counts.major,
                "invalid": counts.invalid,
                "zero_fills": counts.zero_fills,
                "copies": counts.copies,
            },
            "pages": {
                "evicted": counts.evicted,
                "second_chances": counts.second_chances,
                "written": counts.written,
                "read": counts.read,
            },
            "tlb": {
                "accesses": accesses.completed,
                "hits": accesses.hits,
                "misses": accesses.misses,
                "entries_read": accesses.entries_read,
                "entries_per_translation": entries_per_translation(story),
                "pages_shot_down": counts.pages_forgotten,
                "spaces_shot_down": counts.spaces_forgotten,
            },
            "table_bytes": story.table_bytes,
            "frames": story.frames,
        },
    })
}

fn moment_json(Moment { process, what }: &Moment) -> Value {
    let hex = |frame: &Option<PhysAddr>| frame.map(|frame| frame.to_string());
    let mut moment = match what {
        Happened::Did(what) => json!({"event": "did", "what": what}),
        Happened::Fault { fault, decision, frame } => json!({
            "event": "fault",
            "vector": fault.vector as u8,
            "error_code": format!("{:#x}", fault.error_code),
            "cr2": fault.cr2.map(|address| address.to_string()),
            "kind": decision.kind(),
            "decision": decision.to_string(),
            "frame": hex(frame),
        }),
        Happened::Grown(start) => json!({"event": "grown", "start": start.to_string()}),
        Happened::SecondChances(count) => json!({"event": "second-chances", "frames": count}),
        Happened::Evicted { frame, page, written } => json!({
            "event": "evicted",
            "frame": frame.to_string(),
            "page": page.map(|page| page.to_string()),
            "written_to_slot": written.map(|slot| slot.0),
        }),
    };
    moment["process"] = json!(process);
    moment
}

fn place_json(place: PagePlace) -> Value {
    match place {
        PagePlace::Slot(slot) => json!({"slot": slot.0}),
        PagePlace::Frame(frame, entry) => {
            json!({"frame": frame.to_string(), "entry": format!("{entry:#x}")})
        }
    }
}

fn capitalized(words: &str) -> String {
    let mut letters = words.chars();
    letters.next().map_or_else(String::new, |first| {
        first.to_uppercase().collect::<String>() + letters.as_str()
    })
}
