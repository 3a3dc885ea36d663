//! The present entries of all tables below a root, as an iterator: what is mapped where, and by which
//! entries, whatever its rights are. Tools that look into the memory of a guest start here.

use super::masks::PathBits;
use super::{Mmu, in_any_mode};
use crate::address::{PhysAddr, VirtAddr, low_bits};
use crate::memory::{OutsideMemory, TableMemory};
use crate::table::Cursor;
use crate::walk::AnyMmu;
use crate::x86::format::{
    Bits32, EntryBits, EntryKind, FiveLevel, Format, FourLevel, Level, MAX_LEVELS, Pae, Unpaged,
};
use crate::x86::semantics::{EntryError, Reference, Rights, Semantics};
use arrayvec::ArrayVec;

/// Number of entries that are read at once: a table of 4 KiB with entries of 8 bytes.
const CHUNK: usize = 512;

/// An entry with P=1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PresentEntry {
    /// The first address for which it is.
    pub first: VirtAddr,
    /// The last one.
    pub last: VirtAddr,
    /// The level of its table.
    pub level: &'static Level,
    /// Its physical address; that of the table in memory if it is held in a register (PDPTE-1).
    pub at: PhysAddr,
    /// Its value.
    pub entry: u64,
    /// What the path down to it allows, itself included.
    pub rights: Rights,
    /// What it means.
    pub meaning: EntryMeaning,
}

/// What a present entry means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryMeaning {
    /// It points to this table.
    Table(PhysAddr),
    /// It maps the page at this address.
    Page(PhysAddr),
    /// It has these reserved bits set, and ends every walk with a page fault.
    Reserved(u64),
}

/// Entries next to each other that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnreadableEntries<E = OutsideMemory> {
    /// The first address for which they are.
    pub first: VirtAddr,
    /// The last one.
    pub last: VirtAddr,
    /// The level of their table.
    pub level: &'static Level,
    /// The physical address of the first of them.
    pub at: PhysAddr,
    /// Why it cannot be read.
    pub error: E,
}

/// The iterator that [`Mmu::present_entries`] returns.
#[derive(Clone, Debug)]
pub struct PresentEntries<'m, F: Format, M: ?Sized> {
    mmu: Mmu<F>,
    memory: &'m M,
    first: u64,
    last: u64,
    /// The tables on the way down, root first.
    open: ArrayVec<OpenTable<F>, MAX_LEVELS>,
    /// The table that the last entry points to.
    below: Option<TablePlace<F>>,
}

/// A table on the way.
#[derive(Clone, Copy, Debug)]
struct TablePlace<F: Format> {
    cursor: Cursor<F>,
    path: PathBits,
    /// The first address that it maps, without sign extension.
    first: u64,
}

/// A table that is being read.
#[derive(Clone, Debug)]
struct OpenTable<F: Format> {
    place: TablePlace<F>,
    /// The index of the next entry to read, and of the first one that is out of the range.
    next: u64,
    end: u64,
    /// Entries that have been read, and how many of them have been looked at. They end before `next`.
    chunk: ArrayVec<u64, CHUNK>,
    seen: usize,
}

