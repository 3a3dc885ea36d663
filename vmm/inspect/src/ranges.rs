//! Pages next to each other that are alike, as one.

use mmu_core::walk::{EntryMeaning, PresentEntry};
use mmu_core::x86::format::{EntryBits, Level};
use mmu_core::x86::semantics::Rights;
use mmu_core::{PhysAddr, VirtAddr};

/// Pages of one size next to each other in linear addresses, whose paths grant the same rights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageRange {
    /// The first address.
    pub first: VirtAddr,
    /// The last one.
    pub last: VirtAddr,
    /// The level of their leaves.
    pub level: &'static Level,
    /// What their paths grant.
    pub rights: Rights,
    /// The physical address of the first page.
    pub address: PhysAddr,
    /// Whether the physical addresses of all follow each other, too.
    pub is_contiguous: bool,
    /// How many have A set.
    pub accessed: PageFlags,
    /// How many have D set.
    pub dirty: PageFlags,
    /// How many have G set.
    pub global: PageFlags,
}

/// Of how many pages of a range a flag is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageFlags {
    /// Of none.
    None,
    /// Of some.
    Some,
    /// Of all.
    All,
}

impl PageFlags {
    const fn of(entry: u64, flag: EntryBits) -> Self {
        if entry & flag.bits() == 0 { Self::None } else { Self::All }
    }

    /// Of how many pages of both it is set.
    pub(crate) const fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::None, Self::None) => Self::None,
            (Self::All, Self::All) => Self::All,
            _ => Self::Some,
        }
    }
}

impl PageRange {
    /// The range of one page. `None` if the entry does not map one.
    #[inline]
    pub fn of(page: &PresentEntry) -> Option<Self> {
        let EntryMeaning::Page(address) = page.meaning else { return None };
        Some(Self {
            first: page.first,
            last: page.last,
            level: page.level,
            rights: page.rights,
            address,
            is_contiguous: true,
            accessed: PageFlags::of(page.entry, EntryBits::A),
            dirty: PageFlags::of(page.entry, EntryBits::D),
            global: PageFlags::of(page.entry, EntryBits::G),
        })
    }

    /// Number of bytes. The whole of 2^64 does not occur: no format maps it.
    pub const fn bytes(&self) -> u64 {
        self.last.get().wrapping_sub(self.first.get()).wrapping_add(1)
    }

    /// Number of pages.
    pub const fn pages(&self) -> u64 {
        self.bytes() >> self.level.shift
    }

    /// Whether an address is in it.
    pub fn contains(&self, address: VirtAddr) -> bool {
        self.first <= address && address <= self.last
    }

    /// Whether another range begins where this one ends, and has the same page size and rights.
    #[inline]
    pub fn goes_on_in(&self, next: &Self) -> bool {
        self.last.get().checked_add(1) == Some(next.first.get())
            && self.level.shift == next.level.shift
            && self.rights == next.rights
    }

    /// The physical address behind the last page.
    const fn behind(&self) -> u64 {
        self.address.get().wrapping_add(self.bytes())
    }

    /// Adds the range that goes on where this one ends.
    #[inline]
    fn extend(&mut self, next: &Self) {
        self.is_contiguous =
            self.is_contiguous && next.is_contiguous && self.behind() == next.address.get();
        self.last = next.last;
        self.accessed = self.accessed.and(next.accessed);
        self.dirty = self.dirty.and(next.dirty);
        self.global = self.global.and(next.global);
    }
}

/// Merges pages, given one after the other, into ranges.
#[derive(Clone, Copy, Debug, Default)]
pub struct PageRanges {
    /// Whether physical addresses must follow each other, too.
    splits_frames: bool,
    open: Option<PageRange>,
}

impl PageRanges {
    /// Pages go together whatever their physical addresses are.
    pub const fn new() -> Self {
        Self { splits_frames: false, open: None }
    }

    /// Pages go together only if their physical addresses follow each other.
    pub const fn contiguous() -> Self {
        Self { splits_frames: true, open: None }
    }

    /// Adds the next page. Returns the range before it, if it begins another.
    #[inline]
    pub fn push(&mut self, page: PageRange) -> Option<PageRange> {
        if let Some(open) = &mut self.open
            && open.goes_on_in(&page)
            && !(self.splits_frames && open.behind() != page.address.get())
        {
            open.extend(&page);
            return None;
        }
        self.open.replace(page)
    }

    /// Whether no page has been added since the last range ended.
    pub const fn is_empty(&self) -> bool {
        self.open.is_none()
    }

    /// The last range.
    pub fn finish(&mut self) -> Option<PageRange> {
        self.open.take()
    }
}
