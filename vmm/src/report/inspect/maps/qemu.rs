//! Mappings as QEMU's monitor prints them: nothing else is written.

use super::{MapsEnd, MapsSink};
use crate::report::inspect::problem::ScanProblem;
use crosswalk_inspect::monitor::{MemRanges, TlbLine};
use mmu_core::PagingMode;
use mmu_core::walk::PresentEntry;
use std::io::{self, Write};

/// The lines of `info tlb`.
pub(super) struct Tlb<'o> {
    out: &'o mut dyn Write,
}

impl<'o> Tlb<'o> {
    pub(super) fn new(out: &'o mut dyn Write) -> Self {
        Self { out }
    }
}

impl MapsSink for Tlb<'_> {
    fn page(&mut self, page: &PresentEntry) -> io::Result<()> {
        TlbLine::of(page).map_or(Ok(()), |line| writeln!(self.out, "{line}"))
    }

    fn problem(&mut self, _: &ScanProblem) -> io::Result<()> {
        Ok(())
    }

    fn end(&mut self, _: &MapsEnd) -> io::Result<()> {
        self.out.flush()
    }
}

/// The lines of `info mem`.
pub(super) struct Mem<'o> {
    out: &'o mut dyn Write,
    ranges: MemRanges,
}

impl<'o> Mem<'o> {
    pub(super) fn new(out: &'o mut dyn Write, mode: PagingMode) -> Self {
        Self { out, ranges: MemRanges::new(mode) }
    }
}

impl MapsSink for Mem<'_> {
    fn page(&mut self, page: &PresentEntry) -> io::Result<()> {
        self.ranges.push(page).map_or(Ok(()), |line| writeln!(self.out, "{line}"))
    }

    fn problem(&mut self, _: &ScanProblem) -> io::Result<()> {
        Ok(())
    }

    fn end(&mut self, _: &MapsEnd) -> io::Result<()> {
        if let Some(line) = self.ranges.finish() {
            writeln!(self.out, "{line}")?;
        }
        self.out.flush()
    }
}
