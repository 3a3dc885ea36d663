//! All mappings of an address space: merged into ranges or page by page, for people (`text`),
//! for scripts (`json`), or as QEMU's monitor prints them (`qemu`).

mod json;
mod pages;
mod qemu;
mod ranges;
mod text;

pub(super) use json::of_pages;
pub(super) use text::{flag_letters, in_words, short_page_size};

use super::Inspected;
use crosswalk_inspect::{Limits, PageFilter, Scan};
use mmu_core::VirtAddr;
use std::io::{self, Write};
use std::sync::atomic::AtomicBool;

/// How mappings are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MapsShape {
    /// Ranges of pages that are alike, for people.
    Ranges,
    /// Every page, for people.
    Pages,
    /// Counts only.
    Stats,
    /// Ranges as one JSON document.
    Json,
    /// Pages as JSON, a line for each.
    JsonLines,
    /// As `info tlb` of QEMU's monitor.
    QemuTlb,
    /// As `info mem`.
    QemuMem,
}

impl MapsShape {
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

/// Writes the mappings while it finds them. `stop` ends it early, with what was found until then. Returns
/// whether it got to the end.
///
/// # Errors
/// If they cannot be written.
pub fn write(
    out: &mut dyn Write,
    inspected: &Inspected,
    options: &MapsOptions,
    stop: &AtomicBool,
) -> io::Result<bool> {
    let mode = inspected.derived.state.mode();
    let mmu = inspected.mmu();
    let scan = Scan::new(inspected.source.memory(), &mmu, options.range, options.limits);
    let filter = &options.filter;
    let has = options.has;

    match options.shape {
        MapsShape::Ranges => {
            ranges::write(&mut text::RangeLines::new(out, inspected, has)?, scan, filter, stop)
        }
        MapsShape::Json => {
            ranges::write(&mut json::RangesDocument::new(out, inspected, has)?, scan, filter, stop)
        }
        MapsShape::Stats => {
            ranges::write(&mut text::RightsTable::new(out, inspected)?, scan, filter, stop)
        }
        MapsShape::Pages => {
            pages::write(&mut text::PageLines::new(out, inspected)?, scan, filter, stop)
        }
        MapsShape::JsonLines => {
            pages::write(&mut json::JsonLines::new(out, inspected)?, scan, filter, stop)
        }
        MapsShape::QemuTlb => pages::write(&mut qemu::Tlb::new(out), scan, filter, stop),
        MapsShape::QemuMem => pages::write(&mut qemu::Mem::new(out, mode), scan, filter, stop),
    }
}
