//! The tables of one address space: finding the entry of a page, and visiting all tables.
//!
//! All pages have 4 KiB, so leaves are in the last level only. An entry with P=0 is free for software
//! (CODE-1): it records where a page is that is not in memory.

use super::ids::{PAGE_BYTES, SlotNumber};
use crate::address::{PhysAddr, VirtAddr};
use crate::memory::{OutsideMemory, TableMemory, TableMemoryMut};
use crate::table::{Cursor, limits};
use crate::x86::format::{EntryBits, EntryKind, Format, Level, MAX_LEVELS};
use arrayvec::ArrayVec;
use core::iter;
use core::marker::PhantomData;

/// Where a page is, as its leaf entry records it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageState {
    /// Nowhere: the space has not touched the page yet.
    Untouched,
    /// In this slot of the store.
    Swapped(SlotNumber),
    /// In this frame.
    InFrame(PhysAddr),
}

/// Where the way down the tables for a page ends.
pub(super) enum LeafPlace {
    /// At the leaf entry.
    Leaf(LeafEntry),
    /// At an entry of this level without a table, at this address.
    NoTable(&'static Level, PhysAddr),
}

/// A leaf entry, and where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeafEntry {
    /// The page.
    pub page: VirtAddr,
    /// The physical address of the entry.
    pub at: PhysAddr,
    /// Its value.
    pub entry: u64,
}

/// An entry on the way down to a page.
#[derive(Clone, Copy)]
pub(super) struct PathEntry {
    pub(super) level: &'static Level,
    pub(super) at: PhysAddr,
    pub(super) entry: u64,
}

impl PathEntry {
    const fn is_present(&self) -> bool {
        self.entry & EntryBits::P.bits() != 0
    }
}

/// The tables below a root.
#[derive(Clone, Copy, Debug)]
pub(super) struct SpaceTables<F: Format> {
    pub(super) root: PhysAddr,
    format: PhantomData<F>,
}

