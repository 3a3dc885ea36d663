//! An arena's page tables as the host keeps them: what each slot should hold, and whose it is.

use crosswalk_guest::layout::Arena;
use crosswalk_guest::tables;
use mmu_core::PagingMode;

/// Entries of one table as memory has them, 64 bits at a time.
pub(super) type TableWords = [u64; 512];

/// The tables of an arena in one mode.
#[derive(Clone, Debug)]
pub(super) struct ArenaTables {
    pub(super) mode: PagingMode,
    arena: Arena,
    contents: Vec<TableWords>,
    /// Which case owns a slot; 32-bit entries have 1024, and others use the even ones.
    owners: Vec<[Option<u16>; 1024]>,
}

/// A slot: table, and offset in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ArenaSlot {
    table: usize,
    offset: usize,
}

impl ArenaTables {
    /// Tables of zeros, as many as the mode uses.
    pub(super) fn new(mode: PagingMode, arena: Arena) -> Self {
        let count = tables::count(mode);
        Self { mode, arena, contents: vec![[0; 512]; count], owners: vec![[None; 1024]; count] }
    }

    /// The slot of an entry's address, if it lies in a table in use.
    pub(super) fn slot_at(&self, address: u64) -> Option<ArenaSlot> {
        let table = self.arena.table_at(address).filter(|table| *table < self.contents.len())?;
        Some(ArenaSlot { table, offset: (address & 0xfff) as usize })
    }

    /// The contents of each table, in order.
    pub(super) fn contents(&self) -> &[TableWords] {
        &self.contents
    }

    /// What a slot holds.
    pub(super) fn get(&self, slot: ArenaSlot) -> u64 {
        read(&self.contents[slot.table], slot.offset, self.entry_bytes())
    }

    /// Writes a slot; its neighbours stay.
    pub(super) fn set(&mut self, slot: ArenaSlot, value: u64) {
        let bytes = self.entry_bytes();
        let word = &mut self.contents[slot.table][slot.offset / 8];
        if bytes == 8 {
            *word = value;
        } else {
            let shift = 8 * (slot.offset % 8);
            *word = *word & !(0xffff_ffff << shift) | (value & 0xffff_ffff) << shift;
        }
    }

    /// Makes a case the owner of a slot, unless all lanes share it and it has one.
    pub(super) fn claim(&mut self, slot: ArenaSlot, case: usize) {
        let owner = &mut self.owners[slot.table][slot.offset / 4];
        debug_assert!(
            owner.is_none() || tables::is_shared(self.mode, slot.table),
            "lanes share offset {:#x} of table {}",
            slot.offset,
            slot.table
        );
        owner.get_or_insert(case as u16);
    }

    /// The owner of a slot.
    pub(super) fn owner(&self, slot: ArenaSlot) -> Option<usize> {
        self.owners[slot.table][slot.offset / 4].map(usize::from)
    }

    /// The same slots as memory has them now.
    pub(super) fn with_contents(&self, contents: Vec<TableWords>) -> Self {
        Self { contents, ..self.clone() }
    }

    /// Every slot that differs from `before` and belongs to no case and not to the guest itself:
    /// its address, what it held, what it holds, and the case next to it.
    pub(super) fn strays(&self, before: &Self) -> Vec<(u64, u64, u64, Option<usize>)> {
        let bytes = self.entry_bytes();
        let mut strays = Vec::new();
        for (table, (now, then)) in self.contents.iter().zip(&before.contents).enumerate() {
            let changed = (0..512).filter(|word| now[*word] != then[*word]);
            let slots = changed.flat_map(|word| (word * 8..word * 8 + 8).step_by(bytes));
            for offset in slots {
                let slot = ArenaSlot { table, offset };
                let (was, is) = (before.get(slot), self.get(slot));
                // A shared slot that no case lists serves the guest alone.
                let is_own = tables::is_own(self.mode, table, offset / bytes)
                    || tables::is_shared(self.mode, table);
                if was == is || is_own || self.owner(slot).is_some() {
                    continue;
                }
                let neighbours = [offset.checked_sub(bytes), Some(offset + bytes)];
                let neighbours = neighbours.into_iter().flatten().filter(|offset| *offset < 0x1000);
                let owner = neighbours
                    .into_iter()
                    .find_map(|offset| self.owner(ArenaSlot { table, offset }));
                strays.push((self.arena.table(table) + offset as u64, was, is, owner));
            }
        }
        strays
    }

    const fn entry_bytes(&self) -> usize {
        tables::entry_bytes(self.mode) as usize
    }
}

fn read(words: &TableWords, offset: usize, bytes: usize) -> u64 {
    let word = words[offset / 8];
    if bytes == 8 { word } else { word >> (8 * (offset % 8)) & 0xffff_ffff }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_32_bit_slot_leaves_its_neighbour_alone() {
        let arena = Arena::ALL[1];
        let mut tables = ArenaTables::new(PagingMode::Bits32, arena);
        let [low, high] =
            [0x18, 0x1c].map(|offset| tables.slot_at(arena.table(2) + offset).unwrap());
        tables.set(high, 0x8765_4321);
        tables.set(low, 0x1234_5678);
        assert_eq!(tables.contents()[2][3], 0x8765_4321_1234_5678);
        assert_eq!(tables.get(high), 0x8765_4321);
        assert_eq!(tables.slot_at(arena.table(4)), None, "32-bit paging has four tables");
    }

    #[test]
    fn a_stray_change_is_blamed_on_the_neighbour() {
        let arena = Arena::ALL[0];
        let mut before = ArenaTables::new(PagingMode::Bits32, arena);
        let slot = before.slot_at(arena.table(1) + 0x20).unwrap();
        before.claim(slot, 7);
        let mut after = before.contents().to_vec();
        after[1][4] = 0xdead_beef_0000_0001; // The owned slot and the one after it.
        after[0][0] = 1; // The guest's own.
        let strays = before.with_contents(after).strays(&before);
        assert_eq!(strays, [(arena.table(1) + 0x24, 0, 0xdead_beef, Some(7))]);
    }
}
