//! Mappings for people, in 80 columns.

use super::{MapsEnd, MapsSink};
use crate::report::inspect::problem::ScanProblem;
use crate::report::inspect::{Inspected, letters};
use crate::report::style::number::{numbered, size, with_commas};
use crate::report::style::printable;
use crate::report::style::table::line;
use crosswalk_inspect::{PageFlags, PageRange, PageRanges, ScanTotals};
use mmu_core::VirtAddr;
use mmu_core::walk::PresentEntry;
use std::io::{self, Write};

const LEGEND: &str = "Rights are those of the whole path: u user or s supervisor, r, w, x. A, D and G are flags \
                      of the leaves: of all pages of a range, or of some where the letter is small.";

/// What every text begins and ends with.
struct Sheet<'o> {
    out: &'o mut dyn Write,
    /// Number of digits of a linear address, with 0x.
    digits: usize,
}

impl<'o> Sheet<'o> {
    fn new(out: &'o mut dyn Write, inspected: &Inspected) -> io::Result<Self> {
        let mut text = String::new();
        inspected.describe(&mut text);
        out.write_all(printable(&text).as_bytes())?;

        let digits = if inspected.derived.state.mode().is_long_mode() { 18 } else { 10 };
        Ok(Self { out, digits })
    }

    fn range(&mut self, range: &PageRange) -> io::Result<()> {
        let digits = self.digits;
        let [first, last] = [range.first, range.last].map(VirtAddr::get);
        let bytes = size(range.bytes().into());
        let page = short_page_size(range.level.shift);
        let rights = letters(range.rights);
        let flags = flag_letters([range.accessed, range.dirty, range.global]);
        let place =
            if range.is_contiguous { range.address.to_string() } else { "scattered".to_owned() };
        writeln!(
            self.out,
            "{first:#0digits$x}-{last:#0digits$x} {bytes:>9} {page} {rights} {flags} {place}"
        )
    }

    fn problem(&mut self, problem: &ScanProblem, has: Option<VirtAddr>) -> io::Result<()> {
        if has.is_some_and(|address| address < problem.first || address > problem.last) {
            return Ok(());
        }
        let digits = self.digits;
        let [first, last] = [problem.first, problem.last].map(VirtAddr::get);
        let mut text = String::new();
        line(&mut text, &format!("{first:#0digits$x}-{last:#0digits$x} {}", problem.words()));
        self.out.write_all(text.as_bytes())
    }

    fn end(&mut self, end: &MapsEnd, has_letters: bool) -> io::Result<()> {
        let MapsEnd { totals, passed, missed, is_complete, .. } = end;
        let mut text = String::new();
        if has_letters && missed.is_none() {
            line(&mut text, LEGEND);
        }
        match (missed, passed) {
            (Some(address), None) => line(&mut text, &format!("{address}: nothing is mapped.")),
            (Some(address), Some(_)) => {
                line(&mut text, &format!("{address}: no page passes --filter."));
            }
            _ => {}
        }
        if let Some(passed) = passed {
            line(
                &mut text,
                &match passed.pages() {
                    0 => "No page passes --filter. All pages:".to_owned(),
                    _ => format!(
                        "{} pass --filter: {}. All pages:",
                        size(passed.bytes.into()),
                        kinds(passed)
                    ),
                },
            );
        }
        for sentence in in_words(totals) {
            line(&mut text, &sentence);
        }
        if !is_complete {
            line(&mut text, "Interrupted: this is what was found until then.");
        }
        self.out.write_all(text.as_bytes())?;
        self.out.flush()
    }
}

/// The size of a page of 2^`shift` bytes, in two letters.
pub(in crate::report::inspect) const fn short_page_size(shift: u8) -> &'static str {
    match shift {
        0..21 => "4K",
        21 => "2M",
        22 => "4M",
        _ => "1G",
    }
}

/// A, D and G in letters.
pub(in crate::report::inspect) fn flag_letters([a, d, g]: [PageFlags; 3]) -> String {
    [flag(a, 'A'), flag(d, 'D'), flag(g, 'G')].iter().collect()
}

/// The letter of a flag: small where only some pages have it.
const fn flag(pages: PageFlags, letter: char) -> char {
    match pages {
        PageFlags::None => '-',
        PageFlags::Some => letter.to_ascii_lowercase(),
        PageFlags::All => letter,
    }
}

