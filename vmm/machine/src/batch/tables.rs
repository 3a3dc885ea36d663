//! The host's model of the page tables of a batch: where they lie, the value of each slot, and the case
//! that owns it.

use crosswalk_case::{Action, Case};
use crosswalk_guest::layout::Arena;
use crosswalk_guest::table_windows::TablePlace;
use crosswalk_guest::tables::{self, TableUse};
use mmu_core::Regime;
use mmu_core::x86::control::Mov;
use mmu_core::x86::format::{self, EntryBits};

/// The contents of one table as 64-bit words. A word holds one entry, or two of 32 bits.
pub(super) type TableWords = [u64; 512];

/// The tables of an arena in one use.
#[derive(Clone, Debug)]
pub(super) struct ArenaTables {
    pub(super) table_use: TableUse,
    arena: Arena,
    places: Vec<TablePlace>,
    contents: Vec<TableWords>,
    /// The index of the case that owns a slot, for every 4 bytes of each table. The slots of 64-bit
    /// entries use the even indices.
    owners: Vec<[Option<u16>; 1024]>,
}

/// A slot of an arena's tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ArenaSlot {
    /// The number of the table among those of the batch.
    table: usize,
    /// The offset in the table in bytes.
    offset: usize,
}

/// A slot of no case that changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stray {
    /// Its physical address.
    pub(super) at: u64,
    pub(super) before: u64,
    pub(super) after: u64,
    /// The case that owns a slot next to it, if one does.
    pub(super) neighbour: Option<usize>,
}

impl ArenaTables {
    /// The tables in use by cases, filled with zeros.
    pub(super) fn new(table_use: TableUse, arena: Arena, cases: &[Case]) -> Self {
        let places = places_of(table_use, arena, cases);
        let count = places.len();
        Self {
            table_use,
            arena,
            places,
            contents: vec![[0; 512]; count],
            owners: vec![[None; 1024]; count],
        }
    }

    /// The slot at an address; `None` outside the tables in use.
    pub(super) fn slot_at(&self, address: u64) -> Option<ArenaSlot> {
        let place = TablePlace::at(self.arena, address)?;
        let table = self.places.iter().position(|known| *known == place)?;

        Some(ArenaSlot { table, offset: (address & 0xfff) as usize })
    }

    /// The places of the tables, in order.
    pub(super) fn places(&self) -> &[TablePlace] {
        &self.places
    }

    /// The physical addresses of the tables, in order.
    pub(super) fn addresses(&self) -> impl Iterator<Item = u64> {
        self.places.iter().map(|place| place.address(self.arena))
    }

    /// The contents of each table, in order.
    pub(super) fn contents(&self) -> &[TableWords] {
        &self.contents
    }

    /// The value of a slot.
    pub(super) fn get(&self, slot: ArenaSlot) -> u64 {
        read(&self.contents[slot.table], slot.offset, self.entry_bytes())
    }

    /// Sets the value of a slot.
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

    /// Makes a case the owner of a slot. A slot that all lanes share keeps its first owner.
    pub(super) fn claim(&mut self, slot: ArenaSlot, case: usize) {
        let owner = &mut self.owners[slot.table][slot.offset / 4];
        debug_assert!(
            owner.is_none() || tables::is_shared(self.table_use, self.places[slot.table].index),
            "lanes share offset {:#x} of table {:?}",
            slot.offset,
            self.places[slot.table]
        );

        owner.get_or_insert(case as u16);
    }

    /// The index of the case that owns a slot.
    pub(super) fn owner(&self, slot: ArenaSlot) -> Option<usize> {
        self.owners[slot.table][slot.offset / 4].map(usize::from)
    }

    /// The same tables with other contents.
    pub(super) fn with_contents(&self, contents: Vec<TableWords>) -> Self {
        Self { contents, ..self.clone() }
    }

    /// The slots that differ from `before` and belong neither to a case nor to the guest itself.
    pub(super) fn strays(&self, before: &Self) -> Vec<Stray> {
        let bytes = self.entry_bytes();
        let mut strays = Vec::new();

        for (table, (now, then)) in self.contents.iter().zip(&before.contents).enumerate() {
            // A shared slot that no case lists serves the guest alone.
            let place = self.places[table];
            if tables::is_shared(self.table_use, place.index) {
                continue;
            }

            let changed = (0..512).filter(|word| now[*word] != then[*word]);
            let offsets = changed.flat_map(|word| (word * 8..word * 8 + 8).step_by(bytes));
            let is_own =
                |offset: &usize| tables::is_own(self.table_use, place.index, offset / bytes);
            for offset in offsets.filter(|offset| !is_own(offset)) {
                let slot = ArenaSlot { table, offset };
                let was = before.get(slot);
                let is = self.get(slot);
                if was != is && self.owner(slot).is_none() {
                    strays.push(Stray {
                        at: place.address(self.arena) + offset as u64,
                        before: was,
                        after: is,
                        neighbour: self.owner_beside(slot),
                    });
                }
            }
        }

        strays
    }

