//! What the picture of an address space is made of: blocks, each a range of pages that are alike, or something
//! that stands in the way of a scan. Where there are too many, neighbours become one.

use crate::report::inspect::Inspected;
use crate::report::inspect::problem::ScanProblem;
use crosswalk_inspect::{Found, Limits, PageRange, PageRanges, Scan, ScanTotals};
use mmu_core::VirtAddr;
use mmu_core::x86::semantics::Rights;
use std::sync::atomic::{AtomicBool, Ordering};

/// The most blocks of a picture.
pub(super) const MAX_BLOCKS: usize = 2000;

/// The sizes of the windows within which neighbours become one where there are too many, as logarithms.
const WINDOWS: [u8; 5] = [21, 30, 39, 48, 57];

/// A range of addresses in the picture.
#[derive(Clone, Debug)]
pub(super) struct Block {
    pub(super) first: u64,
    pub(super) last: u64,
    /// For each kind of rights, the number of bytes with them.
    pub(super) bytes: [u64; 8],
    /// The range, if the block is one; without physical addresses that follow each other and flags that are
    /// alike, what its fields say is of the first page.
    pub(super) range: Option<PageRange>,
    /// What stands in the way, in words; of the first if there are several.
    pub(super) problem: Option<String>,
    /// Whether it has nothing but tables that were read before and not again.
    pub(super) is_repeated: bool,
    /// Number of ranges and problems that the block stands for.
    pub(super) count: u64,
    /// The physical address of the first entry.
    pub(super) at: u64,
}

impl Block {
    fn of_range(range: PageRange, at: u64) -> Self {
        let mut bytes = [0; 8];
        bytes[usize::from(range.rights.bits() & 7)] = range.bytes();
        Self {
            first: range.first.get(),
            last: range.last.get(),
            bytes,
            range: Some(range),
            problem: None,
            is_repeated: false,
            count: 1,
            at,
        }
    }

    fn of_problem(problem: &ScanProblem) -> Self {
        Self {
            first: problem.first.get(),
            last: problem.last.get(),
            bytes: [0; 8],
            range: None,
            problem: Some(problem.words()),
            is_repeated: problem.is_repeated(),
            count: 1,
            at: problem.at(),
        }
    }

    /// Number of bytes that are mapped.
    pub(super) fn mapped(&self) -> u64 {
        self.bytes.iter().fold(0, |sum, bytes| sum.wrapping_add(*bytes))
    }

    /// The rights that all its pages have, if all have the same.
    pub(super) fn rights(&self) -> Option<Rights> {
        let mut present = (0_u8..).zip(self.bytes).filter(|(_, bytes)| *bytes > 0);
        let (rights, _) = present.next()?;
        present.next().is_none().then(|| Rights::from_bits_truncate(rights))
    }

    /// Whether it has pages, and user code may access all of them.
    pub(super) fn is_of_user(&self) -> bool {
        let mut kinds = (0_u8..).zip(self.bytes).filter(|(_, bytes)| *bytes > 0);
        let is_of_user =
            |(rights, _): (u8, u64)| Rights::from_bits_truncate(rights).contains(Rights::USER);
        self.mapped() > 0 && kinds.all(is_of_user)
    }

    /// Whether some of its pages are writable and executable.
    pub(super) fn has_wx(&self) -> bool {
        let wx = Rights::WRITE | Rights::EXECUTE;
        let kinds = (0_u8..).zip(self.bytes);
        kinds
            .into_iter()
            .any(|(rights, bytes)| bytes > 0 && Rights::from_bits_truncate(rights).contains(wx))
    }

    /// Its width in the picture: that of a page, and more by the same for each doubling.
    pub(super) fn width(&self) -> u32 {
        match self.mapped() >> 12 {
            0 => 12,
            pages => 6 + 4 * pages.ilog2(),
        }
    }

    /// Adds the block behind this one.
    fn absorb(&mut self, next: &Self) {
        self.last = next.last;
        for (bytes, more) in self.bytes.iter_mut().zip(next.bytes) {
            *bytes = bytes.wrapping_add(more);
        }
        if self.problem.is_none() {
            self.problem.clone_from(&next.problem);
        }
        self.range = None;
        self.is_repeated &= next.is_repeated;
        self.count += next.count;
    }
}

/// The blocks of an address space.
#[derive(Debug, Default)]
pub(super) struct Blocks {
    pub(super) list: Vec<Block>,
    pub(super) totals: ScanTotals,
    pub(super) is_complete: bool,
    /// The logarithm of the size of windows in which neighbours are one block.
    pub(super) window: Option<u8>,
}