/// What there is, in sentences.
pub(in crate::report::inspect) fn in_words(totals: &ScanTotals) -> Vec<String> {
    let ScanTotals { bytes, tables, reserved, repeated, unreadable, .. } = *totals;
    let mapped = match totals.pages() {
        0 => "No page is mapped".to_owned(),
        _ => format!("{} are mapped by pages: {}", size(bytes.into()), kinds(totals)),
    };
    let mut sentences = vec![format!("{mapped}; {} below the root.", numbered(tables, "table"))];
    for (count, what) in [
        (reserved, "with reserved bits set"),
        (repeated, "to tables that were read before at the same level and are not shown again"),
    ] {
        if count > 0 {
            let entries = if count == 1 { "entry" } else { "entries" };
            sentences.push(format!("{} {entries} {what}.", with_commas(count)));
        }
    }
    if unreadable > 0 {
        let pieces = numbered(unreadable, "piece");
        sentences.push(format!("{pieces} of tables cannot be read."));
    }
    sentences
}

/// Number of pages of each size.
fn kinds(totals: &ScanTotals) -> String {
    let ScanTotals { small, large, huge, .. } = *totals;
    let pages = [(small, "small"), (large, "large (2 or 4 MiB)"), (huge, "huge (1 GiB)")];
    let pages = pages.into_iter().filter(|(count, _)| *count > 0);
    let pages: Vec<_> =
        pages.map(|(count, what)| format!("{} {what}", with_commas(count))).collect();
    pages.join(", ")
}

/// Ranges of pages that are alike.
pub(super) struct RangeLines<'o> {
    sheet: Sheet<'o>,
    ranges: PageRanges,
    has: Option<VirtAddr>,
}

impl<'o> RangeLines<'o> {
    pub(super) fn new(
        out: &'o mut dyn Write,
        inspected: &Inspected,
        has: Option<VirtAddr>,
    ) -> io::Result<Self> {
        Ok(Self { sheet: Sheet::new(out, inspected)?, ranges: PageRanges::new(), has })
    }

    fn range(&mut self, range: Option<PageRange>) -> io::Result<()> {
        match range.filter(|range| self.has.is_none_or(|address| range.contains(address))) {
            Some(range) => self.sheet.range(&range),
            None => Ok(()),
        }
    }
}

impl MapsSink for RangeLines<'_> {
    fn page(&mut self, page: &PresentEntry) -> io::Result<()> {
        let Some(page) = PageRange::of(page) else { return Ok(()) };
        let before = self.ranges.push(page);
        self.range(before)
    }

    fn problem(&mut self, problem: &ScanProblem) -> io::Result<()> {
        let before = self.ranges.finish();
        self.range(before)?;
        self.sheet.problem(problem, self.has)
    }

    fn end(&mut self, end: &MapsEnd) -> io::Result<()> {
        let last = self.ranges.finish();
        self.range(last)?;
        writeln!(self.sheet.out)?;
        self.sheet.end(end, true)
    }
}

/// Every page.
pub(super) struct PageLines<'o> {
    sheet: Sheet<'o>,
    has: Option<VirtAddr>,
}

impl<'o> PageLines<'o> {
    pub(super) fn new(
        out: &'o mut dyn Write,
        inspected: &Inspected,
        has: Option<VirtAddr>,
    ) -> io::Result<Self> {
        Ok(Self { sheet: Sheet::new(out, inspected)?, has })
    }
}

impl MapsSink for PageLines<'_> {
    fn page(&mut self, page: &PresentEntry) -> io::Result<()> {
        PageRange::of(page).map_or(Ok(()), |page| self.sheet.range(&page))
    }

    fn problem(&mut self, problem: &ScanProblem) -> io::Result<()> {
        self.sheet.problem(problem, self.has)
    }

    fn end(&mut self, end: &MapsEnd) -> io::Result<()> {
        writeln!(self.sheet.out)?;
        self.sheet.end(end, true)
    }
}

/// Counts only.
pub(super) struct RightsTable<'o> {
    sheet: Sheet<'o>,
    /// For each kind of rights, the number of bytes with them.
    by_rights: [u64; 8],
}

impl<'o> RightsTable<'o> {
    pub(super) fn new(out: &'o mut dyn Write, inspected: &Inspected) -> io::Result<Self> {
        Ok(Self { sheet: Sheet::new(out, inspected)?, by_rights: [0; 8] })
    }
}

impl MapsSink for RightsTable<'_> {
    fn page(&mut self, page: &PresentEntry) -> io::Result<()> {
        let bytes = &mut self.by_rights[usize::from(page.rights.bits() & 7)];
        *bytes = bytes.wrapping_add(1 << page.level.shift);
        Ok(())
    }

    fn problem(&mut self, _: &ScanProblem) -> io::Result<()> {
        Ok(())
    }

    fn end(&mut self, end: &MapsEnd) -> io::Result<()> {
        use mmu_core::x86::semantics::Rights;

        for (bits, bytes) in (0..).zip(self.by_rights) {
            if bytes > 0 {
                let rights = letters(Rights::from_bits_truncate(bits));
                writeln!(self.sheet.out, "{rights} {:>10}", size(bytes.into()))?;
            }
        }
        writeln!(self.sheet.out)?;
        self.sheet.end(end, false)
    }
}
