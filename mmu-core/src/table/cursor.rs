//! The one descent through page tables. Everything that goes down them, the walk as well as the
//! mapper and the address spaces, holds a [`Cursor`].

use crate::address::{PhysAddr, VirtAddr};
use crate::memory::TableMemory;
use crate::x86::format::{Format, Level};
use core::marker::PhantomData;

/// A place on the way down the tables: a level of the format, and the table of that level.
///
/// A cursor knows where entries are and how to read them. It does not interpret them: which index an
/// address selects, what an entry means and where it leads are decided by its user, so that a walker
/// with a known mistake goes the same way as the reference. It cannot go deeper than the format,
/// whatever the entries say, so tables that lead back to themselves end every descent.
///
/// ```
/// use mmu_core::memory::SparseTables;
/// use mmu_core::table::Cursor;
/// use mmu_core::x86::format::{Bits32, EntryKind, Format};
/// use mmu_core::{PhysAddr, VirtAddr};
///
/// let entries = [(0x1004, 0x2007), (0x2008, 0x5007)];
/// let memory = SparseTables::new(&entries);
/// let address = VirtAddr::new(0x40_2123);
///
/// let mut path = Vec::new();
/// let mut next = Cursor::<Bits32>::at_root(PhysAddr::new(0x1000));
/// while let Some(cursor) = next {
///     let level = cursor.level();
///     let at = cursor.entry_for(address);
///     let entry = cursor.read(&memory, at)?;
///     path.push((level.entry_name, at.get(), entry));
///     next = cursor.below(Bits32::address(level, EntryKind::Table, entry));
/// }
/// assert_eq!(path, [("PDE", 0x1004, 0x2007), ("PTE", 0x2008, 0x5007)]);
/// # Ok::<(), mmu_core::memory::OutsideMemory>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor<F: Format> {
    depth: usize,
    table: PhysAddr,
    format: PhantomData<F>,
}

impl<F: Format> Cursor<F> {
    /// The root table. `None` if the format has no tables (MODE-12).
    #[inline]
    pub const fn at_root(root: PhysAddr) -> Option<Self> {
        Self::at_depth(0, root)
    }

    /// A table `depth` levels below the root, as a paging-structure cache knows it. `None` if the
    /// format has no such level.
    #[inline]
    pub const fn at_depth(depth: usize, table: PhysAddr) -> Option<Self> {
        if depth < F::LEVELS.len() {
            Some(Self { depth, table, format: PhantomData })
        } else {
            None
        }
    }

    /// The number of levels above this one.
    #[inline]
    pub const fn depth(self) -> usize {
        self.depth
    }

    /// The level of the table.
    #[inline]
    pub const fn level(self) -> &'static Level {
        &F::LEVELS[self.depth]
    }

    /// The physical address of the table.
    #[inline]
    pub const fn table(self) -> PhysAddr {
        self.table
    }

    /// Whether the format has no further level.
    #[inline]
    pub const fn is_last(self) -> bool {
        self.depth + 1 == F::LEVELS.len()
    }

    /// The physical address of the entry with this index.
    #[inline]
    pub fn entry_at(self, index: u64) -> PhysAddr {
        self.table + index.wrapping_mul(F::ENTRY_BYTES.into())
    }

    /// The physical address of the entry that a linear address selects.
    #[inline]
    pub fn entry_for(self, address: VirtAddr) -> PhysAddr {
        let level = self.level();
        self.entry_at(address.table_index(level.shift, level.index_bits))
    }

    /// The entry at this physical address, in the size of the format's entries.
    ///
    /// # Errors
    /// When the memory cannot read it.
    #[inline]
    pub fn read<M: TableMemory + ?Sized>(self, memory: &M, at: PhysAddr) -> Result<u64, M::Error> {
        memory.read_entry(at, F::ENTRY_BYTES)
    }

    /// One level further down, in this table. `None` below the last level.
    #[inline]
    #[must_use]
    pub const fn below(self, table: PhysAddr) -> Option<Self> {
        Self::at_depth(self.depth + 1, table)
    }
}