impl<F: Format> Mmu<F> {
    /// All present entries for the addresses from `first` to `last`, which must be canonical: each table's in
    /// the order of addresses, and what an entry points to directly after it.
    ///
    /// A table is read as often as entries point to it. [`PresentEntries::skip_table`] leaves one out, for
    /// instance one that was seen before: tables that point to themselves map every page many times.
    ///
    /// A table whose first and last entry cannot be read is taken to be outside memory as a whole.
    ///
    /// ```
    /// use mmu_core::memory::SparseTables;
    /// use mmu_core::walk::EntryMeaning;
    /// use mmu_core::x86::format::Bits32;
    /// use mmu_core::{ControlState, Mmu, PhysAddr, Profile, VirtAddr};
    ///
    /// let tables = SparseTables::new(&[(0, 0x1007), (0x1004, 0x5007), (0x1008, 0x9005)]);
    /// let mmu = Mmu::<Bits32>::new(ControlState::bits32(0), Profile::default());
    /// let (first, last) = (VirtAddr::new(0), VirtAddr::new(0xffff_ffff));
    ///
    /// let present = mmu.present_entries(&tables, first, last);
    /// let pages = present.flatten().filter_map(|entry| match entry.meaning {
    ///     EntryMeaning::Page(address) => Some((entry.first.get(), address.get())),
    ///     _ => None,
    /// });
    /// assert!(pages.eq([(0x1000, 0x5000), (0x2000, 0x9000)]));
    /// ```
    pub fn present_entries<'m, M: TableMemory + ?Sized>(
        &self,
        memory: &'m M,
        first: VirtAddr,
        last: VirtAddr,
    ) -> PresentEntries<'m, F, M> {
        let root = Cursor::at_root(self.root);
        let below = root.map(|cursor| TablePlace { cursor, path: PathBits::EMPTY, first: 0 });

        let bits = low_bits(F::ADDRESS_BITS);
        let (first, last) = (first.get() & bits, last.get() & bits);
        PresentEntries { mmu: *self, memory, first, last, open: ArrayVec::new(), below }
    }
}

impl<F: Format, M: TableMemory + ?Sized> PresentEntries<'_, F, M> {
    /// Leaves out the table that the last entry points to, and what is below it.
    pub fn skip_table(&mut self) {
        // The table that all begins with is not what an entry points to.
        if !self.open.is_empty() {
            self.below = None;
        }
    }

    /// Leaves out all that is left, and goes on with what follows an entry in [`Mmu::present_entries`]: the present
    /// entries of the table that it points to, and of those below. There are none if it does not point to a table of
    /// this format. Several threads can so read a part of the tables each.
    ///
    /// ```
    /// use mmu_core::memory::SparseTables;
    /// use mmu_core::x86::format::Bits32;
    /// use mmu_core::{ControlState, Mmu, Profile, VirtAddr};
    ///
    /// let tables = SparseTables::new(&[(0, 0x1007), (0x1004, 0x5007), (0x1008, 0x9005)]);
    /// let mmu = Mmu::<Bits32>::new(ControlState::bits32(0), Profile::default());
    /// let (first, last) = (VirtAddr::new(0), VirtAddr::new(0xffff_ffff));
    ///
    /// let mut present = mmu.present_entries(&tables, first, last);
    /// let pde = present.next().unwrap()?;
    /// let mut below = mmu.present_entries(&tables, first, last);
    /// below.go_below(&pde);
    /// assert!(below.eq(present));
    /// # Ok::<(), mmu_core::walk::UnreadableEntries>(())
    /// ```
    pub fn go_below(&mut self, entry: &PresentEntry) {
        self.open.clear();
        self.below = TablePlace::below_entry(entry);
    }

    /// Begins to read the table that the last entry points to.
    fn open_table(&mut self, place: TablePlace<F>) {
        let last = place.first | low_bits(place.address_bits());
        let next = place.index(place.first.max(self.first));
        let end = place.index(last.min(self.last)) + 1;
        // A range can be empty.
        let end = end.max(next);
        self.open.push(OpenTable { place, next, end, chunk: ArrayVec::new(), seen: 0 });
    }
}

impl<F: Format, M: TableMemory + ?Sized> Iterator for PresentEntries<'_, F, M> {
    type Item = Result<PresentEntry, UnreadableEntries<M::Error>>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(place) = self.below.take() {
                self.open_table(place);
            }

            let table = self.open.last_mut()?;
            if let Some((index, entry)) = table.next_present() {
                let found = self.mmu.present_entry(&table.place, index, entry);
                if let EntryMeaning::Table(address) = found.meaning {
                    self.below = table.place.below(index, entry, address);
                }
                return Some(Ok(found));
            }

            if table.next == table.end {
                self.open.pop();
            } else if let Err(unreadable) = self.mmu.fill(table, self.memory) {
                return Some(Err(unreadable));
            }
        }
    }
}

