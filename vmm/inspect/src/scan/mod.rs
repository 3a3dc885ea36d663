//! Every mapping of the tables below a root, in bounded time.
//!
//! Tables can point to themselves, and then map every page many times: 512 entries that all point to their
//! own table are 512^4 pages. A table is therefore read once per level, and again only as long as the
//! [`Limits`] last. Legitimate tables are shared, too: a self-map, or the many copies of one page.

mod frame_set;
mod in_order;
mod pieces;

pub use frame_set::FrameSet;
pub use pieces::{ScanPiece, ScanPieces};

use crate::error::ReadError;
use crate::image::MemoryImage;
use crate::physical_memory::PhysicalMemory;
use crate::source::Source;
use mmu_core::walk::{AnyPresentEntries, EntryMeaning, PresentEntry, UnreadableEntries};
use mmu_core::x86::format::MAX_LEVELS;
use mmu_core::{AnyMmu, PhysAddr, VirtAddr};

/// How much of tables that repeat is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The number of tables that are read again after they have been read at the same level.
    pub repeats: u64,
}

impl Default for Limits {
    /// 8192 tables: enough for a self-map, and done in a tenth of a second.
    fn default() -> Self {
        Self { repeats: 8192 }
    }
}

/// What a scan finds, in the order of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// An entry points to a table, whose entries follow.
    Table(PresentEntry),
    /// An entry maps a page.
    Page(PresentEntry),
    /// An entry has reserved bits set: [`EntryMeaning::Reserved`].
    Reserved(PresentEntry),
    /// An entry points to a table that was read before at the same level, and is not read again.
    Repeated(PresentEntry),
    /// A table, or a part of it, cannot be read.
    Unreadable(UnreadableEntries<ReadError>),
}

/// Number of entries that cannot be read. Those of a root span the addresses that are not canonical, too, for which
/// there are none.
pub fn entry_count(unreadable: &UnreadableEntries<ReadError>) -> u64 {
    let UnreadableEntries { first, last, level, .. } = unreadable;
    let index = |address: &VirtAddr| address.get() >> level.shift & ((1 << level.index_bits) - 1);
    index(last).saturating_sub(index(first)) + 1
}

/// The root table, if none of its entries can be read: then there is nothing to find.
pub fn missing_root(memory: &PhysicalMemory, mmu: &AnyMmu) -> Option<UnreadableEntries<ReadError>> {
    let mut root = None;
    let mut count = 0;
    for found in Scan::of_all(memory, mmu, Limits { repeats: 0 }) {
        let Found::Unreadable(unreadable) = found else { return None };
        count += entry_count(&unreadable);
        root.get_or_insert(unreadable);
    }
    root.filter(|root| count == 1 << root.level.index_bits)
}

/// A scan of all tables below a root: an iterator.
///
/// ```
/// use crosswalk_inspect::{Found, ImageOptions, Limits, MemoryImage, StateOptions};
/// use mmu_core::{AnyMmu, Profile};
///
/// // Two frames: a root table of 32-bit paging at 0, and a page table.
/// let mut memory = vec![0; 0x2000];
/// memory[0..4].copy_from_slice(&0x1007_u32.to_le_bytes());
/// memory[0x1004..0x1008].copy_from_slice(&0x5003_u32.to_le_bytes());
/// let directory = tempfile::tempdir()?;
/// let path = directory.path().join("memory.raw");
/// std::fs::write(&path, memory)?;
///
/// let ram = vec!["0:0x2000@0".parse()?];
/// let image = MemoryImage::open(&path, &ImageOptions { format: None, ram })?;
/// let registers = [Some(0x8000_0011), Some(0), Some(0), Some(0)];
/// let [cr0, cr3, cr4, efer] = registers;
/// let options = StateOptions { cpu: 0, cr0, cr3, cr4, efer };
/// let mmu = AnyMmu::new(image.control_state(&options)?.state, Profile::default());
///
/// let pages = image.scan(&mmu, Limits::default()).filter_map(|found| match found {
///     Found::Page(page) => Some((page.first.get(), page.entry)),
///     _ => None,
/// });
/// assert!(pages.eq([(0x1000, 0x5003)]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Scan<'i> {
    memory: &'i PhysicalMemory,
    mmu: AnyMmu,
    range: (VirtAddr, VirtAddr),
    entries: AnyPresentEntries<'i, PhysicalMemory>,
    /// For each level the tables that have been read, by their place in the file: where one table has
    /// several addresses, it is the same table.
    read: [FrameSet; MAX_LEVELS],
    repeats_left: u64,
    tables: u64,
}

impl<'i> Scan<'i> {
    /// A scan of the addresses from `first` to `last`.
    pub fn new(
        memory: &'i PhysicalMemory,
        mmu: &AnyMmu,
        range: (VirtAddr, VirtAddr),
        limits: Limits,
    ) -> Self {
        Self {
            memory,
            mmu: *mmu,
            range,
            entries: mmu.present_entries(memory, range.0, range.1),
            read: Default::default(),
            repeats_left: limits.repeats,
            tables: 0,
        }
    }

    /// A scan of all addresses.
    pub fn of_all(memory: &'i PhysicalMemory, mmu: &AnyMmu, limits: Limits) -> Self {
        Self::new(memory, mmu, (VirtAddr::new(0), VirtAddr::new(u64::MAX)), limits)
    }

    /// What is left of the scan in pieces, for several threads.
    pub const fn pieces(self) -> ScanPieces<'i> {
        ScanPieces::new(self)
    }

    /// Number of tables that have been read below the root, each as often as it was read.
    pub const fn tables(&self) -> u64 {
        self.tables
    }

    /// Whether the table to which an entry of a level points is to be read.
    fn enters(&mut self, level: u8, table: PhysAddr) -> bool {
        let place = self.memory.place(table);
        let read = &mut self.read[usize::from(level) % MAX_LEVELS];

        // What is outside the image costs little, and is reported once.
        let is_new = place.is_none_or(|place| read.insert(place >> 12));
        if !is_new {
            let Some(left) = self.repeats_left.checked_sub(1) else { return false };
            self.repeats_left = left;
        }
        self.tables += 1;
        true
    }
}

impl Iterator for Scan<'_> {
    type Item = Found;

    #[inline]
    fn next(&mut self) -> Option<Found> {
        let mut found = Found::new(self.entries.next()?);
        if let Found::Table(entry) = found
            && let EntryMeaning::Table(table) = entry.meaning
            && !self.enters(entry.level.number, table)
        {
            self.entries.skip_table();
            found = Found::Repeated(entry);
        }
        Some(found)
    }
}

impl Found {
    /// What an entry is, if its table is to be read.
    #[inline]
    const fn new(entry: Result<PresentEntry, UnreadableEntries<ReadError>>) -> Self {
        match entry {
            Err(unreadable) => Self::Unreadable(unreadable),
            Ok(entry) => match entry.meaning {
                EntryMeaning::Table(_) => Self::Table(entry),
                EntryMeaning::Page(_) => Self::Page(entry),
                EntryMeaning::Reserved(_) => Self::Reserved(entry),
            },
        }
    }
}

impl MemoryImage {
    /// A scan of all addresses.
    pub fn scan(&self, mmu: &AnyMmu, limits: Limits) -> Scan<'_> {
        Scan::of_all(self.memory(), mmu, limits)
    }
}

impl Source {
    /// A scan of all addresses.
    pub fn scan(&self, mmu: &AnyMmu, limits: Limits) -> Scan<'_> {
        Scan::of_all(self.memory(), mmu, limits)
    }
}
