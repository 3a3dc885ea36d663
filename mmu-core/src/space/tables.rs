//! The tables of one address space: finding the entry of a page, and going through all of them.
//!
//! Pages have 4 KiB, so the last level has the leaves and no other. An entry with P=0 is free for
//! software (CODE-1): it tells where a page is that is not in memory.

use super::{PAGE_BYTES, SlotNumber};
use crate::address::{PhysAddr, VirtAddr};
use crate::memory::{OutsideMemory, TableMemory, TableMemoryMut};
use crate::x86::format::{EntryBits, EntryKind, Format, Level, MAX_LEVELS};
use arrayvec::ArrayVec;
use core::marker::PhantomData;

/// What a leaf entry says about its page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageState {
    /// Nothing: the page was never touched, or only by others.
    Untouched,
    /// The page is in this slot of the store, for this space.
    Swapped(SlotNumber),
    /// The page is in this frame.
    InFrame(PhysAddr),
}

/// Where the way down the tables for a page ends.
pub(super) enum LeafPlace {
    /// At the leaf entry, which lies here.
    Leaf(PhysAddr),
    /// At an entry of this level without a table, which lies here.
    NoTable(&'static Level, PhysAddr),
}

/// A leaf entry that says something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeafEntry {
    /// The page.
    pub page: VirtAddr,
    /// Where the entry lies.
    pub at: PhysAddr,
    /// Its value.
    pub entry: u64,
}

/// The tables from a root down.
#[derive(Clone, Copy, Debug)]
pub(super) struct SpaceTables<F: Format> {
    pub(super) root: PhysAddr,
    format: PhantomData<F>,
}

