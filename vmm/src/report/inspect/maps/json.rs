//! Mappings for scripts: one document with ranges, written while they are found, or a line for each page.

use super::{MapsEnd, MapsSink};
use crate::report::inspect::Inspected;
use crate::report::inspect::problem::{ScanProblem, ScanProblemJson};
use crosswalk_case::Hex;
use crosswalk_inspect::{PageFlags, PageRange, PageRanges, ScanTotals};
use mmu_core::VirtAddr;
use mmu_core::walk::PresentEntry;
use mmu_core::x86::format::EntryBits;
use mmu_core::x86::semantics::Rights;
use serde::Serialize;
use std::io::{self, Write};

/// The most problems that the document lists. The totals count all of them.
const MAX_PROBLEMS: usize = 10_000;

#[derive(Serialize)]
#[expect(clippy::struct_excessive_bools, reason = "each is a field of its own")]
struct RangeJson {
    first: Hex,
    last: Hex,
    pages: u64,
    page_bytes: u64,
    write: bool,
    user: bool,
    execute: bool,
    accessed: &'static str,
    dirty: &'static str,
    global: &'static str,
    physical: Hex,
    contiguous: bool,
}

#[derive(Serialize)]
#[expect(clippy::struct_excessive_bools, reason = "each is a field of its own")]
struct PageJson {
    first: Hex,
    page_bytes: u64,
    physical: Hex,
    write: bool,
    user: bool,
    execute: bool,
    accessed: bool,
    dirty: bool,
    global: bool,
    entry: Hex,
    at: Hex,
}

#[derive(Serialize)]
struct TotalsJson {
    pages_4_kib: u64,
    pages_2_or_4_mib: u64,
    pages_1_gib: u64,
    bytes: u64,
    tables: u64,
    reserved: u64,
    repeated: u64,
    unreadable: u64,
    passed_pages: Option<u64>,
    passed_bytes: Option<u64>,
    complete: bool,
}

fn range_json(range: &PageRange) -> RangeJson {
    RangeJson {
        first: Hex(range.first.get()),
        last: Hex(range.last.get()),
        pages: range.pages(),
        page_bytes: 1 << range.level.shift,
        write: range.rights.contains(Rights::WRITE),
        user: range.rights.contains(Rights::USER),
        execute: range.rights.contains(Rights::EXECUTE),
        accessed: of_pages(range.accessed),
        dirty: of_pages(range.dirty),
        global: of_pages(range.global),
        physical: Hex(range.address.get()),
        contiguous: range.is_contiguous,
    }
}

/// Of how many pages a flag is set, in a word.
pub(in crate::report::inspect) const fn of_pages(pages: PageFlags) -> &'static str {
    match pages {
        PageFlags::None => "none",
        PageFlags::Some => "some",
        PageFlags::All => "all",
    }
}

fn page_json(page: &PresentEntry, address: u64) -> PageJson {
    let has = |flag: EntryBits| page.entry & flag.bits() != 0;
    PageJson {
        first: Hex(page.first.get()),
        page_bytes: 1 << page.level.shift,
        physical: Hex(address),
        write: page.rights.contains(Rights::WRITE),
        user: page.rights.contains(Rights::USER),
        execute: page.rights.contains(Rights::EXECUTE),
        accessed: has(EntryBits::A),
        dirty: has(EntryBits::D),
        global: has(EntryBits::G),
        entry: Hex(page.entry),
        at: Hex(page.at.get()),
    }
}

fn totals_json(end: &MapsEnd) -> TotalsJson {
    let MapsEnd { totals, passed, is_complete, .. } = end;
    TotalsJson {
        pages_4_kib: totals.small,
        pages_2_or_4_mib: totals.large,
        pages_1_gib: totals.huge,
        bytes: totals.bytes,
        tables: totals.tables,
        reserved: totals.reserved,
        repeated: totals.repeated,
        unreadable: totals.unreadable,
        passed_pages: passed.as_ref().map(ScanTotals::pages),
        passed_bytes: passed.as_ref().map(|passed| passed.bytes),
        complete: *is_complete,
    }
}

