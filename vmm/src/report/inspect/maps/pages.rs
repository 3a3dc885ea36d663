//! Mappings page by page.

use crate::report::inspect::problem::ScanProblem;
use crosswalk_inspect::{Found, PageFilter, Scan, ScanTotals};
use mmu_core::walk::PresentEntry;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

/// What takes the pages, in the order of addresses.
pub(super) trait PageSink {
    fn page(&mut self, page: &PresentEntry) -> io::Result<()>;

    fn problem(&mut self, problem: &ScanProblem) -> io::Result<()>;

    /// All has been found, or the user wants no more.
    fn end(&mut self, totals: &ScanTotals, is_complete: bool) -> io::Result<()>;
}

/// Writes the pages while it finds them, on one thread: most of the time goes into writing them.
pub(super) fn write(
    sink: &mut dyn PageSink,
    scan: Scan<'_>,
    filter: &PageFilter,
    stop: &AtomicBool,
) -> io::Result<bool> {
    let mut totals = ScanTotals::default();
    let mut problem: Option<ScanProblem> = None;
    let mut is_complete = true;
    for found in scan {
        totals.add(&found);
        match (&found, ScanProblem::of(&found)) {
            (Found::Page(page), _) => {
                if let Some(problem) = problem.take() {
                    sink.problem(&problem)?;
                }
                if filter.passes(page) {
                    sink.page(page)?;
                }
            }
            (_, Some(next)) => {
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
    sink.end(&totals, is_complete)?;
    Ok(is_complete)
}
