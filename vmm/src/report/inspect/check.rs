//! What a monitor says about the tables beside what they are, for people and as JSON.

use super::Inspected;
use super::image::InspectedJson;
use crate::report::style::json::to_text;
use crate::report::style::number::{numbered, with_commas};
use crate::report::style::table::line;
use crosswalk_inspect::monitor::{MonitorCheck, MonitorDifference, TlbLine};
use crosswalk_inspect::{Found, Limits};
use serde::Serialize;
use std::fmt::Write;
use std::sync::atomic::{AtomicBool, Ordering};

/// Compares the lines of a monitor with all pages of an image, until it is told to stop. Returns whether it got to
/// the end.
pub fn compare(
    inspected: &Inspected,
    check: &mut MonitorCheck,
    limits: Limits,
    stop: &AtomicBool,
) -> bool {
    for found in inspected.source.scan(&inspected.mmu(), limits) {
        match found {
            Found::Page(entry) | Found::Reserved(entry) => check.add(&entry),
            Found::Repeated(entry) => check.leave_out(entry.first, entry.last),
            Found::Unreadable(entries) => check.leave_out(entries.first, entries.last),
            Found::Table(_) if stop.load(Ordering::Relaxed) => return false,
            Found::Table(_) => {}
        }
    }
    check.finish();
    true
}

/// The comparison for people.
pub fn text(inspected: &Inspected, check: &MonitorCheck, is_complete: bool) -> String {
    let mut text = String::new();
    inspected.describe(&mut text);

    line(&mut text, &format!("{}: both say the same.", numbered(check.agreed(), "page")));
    for (kind, found) in check.differences() {
        let count = with_commas(found.count);
        line(&mut text, &format!("{count} differ: {}", kind.meaning()));
        for (who, shown) in [("monitor", found.monitor), ("tables ", found.tables)] {
            let shown = shown.map_or_else(|| "nothing".to_owned(), |line| line.to_string());
            let _ = writeln!(text, "  {who}  {shown}");
        }
    }
    if check.leaf_only() > 0 {
        let count = with_commas(check.leaf_only());
        line(
            &mut text,
            &format!(
                "{count} pages look executable by the flags of their leaves, which is all that the \
                 monitor shows, and are not, by an entry above (RIGHT-1)."
            ),
        );
    }
    if check.unseen() > 0 {
        let count = numbered(check.unseen(), "page");
        line(
            &mut text,
            &format!(
                "{count} of the monitor: not compared, since their tables cannot be read, or were not read again \
                 (--repeats)."
            ),
        );
    }
    if !is_complete {
        line(&mut text, "Interrupted: this is what was found until then.");
    }
    text
}

/// The comparison as a JSON document.
pub fn json(inspected: &Inspected, check: &MonitorCheck, is_complete: bool) -> String {
    let shown = |line: Option<TlbLine>| line.map(|line| line.to_string());
    let differences = check.differences().map(|(kind, found)| MonitorDifferenceJson {
        difference: kind.name(),
        meaning: MonitorDifference::meaning(kind),
        count: found.count,
        monitor: shown(found.monitor),
        tables: shown(found.tables),
    });
    to_text(&MonitorDocument {
        image: inspected.json(),
        agreed: check.agreed(),
        differences: differences.collect(),
        leaf_only: check.leaf_only(),
        unseen: check.unseen(),
        complete: is_complete,
    })
}

#[derive(Serialize)]
struct MonitorDocument<'i> {
    image: InspectedJson<'i>,
    agreed: u64,
    differences: Vec<MonitorDifferenceJson>,
    leaf_only: u64,
    unseen: u64,
    complete: bool,
}

#[derive(Serialize)]
struct MonitorDifferenceJson {
    difference: &'static str,
    meaning: &'static str,
    count: u64,
    monitor: Option<String>,
    tables: Option<String>,
}
