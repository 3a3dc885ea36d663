//! Building the tree: one pass over the entries, which enters each table once.

use super::{TableTree, TreeLimits, TreeRun, TreeTable, TreeTarget, flag};
use crate::error::ReadError;
use crate::physical_memory::PhysicalMemory;
use crate::ranges::PageFlags;
use mmu_core::walk::{EntryMeaning, PresentEntry, UnreadableEntries};
use mmu_core::x86::format::{EntryBits, Level, MAX_LEVELS, levels, root};
use mmu_core::x86::semantics::Rights;
use mmu_core::{AnyMmu, PhysAddr, VirtAddr};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};

impl TableTree {
    /// Reads all tables once. `stop` ends it early.
    pub fn new(
        memory: &PhysicalMemory,
        mmu: &AnyMmu,
        limits: TreeLimits,
        stop: &AtomicBool,
    ) -> Self {
        let levels = levels(mmu.regime().state.mode());
        let Some(level) = levels.first() else {
            return Self { is_complete: true, ..Self::default() };
        };

        let mut builder = Builder::new(memory, levels, limits);
        builder.open(root(mmu.regime()), level, VirtAddr::new(0), Rights::all());
        builder.tree.is_complete = true;

        let all = (VirtAddr::new(0), VirtAddr::new(u64::MAX));
        let mut entries = mmu.present_entries(memory, all.0, all.1);
        while let Some(found) = entries.next() {
            let entry = match found {
                Ok(entry) => entry,
                Err(unreadable) => {
                    builder.unreadable(&unreadable);
                    continue;
                }
            };
            let is_table = matches!(entry.meaning, EntryMeaning::Table(_));
            if is_table && stop.load(Ordering::Relaxed) {
                builder.tree.is_complete = false;
                break;
            }
            if !builder.entry(&entry) {
                entries.skip_table();
            }
        }
        builder.tree
    }
}

struct Builder<'i> {
    memory: &'i PhysicalMemory,
    levels: &'static [Level],
    limits: TreeLimits,
    tree: TableTree,
    /// The tables by their places in the file: where one has several addresses, it is the same.
    known: HashMap<u64, usize>,
    /// For each level, by number, the table that is being read.
    open: [Option<usize>; MAX_LEVELS + 1],
    runs: usize,
}

impl<'i> Builder<'i> {
    fn new(memory: &'i PhysicalMemory, levels: &'static [Level], limits: TreeLimits) -> Self {
        let tree = TableTree::default();
        let known = HashMap::new();
        Self { memory, levels, limits, tree, known, open: [None; MAX_LEVELS + 1], runs: 0 }
    }

    /// Adds a table, whose entries come next.
    fn open(&mut self, address: PhysAddr, level: &'static Level, first: VirtAddr, rights: Rights) {
        let index = self.tree.tables.len();
        if let Some(place) = self.memory.place(address) {
            self.known.insert(place, index);
        }
        if let Some(open) = self.open.get_mut(usize::from(level.number)) {
            *open = Some(index);
        }
        let table =
            TreeTable { address, level, first, rights, present: 0, led_by: 0, runs: Vec::new() };
        self.tree.tables.push(table);
    }

    /// Adds an entry. Returns whether the table that it points to is to be read.
    fn entry(&mut self, entry: &PresentEntry) -> bool {
        let Some(parent) = self.parent(entry.level) else { return false };
        let target = match entry.meaning {
            EntryMeaning::Page(address) => {
                TreeTarget::Pages { address, is_contiguous: true, shift: entry.level.shift }
            }
            EntryMeaning::Reserved(bits) => TreeTarget::Reserved(bits),
            EntryMeaning::Table(table) => self.table(table),
        };

        let is_page = matches!(target, TreeTarget::Pages { .. });
        let of_page = |bit| if is_page { flag(entry.entry, bit) } else { PageFlags::None };
        let run = TreeRun {
            index: index(entry.level, entry.first),
            count: 1,
            first: entry.first,
            last: entry.last,
            rights: entry.rights,
            lost: self.tree.tables[parent].rights - entry.rights,
            accessed: if entry.level.has_flags {
                flag(entry.entry, EntryBits::A)
            } else {
                PageFlags::None
            },
            dirty: of_page(EntryBits::D),
            global: of_page(EntryBits::G),
            leads_to: target,
        };
        self.tree.tables[parent].present += 1;
        self.add(parent, run);

        let (TreeTarget::Table(_), EntryMeaning::Table(table)) = (target, entry.meaning) else {
            return false;
        };
        let Some(below) = self.below(entry.level) else { return false };
        self.open(table, below, entry.first, entry.rights);
        let opened = self.tree.tables.len() - 1;
        self.tree.tables[opened].led_by = 1;
        true
    }

    /// What an entry that points to a table leads to.
    fn table(&mut self, table: PhysAddr) -> TreeTarget {
        let Some(place) = self.memory.place(table) else {
            return TreeTarget::Outside(table);
        };
        if let Some(known) = self.known.get(&place) {
            self.tree.tables[*known].led_by += 1;
            return TreeTarget::Shared(*known);
        }

        let tables = self.tree.tables.len();
        if tables >= self.limits.tables || self.runs >= self.limits.runs {
            self.tree.left_out += 1;
            return TreeTarget::LeftOut(table);
        }
        TreeTarget::Table(tables)
    }

    /// Adds entries that cannot be read.
    fn unreadable(&mut self, found: &UnreadableEntries<ReadError>) {
        let Some(parent) = self.parent(found.level) else { return };
        let rights = self.tree.tables[parent].rights;
        let bytes = found.last.get().wrapping_sub(found.first.get());
        let count = (bytes >> found.level.shift).saturating_add(1);

        let run = TreeRun {
            index: index(found.level, found.first),
            count: u16::try_from(count).unwrap_or(u16::MAX),
            first: found.first,
            last: found.last,
            rights,
            lost: Rights::empty(),
            accessed: PageFlags::None,
            dirty: PageFlags::None,
            global: PageFlags::None,
            leads_to: TreeTarget::Unreadable,
        };
        self.add(parent, run);
    }

    /// Adds a run to a table, to the one before if they are alike.
    fn add(&mut self, parent: usize, run: TreeRun) {
        let runs = &mut self.tree.tables[parent].runs;
        let is_absorbed = runs.last_mut().is_some_and(|before| before.absorb(&run));
        if !is_absorbed {
            runs.push(run);
            self.runs += 1;
        }
    }

    /// The table whose entries of a level come now.
    fn parent(&self, level: &Level) -> Option<usize> {
        self.open.get(usize::from(level.number)).copied().flatten()
    }

    /// The level below another.
    fn below(&self, level: &Level) -> Option<&'static Level> {
        self.levels.iter().find(|below| below.number + 1 == level.number)
    }
}

/// The index of the entry for an address.
const fn index(level: &Level, address: VirtAddr) -> u16 {
    (address.get() >> level.shift & ((1 << level.index_bits) - 1)) as u16
}
