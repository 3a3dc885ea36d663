//! A scan in pieces, which several threads can share.
//!
//! One scan decides which tables are read, and which have been read before: it reads all but those of the last
//! level, which are some 512 times as many, in the order of addresses. The rest is the work of the pieces. So all
//! pieces together find what the scan alone would find, whichever thread takes which of them, and when.

use super::in_order::for_each_in_order;
use super::{Found, Scan};
use crate::physical_memory::PhysicalMemory;
use mmu_core::walk::{AnyPresentEntries, PresentEntry};
use std::convert::Infallible;
use std::num::NonZero;
use std::ops::ControlFlow;
use std::vec;

/// About the number of entries that a piece has. It takes a millisecond to read that many, if they are in the page
/// cache.
const PIECE_ENTRIES: usize = 1 << 15;

/// Number of entries of a table.
const TABLE_ENTRIES: usize = 512;

/// An entry above the last level counts as this many, since it takes memory until the piece is looked at.
const UPPER_ENTRY: usize = 8;

/// The pieces of a scan, in the order of addresses: an iterator. Each piece is an iterator over what is found there,
/// and all of them together find what [`Scan`] finds. The pieces have about the same size, whatever the tables are
/// like, and are independent of each other. [`Limits`](super::Limits) are for all of them together: tables that point to
/// themselves cost no more than in one scan.
///
/// [`Self::in_parallel`] and [`Self::in_parallel_until`] give them to threads. A program that has threads of its own
/// can give them the pieces itself.
///
/// ```
/// use crosswalk_inspect::{Found, ImageOptions, Limits, MemoryImage, ScanTotals, StateOptions};
/// use mmu_core::x86::semantics::Rights;
/// use mmu_core::{AnyMmu, Profile};
/// use std::num::NonZero;
///
/// // Four frames: a root table of 32-bit paging at 0, and three page tables.
/// let mut memory = vec![0_u8; 0x4000];
/// let entries = [(0, 0x1007), (4, 0x2007), (8, 0x3007), (0x1004, 0x5007), (0x2004, 0x6005), (0x3004, 0x7007)];
/// for (at, entry) in entries {
///     memory[at..at + 4].copy_from_slice(&u32::to_le_bytes(entry));
/// }
/// let directory = tempfile::tempdir()?;
/// let path = directory.path().join("memory.raw");
/// std::fs::write(&path, memory)?;
///
/// let image = MemoryImage::open(&path, &ImageOptions { format: None, ram: vec!["0:0x4000@0".parse()?] })?;
/// let [cr0, cr3, cr4, efer] = [Some(0x8000_0011), Some(0), Some(0), Some(0)];
/// let options = StateOptions { cpu: 0, cr0, cr3, cr4, efer };
/// let mmu = AnyMmu::new(image.control_state(&options)?.state, Profile::default());
/// let threads = std::thread::available_parallelism().unwrap_or(NonZero::<usize>::MIN);
///
/// // Each piece is counted by itself.
/// let counts = image.scan(&mmu, Limits::default()).pieces().in_parallel(threads, |piece| {
///     piece.collect::<ScanTotals>()
/// });
/// let totals: ScanTotals = counts.into_iter().sum();
/// assert_eq!((totals.pages(), totals.tables), (3, 3));
///
/// // The addresses of all writable pages, in order.
/// let writable = image.scan(&mmu, Limits::default()).pieces().in_parallel(threads, |piece| {
///     let pages = piece.filter_map(|found| match found {
///         Found::Page(page) if page.rights.contains(Rights::WRITE) => Some(page.first.get()),
///         _ => None,
///     });
///     pages.collect::<Vec<_>>()
/// });
/// assert_eq!(writable.concat(), [0x1000, 0x80_1000]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct ScanPieces<'i> {
    scan: Scan<'i>,
    /// About the number of entries of a piece.
    entries: usize,
}