impl<F: Format> SpaceTables<F> {
    const LEAVES: &'static Level = {
        let level = &F::LEVELS[F::LEVELS.len() - 1];
        assert!(level.shift == 12, "pages have 4 KiB");
        level
    };

    /// Whether leaves have rights, A and D.
    pub(super) const HAS_FLAGS: bool = Self::LEAVES.has_flags;

    /// How many frames the root takes, one after the other.
    pub(super) const ROOT_FRAMES: usize = {
        let bytes = (F::ENTRY_BYTES as u64) << F::LEVELS[0].index_bits;
        bytes.div_ceil(PAGE_BYTES) as usize
    };

    pub(super) const fn new(root: PhysAddr) -> Self {
        Self { root, format: PhantomData }
    }

    /// Whether entries of every level can hold this address.
    pub(super) fn fits(frame: PhysAddr) -> bool {
        F::LEVELS.iter().all(|level| {
            let is_leaf = level.number == Self::LEAVES.number;
            let kind = if is_leaf { EntryKind::Leaf } else { EntryKind::Table };
            let entry = F::entry(level, kind, frame, EntryBits::P);
            F::address(level, kind, entry & (u64::MAX >> (64 - 8 * F::ENTRY_BYTES))) == frame
        })
    }

    /// The leaf entry that maps a frame.
    pub(super) fn leaf(frame: PhysAddr, bits: EntryBits) -> u64 {
        F::entry(Self::LEAVES, EntryKind::Leaf, frame, bits)
    }

    /// The leaf entry of a page that is not in memory. Slot 0 must differ from nothing.
    pub(super) const fn absent(slot: Option<SlotNumber>) -> u64 {
        match slot {
            None => 0,
            Some(SlotNumber(slot)) => (slot as u64 + 1) << 1,
        }
    }

    /// What a leaf entry says.
    pub(super) fn state(entry: u64) -> PageState {
        if entry & EntryBits::P.bits() != 0 {
            PageState::InFrame(F::address(Self::LEAVES, EntryKind::Leaf, entry))
        } else {
            match (entry >> 1).checked_sub(1) {
                None => PageState::Untouched,
                Some(slot) => PageState::Swapped(SlotNumber(slot as u32)),
            }
        }
    }

    /// Where the entry of a page lies, or where the table for it is missing.
    pub(super) fn find<M: TableMemory + ?Sized>(
        self,
        memory: &M,
        page: VirtAddr,
    ) -> Result<LeafPlace, OutsideMemory> {
        let mut table = self.root;
        for level in F::LEVELS {
            let at = Self::entry_at(level, table, page);
            if level.number == Self::LEAVES.number {
                return Ok(LeafPlace::Leaf(at));
            }
            let entry = memory.read_entry(at, F::ENTRY_BYTES)?;
            if entry & EntryBits::P.bits() == 0 {
                return Ok(LeafPlace::NoTable(level, at));
            }
            table = F::address(level, EntryKind::Table, entry);
        }
        unreachable!("the last level has the leaves")
    }

    /// The entries on the way to a page, root first, as far as there are tables.
    pub(super) fn path<M: TableMemory + ?Sized>(
        self,
        memory: &M,
        page: VirtAddr,
    ) -> Result<ArrayVec<(&'static Level, PhysAddr, u64), MAX_LEVELS>, OutsideMemory> {
        let mut path = ArrayVec::new();
        let mut table = self.root;
        for level in F::LEVELS {
            let at = Self::entry_at(level, table, page);
            let entry = memory.read_entry(at, F::ENTRY_BYTES)?;
            path.push((level, at, entry));
            if entry & EntryBits::P.bits() == 0 {
                break;
            }
            table = F::address(level, EntryKind::Table, entry);
        }
        Ok(path)
    }

    /// Sets A in the entries above the leaf of a page, where they have it.
    pub(super) fn mark_path<M: TableMemoryMut + ?Sized>(
        self,
        memory: &mut M,
        page: VirtAddr,
    ) -> Result<(), OutsideMemory> {
        for (level, at, entry) in self.path(memory, page)? {
            let is_above = level.number != Self::LEAVES.number && level.has_flags;
            if is_above && entry & EntryBits::P.bits() != 0 {
                memory.write_entry(at, F::ENTRY_BYTES, entry | EntryBits::A.bits())?;
            }
        }
        Ok(())
    }

    /// The entry of a page, if there is a table for it.
    pub(super) fn look<M: TableMemory + ?Sized>(
        self,
        memory: &M,
        page: VirtAddr,
    ) -> Result<Option<LeafEntry>, OutsideMemory> {
        let LeafPlace::Leaf(at) = self.find(memory, page)? else { return Ok(None) };
        Ok(Some(LeafEntry { page, at, entry: memory.read_entry(at, F::ENTRY_BYTES)? }))
    }

    /// The first entry that says something, of the pages from `from` to below `end`. Where a table is
    /// missing, all of its pages are passed over at once.
    pub(super) fn next<M: TableMemory + ?Sized>(
        self,
        memory: &M,
        from: VirtAddr,
        end: VirtAddr,
    ) -> Result<Option<LeafEntry>, OutsideMemory> {
        let mut page = from.get();
        while page < end.get() {
            let shift = match self.find(memory, VirtAddr::new(page))? {
                LeafPlace::Leaf(at) => {
                    let entry = memory.read_entry(at, F::ENTRY_BYTES)?;
                    if entry != 0 {
                        return Ok(Some(LeafEntry { page: VirtAddr::new(page), at, entry }));
                    }
                    Self::LEAVES.shift
                }
                LeafPlace::NoTable(level, _) => level.shift,
            };
            let Some(next) = (page | ((1 << shift) - 1)).checked_add(1) else { break };
            page = next;
        }
        Ok(None)
    }

    /// Calls `visit` with every table below the root, the lowest levels first.
    pub(super) fn for_each_table<M: TableMemory + ?Sized>(
        self,
        memory: &M,
        visit: &mut impl FnMut(PhysAddr),
    ) -> Result<(), OutsideMemory> {
        Self::below(F::LEVELS, self.root, memory, visit)
    }

    /// Goes down as deep as the format has levels.
    fn below<M: TableMemory + ?Sized>(
        levels: &[Level],
        table: PhysAddr,
        memory: &M,
        visit: &mut impl FnMut(PhysAddr),
    ) -> Result<(), OutsideMemory> {
        let [level, rest @ ..] = levels else { return Ok(()) };
        if rest.is_empty() {
            return Ok(());
        }
        for index in 0..1 << level.index_bits {
            let at = table + index * u64::from(F::ENTRY_BYTES);
            let entry = memory.read_entry(at, F::ENTRY_BYTES)?;
            if entry & EntryBits::P.bits() != 0 {
                let next = F::address(level, EntryKind::Table, entry);
                Self::below(rest, next, memory, visit)?;
                visit(next);
            }
        }
        Ok(())
    }

    fn entry_at(level: &Level, table: PhysAddr, page: VirtAddr) -> PhysAddr {
        table + page.index(level.shift, level.index_bits) * u64::from(F::ENTRY_BYTES)
    }
}
