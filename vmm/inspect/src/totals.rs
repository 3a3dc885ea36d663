//! What a scan has found, counted.

use crate::scan::Found;
use mmu_core::walk::PresentEntry;
use std::iter::Sum;
use std::ops::AddAssign;

/// Counts of what a scan has found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScanTotals {
    /// Pages of 4 KiB.
    pub small: u64,
    /// Pages of 2 MiB or 4 MiB.
    pub large: u64,
    /// Pages of 1 GiB.
    pub huge: u64,
    /// Number of bytes that they map.
    pub bytes: u64,
    /// Tables that were read, below the root.
    pub tables: u64,
    /// Entries with reserved bits set.
    pub reserved: u64,
    /// Entries that point to a table which was read before at the same level, and was not read again.
    pub repeated: u64,
    /// Pieces of tables that cannot be read.
    pub unreadable: u64,
}

impl ScanTotals {
    /// Counts something more.
    #[inline]
    pub fn add(&mut self, found: &Found) {
        match found {
            Found::Page(page) => self.add_page(page),
            Found::Table(_) => self.tables += 1,
            Found::Reserved(_) => self.reserved += 1,
            Found::Repeated(_) => self.repeated += 1,
            Found::Unreadable(_) => self.unreadable += 1,
        }
    }

    #[inline]
    fn add_page(&mut self, page: &PresentEntry) {
        match page.level.shift {
            0..21 => self.small += 1,
            21..30 => self.large += 1,
            _ => self.huge += 1,
        }
        self.bytes = self.bytes.wrapping_add(1 << page.level.shift);
    }

    /// Number of pages of any size.
    pub const fn pages(&self) -> u64 {
        self.small + self.large + self.huge
    }
}

/// The counts of all that is found.
impl FromIterator<Found> for ScanTotals {
    fn from_iter<I: IntoIterator<Item = Found>>(found: I) -> Self {
        found.into_iter().fold(Self::default(), |mut totals, found| {
            totals.add(&found);
            totals
        })
    }
}

/// The counts of several parts of one scan.
impl Sum for ScanTotals {
    fn sum<I: Iterator<Item = Self>>(parts: I) -> Self {
        parts.fold(Self::default(), |mut totals, part| {
            totals += part;
            totals
        })
    }
}

impl AddAssign for ScanTotals {
    fn add_assign(&mut self, other: Self) {
        let Self { small, large, huge, bytes, tables, reserved, repeated, unreadable } = other;
        self.small += small;
        self.large += large;
        self.huge += huge;
        self.bytes = self.bytes.wrapping_add(bytes);
        self.tables += tables;
        self.reserved += reserved;
        self.repeated += repeated;
        self.unreadable += unreadable;
    }
}
