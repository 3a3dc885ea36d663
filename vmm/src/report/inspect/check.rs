//! What a monitor says about the tables beside what they are, for people and as JSON.

use super::Inspected;
use super::image::InspectedJson;
use crate::report::document::Document;
use crate::report::style::count::Count;
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
pub fn document(inspected: &Inspected, check: &MonitorCheck, is_complete: bool) -> impl Document {
    let shown = |line: Option<TlbLine>| line.map(|line| line.to_string());
    let differences = check.differences().map(|(kind, found)| MonitorDifferenceJson {
        difference: kind.name(),
        meaning: MonitorDifference::meaning(kind),
        count: found.count.into(),
        monitor: shown(found.monitor),
        tables: shown(found.tables),
    });
    MonitorDocument {
        image: inspected.json(),
        agreed: check.agreed().into(),
        differences: differences.collect(),
        leaf_only: check.leaf_only().into(),
        unseen: check.unseen().into(),
        complete: is_complete,
    }
}

/// What QEMU's monitor says about the tables beside what they are: `maps --check`.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(in crate::report) struct MonitorDocument<'i> {
    /// The image or the guest.
    image: InspectedJson<'i>,
    /// The number of pages about which both say the same.
    agreed: Count,
    /// The kinds of differences.
    differences: Vec<MonitorDifferenceJson>,
    /// The number of pages that are executable by their leaves only, which is all that the monitor shows.
    leaf_only: Count,
    /// The number of the monitor's lines whose tables cannot be read, or were not read again.
    unseen: Count,
    /// Whether everything was looked at.
    complete: bool,
}

impl Document for MonitorDocument<'_> {
    const SCHEMA: u32 = 1;
}

/// A kind of difference.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct MonitorDifferenceJson {
    /// Its name.
    difference: &'static str,
    /// Who is right, in words.
    meaning: &'static str,
    /// How often it was found.
    count: Count,
    /// The monitor's line of the first.
    monitor: Option<String>,
    /// The same line by the tables.
    tables: Option<String>,
}