impl<F: Format> Mmu<F> {
    /// What a present entry of a table means.
    #[inline]
    fn present_entry(&self, place: &TablePlace<F>, index: u64, entry: u64) -> PresentEntry {
        let level = place.cursor.level();
        let masks = self.masks.at(place.cursor.depth());

        let meaning = if masks.leaf.passes(entry) {
            EntryMeaning::Page(F::address(level, EntryKind::Leaf, entry))
        } else if masks.table.passes(entry) {
            EntryMeaning::Table(F::address(level, EntryKind::Table, entry))
        } else {
            EntryMeaning::Reserved(self.reserved_bits_set(place.cursor, entry))
        };
        PresentEntry {
            first: place.first_of(index),
            last: place.last_of(index),
            level,
            at: place.cursor.entry_at(index),
            entry,
            rights: place.path.and(level, entry).rights(),
            meaning,
        }
    }

    /// The reserved bits that are set in a bad entry.
    #[cold]
    fn reserved_bits_set(&self, cursor: Cursor<F>, entry: u64) -> u64 {
        let is_leaf = F::is_leaf(cursor.level(), entry, &self.regime);
        let kind = if is_leaf { EntryKind::Leaf } else { EntryKind::Table };

        let reserved = self.reserved[cursor.depth()].of(kind);
        match Reference.entry_error(cursor.level(), kind, entry, reserved) {
            Some(EntryError::Reserved(bits)) => bits,
            _ => 0,
        }
    }

    /// Reads the next entries of a table.
    fn fill<M: TableMemory + ?Sized>(
        &self,
        table: &mut OpenTable<F>,
        memory: &M,
    ) -> Result<(), UnreadableEntries<M::Error>> {
        let place = table.place;
        let from = table.next;
        let count = (table.end - from).min(CHUNK as u64) as usize;
        let behind = from + count as u64;
        table.seen = 0;
        table.chunk.clear();
        table.chunk.extend([0; CHUNK].into_iter().take(count));

        if self.read_chunk(place, from, &mut table.chunk, memory).is_ok() {
            table.next = behind;
            return Ok(());
        }

        // Parts of the table may be in memory. Where they begin is found entry by entry.
        let is_readable = |index| self.read_chunk(place, index, &mut [0], memory).is_ok();
        let bad = if is_readable(from) {
            let good = 1 + (from + 1..behind).take_while(|index| is_readable(*index)).count();
            table.chunk.truncate(good);
            table.next += good as u64;
            if self.read_chunk(place, from, &mut table.chunk, memory).is_err() {
                // The memory has changed meanwhile.
                table.chunk.clear();
            }
            return Ok(());
        } else if is_readable(behind - 1) {
            (from..behind).take_while(|index| !is_readable(*index)).count() as u64
        } else {
            count as u64
        };

        table.chunk.clear();
        table.next += bad;
        let Err(error) = self.read_chunk(place, from, &mut [0], memory) else { return Ok(()) };
        Err(UnreadableEntries {
            first: place.first_of(from),
            last: place.last_of(from + bad - 1),
            level: place.cursor.level(),
            at: place.cursor.entry_at(from),
            error,
        })
    }

    /// Reads entries of a table from an index on.
    #[inline]
    fn read_chunk<M: TableMemory + ?Sized>(
        &self,
        place: TablePlace<F>,
        from: u64,
        entries: &mut [u64],
        memory: &M,
    ) -> Result<(), M::Error> {
        let level = place.cursor.level();
        if F::register(level, from, &self.regime).is_none() {
            return memory.read_entries(place.cursor.entry_at(from), F::ENTRY_BYTES, entries);
        }

        for (entry, index) in entries.iter_mut().zip(from..) {
            *entry = F::register(level, index, &self.regime).unwrap_or_default();
        }
        Ok(())
    }
}

impl<F: Format> OpenTable<F> {
    /// The next present entry of those that have been read, with its index.
    #[inline]
    fn next_present(&mut self) -> Option<(u64, u64)> {
        let unseen = self.chunk.get(self.seen..)?;
        let absent = unseen.iter().take_while(|entry| *entry & EntryBits::P.bits() == 0).count();
        let entry = *unseen.get(absent)?;

        self.seen += absent + 1;
        let behind = (self.chunk.len() - self.seen) as u64;
        Some((self.next - behind - 1, entry))
    }
}

