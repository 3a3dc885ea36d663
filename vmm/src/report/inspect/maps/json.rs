//! Mappings for scripts: one document with ranges, written while they are found, or a line for each page.

use super::{MapsEnd, MapsSink};
use crate::report::document::Invocation;
use crate::report::inspect::Inspected;
use crate::report::inspect::image::InspectedJson;
use crate::report::inspect::problem::{ScanProblem, ScanProblemJson};
use crate::report::style::count::Count;
use crosswalk_case::{Decimal, Hex};
use crosswalk_inspect::{PageFlags, PageRange, PageRanges};
use mmu_core::VirtAddr;
use mmu_core::walk::PresentEntry;
use mmu_core::x86::format::EntryBits;
use mmu_core::x86::semantics::Rights;
use serde::Serialize;
use std::io::{self, Write};

/// The most problems that the document lists. The totals count all of them.
const MAX_PROBLEMS: usize = 10_000;

/// The version of the document's schema.
const SCHEMA: u32 = 1;

/// Pages next to each other that are alike.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[expect(clippy::struct_excessive_bools, reason = "each is a field of its own")]
struct RangeJson {
    /// The first linear address.
    first: Hex,
    /// The last linear address.
    last: Hex,
    /// The number of pages.
    pages: Count,
    /// The size of each.
    page_bytes: Count,
    /// Whether the path allows writes.
    write: bool,
    /// Whether it allows accesses of user code.
    user: bool,
    /// Whether it allows fetches.
    execute: bool,
    /// Whether `all`, `some` or `none` of the leaves have A.
    accessed: &'static str,
    /// Whether `all`, `some` or `none` of the leaves have D.
    dirty: &'static str,
    /// Whether `all`, `some` or `none` of the leaves have G.
    global: &'static str,
    /// The physical address of the first page.
    physical: Hex,
    /// Whether the others follow it.
    contiguous: bool,
}

/// A page.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[expect(clippy::struct_excessive_bools, reason = "each is a field of its own")]
struct PageJson {
    /// The first linear address.
    first: Hex,
    /// Its size.
    page_bytes: Count,
    /// Its physical address.
    physical: Hex,
    /// Whether the path allows writes.
    write: bool,
    /// Whether it allows accesses of user code.
    user: bool,
    /// Whether it allows fetches.
    execute: bool,
    /// Whether its leaf has A.
    accessed: bool,
    /// Whether it has D.
    dirty: bool,
    /// Whether it has G.
    global: bool,
    /// The leaf.
    entry: Hex,
    /// Its physical address.
    at: Hex,
}

/// All that tables map.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct TotalsJson {
    /// The number of pages of 4 KiB.
    pages_4_kib: Count,
    /// The number of pages of 2 or 4 MiB.
    pages_2_or_4_mib: Count,
    /// The number of pages of 1 GiB.
    pages_1_gib: Count,
    /// The bytes that they map, as a decimal string.
    bytes: Decimal,
    /// The number of tables.
    tables: Count,
    /// The number of entries with reserved bits.
    reserved: Count,
    /// The number of entries that lead to tables which were read before, and not again.
    repeated: Count,
    /// The number of tables, or parts of them, that cannot be read.
    unreadable: Count,
    /// The number of pages that pass `--filter`; null without one.
    passed_pages: Option<Count>,
    /// Their bytes, as a decimal string.
    passed_bytes: Option<Decimal>,
    /// Whether everything was looked at.
    complete: bool,
}

/// All that page tables map: `maps`. [`RangesDocument`] writes it while the tables are read.
#[cfg(test)]
#[derive(Serialize, schemars::JsonSchema)]
pub(in crate::report) struct MapsDocument<'i> {
    /// The image or the guest.
    image: InspectedJson<'i>,
    /// What is mapped: ranges of pages.
    mappings: Vec<RangeJson>,
    /// At most 10,000 parts of the tables that map nothing though something is there.
    problems: Vec<ScanProblemJson<'i>>,
    /// All that was found.
    totals: TotalsJson,
}

#[cfg(test)]
impl crate::report::document::Document for MapsDocument<'_> {
    const SCHEMA: u32 = SCHEMA;
}

fn range_json(range: &PageRange) -> RangeJson {
    RangeJson {
        first: Hex(range.first.get()),
        last: Hex(range.last.get()),
        pages: range.pages().into(),
        page_bytes: Count::from(1_u64 << range.level.shift),
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
        page_bytes: Count::from(1_u64 << page.level.shift),
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
        pages_4_kib: totals.small.into(),
        pages_2_or_4_mib: totals.large.into(),
        pages_1_gib: totals.huge.into(),
        bytes: Decimal(totals.bytes),
        tables: totals.tables.into(),
        reserved: totals.reserved.into(),
        repeated: totals.repeated.into(),
        unreadable: totals.unreadable.into(),
        passed_pages: passed.as_ref().map(|passed| passed.pages().into()),
        passed_bytes: passed.as_ref().map(|passed| Decimal(passed.bytes)),
        complete: *is_complete,
    }
}

/// Writes a value in one line.
fn write_value(out: &mut dyn Write, value: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(out, value).map_err(io::Error::from)
}

/// Writes the members of an object in one line, without its braces.
fn write_members(out: &mut dyn Write, value: &impl Serialize) -> io::Result<()> {
    let text = serde_json::to_string(value)?;
    let members = text.strip_prefix('{').and_then(|text| text.strip_suffix('}'));
    out.write_all(members.unwrap_or_default().as_bytes())
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
        invocation: &Invocation,
    ) -> io::Result<Self> {
        writeln!(out, "{{")?;
        write_members(out, &invocation.opening(SCHEMA))?;
        write!(out, ",\n\"image\": ")?;
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
        // Last, since it is known now.
        writeln!(self.out, ",")?;
        write_members(self.out, &end.ending)?;
        writeln!(self.out, "\n}}")?;
        self.out.flush()
    }
}

/// A line of JSON for each page. Each line has one field, which says what it is.
pub(super) struct JsonLines<'o> {
    out: &'o mut dyn Write,
}

/// A line of `maps --json-lines`.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
enum LineJson<'l> {
    Image(Box<InspectedJson<'l>>),
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
