//! Who leads to a physical address, for people and as JSON.

use super::image::InspectedJson;
use super::{Inspected, letters, repeated_tables, threads, unreadable_tables};
use crate::report::document::Document;
use crate::report::style::count::Count;
use crate::report::style::number::with_commas;
use crate::report::style::table::line;
use crosswalk_case::Hex;
use crosswalk_inspect::{Found, LeadsTo, Limits, ScanPiece};
use mmu_core::walk::PresentEntry;
use mmu_core::{PagingMode, PhysAddr};
use serde::Serialize;
use std::collections::BTreeSet;
use std::fmt::Write;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};

/// The most entries that are kept. All of them are counted.
const MAX_KEPT: usize = 10_000;

/// The most entries that are told apart.
const MAX_ENTRIES: usize = 1 << 20;

/// The frame in CR3. In PAE paging the four entries are somewhere in it.
const CR3_ADDRESS: u64 = 0x000f_ffff_ffff_f000;

/// The entries that lead to a physical address.
#[derive(Debug)]
pub struct ReverseMap<'i> {
    inspected: &'i Inspected,
    at: PhysAddr,
    found: Vec<LeadsTo>,
    pages: u64,
    /// The entries that use its frame as a table, by their addresses: at most [`MAX_ENTRIES`].
    entries: BTreeSet<PhysAddr>,
    /// How often the tables lead to them: a table that is shared has several paths.
    paths: u64,
    /// Entries that lead to tables that were read before, and are not read again.
    repeated: u64,
    /// Tables, or parts of them, that cannot be read.
    unreadable: u64,
    /// Whether all tables were looked at.
    is_complete: bool,
}

/// The entries that lead there from a piece of the address space.
#[derive(Debug, Default)]
struct ReversePart {
    /// At most [`MAX_KEPT`].
    found: Vec<LeadsTo>,
    pages: u64,
    /// The entries that use the frame as a table, one for each path.
    table_entries: Vec<PhysAddr>,
    repeated: u64,
    unreadable: u64,
}

impl ReversePart {
    fn new(piece: ScanPiece<'_>, at: PhysAddr) -> Self {
        let mut part = Self::default();
        for found in piece {
            part.repeated += u64::from(matches!(found, Found::Repeated(_)));
            part.unreadable += u64::from(matches!(found, Found::Unreadable(_)));
            let Some(leads) = LeadsTo::of(&found, at) else { continue };
            match leads {
                LeadsTo::Page { .. } => part.pages += 1,
                LeadsTo::Table(entry) => part.table_entries.push(entry.at),
            }
            if part.found.len() < MAX_KEPT {
                part.found.push(leads);
            }
        }
        part
    }
}

