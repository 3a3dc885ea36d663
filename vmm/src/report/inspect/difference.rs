//! What two images map differently, for people and as JSON. Changes of the same kind next to each other are
//! one.

use super::image::InspectedJson;
use super::{Inspected, letters, repeated_tables, unreadable_tables};
use crate::report::document::Document;
use crate::report::style::count::Count;
use crate::report::style::number::{size, with_commas};
use crate::report::style::table::line;
use crosswalk_case::Hex;
use crosswalk_inspect::{Change, Differences, Found, Limits, MappedPiece};
use mmu_core::VirtAddr;
use mmu_core::walk::PresentEntry;
use mmu_core::x86::format::EntryBits;
use serde::Serialize;
use std::cell::Cell;
use std::fmt::Write;
use std::sync::atomic::{AtomicBool, Ordering};

/// The most ranges that are kept. All of them are counted.
const MAX_KEPT: usize = 10_000;

const LEGEND: &str = "- was mapped, + is mapped now, ~ is mapped otherwise: rights before and after; moved: to \
                      other physical addresses; resized: by pages of another size; A, D, G: these flags of leaves.";

/// What two images map differently.
#[derive(Debug)]
pub struct ImageDifference<'i> {
    before: &'i Inspected,
    after: &'i Inspected,
    ranges: Vec<ChangedRange>,
    count: u64,
    /// Entries of both that lead to tables which were read before, and are not read again.
    repeated: u64,
    /// Tables of both, or parts of them, that cannot be read.
    unreadable: u64,
    is_complete: bool,
}

/// Addresses next to each other that changed alike.
#[derive(Clone, Debug, PartialEq, Eq)]
struct ChangedRange {
    first: VirtAddr,
    last: VirtAddr,
    kind: ChangeKind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct ChangeKind {
    before: Option<String>,
    after: Option<String>,
    /// What changed besides rights.
    notes: Vec<&'static str>,
}

impl ChangeKind {
    fn of(change: &Change, flags: EntryBits) -> Self {
        let rights = |piece: Option<MappedPiece>| piece.map(|piece| letters(piece.rights));
        let notes = match (change.before, change.after) {
            (Some(before), Some(after)) => {
                let differing = (before.flags ^ after.flags) & flags;
                let notes = [
                    (before.address != after.address, "moved"),
                    (before.shift != after.shift, "resized"),
                    (differing.contains(EntryBits::A), "A"),
                    (differing.contains(EntryBits::D), "D"),
                    (differing.contains(EntryBits::G), "G"),
                ];
                notes.iter().filter(|(applies, _)| *applies).map(|(_, note)| *note).collect()
            }
            _ => Vec::new(),
        };
        Self { before: rights(change.before), after: rights(change.after), notes }
    }

    const fn sign(&self) -> char {
        match (&self.before, &self.after) {
            (Some(_), None) => '-',
            (None, _) => '+',
            (Some(_), Some(_)) => '~',
        }
    }
}

impl<'i> ImageDifference<'i> {
    /// Compares all mappings, until it is told to stop. `flags` are those of A, D and G that count.
    pub fn new(
        before: &'i Inspected,
        after: &'i Inspected,
        flags: EntryBits,
        limits: Limits,
        stop: &AtomicBool,
    ) -> Self {
        let mut found = Self {
            before,
            after,
            ranges: Vec::new(),
            count: 0,
            repeated: 0,
            unreadable: 0,
            is_complete: true,
        };
        // Both end together, or what one has alone would be a difference.
        let is_stopped = Cell::new(false);
        let repeated = Cell::new(0);
        let unreadable = Cell::new(0);
        let pages = |inspected: &'i Inspected| {
            let scan = inspected.source.scan(&inspected.mmu(), limits).map_while(|found| {
                match found {
                    Found::Table(_) if stop.load(Ordering::Relaxed) => is_stopped.set(true),
                    Found::Repeated(_) => repeated.set(repeated.get() + 1),
                    Found::Unreadable(_) => unreadable.set(unreadable.get() + 1),
                    _ => {}
                }
                (!is_stopped.get()).then_some(found)
            });
            scan.filter_map(page)
        };

        for change in Differences::new(pages(before), pages(after), flags) {
            if is_stopped.get() {
                break;
            }
            found.add(&change, flags);
        }
        found.repeated = repeated.get();
        found.unreadable = unreadable.get();
        found.is_complete = !is_stopped.get();
        found
    }

