//! The walk for a range of addresses: each table on the way is visited once, and pages that have the
//! same answer are handed over together.

use super::masks::{Demand, LevelMasks, PathBits};
use super::{Mmu, Start, WalkError};
use crate::access::Access;
use crate::address::{PhysAddr, VirtAddr, low_bits};
use crate::memory::{OutsideMemory, TableMemory};
use crate::outcome::Translation;
use crate::table::Cursor;
use crate::x86::format::{EntryBits, EntryKind, Format, Level};
use crate::x86::semantics::Rights;
use core::marker::PhantomData;

/// Number of entries that are read at once.
const CHUNK: usize = 128;

/// Addresses next to each other that have the same answer: pages that the same entries allow to be
/// accessed, or a hole.
#[derive(Clone, Copy, Debug)]
pub struct PageRun<'r, F: Format, E = OutsideMemory> {
    /// The first address.
    pub first: VirtAddr,
    /// The last address.
    pub last: VirtAddr,
    /// The pages, or why there are none.
    pub pages: Result<Pages<'r, F>, WalkError<E>>,
}

/// Pages of one size, next to each other in linear addresses, with the same rights.
#[derive(Clone, Copy, Debug)]
pub struct Pages<'r, F: Format> {
    /// What the whole path allows, for each of them.
    pub rights: Rights,
    /// The level of the entries that map them; `None` without paging, where all is one page (MODE-12).
    pub level: Option<&'static Level>,
    /// These entries.
    pub leaves: &'r [u64],
    first: VirtAddr,
    format: PhantomData<F>,
}

impl<F: Format> Pages<'_, F> {
    /// The translation of the first address of each page.
    #[inline]
    pub fn translations(&self) -> impl ExactSizeIterator<Item = Translation> {
        let Self { rights, level, first, .. } = *self;
        self.leaves.iter().map(move |leaf| Translation {
            address: match level {
                Some(level) => F::address(level, EntryKind::Leaf, *leaf),
                None => PhysAddr::new(first.get()),
            },
            rights,
            leaf: *leaf,
            level,
        })
    }
}

/// A walk for a range under way.
struct Scan<'s, M: ?Sized> {
    memory: &'s M,
    access: &'s Access,
    demand: Option<Demand>,
    first: VirtAddr,
    last: VirtAddr,
}

/// A table on the way.
#[derive(Clone, Copy)]
struct Table<F: Format> {
    cursor: Cursor<F>,
    path: PathBits,
    /// The first address that it maps.
    first: u64,
}