impl Blocks {
    /// Scans all tables, and shows `observe` what it meets. `stop` ends it early.
    pub(super) fn new(
        inspected: &Inspected,
        limits: Limits,
        stop: &AtomicBool,
        mut observe: impl FnMut(&Found),
    ) -> Self {
        let mmu = inspected.mmu();
        let all = (VirtAddr::new(0), VirtAddr::new(u64::MAX));
        let scan = Scan::new(inspected.source.memory(), &mmu, all, limits);

        let mut blocks = Self { is_complete: true, ..Self::default() };
        let mut ranges = PageRanges::new();
        let mut range_at = 0;
        let mut problem: Option<ScanProblem> = None;
        for found in scan {
            blocks.totals.add(&found);
            observe(&found);
            match (&found, ScanProblem::of(&found)) {
                (Found::Page(page), _) => {
                    blocks.add_problem(problem.take());
                    let Some(range) = PageRange::of(page) else { continue };
                    let is_first = ranges.is_empty();
                    let before = ranges.push(range);
                    if is_first || before.is_some() {
                        blocks.add_range(before, range_at);
                        range_at = page.at.get();
                    }
                }
                (_, Some(next)) => {
                    blocks.add_range(ranges.finish(), range_at);
                    let is_absorbed = problem.as_mut().is_some_and(|open| open.absorb(&next));
                    if !is_absorbed {
                        blocks.add_problem(problem.replace(next));
                    }
                }
                (_, None) if stop.load(Ordering::Relaxed) => {
                    blocks.is_complete = false;
                    break;
                }
                (_, None) => {}
            }
        }
        blocks.add_range(ranges.finish(), range_at);
        blocks.add_problem(problem);
        blocks.fit(MAX_BLOCKS);
        blocks
    }

    /// Number of ranges and problems that the blocks stand for.
    pub(super) fn count(&self) -> u64 {
        self.list.iter().map(|block| block.count).sum()
    }

    fn add_range(&mut self, range: Option<PageRange>, at: u64) {
        if let Some(range) = range {
            self.add(Block::of_range(range, at));
        }
    }

    fn add_problem(&mut self, problem: Option<ScanProblem>) {
        if let Some(problem) = problem {
            self.add(Block::of_problem(&problem));
        }
    }

    fn add(&mut self, block: Block) {
        match self.list.last_mut() {
            Some(before) if is_in_window(self.window, before, &block) => before.absorb(&block),
            _ => self.list.push(block),
        }
        // Twice as many, so that most blocks are looked at a few times only.
        if self.list.len() >= 2 * MAX_BLOCKS {
            self.fit(MAX_BLOCKS);
        }
    }

    /// Makes neighbours one, in windows as small as can be, until there are few enough.
    fn fit(&mut self, most: usize) {
        for window in WINDOWS {
            if self.list.len() <= most {
                return;
            }
            if self.window.is_some_and(|before| before >= window) {
                continue;
            }
            self.window = Some(window);

            let mut fewer: Vec<Block> = Vec::with_capacity(self.list.len());
            for block in self.list.drain(..) {
                match fewer.last_mut() {
                    Some(before) if is_in_window(self.window, before, &block) => {
                        before.absorb(&block);
                    }
                    _ => fewer.push(block),
                }
            }
            self.list = fewer;
        }
    }
}

/// Whether two blocks begin in the same window.
fn is_in_window(window: Option<u8>, before: &Block, next: &Block) -> bool {
    window.is_some_and(|window| before.first >> window == next.first >> window)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Blocks of one page with the rights of their number, at these addresses.
    fn blocks(addresses: impl Iterator<Item = u64>) -> Blocks {
        let mut blocks = Blocks::default();
        for (number, first) in addresses.enumerate() {
            let mut bytes = [0; 8];
            bytes[number % 8] = 0x1000;
            let (last, count) = (first + 0xfff, 1);
            let (range, problem, is_repeated) = (None, None, false);
            let block = Block { first, last, bytes, range, problem, is_repeated, count, at: 0 };
            blocks.add(block);
        }
        blocks.fit(MAX_BLOCKS);
        blocks
    }

    #[test]
    fn few_blocks_stay_as_they_are() {
        let found = blocks((0..2000).map(|page| page << 13));
        assert_eq!((found.list.len(), found.window), (2000, None));
    }

    /// A million pages with holes between them, 256 in each 2 MiB and 8 GiB of them, and one far away.
    #[test]
    fn many_blocks_become_windows_and_nothing_is_lost() {
        let far = 0xffff_8000_0000_0000;
        let found = blocks((0..1 << 20).map(|page| page << 13).chain([far]));
        assert_eq!(found.window, Some(30));
        assert_eq!(found.list.len(), 9);
        assert_eq!(found.count(), (1 << 20) + 1);
        let mapped: u64 = found.list.iter().map(Block::mapped).sum();
        assert_eq!(mapped, ((1 << 20) + 1) << 12);
        assert_eq!((found.list[0].first, found.list[0].last), (0, 0x3fff_efff));
        assert!(found.list[0].has_wx() && found.list[0].rights().is_none());
        assert_eq!(found.list[8].first, far);
    }

    #[test]
    fn a_block_is_wider_by_the_same_for_each_doubling() {
        let width = |bytes| {
            let block = Block {
                first: 0,
                last: 0,
                bytes: [bytes, 0, 0, 0, 0, 0, 0, 0],
                range: None,
                problem: None,
                is_repeated: false,
                count: 1,
                at: 0,
            };
            block.width()
        };
        assert_eq!([0x1000, 0x2000, 0x20_0000, 0x4000_0000].map(width), [6, 10, 42, 78]);
    }
}