impl<F: Format> TablePlace<F> {
    /// The table that an entry points to. `None` if this format has no such entry.
    fn below_entry(entry: &PresentEntry) -> Option<Self> {
        let EntryMeaning::Table(table) = entry.meaning else { return None };
        let depth = F::LEVELS.len().checked_sub(entry.level.number.into())?;
        let cursor = Cursor::at_depth(depth, PhysAddr::new(0))?.below(table)?;

        let path = PathBits::of_rights(entry.rights);
        let first = entry.first.get() & low_bits(F::ADDRESS_BITS);
        Some(Self { cursor, path, first })
    }

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

    /// The first address for which an entry is.
    const fn first_of(&self, index: u64) -> VirtAddr {
        Self::canonical(self.first | index << self.cursor.level().shift)
    }

    /// The last one.
    const fn last_of(&self, index: u64) -> VirtAddr {
        let shift = self.cursor.level().shift;
        Self::canonical(self.first | index << shift | low_bits(shift))
    }

    const fn canonical(address: u64) -> VirtAddr {
        let address = VirtAddr::new(address);
        if F::IS_LONG_MODE { address.sign_extended(F::ADDRESS_BITS) } else { address }
    }

    /// The table to which an entry points. `None` at the last level.
    fn below(&self, index: u64, entry: u64, table: PhysAddr) -> Option<Self> {
        let level = self.cursor.level();
        let cursor = self.cursor.below(table)?;
        let first = self.first | index << level.shift;
        Some(Self { cursor, path: self.path.and(level, entry), first })
    }
}

/// [`PresentEntries`] in the mode that the control state selects.
#[derive(Clone, Debug)]
pub enum AnyPresentEntries<'m, M: ?Sized> {
    /// CR0.PG is 0: there are none.
    Unpaged(PresentEntries<'m, Unpaged, M>),
    /// 32-bit paging.
    Bits32(PresentEntries<'m, Bits32, M>),
    /// PAE paging.
    Pae(PresentEntries<'m, Pae, M>),
    /// 4-level paging.
    FourLevel(PresentEntries<'m, FourLevel, M>),
    /// 5-level paging.
    FiveLevel(PresentEntries<'m, FiveLevel, M>),
}

impl AnyMmu {
    /// [`Mmu::present_entries`]. Without paging there are none.
    pub fn present_entries<'m, M: TableMemory + ?Sized>(
        &self,
        memory: &'m M,
        first: VirtAddr,
        last: VirtAddr,
    ) -> AnyPresentEntries<'m, M> {
        use AnyPresentEntries as Any;

        match self {
            Self::Unpaged(mmu) => Any::Unpaged(mmu.present_entries(memory, first, last)),
            Self::Bits32(mmu) => Any::Bits32(mmu.present_entries(memory, first, last)),
            Self::Pae(mmu) => Any::Pae(mmu.present_entries(memory, first, last)),
            Self::FourLevel(mmu) => Any::FourLevel(mmu.present_entries(memory, first, last)),
            Self::FiveLevel(mmu) => Any::FiveLevel(mmu.present_entries(memory, first, last)),
        }
    }
}

impl<M: TableMemory + ?Sized> AnyPresentEntries<'_, M> {
    /// [`PresentEntries::skip_table`].
    pub fn skip_table(&mut self) {
        in_any_mode!(self, entries => entries.skip_table());
    }

    /// [`PresentEntries::go_below`].
    pub fn go_below(&mut self, entry: &PresentEntry) {
        in_any_mode!(self, entries => entries.go_below(entry));
    }
}

impl<M: TableMemory + ?Sized> Iterator for AnyPresentEntries<'_, M> {
    type Item = Result<PresentEntry, UnreadableEntries<M::Error>>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        in_any_mode!(self, entries => entries.next())
    }
}
