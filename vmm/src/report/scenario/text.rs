//! Scenarios for people: a timeline, a map of pages to frames, claims and counts.

use super::{NOTHING_COMPARED, NarratedScenarios, UNTESTED, entries_per_translation};
use crate::report::style::number::{numbered, size, with_commas};
use crate::report::style::table::{line, new_table, trimmed};
use crate::scenario::Comparison;
use crate::scenario::page_map::PagePlace;
use crate::scenario::story::{Happened, PageRow, Story, StoryEnding, TimelineEntry};
use crosswalk_machine::Identity;
use mmu_core::PagingMode;
use mmu_core::x86::format::EntryBits;
use std::fmt::Write;

/// The stories for people. Of several, only the claims are shown.
pub fn text(narrated: &NarratedScenarios<'_>) -> String {
    let mut text = String::new();
    for story in narrated.stories {
        heading(&mut text, story);
        if narrated.stories.len() == 1 {
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

    if narrated.stories.len() > 1 {
        let count = narrated.stories.len();
        let passed = narrated.count(StoryEnding::Passed);
        let untested = match narrated.count(StoryEnding::Untested) {
            0 => String::new(),
            count => format!("; {count} tested no claim"),
        };
        let mut modes: Vec<_> = narrated.stories.iter().map(|story| story.mode.name()).collect();
        modes.dedup();
        let modes = modes.join(", ");
        line(
            &mut text,
            &format!("{passed} of {count} scenarios pass with {modes} tables{untested}."),
        );
    }
    line(&mut text, &ending(narrated.machine, narrated.why_none, narrated.result()));
    text
}

/// The last line: what the software was compared with, and the result.
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

/// How the machine compares.
pub(super) fn compared(text: &mut String, comparison: &Comparison) {
    let Comparison { machine, requests, events, frames, chosen, known, divergence } = comparison;
    let Identity { kind, flavour, .. } = machine;

    if let Some(divergence) = divergence {
        line(text, &format!("NO   {kind} ({flavour}) has the same history: {divergence}"));
        for difference in &divergence.differences {
            line(text, &format!("     {difference}"));
        }
    } else {
        let events = with_commas(*events);
        let frames = with_commas(*frames);
        line(
            text,
            &format!(
                "yes  {kind} ({flavour}) has the same history: {requests} requests, {events} events, \
                 {frames} pages of memory compared"
            ),
        );
    }

    if *chosen > 0 {
        let entries = with_commas(*chosen);
        line(text, &format!("     {entries} entries differ in A, which they may: AD-2, AD-3"));
    }
    if let Some((id, count)) = known {
        line(text, &format!("     known finding {id} showed in {} entries", with_commas(*count)));
    }
}

/// The name of the scenario, what it shows, and whether it passed.
fn heading(text: &mut String, story: &Story) {
    let Story { name, shows, mode, .. } = story;
    let ended = match story.ending() {
        StoryEnding::Passed => "passed",
        StoryEnding::Untested => "NOTHING TESTED",
        StoryEnding::Failed => "FAILED",
    };
    line(text, &format!("{name}: {shows}"));
    line(text, &format!("{mode} tables, {} frames of 4 KiB: {ended}", story.frames));
    text.push('\n');
}

/// One line for each thing that happened, with the letter of the process in front.
fn timeline(text: &mut String, story: &Story) {
    for TimelineEntry { process, what, .. } in &story.timeline {
        let indent = if matches!(what, Happened::Did(_)) { "" } else { "  " };
        let process = process.unwrap_or(' ');
        line(text, &format!("{process}  {indent}{}", words(what)));
    }
    text.push('\n');
}

/// What happened, in one line.
pub(super) fn words(what: &Happened) -> String {
    match what {
        Happened::Did(what) => what.clone(),
        Happened::Fault { fault, decision, frame } => {
            let frame = frame.map_or_else(String::new, |frame| format!(" -> {frame}"));
            format!("{fault}: {decision}{frame}")
        }
        Happened::Grown(start) => format!("the stack grows down to {start}"),
        Happened::SecondChances(1) => "clock: A of a frame is cleared, it stays".into(),
        Happened::SecondChances(count) => {
            format!("clock: A of {count} frames is cleared, they stay")
        }
        Happened::Evicted { frame, page, written } => {
            let page = page.map_or_else(String::new, |page| format!(" from {page}"));
            let written = match written {
                Some(slot) => format!("dirty, written to slot {}", slot.0),
                None => "clean, not written".into(),
            };
            format!("clock: {frame} is taken{page}: {written}")
        }
    }
}

/// The pages of each process, in the middle and at the end.
fn pages(text: &mut String, story: &Story) {
    if story.pages.is_empty() {
        return;
    }
    let mut table = new_table(&["process", "region", "page", "before", "after"]);
    for PageRow { process, region, page, before, after } in &story.pages {
        table.add_row([
            process.to_string(),
            (*region).to_owned(),
            page.to_string(),
            place_name(story.mode, *before),
            place_name(story.mode, *after),
        ]);
    }
    let _ = write!(text, "{}\n\n", trimmed(&table));
}

/// `0x9000 RW US A D`, `slot 3`.
pub(super) fn place_name(mode: PagingMode, place: Option<PagePlace>) -> String {
    match place {
        None => "-".into(),
        Some(PagePlace::Slot(slot)) => format!("slot {}", slot.0),
        Some(PagePlace::Frame(frame, entry)) => {
            let flags = flags(mode, entry);
            format!("{frame}{}{flags}", if flags.is_empty() { "" } else { " " })
        }
    }
}

/// The flags that matter here: a page in a frame is always present, and the rest is about caching.
fn flags(mode: PagingMode, entry: u64) -> String {
    if mode == PagingMode::Linear {
        return String::new();
    }

    let shown = EntryBits::RW | EntryBits::US | EntryBits::A | EntryBits::D | EntryBits::XD;
    let flags = EntryBits::from_bits_truncate(entry) & shown;
    flags.iter_names().map(|(name, _)| name).collect::<Vec<_>>().join(" ")
}

/// What the system and the accesses counted.
fn statistics(text: &mut String, story: &Story) {
    let counts = &story.statistics;
    let accesses = &story.accesses;
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
            "tables    {} at most; shot down: {} a page, {} a whole space",
            size(story.table_bytes.into()),
            numbered(counts.pages_forgotten, "time"),
            numbered(counts.spaces_forgotten, "time")
        ),
    );
    text.push('\n');
}

/// The claims, each with its result, and the problems.
fn claims(text: &mut String, story: &Story) {
    if story.ending() == StoryEnding::Untested {
        line(text, UNTESTED);
    }
    for claim in &story.claims {
        let sign = if claim.holds { "yes" } else { "NO " };
        line(text, &format!("{sign}  {}", claim.claim));
    }
    for problem in &story.problems {
        line(text, &format!("wrong: {problem}"));
    }
}

/// The words with a capital letter at their start.
fn capitalized(words: &str) -> String {
    let mut letters = words.chars();
    letters.next().map_or_else(String::new, |first| {
        first.to_uppercase().collect::<String>() + letters.as_str()
    })
}