impl<F: Format> SpaceTables<F> {
    /// The level of the leaves.
    const LEAVES: &'static Level = {
        let level = &F::LEVELS[F::LEVELS.len() - 1];
        assert!(level.shift == 12, "pages have 4 KiB");
        level
    };

    /// Whether leaves have rights, A and D.
    pub(super) const HAS_FLAGS: bool = Self::LEAVES.has_flags;

    /// The number of consecutive frames that the root table takes.
    pub(super) const ROOT_FRAMES: usize = {
        let bytes = (F::ENTRY_BYTES as u64) << F::LEVELS[0].index_bits;
        bytes.div_ceil(PAGE_BYTES) as usize
    };

    pub(super) const fn new(root: PhysAddr) -> Self {
        Self { root, format: PhantomData }
    }

    /// The frames of the root table.
    pub(super) fn root_frames(self) -> impl Iterator<Item = PhysAddr> {
        (0..Self::ROOT_FRAMES as u64).map(move |number| self.root + number * PAGE_BYTES)
    }

    /// Whether entries of every level can hold this address.
    pub(super) fn fits(frame: PhysAddr) -> bool {
        F::LEVELS.iter().all(|level| {
            let is_leaf = level.number == Self::LEAVES.number;
            let kind = if is_leaf { EntryKind::Leaf } else { EntryKind::Table };
            limits::entry_for::<F>(level, kind, frame).is_some()
        })
    }

    /// Whether the leaf entry of a page that is not in memory can hold this slot.
    pub(super) fn fits_absent(slot: SlotNumber) -> bool {
        Self::absent(Some(slot)) <= limits::all_ones(F::ENTRY_BYTES)
    }

    /// The leaf entry that maps a frame.
    pub(super) fn leaf(frame: PhysAddr, bits: EntryBits) -> u64 {
        F::entry(Self::LEAVES, EntryKind::Leaf, frame, bits)
    }

    /// The leaf entry of a page that is not in memory. Slot 0 must differ from no slot.
    pub(super) const fn absent(slot: Option<SlotNumber>) -> u64 {
        match slot {
            None => 0,
            Some(SlotNumber(slot)) => (slot as u64 + 1) << 1,
        }
    }

    /// Where a page is, by its leaf entry.
    pub(super) fn state(entry: u64) -> PageState {
        if entry & EntryBits::P.bits() != 0 {
            return PageState::InFrame(F::address(Self::LEAVES, EntryKind::Leaf, entry));
        }

        match (entry >> 1).checked_sub(1) {
            None => PageState::Untouched,
            Some(slot) => PageState::Swapped(SlotNumber(slot as u32)),
        }
    }

    /// The entries on the way to a page, root first, as far as there are tables.
    fn descent<M: TableMemory<Error = OutsideMemory> + ?Sized>(
        self,
        memory: &M,
        page: VirtAddr,
    ) -> impl Iterator<Item = Result<PathEntry, OutsideMemory>> {
        let mut next = Cursor::<F>::at_root(self.root);
        iter::from_fn(move || {
            let cursor = next.take()?;
            let level = cursor.level();
            let at = cursor.entry_for(page);

            let read = cursor.read(memory, at).map(|entry| PathEntry { level, at, entry });
            if let Ok(found) = read
                && found.is_present()
            {
                next = cursor.below(F::address(level, EntryKind::Table, found.entry));
            }
            Some(read)
        })
    }

    /// The same in one piece.
    pub(super) fn path<M: TableMemory<Error = OutsideMemory> + ?Sized>(
        self,
        memory: &M,
        page: VirtAddr,
    ) -> Result<ArrayVec<PathEntry, MAX_LEVELS>, OutsideMemory> {
        self.descent(memory, page).collect()
    }

    /// The entry of a page, or where the table for it is missing.
    pub(super) fn find<M: TableMemory<Error = OutsideMemory> + ?Sized>(
        self,
        memory: &M,
        page: VirtAddr,
    ) -> Result<LeafPlace, OutsideMemory> {
        let Some(last) = self.descent(memory, page).last() else {
            unreachable!("the format of an address space has tables")
        };
        let PathEntry { level, at, entry } = last?;

        Ok(if level.number == Self::LEAVES.number {
            LeafPlace::Leaf(LeafEntry { page, at, entry })
        } else {
            LeafPlace::NoTable(level, at)
        })
    }

    /// The entry of a page, if there is a table for it.
    pub(super) fn look<M: TableMemory<Error = OutsideMemory> + ?Sized>(
        self,
        memory: &M,
        page: VirtAddr,
    ) -> Result<Option<LeafEntry>, OutsideMemory> {
        Ok(match self.find(memory, page)? {
            LeafPlace::Leaf(leaf) => Some(leaf),
            LeafPlace::NoTable(..) => None,
        })
    }

    /// The first entry that is not 0, of the pages from `from` to below `end`. Where a table is
    /// missing, all of its pages are skipped at once.
    pub(super) fn next<M: TableMemory<Error = OutsideMemory> + ?Sized>(
        self,
        memory: &M,
        from: VirtAddr,
        end: VirtAddr,
    ) -> Result<Option<LeafEntry>, OutsideMemory> {
        let mut page = from.get();

        while page < end.get() {
            let level = match self.find(memory, VirtAddr::new(page))? {
                LeafPlace::Leaf(leaf) if leaf.entry != 0 => return Ok(Some(leaf)),
                LeafPlace::Leaf(_) => Self::LEAVES,
                LeafPlace::NoTable(level, _) => level,
            };

            let last_covered = page | ((1 << level.shift) - 1);
            let Some(next) = last_covered.checked_add(1) else { break };
            page = next;
        }

        Ok(None)
    }

    /// Sets A in the entries above the leaf of a page, where they have it.
    pub(super) fn mark_path<M: TableMemoryMut<Error = OutsideMemory> + ?Sized>(
        self,
        memory: &mut M,
        page: VirtAddr,
    ) -> Result<(), OutsideMemory> {
        for step in self.path(memory, page)? {
            let is_above_leaf = step.level.number != Self::LEAVES.number;
            if is_above_leaf && step.level.has_flags && step.is_present() {
                let accessed = step.entry | EntryBits::A.bits();
                memory.write_entry(step.at, F::ENTRY_BYTES, accessed)?;
            }
        }
        Ok(())
    }

    /// Calls `visit` with every table below the root and its level, lower levels first.
    pub(super) fn for_each_table<M: TableMemory<Error = OutsideMemory> + ?Sized>(
        self,
        memory: &M,
        visit: &mut impl FnMut(&'static Level, PhysAddr),
    ) -> Result<(), OutsideMemory> {
        match Cursor::at_root(self.root) {
            Some(root) => Self::visit_below(root, memory, visit),
            None => Ok(()),
        }
    }

    fn visit_below<M: TableMemory<Error = OutsideMemory> + ?Sized>(
        cursor: Cursor<F>,
        memory: &M,
        visit: &mut impl FnMut(&'static Level, PhysAddr),
    ) -> Result<(), OutsideMemory> {
        if cursor.is_last() {
            return Ok(());
        }

        let level = cursor.level();
        for index in 0..1 << level.index_bits {
            let entry = cursor.read(memory, cursor.entry_at(index))?;
            let table = F::address(level, EntryKind::Table, entry);

            if entry & EntryBits::P.bits() != 0
                && let Some(below) = cursor.below(table)
            {
                Self::visit_below(below, memory, visit)?;
                visit(below.level(), table);
            }
        }
        Ok(())
    }
}