    fn add(&mut self, change: &Change, flags: EntryBits) {
        let (first, last) = change.range();
        let kind = ChangeKind::of(change, flags);

        if let Some(before) = self.ranges.last_mut()
            && before.last.get().checked_add(1) == Some(first.get())
            && before.kind == kind
        {
            before.last = last;
            return;
        }
        self.count += 1;
        if self.ranges.len() < MAX_KEPT {
            self.ranges.push(ChangedRange { first, last, kind });
        }
    }

    /// Whether nothing differs.
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Whether everything was compared.
    pub const fn is_complete(&self) -> bool {
        self.is_complete
    }

    /// The differences for people.
    pub fn text(&self) -> String {
        let Self { before, after, ranges, count, repeated, unreadable, is_complete } = self;
        let mut text = String::new();
        before.describe(&mut text);
        after.describe(&mut text);

        for range in ranges {
            let ChangedRange { first, last, kind } = range;
            let (first, last) = (first.get(), last.get());
            let sign = kind.sign();
            let bytes = size((u128::from(last - first)) + 1);
            let [old, new] =
                [&kind.before, &kind.after].map(|rights| rights.as_deref().unwrap_or(""));
            let notes = kind.notes.join(" ");
            let row =
                format!("{sign} {first:#018x}-{last:#018x} {bytes:>9} {old:4} {new:4} {notes}");
            let _ = writeln!(text, "{}", row.trim_end());
        }

        if self.is_empty() && (repeated + unreadable > 0 || !is_complete) {
            line(&mut text, "What was looked at maps the same, and that is not everything.");
        } else if self.is_empty() {
            line(&mut text, "Both map the same.");
        } else {
            text.push('\n');
            line(&mut text, LEGEND);
            let noun = if *count == 1 { "range differs" } else { "ranges differ" };
            line(&mut text, &format!("{} {noun}.", with_commas(*count)));
        }
        repeated_tables(&mut text, *repeated);
        unreadable_tables(&mut text, *unreadable);
        if !is_complete {
            line(&mut text, "Interrupted: this is what was found until then.");
        }
        text
    }

    /// The differences as a JSON document.
    pub fn document(&self) -> impl Document {
        let Self { before, after, ranges, count, repeated, unreadable, is_complete } = self;
        let changes = ranges.iter().map(|range| ChangeJson {
            first: Hex(range.first.get()),
            last: Hex(range.last.get()),
            before: range.kind.before.as_deref(),
            after: range.kind.after.as_deref(),
            moved: range.kind.notes.contains(&"moved"),
            resized: range.kind.notes.contains(&"resized"),
            flags: range.kind.notes.iter().copied().filter(|note| note.len() == 1).collect(),
        });
        DifferenceDocument {
            images: [before.json(), after.json()],
            changes: changes.collect(),
            count: (*count).into(),
            repeated: (*repeated).into(),
            unreadable: (*unreadable).into(),
            complete: *is_complete,
        }
    }
}

fn page(found: Found) -> Option<PresentEntry> {
    match found {
        Found::Page(page) => Some(page),
        _ => None,
    }
}

/// What two images or guests map differently: `diff`.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(in crate::report) struct DifferenceDocument<'i> {
    /// The two.
    images: [InspectedJson<'i>; 2],
    /// At most 10,000 ranges that differ.
    changes: Vec<ChangeJson<'i>>,
    /// The number of all.
    count: Count,
    /// The number of entries that lead to tables which were read before, and not again.
    repeated: Count,
    /// The number of tables, or parts of them, that cannot be read.
    unreadable: Count,
    /// Whether everything was looked at.
    complete: bool,
}

impl Document for DifferenceDocument<'_> {
    const SCHEMA: u32 = 1;
}

/// A range of addresses that both map differently.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct ChangeJson<'i> {
    /// The first linear address.
    first: Hex,
    /// The last linear address.
    last: Hex,
    /// The rights in the first, in letters; null if it maps nothing there.
    before: Option<&'i str>,
    /// The rights in the second.
    after: Option<&'i str>,
    /// Whether it leads to other physical addresses.
    moved: bool,
    /// Whether its pages have another size.
    resized: bool,
    /// Which of the flags A, D and G differ, if they count.
    flags: Vec<&'static str>,
}