impl<'i> ReverseMap<'i> {
    /// Looks through all tables, until it is told to stop.
    pub fn new(inspected: &'i Inspected, at: PhysAddr, limits: Limits, stop: &AtomicBool) -> Self {
        let mut map = Self {
            inspected,
            at,
            found: Vec::new(),
            pages: 0,
            entries: BTreeSet::new(),
            paths: 0,
            repeated: 0,
            unreadable: 0,
            is_complete: true,
        };

        let pieces = inspected.source.scan(&inspected.mmu(), limits).pieces();
        let of_piece = |piece: ScanPiece<'_>| ReversePart::new(piece, at);
        let end = pieces.in_parallel_until(threads(), of_piece, |part| {
            map.add(part);
            if stop.load(Ordering::Relaxed) {
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        });
        map.is_complete = end.is_continue();
        map
    }

    /// Adds what comes next in the order of addresses.
    fn add(&mut self, part: ReversePart) {
        let room = MAX_KEPT - self.found.len();
        self.found.extend(part.found.into_iter().take(room));
        self.pages += part.pages;
        self.repeated += part.repeated;
        self.unreadable += part.unreadable;

        self.paths += part.table_entries.len() as u64;
        for entry in part.table_entries {
            if self.entries.len() < MAX_ENTRIES {
                self.entries.insert(entry);
            }
        }
    }

    /// The entries that use the frame as a table, and how many paths lead to them.
    fn table_use(&self) -> String {
        let count = self.entries.len() as u64;
        let least = if self.entries.len() < MAX_ENTRIES { "" } else { "at least " };
        let paths = match self.paths {
            paths if paths == count => String::new(),
            paths => format!(", on {} paths", with_commas(paths)),
        };
        let (noun, verb) = if count == 1 { ("entry", "uses") } else { ("entries", "use") };
        let count = with_commas(count);
        format!("{least}{count} {noun} {verb} its frame as a table{paths}")
    }

    /// Whether all tables were looked at.
    pub const fn is_complete(&self) -> bool {
        self.is_complete
    }

    /// Whether CR3 leads to the frame. Outside long mode its upper half does not count.
    fn is_root(&self) -> bool {
        let state = &self.inspected.derived.state;
        let root = match state.mode() {
            PagingMode::Unpaged => return false,
            mode if mode.is_long_mode() => state.cr3 & CR3_ADDRESS,
            _ => state.cr3 & CR3_ADDRESS & u64::from(u32::MAX),
        };
        PhysAddr::new(root).frame() == self.at.frame()
    }

    /// The entries for people.
    pub fn text(&self) -> String {
        let Self { inspected, at, found, pages, paths, repeated, unreadable, is_complete, .. } =
            self;
        let mut text = String::new();
        inspected.describe(&mut text);

        for leads in found {
            match leads {
                LeadsTo::Page { page, address } => {
                    let PresentEntry { level, rights, at, entry, .. } = page;
                    let (name, rights) = (level.entry_name, letters(*rights));
                    let address = address.get();
                    let _ = writeln!(text, "{address:#018x} {rights} {name} {entry:#x} at {at}");
                }
                LeadsTo::Table(entry) => {
                    let PresentEntry { level, first, at, entry, .. } = entry;
                    let (name, first) = (level.entry_name, first.get());
                    let _ = writeln!(text, "{first:#018x} table {name} {entry:#x} at {at}");
                }
            }
        }
        if !found.is_empty() {
            text.push('\n');
        }

        let not_shown = (pages + paths).saturating_sub(found.len() as u64);
        if not_shown > 0 {
            line(&mut text, &format!("{} more are not shown.", with_commas(not_shown)));
        }
        let noun = if *pages == 1 { "mapping" } else { "mappings" };
        let pages = with_commas(*pages);
        line(&mut text, &format!("{at}: {pages} {noun}; {}.", self.table_use()));
        if self.is_root() {
            line(&mut text, "The root table (CR3) is in its frame.");
        }
        repeated_tables(&mut text, *repeated);
        unreadable_tables(&mut text, *unreadable);
        if !inspected.source.has(*at) {
            line(&mut text, "The image has no memory at this address.");
        }
        if !is_complete {
            line(&mut text, "Interrupted: this is what was found until then.");
        }
        text
    }

    /// The entries as a JSON document.
    pub fn document(&self) -> impl Document {
        let Self { inspected, at, found, pages, entries, paths, repeated, unreadable, is_complete } =
            self;
        ReverseDocument {
            image: inspected.json(),
            physical: Hex(at.get()),
            in_image: inspected.source.has(*at),
            is_root: self.is_root(),
            led_by: found.iter().map(leads_json).collect(),
            mappings: (*pages).into(),
            table_entries: entries.len().into(),
            table_paths: (*paths).into(),
            repeated: (*repeated).into(),
            unreadable: (*unreadable).into(),
            complete: *is_complete,
        }
    }
}

fn leads_json(leads: &LeadsTo) -> LeadsJson {
    let (entry, address) = match leads {
        LeadsTo::Page { page, address } => (page, address.get()),
        LeadsTo::Table(entry) => (entry, entry.first.get()),
    };
    LeadsJson {
        address: Hex(address),
        leads_to: match leads {
            LeadsTo::Page { .. } => "page",
            LeadsTo::Table(_) => "table",
        },
        level: entry.level.entry_name,
        rights: letters(entry.rights),
        entry: Hex(entry.entry),
        at: Hex(entry.at.get()),
    }
}

/// Who leads to a physical address: `rmap`.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(in crate::report) struct ReverseDocument<'i> {
    /// The image or the guest.
    image: InspectedJson<'i>,
    /// The physical address.
    physical: Hex,
    /// Whether the image has memory there.
    in_image: bool,
    /// Whether CR3 leads to its frame.
    is_root: bool,
    /// At most 10,000 entries that lead there.
    led_by: Vec<LeadsJson>,
    /// The number of pages that map it.
    mappings: Count,
    /// The number of entries that use its frame as a table.
    table_entries: Count,
    /// The number of paths to these.
    table_paths: Count,
    /// The number of entries that lead to tables which were read before, and not again.
    repeated: Count,
    /// The number of tables, or parts of them, that cannot be read.
    unreadable: Count,
    /// Whether everything was looked at.
    complete: bool,
}

impl Document for ReverseDocument<'_> {
    const SCHEMA: u32 = 1;
}

/// An entry that leads there.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct LeadsJson {
    /// The linear address of the byte, or the first one for which a table is.
    address: Hex,
    /// `page` or `table`.
    leads_to: &'static str,
    /// The name of the entry, such as `PTE`.
    level: &'static str,
    /// What the path allows, in four letters, such as `urw-` or `sr-x`.
    rights: String,
    /// The entry.
    entry: Hex,
    /// Its physical address.
    at: Hex,
}
