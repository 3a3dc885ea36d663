//! All mappings of an address space: merged into ranges or page by page, for people (`text`),
//! for scripts (`json`), or as QEMU's monitor prints them (`qemu`).

pub(in crate::report) mod json;
mod qemu;
mod text;

pub(super) use json::of_pages;
pub(super) use text::{flag_letters, in_words, short_page_size};

use super::Inspected;
use super::problem::ScanProblem;
use crate::report::document::{Ending, Invocation, VerdictWord};
use crosswalk_inspect::{Found, Limits, PageFilter, Scan, ScanTotals};
use mmu_core::VirtAddr;
use mmu_core::walk::PresentEntry;
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};

/// How mappings are shown.
#[derive(Clone, Copy, Debug)]
pub enum MapsShape {
    /// Ranges of pages that are alike, for people.
    Ranges,
    /// Every page, for people.
    Pages,
    /// Counts only.
    Stats,
    /// Ranges as one JSON document.
    Json(&'static Invocation),
    /// Pages as JSON, a line for each.
    JsonLines,
    /// As `info tlb` of QEMU's monitor.
    QemuTlb,
    /// As `info mem`.
    QemuMem,
}

impl MapsShape {
    /// Whether pages that are alike are put together: of a page, the others of its range are needed.
    const fn has_ranges(self) -> bool {
        matches!(self, Self::Ranges | Self::Json(_))
    }

    /// Whether people read it, and not a program.
    pub const fn is_for_people(self) -> bool {
        matches!(self, Self::Ranges | Self::Pages | Self::Stats)
    }
}

/// What is shown, and how.
#[derive(Clone, Debug)]
pub struct MapsOptions {
    /// How.
    pub shape: MapsShape,
    /// The first and the last address.
    pub range: (VirtAddr, VirtAddr),
    /// Only the range that has this address.
    pub has: Option<VirtAddr>,
    /// Which pages.
    pub filter: PageFilter,
    /// How much of tables that repeat.
    pub limits: Limits,
}

/// What takes the mappings, in the order of addresses.
trait MapsSink {
    fn page(&mut self, page: &PresentEntry) -> io::Result<()>;

    fn problem(&mut self, problem: &ScanProblem) -> io::Result<()>;

    /// All has been found, or the user wants no more.
    fn end(&mut self, end: &MapsEnd) -> io::Result<()>;
}

/// What is known at the end.
struct MapsEnd {
    /// All that was found.
    totals: ScanTotals,
    /// The pages that pass the filter, if there is one.
    passed: Option<ScanTotals>,
    /// The address that was asked for, if nothing that is shown has it.
    missed: Option<VirtAddr>,
    /// Whether the scan got to the end.
    is_complete: bool,
    /// How the command ends.
    ending: Ending,
}

/// Writes the mappings while it finds them. `stop` ends it early, with what was found until then. Returns
/// how the command ends.
///
/// # Errors
/// If they cannot be written.
pub fn write(
    out: &mut dyn Write,
    inspected: &Inspected,
    options: &MapsOptions,
    stop: &AtomicBool,
) -> io::Result<Ending> {
    let mode = inspected.derived.state.mode();
    let mut sink: Box<dyn MapsSink + '_> = match options.shape {
        MapsShape::Ranges => Box::new(text::RangeLines::new(out, inspected, options.has)?),
        MapsShape::Pages => Box::new(text::PageLines::new(out, inspected, options.has)?),
        MapsShape::Stats => Box::new(text::RightsTable::new(out, inspected)?),
        MapsShape::Json(invocation) => {
            Box::new(json::RangesDocument::new(out, inspected, options.has, invocation)?)
        }
        MapsShape::JsonLines => Box::new(json::JsonLines::new(out, inspected)?),
        MapsShape::QemuTlb => Box::new(qemu::Tlb::new(out)),
        MapsShape::QemuMem => Box::new(qemu::Mem::new(out, mode)),
    };

    let mmu = inspected.mmu();
    let scan = Scan::new(inspected.source.memory(), &mmu, options.range, options.limits);
    let mut totals = ScanTotals::default();
    let mut passed = (options.filter != PageFilter::default()).then(ScanTotals::default);
    let mut missed = options.has;
    let mut problem: Option<ScanProblem> = None;
    let mut is_complete = true;
    for found in scan {
        totals.add(&found);
        match (&found, ScanProblem::of(&found)) {
            (Found::Page(page), _) => {
                if let Some(problem) = problem.take() {
                    sink.problem(&problem)?;
                }
                if !options.filter.passes(page) {
                    continue;
                }
                if let Some(passed) = &mut passed {
                    passed.add(&found);
                }
                let is_asked = options.has.is_some_and(|has| page.first <= has && has <= page.last);
                if is_asked {
                    missed = None;
                }
                if is_asked || options.has.is_none() || options.shape.has_ranges() {
                    sink.page(page)?;
                }
            }
            (_, Some(next)) => {
                if options.has.is_some_and(|has| next.first <= has && has <= next.last) {
                    missed = None;
                }
                let is_absorbed = problem.as_mut().is_some_and(|open| open.absorb(&next));
                if !is_absorbed && let Some(before) = problem.replace(next) {
                    sink.problem(&before)?;
                }
            }
            (_, None) if stop.load(Ordering::Relaxed) => {
                is_complete = false;
                break;
            }
            (_, None) => {}
        }
    }

    if let Some(problem) = problem {
        sink.problem(&problem)?;
    }
    let ending = Ending::of_search(is_complete, VerdictWord::Done);
    sink.end(&MapsEnd { totals, passed, missed, is_complete, ending })?;
    Ok(ending)
}