/// Writes a value in one line.
fn write_value(out: &mut dyn Write, value: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(out, value).map_err(io::Error::from)
}

/// One document.
pub(super) struct RangesDocument<'o> {
    out: &'o mut dyn Write,
    ranges: PageRanges,
    has: Option<VirtAddr>,
    problems: Vec<ScanProblem>,
    is_first: bool,
}

impl<'o> RangesDocument<'o> {
    pub(super) fn new(
        out: &'o mut dyn Write,
        inspected: &Inspected,
        has: Option<VirtAddr>,
    ) -> io::Result<Self> {
        write!(out, "{{\n\"image\": ")?;
        write_value(out, &inspected.json())?;
        write!(out, ",\n\"mappings\": [")?;
        Ok(Self { out, ranges: PageRanges::new(), has, problems: Vec::new(), is_first: true })
    }

    fn range(&mut self, range: Option<PageRange>) -> io::Result<()> {
        let has = self.has;
        let shown = range.filter(|range| has.is_none_or(|address| range.contains(address)));
        let Some(range) = shown else { return Ok(()) };

        let separator = if self.is_first { "\n" } else { ",\n" };
        self.is_first = false;
        write!(self.out, "{separator}")?;
        write_value(self.out, &range_json(&range))
    }
}

impl MapsSink for RangesDocument<'_> {
    fn page(&mut self, page: &PresentEntry) -> io::Result<()> {
        let Some(page) = PageRange::of(page) else { return Ok(()) };
        let before = self.ranges.push(page);
        self.range(before)
    }

    fn problem(&mut self, problem: &ScanProblem) -> io::Result<()> {
        if self.problems.len() < MAX_PROBLEMS {
            self.problems.push(problem.clone());
        }
        Ok(())
    }

    fn end(&mut self, end: &MapsEnd) -> io::Result<()> {
        let last = self.ranges.finish();
        self.range(last)?;

        write!(self.out, "\n],\n\"problems\": ")?;
        let problems: Vec<_> = self.problems.iter().map(ScanProblem::json).collect();
        write_value(self.out, &problems)?;
        write!(self.out, ",\n\"totals\": ")?;
        write_value(self.out, &totals_json(end))?;
        writeln!(self.out, "\n}}")?;
        self.out.flush()
    }
}

/// A line of JSON for each page. Each line has one field, which says what it is.
pub(super) struct JsonLines<'o> {
    out: &'o mut dyn Write,
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum LineJson<'l> {
    Image(Box<super::super::image::InspectedJson<'l>>),
    Page(PageJson),
    Problem(ScanProblemJson<'l>),
    Totals(TotalsJson),
}

impl<'o> JsonLines<'o> {
    pub(super) fn new(out: &'o mut dyn Write, inspected: &Inspected) -> io::Result<Self> {
        let mut lines = Self { out };
        lines.line(&LineJson::Image(Box::new(inspected.json())))?;
        Ok(lines)
    }

    fn line(&mut self, line: &LineJson<'_>) -> io::Result<()> {
        write_value(self.out, line)?;
        writeln!(self.out)
    }
}

impl MapsSink for JsonLines<'_> {
    fn page(&mut self, page: &PresentEntry) -> io::Result<()> {
        let Some(range) = PageRange::of(page) else { return Ok(()) };
        self.line(&LineJson::Page(page_json(page, range.address.get())))
    }

    fn problem(&mut self, problem: &ScanProblem) -> io::Result<()> {
        self.line(&LineJson::Problem(problem.json()))
    }

    fn end(&mut self, end: &MapsEnd) -> io::Result<()> {
        self.line(&LineJson::Totals(totals_json(end)))?;
        self.out.flush()
    }
}
