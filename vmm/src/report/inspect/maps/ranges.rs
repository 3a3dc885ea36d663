//! Mappings as ranges of pages that are alike. Threads find those of pieces of the address space; ranges and problems
//! that go on in the next piece are put together again.

use crate::report::inspect::problem::ScanProblem;
use crate::report::inspect::threads;
use crosswalk_inspect::{Found, PageFilter, PageRange, PageRanges, Scan, ScanPiece, ScanTotals};
use std::io;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};

/// What takes the ranges, in the order of addresses.
pub(super) trait RangeSink {
    fn range(&mut self, range: &PageRange) -> io::Result<()>;

    fn problem(&mut self, problem: &ScanProblem) -> io::Result<()>;

    /// All has been found, or the user wants no more.
    fn end(&mut self, totals: &ScanTotals, is_complete: bool) -> io::Result<()>;
}

/// Something for a range of addresses.
enum Stretch {
    Pages(PageRange),
    Problem(ScanProblem),
}

/// What a piece of the address space has.
#[derive(Default)]
struct Part {
    totals: ScanTotals,
    stretches: Vec<Stretch>,
}

/// Puts together what goes on: only one of both is open at a time.
#[derive(Default)]
struct Joint {
    ranges: PageRanges,
    problem: Option<ScanProblem>,
}

/// Writes the ranges while it finds them.
pub(super) fn write(
    sink: &mut dyn RangeSink,
    scan: Scan<'_>,
    filter: &PageFilter,
    stop: &AtomicBool,
) -> io::Result<bool> {
    let mut totals = ScanTotals::default();
    let mut joint = Joint::default();

    let of_piece = |piece: ScanPiece<'_>| Part::new(piece, filter);
    let end = scan.pieces().in_parallel_until(threads(), of_piece, |part| {
        totals += part.totals;
        let complete = part.stretches.into_iter().filter_map(|stretch| joint.add(stretch));
        for stretch in complete {
            if let Err(error) = give(sink, &stretch) {
                return ControlFlow::Break(Err(error));
            }
        }
        if stop.load(Ordering::Relaxed) {
            return ControlFlow::Break(Ok(()));
        }
        ControlFlow::Continue(())
    });

    let is_complete = match end {
        ControlFlow::Continue(()) => true,
        ControlFlow::Break(result) => {
            result?;
            false
        }
    };
    if let Some(last) = joint.finish() {
        give(sink, &last)?;
    }
    sink.end(&totals, is_complete)?;
    Ok(is_complete)
}

fn give(sink: &mut dyn RangeSink, stretch: &Stretch) -> io::Result<()> {
    match stretch {
        Stretch::Pages(range) => sink.range(range),
        Stretch::Problem(problem) => sink.problem(problem),
    }
}

impl Part {
    fn new(piece: ScanPiece<'_>, filter: &PageFilter) -> Self {
        let mut part = Self::default();
        let mut joint = Joint::default();

        for found in piece {
            part.totals.add(&found);
            let stretch = match &found {
                Found::Page(page) if filter.passes(page) => PageRange::of(page).map(Stretch::Pages),
                Found::Page(_) => None,
                _ => ScanProblem::of(&found).map(Stretch::Problem),
            };
            part.stretches.extend(stretch.and_then(|stretch| joint.add(stretch)));
        }
        part.stretches.extend(joint.finish());
        part
    }
}

impl Joint {
    /// Adds what comes next. Returns what is before it, if it does not go on.
    fn add(&mut self, next: Stretch) -> Option<Stretch> {
        match next {
            Stretch::Pages(next) => {
                let problem = self.problem.take().map(Stretch::Problem);
                problem.or(self.ranges.push(next).map(Stretch::Pages))
            }
            Stretch::Problem(next) => {
                if self.problem.as_mut().is_some_and(|open| open.absorb(&next)) {
                    return None;
                }
                let problem = self.problem.replace(next).map(Stretch::Problem);
                problem.or(self.ranges.finish().map(Stretch::Pages))
            }
        }
    }

    /// The last one.
    fn finish(&mut self) -> Option<Stretch> {
        self.problem.take().map(Stretch::Problem).or(self.ranges.finish().map(Stretch::Pages))
    }
}