impl<'i> ScanPieces<'i> {
    pub(super) const fn new(scan: Scan<'i>) -> Self {
        Self { scan, entries: PIECE_ENTRIES }
    }

    /// Pieces of another size.
    #[cfg(test)]
    pub(crate) fn of_entries(self, entries: usize) -> Self {
        Self { entries, ..self }
    }

    /// Does the work for each piece, on several threads. Returns the results in the order of addresses.
    ///
    /// The results do not depend on the number of threads. There is one for each piece, about 32,768 entries: they
    /// should be small, or be taken one by one by [`Self::in_parallel_until`].
    ///
    /// # Panics
    /// If the work panics.
    pub fn in_parallel<T: Send>(
        self,
        threads: NonZero<usize>,
        work: impl Fn(ScanPiece<'i>) -> T + Sync,
    ) -> Vec<T> {
        let mut results = Vec::new();
        let ControlFlow::<Infallible>::Continue(()) =
            self.in_parallel_until(threads, work, |result| {
                results.push(result);
                ControlFlow::Continue(())
            });
        results
    }

    /// Does the work for each piece, on several threads, and gives the results to `take`, one after the other, in the
    /// order of addresses, while the work goes on. `take` is called on the thread of the caller, and can end
    /// everything. Returns what it ended with.
    ///
    /// No thread gets far ahead of `take`: for each there are at most two pieces or results. The first four pieces are
    /// the caller's, so that a small scan starts no thread. If the system has fewer threads to give, those do the work,
    /// or the caller's does.
    ///
    /// # Panics
    /// If `work` or `take` panics.
    pub fn in_parallel_until<T: Send, B>(
        self,
        threads: NonZero<usize>,
        work: impl Fn(ScanPiece<'i>) -> T + Sync,
        take: impl FnMut(T) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        for_each_in_order(self, threads, work, take)
    }
}

impl<'i> Iterator for ScanPieces<'i> {
    type Item = ScanPiece<'i>;

    fn next(&mut self) -> Option<ScanPiece<'i>> {
        let mut found = Vec::new();
        let mut entries = 0;

        while entries < self.entries {
            let Some(next) = self.scan.next() else { break };
            if points_to_last_level(&next).is_some() {
                self.scan.entries.skip_table();
            }
            entries += if matches!(next, Found::Table(_)) { TABLE_ENTRIES } else { UPPER_ENTRY };
            found.push(next);
        }

        if found.is_empty() {
            return None;
        }
        let Scan { memory, mmu, range: (first, last), .. } = self.scan;
        let last_level = mmu.present_entries(memory, first, last);
        Some(ScanPiece { found: found.into_iter(), last_level, is_in_table: false })
    }
}

/// A piece of a scan: an iterator over what is found there, in the order of addresses. See [`ScanPieces`].
#[derive(Debug)]
pub struct ScanPiece<'i> {
    /// What was found in the tables above the last level.
    found: vec::IntoIter<Found>,
    /// The tables of the last level, to one of which it goes after the other.
    last_level: AnyPresentEntries<'i, PhysicalMemory>,
    /// Whether one of them is being read.
    is_in_table: bool,
}

impl Iterator for ScanPiece<'_> {
    type Item = Found;

    #[inline]
    fn next(&mut self) -> Option<Found> {
        if self.is_in_table {
            if let Some(entry) = self.last_level.next() {
                return Some(Found::new(entry));
            }
            self.is_in_table = false;
        }

        let found = self.found.next()?;
        if let Some(entry) = points_to_last_level(&found) {
            self.last_level.go_below(entry);
            self.is_in_table = true;
        }
        Some(found)
    }
}

/// The entry, if it points to a table of the last level that is to be read.
#[inline]
fn points_to_last_level(found: &Found) -> Option<&PresentEntry> {
    match found {
        Found::Table(entry) if entry.level.number == 2 => Some(entry),
        _ => None,
    }
}