    /// The owner of the slot before or after a slot.
    fn owner_beside(&self, slot: ArenaSlot) -> Option<usize> {
        let bytes = self.entry_bytes();
        let ArenaSlot { table, offset } = slot;
        let offsets = [offset.checked_sub(bytes), Some(offset + bytes)];

        let inside = offsets.into_iter().flatten().filter(|offset| *offset < 0x1000);
        inside.map(|offset| ArenaSlot { table, offset }).find_map(|slot| self.owner(slot))
    }

    const fn entry_bytes(&self) -> usize {
        tables::entry_bytes(self.table_use.mode) as usize
    }
}

/// The places of the tables that cases use: the low ones of the mode, and those in windows to which a case
/// refers. Where one in a window takes the place of a low one, that is left out.
pub(super) fn places_of(table_use: TableUse, arena: Arena, cases: &[Case]) -> Vec<TablePlace> {
    let places = || cases.iter().flat_map(|case| places_in(case, arena));
    let mut high = Vec::new();
    for place in places().filter(|place| place.window.is_some()) {
        if !high.contains(&place) {
            high.push(place);
        }
    }

    let all_low = (0..tables::count(table_use)).map(TablePlace::low);
    if high.is_empty() {
        return all_low.collect();
    }
    let used: Vec<_> = places().filter(|place| place.window.is_none()).collect();
    let is_replaced = |low: &TablePlace| high.iter().any(|place| place.index == low.index);
    all_low.filter(|low| used.contains(low) || !is_replaced(low)).chain(high.clone()).collect()
}

/// The places of the tables to which a case refers.
fn places_in(case: &Case, arena: Arena) -> impl Iterator<Item = TablePlace> {
    let root = format::root(&Regime::new(case.state, case.profile)).get();
    let pdptes = case.state.pdptes.iter().copied();
    let entries = case.entries.iter().flat_map(|entry| [entry.at, entry.value]);
    let roots = case.before.iter().filter_map(|action| match action {
        Action::Mov(Mov::Cr3(value)) => Some(*value),
        _ => None,
    });
    let addresses = std::iter::once(root).chain(roots).chain(pdptes).chain(entries);
    addresses.filter_map(move |address| place_at(case, arena, address & EntryBits::ADDRESS))
}

/// The place of the table at an address, on the machine of a case. Beyond its MAXPHYADDR there are no windows.
pub(super) fn place_at(case: &Case, arena: Arena, address: u64) -> Option<TablePlace> {
    let bits = case.profile.physical_address_bits;
    let is_there = |place: &TablePlace| place.window.is_none_or(|window| window.is_within(bits));
    TablePlace::at(arena, address).filter(is_there)
}

/// The entry at an offset of a table.
fn read(words: &TableWords, offset: usize, bytes: usize) -> u64 {
    let word = words[offset / 8];
    if bytes == 8 { word } else { word >> (8 * (offset % 8)) & 0xffff_ffff }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mmu_core::{PagingMode, Profile, Ring};

    /// Reserved bits make the address of a low table one in a window, which such a machine does not have.
    #[test]
    fn there_is_no_window_beyond_maxphyaddr() {
        let arena = Arena::ALL[0];
        let places = |bits: u8| {
            let profile = Profile { physical_address_bits: bits, ..Profile::default() };
            let mut case = Case::plain(arena, 0, Ring::Three, profile);
            case.entries[1].value |= 1 << 38;
            places_of(case.table_use(), arena, &[case])
        };

        assert!(places(36).iter().all(|place| place.window.is_none()));
        assert!(places(39).iter().any(|place| place.window.is_some()));
    }

    #[test]
    fn setting_a_32_bit_slot_leaves_its_neighbour_alone() {
        let arena = Arena::ALL[1];
        let mut tables = ArenaTables::new(TableUse::of(PagingMode::Bits32), arena, &[]);
        let slot = |offset| tables.slot_at(arena.table(2) + offset).unwrap();
        let low = slot(0x18);
        let high = slot(0x1c);

        tables.set(high, 0x8765_4321);
        tables.set(low, 0x1234_5678);

        assert_eq!(tables.contents()[2][3], 0x8765_4321_1234_5678);
        assert_eq!(tables.get(high), 0x8765_4321);
        assert_eq!(tables.slot_at(arena.table(4)), None, "32-bit paging has four tables");
    }

    #[test]
    fn a_stray_change_is_attributed_to_the_neighbour() {
        let arena = Arena::ALL[0];
        let mut before = ArenaTables::new(TableUse::of(PagingMode::Bits32), arena, &[]);
        let slot = before.slot_at(arena.table(1) + 0x20).unwrap();
        before.claim(slot, 7);

        let mut after = before.contents().to_vec();
        after[1][4] = 0xdead_beef_0000_0001; // The owned slot and the one after it.
        after[0][0] = 1; // The guest's own.

        let stray =
            Stray { at: arena.table(1) + 0x24, before: 0, after: 0xdead_beef, neighbour: Some(7) };
        assert_eq!(before.with_contents(after).strays(&before), [stray]);
    }
}
