//! Scenarios for scripts.
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
//! `table_bytes` is the maximum at one time.

use super::{NarratedScenarios, entries_per_translation};
use crate::report::style::json::to_text;
use crate::scenario::story::{Claim, Happened, PagePlace, PageRow, Story, TimelineEntry};
use crate::scenario::{Comparison, Divergence, SCENARIOS};
use crosswalk_machine::Identity;
use serde_json::{Value, json};

/// The list of scenarios: `[{"name", "shows"}]`.
pub fn json_list() -> String {
    let list = SCENARIOS.iter().map(|known| json!({"name": known.name, "shows": known.shows}));
    to_text(&list.collect::<Vec<_>>())
}

/// The stories as one JSON document.
pub fn json(narrated: &NarratedScenarios<'_>) -> String {
    let stories = narrated.stories;
    let passed = stories.iter().filter(|story| story.passed()).count();
    let mut modes: Vec<_> = stories.iter().map(|story| story.mode.name()).collect();
    modes.dedup();
    let machine = narrated.machine.map(|(identity, _)| machine_json(identity));
    let reason = narrated.machine.map_or(narrated.why_none, |(_, why)| why);

    to_text(&json!({
        "comparison": {"machine": machine, "result": narrated.result(), "reason": reason},
        "modes": modes,
        "scenarios": stories.iter().map(story_json).collect::<Vec<_>>(),
        "totals": {"scenarios": stories.len(), "passed": passed},
    }))
}

pub(super) fn machine_json(identity: &Identity) -> Value {
    let Identity { kind, flavour, beneath, version, .. } = identity;
    json!({"kind": kind, "flavour": flavour, "beneath": beneath, "version": version})
}

pub(super) fn comparison_json(comparison: &Comparison) -> Value {
    let Comparison { requests, events, frames, chosen, known, divergence, .. } = comparison;

    json!({
        "orders": requests,
        "events": events,
        "frames": frames,
        "chosen": chosen,
        "equal": divergence.is_none(),
        "known": known.as_ref().map(|(id, count)| json!({"id": id, "count": count})),
        "parted": divergence.as_ref().map(divergence_json),
    })
}

fn divergence_json(divergence: &Divergence) -> Value {
    let Divergence { request, differences, cause } = divergence;
    json!({"order": request, "cause": cause, "differences": differences})
}

fn story_json(story: &Story) -> Value {
    json!({
        "name": story.scenario.name,
        "shows": story.scenario.shows,
        "mode": story.mode.name(),
        "comparison": story.comparison.as_ref().map(comparison_json),
        "passed": story.passed(),
        "claims": story.claims.iter().map(claim_json).collect::<Vec<_>>(),
        "problems": story.problems,
        "timeline": story.timeline.iter().map(timeline_json).collect::<Vec<_>>(),
        "pages": story.pages.iter().map(page_json).collect::<Vec<_>>(),
        "statistics": statistics_json(story),
    })
}

fn statistics_json(story: &Story) -> Value {
    let counts = &story.statistics;
    let accesses = &story.accesses;

    json!({
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
    })
}

fn claim_json(claim: &Claim) -> Value {
    json!({"claim": claim.claim, "holds": claim.holds})
}

fn page_json(row: &PageRow) -> Value {
    json!({
        "process": row.process,
        "region": row.region,
        "page": row.page.to_string(),
        "before": row.before.map(place_json),
        "after": row.after.map(place_json),
    })
}

fn timeline_json(TimelineEntry { process, what }: &TimelineEntry) -> Value {
    let mut entry = match what {
        Happened::Did(what) => json!({"event": "did", "what": what}),
        Happened::Fault { fault, decision, frame } => json!({
            "event": "fault",
            "vector": fault.vector as u8,
            "error_code": format!("{:#x}", fault.error_code),
            "cr2": fault.cr2.map(|address| address.to_string()),
            "kind": decision.kind(),
            "decision": decision.to_string(),
            "frame": frame.map(|frame| frame.to_string()),
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

    entry["process"] = json!(process);
    entry
}

fn place_json(place: PagePlace) -> Value {
    match place {
        PagePlace::Slot(slot) => json!({"slot": slot.0}),
        PagePlace::Frame(frame, entry) => {
            json!({"frame": frame.to_string(), "entry": format!("{entry:#x}")})
        }
    }
}