impl<F: Format> Mmu<F> {
    /// Walks for all addresses from `first` to `last`, and hands over what it finds in runs, in the
    /// order of the addresses. Each page of a run has the translation, and each address of a hole the
    /// error, that [`Mmu::walk`] returns for an access like `access` at that address. The first and the
    /// last run may begin before the range and end behind it, since pages and holes are whole.
    ///
    /// The addresses must be canonical, all of them.
    ///
    /// ```
    /// use mmu_core::memory::SparseTables;
    /// use mmu_core::walk::WalkError;
    /// use mmu_core::x86::format::Bits32;
    /// use mmu_core::{Access, ControlState, Mmu, Profile, Ring, VirtAddr};
    ///
    /// let tables = SparseTables::new(&[(0, 0x1007), (0x1004, 0x5007), (0x1008, 0x9007)]);
    /// let mmu = Mmu::<Bits32>::new(ControlState::bits32(0), Profile::default());
    /// let (first, last) = (VirtAddr::new(0x1000), VirtAddr::new(0x3fff));
    /// let read = Access::read(first, 1, Ring::Three);
    ///
    /// let mut found = Vec::new();
    /// mmu.walk_range(&tables, first, last, &read, |run| match run.pages {
    ///     Ok(pages) => found.extend(pages.translations().map(|page| Some(page.address.get()))),
    ///     Err(WalkError::Fault(_)) => found.push(None),
    ///     Err(WalkError::Memory(error)) => panic!("{error}"),
    /// });
    /// assert_eq!(found, [Some(0x5000), Some(0x9000), None]);
    /// ```
    #[inline]
    pub fn walk_range<M: TableMemory + ?Sized>(
        &self,
        memory: &M,
        first: VirtAddr,
        last: VirtAddr,
        access: &Access,
        mut each: impl FnMut(PageRun<'_, F, M::Error>),
    ) {
        let demand = Demand::of(access, &self.regime);
        let scan = Scan { memory, access, demand, first, last };

        let Some(cursor) = Cursor::at_root(self.root) else {
            let rights = Rights::all();
            let pages = Pages { rights, level: None, leaves: &[0], first, format: PhantomData };
            return each(PageRun { first, last, pages: Ok(pages) });
        };
        let root = Table { cursor, path: PathBits::EMPTY, first: 0 };
        let first = first.get() & !low_bits(root.address_bits());
        self.scan_table(&scan, Table { first, ..root }, &mut each);
    }

    /// Hands over what a table maps of the range.
    fn scan_table<M: TableMemory + ?Sized>(
        &self,
        scan: &Scan<'_, M>,
        table: Table<F>,
        each: &mut impl FnMut(PageRun<'_, F, M::Error>),
    ) {
        let last = table.first | low_bits(table.address_bits());
        let mut next = table.index(table.first.max(scan.first.get()));
        let end = table.index(last.min(scan.last.get())) + 1;

        let mut buffer = [0; CHUNK];
        while next < end {
            let count = (end - next).min(CHUNK as u64);
            let entries = &mut buffer[..count as usize];
            match self.read_entries(scan.memory, table, next, entries) {
                Ok(()) => self.scan_entries(scan, table, next, entries, each),
                // One of them at least. The others may well be in memory.
                Err(_) => self.scan_one_by_one(scan, table, next, entries, each),
            }
            next += count;
        }
    }

    /// Reads the entries of a table from an index on.
    #[inline]
    fn read_entries<M: TableMemory + ?Sized>(
        &self,
        memory: &M,
        table: Table<F>,
        index: u64,
        entries: &mut [u64],
    ) -> Result<(), M::Error> {
        let level = table.cursor.level();
        if F::register(level, index, &self.regime).is_none() {
            return memory.read_entries(table.cursor.entry_at(index), F::ENTRY_BYTES, entries);
        }

        for (entry, index) in entries.iter_mut().zip(index..) {
            *entry = F::register(level, index, &self.regime).unwrap_or_default();
        }
        Ok(())
    }

    /// Hands over entries of which some cannot be read.
    #[inline(never)]
    fn scan_one_by_one<M: TableMemory + ?Sized>(
        &self,
        scan: &Scan<'_, M>,
        table: Table<F>,
        index: u64,
        entries: &mut [u64],
        each: &mut impl FnMut(PageRun<'_, F, M::Error>),
    ) {
        for (entry, index) in entries.chunks_mut(1).zip(index..) {
            match self.read_entries(scan.memory, table, index, entry) {
                Ok(()) => self.scan_entries(scan, table, index, entry, each),
                Err(error) => each(PageRun {
                    first: VirtAddr::new(table.first_of(index)),
                    last: VirtAddr::new(table.last_of(index)),
                    pages: Err(WalkError::Memory(error)),
                }),
            }
        }
    }

    /// Hands over what the entries of a table from an index on map.
    #[inline]
    fn scan_entries<M: TableMemory + ?Sized>(
        &self,
        scan: &Scan<'_, M>,
        table: Table<F>,
        index: u64,
        entries: &[u64],
        each: &mut impl FnMut(PageRun<'_, F, M::Error>),
    ) {
        let masks = self.masks.at(table.cursor.depth());

        let mut rest = entries;
        let mut index = index;
        while let Some(&entry) = rest.first() {
            if masks.table.passes(entry)
                && let Some(below) = table.below(index, entry)
            {
                self.scan_table(scan, below, each);
                rest = &rest[1..];
                index += 1;
                continue;
            }

            let (run, behind) = rest.split_at(alike(rest, deciding_bits(masks, entry)));
            let first = VirtAddr::new(table.first_of(index));
            rest = behind;
            index += run.len() as u64;

            let judged = self.judge_leaf(scan, table, masks, first, entry);
            let pages = judged.map(|rights| {
                let level = Some(table.cursor.level());
                Pages { rights, level, leaves: run, first, format: PhantomData }
            });
            each(PageRun { first, last: VirtAddr::new(table.last_of(index - 1)), pages });
        }
    }

    /// The rights of the page that an entry maps, if it maps one and they allow the access.
    #[inline]
    fn judge_leaf<M: TableMemory + ?Sized>(
        &self,
        scan: &Scan<'_, M>,
        table: Table<F>,
        masks: &LevelMasks,
        first: VirtAddr,
        entry: u64,
    ) -> Result<Rights, WalkError<M::Error>> {
        let level = table.cursor.level();
        let path = table.path.and(level, entry);

        if masks.leaf.passes(entry)
            && let Some(demand) = scan.demand
            && (!level.has_flags || demand.is_met(path, entry, scan.access, &self.regime))
        {
            return Ok(path.rights());
        }

        let start = Start { cursor: Some(table.cursor), rights: table.path.rights() };
        let seen = Seen::<M> { entry, memory: PhantomData };
        let walked = self.walk_from(start, &seen, first, scan.access, &mut ());
        walked.map(|translation| translation.rights)
    }
}

impl<F: Format> Table<F> {
    /// Number of bits of an address that select among what the table maps.
    const fn address_bits(&self) -> u8 {
        let level = self.cursor.level();
        level.shift + level.index_bits
    }

    /// The index of the entry for an address.
    const fn index(&self, address: u64) -> u64 {
        let level = self.cursor.level();
        VirtAddr::new(address).table_index(level.shift, level.index_bits)
    }

    /// The first and the last address for which an entry is.
    const fn first_of(&self, index: u64) -> u64 {
        self.first | index << self.cursor.level().shift
    }

    const fn last_of(&self, index: u64) -> u64 {
        self.first_of(index) | low_bits(self.cursor.level().shift)
    }

    /// The table to which an entry points. `None` at the last level.
    fn below(&self, index: u64, entry: u64) -> Option<Self> {
        let level = self.cursor.level();
        let cursor = self.cursor.below(F::address(level, EntryKind::Table, entry))?;
        Some(Self { cursor, path: self.path.and(level, entry), first: self.first_of(index) })
    }
}

/// The bits that entries must share with this one to have the same answer: all that decide about it.
#[inline]
const fn deciding_bits(masks: &LevelMasks, entry: u64) -> u64 {
    /// Protection keys count in long mode only, and D for shadow stacks only.
    const RIGHTS: EntryBits = EntryBits::RW.union(EntryBits::US).union(EntryBits::XD);
    const KEY: u64 = 0xf << 59;

    if entry & EntryBits::P.bits() == 0 {
        EntryBits::P.bits()
    } else {
        masks.deciding() | RIGHTS.bits() | KEY | EntryBits::D.bits()
    }
}

/// How many of the entries, from the first on, have the same value in these bits.
#[inline]
fn alike(entries: &[u64], bits: u64) -> usize {
    let first = entries[0];
    let differences = entries.iter().fold(0, |all, entry| all | (entry ^ first));
    if differences & bits == 0 {
        return entries.len();
    }

    let differs = |entry: &u64| (entry ^ first) & bits != 0;
    entries.iter().position(differs).unwrap_or(entries.len())
}

/// Memory for the end of a walk: the entry that was read.
struct Seen<M: ?Sized> {
    entry: u64,
    memory: PhantomData<M>,
}

impl<M: TableMemory + ?Sized> TableMemory for Seen<M> {
    type Error = M::Error;

    fn read_entry(&self, _at: PhysAddr, _bytes: u8) -> Result<u64, M::Error> {
        Ok(self.entry)
    }
}
