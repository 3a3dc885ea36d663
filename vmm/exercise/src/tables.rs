//! Page tables of an exercise: made, printed, and read by a walk.

use crate::exercise::Table;
use mmu_core::memory::SparseTables;
use mmu_core::walk::{Path, Step};
use mmu_core::x86::format::{EntryBits, EntryKind, Format, Level};
use mmu_core::{Access, ControlState, Mmu, PhysAddr, Profile, Ring, Semantics, VirtAddr};
use std::collections::BTreeMap;
use std::marker::PhantomData;

/// There is memory below this address: entries that are not given are 0.
const MEMORY: u64 = 1 << 30;

/// A page table: a few entries that are not 0, by their index.
#[derive(Clone, Debug)]
struct PageTable {
    level: &'static Level,
    at: u64,
    entries: BTreeMap<u64, u64>,
}

/// The tables of an exercise. The root is the first.
#[derive(Clone, Debug)]
pub(crate) struct Tables<F: Format> {
    list: Vec<PageTable>,
    /// Addresses of frames for tables to come.
    frames: Vec<u64>,
    format: PhantomData<F>,
}

impl<F: Format> Tables<F> {
    /// An empty root. It and the tables below are in these frames, of which there are enough.
    pub(crate) fn new(mut frames: Vec<u64>) -> Self {
        let at = frames.pop().expect("a frame for the root");
        let root = PageTable { level: &F::LEVELS[0], at, entries: BTreeMap::new() };
        Self { list: vec![root], frames, format: PhantomData }
    }

    /// The address of the root.
    pub(crate) fn root(&self) -> u64 {
        self.list[0].at
    }

    /// The table that an entry of a table leads to, which is made if there is none.
    pub(crate) fn below(&mut self, table: usize, index: u64, flags: EntryBits) -> usize {
        let level = self.list[table].level;
        if let Some(entry) = self.list[table].entries.get(&index) {
            let target = F::address(level, EntryKind::Table, *entry).get();
            if let Some(known) = self.list.iter().position(|table| table.at == target) {
                return known;
            }
        }

        let at = self.frames.pop().expect("a frame for a table");
        let depth = F::LEVELS.len() - usize::from(level.number) + 1;
        let new = PageTable { level: &F::LEVELS[depth], at, entries: BTreeMap::new() };
        self.list.push(new);
        let entry = F::entry(level, EntryKind::Table, PhysAddr::new(at), flags);
        self.list[table].entries.insert(index, entry);
        self.list.len() - 1
    }

    /// The path of tables to the leaf of an address, at the level with this number; tables are made where there are none.
    pub(crate) fn path_to(&mut self, address: VirtAddr, leaf: u8, flags: EntryBits) -> Vec<usize> {
        let mut path = vec![0];
        for level in F::LEVELS.iter().take_while(|level| level.number > leaf) {
            let index = address.index(level.shift, level.index_bits);
            let table = path[path.len() - 1];
            path.push(self.below(table, index, flags));
        }
        path
    }

    /// Writes an entry.
    pub(crate) fn set(&mut self, table: usize, index: u64, entry: u64) {
        self.list[table].entries.insert(index, entry);
    }

    /// The entry with an index, if it is not 0.
    pub(crate) fn get(&self, table: usize, index: u64) -> Option<u64> {
        self.list[table].entries.get(&index).copied()
    }

    /// The level of a table.
    pub(crate) fn level(&self, table: usize) -> &'static Level {
        self.list[table].level
    }

    /// The number of tables.
    pub(crate) fn count(&self) -> usize {
        self.list.len()
    }

    /// The address of a table that the entries of a level can lead to, if there is one.
    pub(crate) fn some_below(&self, level: &Level) -> Option<u64> {
        let below = self.list.iter().find(|table| table.level.number + 1 == level.number);
        below.map(|table| table.at)
    }

    /// Every entry, by its physical address.
    pub(crate) fn entries(&self) -> Vec<(u64, u64)> {
        let all = self.list.iter().flat_map(|table| {
            let at = move |index: &u64| table.at + index * u64::from(F::ENTRY_BYTES);
            table.entries.iter().map(move |(index, entry)| (at(index), *entry))
        });
        all.collect()
    }

    /// Walks them for a supervisor's read. Returns where it leads, if it does, and the path.
    pub(crate) fn walk<S: Semantics>(
        &self,
        semantics: S,
        state: ControlState,
        profile: Profile,
        address: VirtAddr,
    ) -> (Option<u64>, Vec<Step>) {
        let entries = self.entries();
        let memory = SparseTables::new(&entries).with_memory_below(MEMORY);
        let access = Access::read(address, 1, Ring::Zero);
        let mut path = Path::default();

        let mmu = Mmu::<F, S>::with_semantics(semantics, state, profile);
        let translated = mmu.walk(&memory, address, &access, &mut path);
        (translated.ok().map(|page| page.address.get()), path.steps.to_vec())
    }

    /// The tables as they are printed, the root first. Those of a toy show their entries in parts.
    pub(crate) fn printed(&self) -> Vec<Table> {
        let mut tables: Vec<&PageTable> = self.list.iter().collect();
        tables
            .sort_by_key(|table| (u8::MAX - table.level.number, table.at != self.root(), table.at));
        tables.into_iter().map(printed_table::<F>).collect()
    }
}

fn printed_table<F: Format>(table: &PageTable) -> Table {
    let level = table.level;
    let title = match (level.has_flags, level.number) {
        (true, _) => format!("table of {}s at {:#x}", level.entry_name, table.at),
        (false, 1) => format!("page table at {:#x}", table.at),
        (false, 2) => format!("directory at {:#x}", table.at),
        (false, _) => format!("root at {:#x}", table.at),
    };

    if level.has_flags {
        let digits = 2 + 2 * usize::from(F::ENTRY_BYTES);
        let row =
            |(index, entry): (&u64, &u64)| vec![index.to_string(), format!("{entry:#0digits$x}")];
        let rows = table.entries.iter().map(row).collect();
        return Table { title, columns: vec!["index", "entry"], rows };
    }

    let row = |(index, entry): (&u64, &u64)| {
        vec![index.to_string(), (entry & 1).to_string(), format!("{:#x}", entry >> 1)]
    };
    let rows = table.entries.iter().map(row).collect();
    Table { title, columns: vec!["index", "valid", "frame"], rows }
}
