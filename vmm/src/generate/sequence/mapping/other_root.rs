//! Another root, which a MOV to CR3 may load: the same addresses in other tables.

use super::{FRAME, MappedEntry, Mapper, Mapping, SequenceTables, TARGET};
use crate::generate::placement::FreeSlots;
use crosswalk_case::TableEntry;
use crosswalk_guest::tables;
use mmu_core::x86::format::{EntryBits, levels};
use rand::{Rng, RngExt};

impl Mapping {
    /// Gives the first page an entry in the other root, if there is one: that of the first root, one with
    /// fewer rights, none, or one from which tables of its own lead to another frame.
    pub(in crate::generate::sequence) fn add_root(
        &mut self,
        rng: &mut impl Rng,
        tables: &SequenceTables,
        lane: usize,
        slots: &mut FreeSlots,
    ) {
        const RIGHTS: [EntryBits; 2] = [EntryBits::RW, EntryBits::US];

        let Some(root) = tables.other_root else { return };
        let TableEntry { at, value } = self.entries[0].entry;
        let (value, path) = match rng.random_range(0..6) {
            0 => (0, Vec::new()),
            1 => (value & !RIGHTS[rng.random_range(0..2)].bits(), Vec::new()),
            2..5 => match self.other_path(tables, lane, slots) {
                Some((table, path)) => (value & !TARGET | table, path),
                None => (value, Vec::new()),
            },
            _ => (value, Vec::new()),
        };

        self.entries.push(MappedEntry::fixed(TableEntry { at: at - tables.root + root, value }));
        self.entries.extend(path);
        self.other_root = Some(root);
    }

    /// A path below a root with the indices of the page's, in other tables and to another frame, and the
    /// address of its first table. There is none for two pages: the slot behind may be another lane's.
    fn other_path(
        &self,
        tables: &SequenceTables,
        lane: usize,
        slots: &mut FreeSlots,
    ) -> Option<(u64, Vec<MappedEntry>)> {
        let leaf = self.entries.len() - 1;
        if levels(tables.table_use.mode).get(leaf)?.shift != self.shift {
            return None;
        }

        let mut free = slots.clone();
        let frames = tables.arena.data_frames(lane);
        let other = Mapper { tables, frames, leaf, slots: &mut free }.path_like(&self.entries)?;
        *slots = free;
        Some(other)
    }
}

impl Mapper<'_> {
    fn path_like(&mut self, entries: &[MappedEntry]) -> Option<(u64, Vec<MappedEntry>)> {
        let bytes = tables::entry_bytes(self.mode());
        let indices = entries[1..].iter().map(|mapped| (mapped.entry.at & (FRAME - 1)) / bytes);
        let slots = indices.zip(1..).map(|(index, depth)| self.slots.take(depth, index as usize));
        let path = slots.collect::<Option<Vec<_>>>()?;

        let is_small = self.shift(self.leaf) == 12;
        let frames = if is_small { self.frames + FRAME } else { self.twin_frames() };
        let entries = path.iter().zip(1..).map(|(slot, depth)| match path.get(depth) {
            Some(next) => self.table_entry(*slot, depth, next.table),
            None => self.leaf_entry(*slot, frames),
        });
        Some((self.tables.arena.table(path[0].table), entries.collect()))
    }
}
