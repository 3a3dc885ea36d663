//! Entries that the walk of a case reaches: for walkers that cannot be given another processor, which
//! refuse cases that depend on one.

use crate::pages::{addresses, walk};
use crosswalk_case::Case;
use mmu_core::x86::format::{EntryBits, Level};

/// Whether the walk reaches an entry that maps a page of 1 GiB on processors with such pages.
pub(crate) fn one_gib_page(case: &Case) -> bool {
    flag(case, EntryBits::PS, |level| level.shift == 30 && level.has_flags)
}

/// Whether the walk reaches an entry with this flag at a level that `is_meant` selects.
pub(crate) fn flag(case: &Case, flag: EntryBits, is_meant: impl Fn(&Level) -> bool) -> bool {
    addresses(case).into_iter().any(|address| {
        let (path, _) = walk(case, address);
        path.steps.iter().any(|step| is_meant(step.level) && step.entry & flag.bits() != 0)
    })
}
