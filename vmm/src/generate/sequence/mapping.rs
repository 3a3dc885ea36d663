//! The pages of a sequence: their entries, all plain, and where else each of them may lead.

mod other_root;

use crate::generate::canonical;
use crate::generate::placement::{FreeSlots, TableSlot};
use crosswalk_case::{TableEntry, shared_entries};
use crosswalk_guest::layout::{AREA_SIZE, Arena, TWIN_DISTANCE};
use crosswalk_guest::table_windows::TableWindow;
use crosswalk_guest::tables::{self, TableUse};
use crosswalk_machine::{Capabilities, LeftOut};
use mmu_core::x86::format::{self, EntryBits, EntryKind, levels};
use mmu_core::{ControlState, Cr4, Features, PagingMode, PhysAddr, Regime, VirtAddr};
use rand::{Rng, RngExt};

/// How the sequences of a batch use the tables.
pub(super) struct SequenceTables {
    pub(super) table_use: TableUse,
    arena: Arena,
    /// The address of the root.
    root: u64,
    /// The address of another root, which a MOV to CR3 may load.
    other_root: Option<u64>,
    /// The entries that all lanes share, which lead to the tables of the first level that is not shared.
    shared: Vec<TableEntry>,
    /// The number of levels above the last one whose entries may map pages of a lane.
    larger_pages: usize,
}

impl SequenceTables {
    /// The use in a control state, in compatibility mode or not.
    pub(super) fn new(
        state: &ControlState,
        table_use: TableUse,
        arena: Arena,
        machine: &Capabilities,
    ) -> Self {
        let mode = table_use.mode;
        let features = machine.profile.features;
        let root = format::root(&Regime::new(*state, machine.profile)).get();
        let shared = match mode {
            PagingMode::Pae => (0..)
                .zip(state.pdptes)
                .map(|(index, value)| TableEntry { at: root + 8 * index, value })
                .collect(),
            _ => shared_entries(table_use, arena),
        };

        let windows = || TableWindow::within(machine.profile.physical_address_bits);
        let other_root = match mode {
            PagingMode::FourLevel | PagingMode::FiveLevel
                if !table_use.compatibility && !machine.left_out.contains(LeftOut::HIGH_TABLES) =>
            {
                windows().next().map(|window| root + window.distance())
            }
            _ => None,
        };
        let own_levels = levels(mode).len() - tables::shared_levels(table_use);
        let larger_pages = match mode {
            PagingMode::Bits32 => usize::from(state.cr4.contains(Cr4::PSE)),
            PagingMode::Pae => 1,
            _ => 1 + usize::from(features.contains(Features::PAGE_1GB)),
        };
        let larger_pages = larger_pages.min(own_levels - 1);
        Self { table_use, arena, root, other_root, shared, larger_pages }
    }

    fn address_of(&self, slot: TableSlot) -> u64 {
        let table = if slot.table == 0 { self.root } else { self.arena.table(slot.table) };
        table + slot.index * tables::entry_bytes(self.table_use.mode)
    }
}

/// The pages of a sequence.
pub(super) struct Mapping {
    /// The entries of the first page, root first; then those of the second.
    pub(super) entries: Vec<MappedEntry>,
    /// The linear addresses of the pages that the accesses go to, as pages of 4 KiB: one or two.
    pub(super) pages: Vec<VirtAddr>,
    /// The frame that the first page maps.
    pub(super) frame: u64,
    /// The page that the first leaf maps has `1 << shift` bytes.
    pub(super) shift: u8,
    /// Whether the 4 KiB after the first page are mapped, too.
    pub(super) is_followed: bool,
    /// Another root, if the first page has an entry there.
    pub(super) other_root: Option<u64>,
}

/// An entry of a sequence.
pub(super) struct MappedEntry {
    /// The entry at first.
    pub(super) entry: TableEntry,
    /// Whether it maps a page.
    pub(super) is_leaf: bool,
    /// Where else it may lead: other values of [`TARGET`] by which the same addresses have frames of
    /// the lane.
    pub(super) elsewhere: Vec<u64>,
    /// The value of [`TARGET`] by which it maps the same frame in a page of another size.
    pub(super) other_size: Option<u64>,
    /// Whether software leaves it as it is: the guest can only read it, or other lanes share it.
    pub(super) is_fixed: bool,
}

impl MappedEntry {
    /// An entry that leads to a table, and stays as it is.
    const fn fixed(entry: TableEntry) -> Self {
        Self { entry, is_leaf: false, elsewhere: Vec::new(), other_size: None, is_fixed: true }
    }
}

/// The bits of an entry that say where it leads: the address, and PS.
pub(super) const TARGET: u64 = EntryBits::ADDRESS | EntryBits::PS.bits();

/// What a sequence has besides the path of one page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    /// Nothing.
    OnePage,
    /// The leaf after it, which maps the next frame.
    NextPage,
    /// Another entry at this depth with the same target.
    Alias(usize),
    /// The parent of the leaf may lead to another table, in which another frame is mapped.
    TwoTables,
    /// The parent of the leaf may map the frame by a large page.
    TwoSizes,
    /// The leaf is in the table that the guest can only read.
    ReadOnlyTable,
    /// The PDPTE at this depth is 2 or 3, and may lead to the directory of the other.
    FreePdpte(usize),
}

const FRAME: u64 = 0x1000;
const ACCESSED: u64 = EntryBits::A.bits();
const DIRTY: u64 = EntryBits::D.bits();

/// A mapping in the making.
struct Mapper<'s> {
    tables: &'s SequenceTables,
    /// The first of the lane's two frames. Its twin lane has as many at the same place of its area.
    frames: u64,
    leaf: usize,
    slots: &'s mut FreeSlots,
}

impl Mapping {
    /// A mapping of random pages to the frames of a lane, by slots that are still free. Large pages
    /// also map the frames of the lane [`TWIN_DISTANCE`] after it.
    pub(super) fn random(
        rng: &mut impl Rng,
        tables: &SequenceTables,
        lane: usize,
        slots: &mut FreeSlots,
    ) -> Self {
        let last = levels(tables.table_use.mode).len() - 1;
        let larger = match rng.random_range(0..20) {
            0..12 => 0,
            12 | 13 => 2,
            _ => 1,
        };
        let larger = larger.min(tables.larger_pages);
        let leaf = last - larger;
        let shared = slots.shared_levels();
        let shape = match rng.random_range(0..100) {
            35..60 => Shape::NextPage,
            60..82 => Shape::Alias(rng.random_range(shared..=leaf)),
            82..96 if larger < 2 && leaf > shared => Shape::TwoTables,
            0..8 | 96..100 if larger == 0 && tables.larger_pages > 0 => Shape::TwoSizes,
            _ => Shape::OnePage,
        };

        let frames = tables.arena.data_frames(lane);
        let mut free = slots.clone();
        let special = Mapper { tables, frames, leaf, slots: &mut free }.map(rng, shape);
        if let Some(mapping) = special {
            *slots = free;
            return mapping;
        }
        let plain = Mapper { tables, frames, leaf, slots }.map(rng, Shape::OnePage);
        plain.expect("every level has a slot for every lane")
    }

    /// A mapping of two pages that follow each other, of 4 KiB or 2 MiB, by slots that are still free.
    pub(super) fn of_neighbours(
        rng: &mut impl Rng,
        tables: &SequenceTables,
        lane: usize,
        is_large: bool,
        slots: &mut FreeSlots,
    ) -> Self {
        let leaf = levels(tables.table_use.mode).len() - 1 - usize::from(is_large);
        let frames = tables.arena.data_frames(lane);
        let mapped = Mapper { tables, frames, leaf, slots }.map(rng, Shape::NextPage);
        mapped.expect("a level of leaves has 1,024 slots: pairs for all lanes, wherever they are")
    }

    /// A mapping of one page whose leaf the guest can only read, so that it is accessed and dirty.
    pub(super) fn in_read_only_table(
        rng: &mut impl Rng,
        tables: &SequenceTables,
        slots: &mut FreeSlots,
    ) -> Self {
        let leaf = levels(tables.table_use.mode).len() - 1;
        let frames = tables.arena.data_frames(0);
        let mapped = Mapper { tables, frames, leaf, slots }.map(rng, Shape::ReadOnlyTable);
        mapped.expect("every slot is free")
    }

    /// A mapping of one page below PDPTE 2 or 3, which the guest itself does not need, where all lanes
    /// share the PDPTEs: no other lane may run. The PDPTE may lead to the directory of the other one,
    /// where a large page has another frame, or nothing is mapped.
    pub(super) fn below_free_pdpte(
        rng: &mut impl Rng,
        tables: &SequenceTables,
        slots: &mut FreeSlots,
    ) -> Self {
        let shared = slots.shared_levels();
        let last = levels(tables.table_use.mode).len() - 1;
        let leaf = last - rng.random_range(0..2);
        let frames = tables.arena.data_frames(0);
        let mapped = Mapper { tables, frames, leaf, slots }.map(rng, Shape::FreePdpte(shared - 1));
        mapped.expect("every slot is free")
    }
}

impl Mapper<'_> {
    /// The mapping of a shape; `None` if it has no slots.
    fn map(mut self, rng: &mut impl Rng, shape: Shape) -> Option<Mapping> {
        let path = self.path(rng, shape)?;
        let mut mapping = self.map_page(&path);
        match shape {
            Shape::OnePage => {}
            Shape::NextPage => self.add_leaf(&mut mapping, path[self.leaf]),
            Shape::Alias(depth) => self.add_alias(&mut mapping, &path, depth),
            Shape::TwoTables => self.add_table(&mut mapping, &path)?,
            Shape::TwoSizes => {
                let page = self.frames & !((1 << self.shift(self.leaf - 1)) - 1);
                let parent = &mut mapping.entries[self.leaf - 1];
                parent.other_size = Some(page | EntryBits::PS.bits());
            }
            Shape::ReadOnlyTable => self.move_to_read_only(&mut mapping),
            Shape::FreePdpte(depth) => self.add_directory(&mut mapping, &path, depth)?,
        }
        Some(mapping)
    }

    /// The slots of the first page, root first.
    fn path(&mut self, rng: &mut impl Rng, shape: Shape) -> Option<Vec<TableSlot>> {
        let pair_at = match shape {
            Shape::NextPage => Some(self.leaf),
            Shape::Alias(depth) => Some(depth),
            _ => None,
        };
        let own_levels = self.slots.shared_levels()..=self.leaf;
        let draw = |depth: usize| match shape {
            // The slot that the frame has in a large page.
            Shape::TwoSizes if depth == self.leaf => {
                let slots = 1 << levels(self.mode())[depth].index_bits;
                self.slots.take(depth, (self.frames / FRAME % slots) as usize)
            }
            Shape::FreePdpte(pdpt) if depth == pdpt + 1 => {
                let directory = self.slots.first_own_tables().start + rng.random_range(2..4);
                self.slots.draw_in(rng, directory)
            }
            _ => self.slots.draw(rng, depth, pair_at == Some(depth)),
        };
        let mut path = own_levels.map(draw).collect::<Option<Vec<_>>>()?;
        self.slots.add_shared(&mut path);
        Some(path)
    }

    /// The entries of a page, each of which leads to the next.
    fn map_page(&self, path: &[TableSlot]) -> Mapping {
        let entries = (0..=self.leaf).map(|depth| match path.get(depth + 1) {
            _ if depth < self.slots.shared_levels() => self.shared_entry(path[depth]),
            Some(next) => self.table_entry(path[depth], depth, next.table),
            None => self.leaf_entry(path[depth], self.frames),
        });

        let shift = self.shift(self.leaf);
        let indices = path.iter().zip(0..).map(|(slot, depth)| slot.index << self.shift(depth));
        let address = indices.sum::<u64>() | self.frames & ((1 << shift) - 1);
        Mapping {
            entries: entries.collect(),
            pages: vec![VirtAddr::new(canonical(self.mode(), address))],
            frame: self.frames,
            shift,
            is_followed: shift > 12,
            other_root: None,
        }
    }

    /// Adds the leaf after this one: a small page of the second frame, or a large one around the twin
    /// lane's.
    fn add_leaf(&self, mapping: &mut Mapping, leaf: TableSlot) {
        let frames = match mapping.shift {
            12 => self.frames + FRAME,
            30 => self.frames,
            _ => self.twin_frames(),
        };
        mapping.entries.push(self.leaf_entry(leaf.next(), frames));
        self.add_page(mapping, mapping.shift);
        mapping.is_followed = true;
    }

    /// Adds the entry after the one at this depth, with the same target.
    fn add_alias(&self, mapping: &mut Mapping, path: &[TableSlot], depth: usize) {
        let alias = match path.get(depth + 1) {
            Some(next) => self.table_entry(path[depth].next(), depth, next.table),
            None => self.leaf_entry(path[depth].next(), self.frames),
        };
        mapping.entries.push(alias);
        self.add_page(mapping, self.shift(depth));
    }

    /// Adds the page at this distance.
    fn add_page(&self, mapping: &mut Mapping, shift: u8) {
        let address = mapping.pages[0].get().wrapping_add(1 << shift);
        mapping.pages.push(VirtAddr::new(canonical(self.mode(), address)));
    }

    /// Adds a leaf with the same index in another table, to which the parent may lead.
    fn add_table(&mut self, mapping: &mut Mapping, path: &[TableSlot]) -> Option<()> {
        let leaf = path[self.leaf];
        let other = self.slots.take(self.leaf, leaf.index as usize)?;
        let frames = if mapping.shift == 12 { self.frames + FRAME } else { self.twin_frames() };
        mapping.entries.push(self.leaf_entry(other, frames));
        mapping.entries[self.leaf - 1].elsewhere.push(self.tables.arena.table(other.table));
        Some(())
    }

    /// Lets a PDPTE lead to the directory of the other free one. If the leaf is in a directory, there is
    /// one with the same index in the other, too.
    fn add_directory(
        &mut self,
        mapping: &mut Mapping,
        path: &[TableSlot],
        depth: usize,
    ) -> Option<()> {
        let below = path[depth + 1];
        let first = self.slots.first_own_tables().start;
        let other = first + (5 - (below.table - first));
        if depth + 1 == self.leaf {
            let leaf = self.slots.take_in(other, below.index as usize)?;
            mapping.entries.push(self.leaf_entry(leaf, self.twin_frames()));
        }

        let pdpte = &mut mapping.entries[depth];
        pdpte.is_fixed = false;
        pdpte.elsewhere.push(self.tables.arena.table(other));
        Some(())
    }

    /// Moves the leaf into the table that the guest can only read, where no flag is left to be set.
    fn move_to_read_only(&self, mapping: &mut Mapping) {
        let table = self.tables.arena.read_only_table();
        let parent = &mut mapping.entries[self.leaf - 1].entry;
        parent.value = parent.value & !TARGET | table;

        let leaf = &mut mapping.entries[self.leaf];
        leaf.entry.at = table | leaf.entry.at & (FRAME - 1);
        leaf.entry.value |= ACCESSED | DIRTY;
        leaf.is_fixed = true;
    }

    fn table_entry(&self, slot: TableSlot, depth: usize, table: usize) -> MappedEntry {
        let target = self.tables.arena.table(table);
        self.entry(slot, depth, EntryKind::Table, target, Vec::new())
    }

    /// An entry that all lanes share.
    fn shared_entry(&self, slot: TableSlot) -> MappedEntry {
        let at = self.tables.address_of(slot);
        let entry = self.tables.shared.iter().copied().find(|entry| entry.at == at);
        MappedEntry::fixed(entry.expect("every shared slot leads to a table"))
    }

    /// An entry that maps the page around a frame. It may map others, so that a move shows.
    fn leaf_entry(&self, slot: TableSlot, frame: u64) -> MappedEntry {
        let shift = self.shift(self.leaf);
        let base = |frame: u64| frame & !((1 << shift) - 1);
        let frames = [self.frames, self.frames + FRAME, self.twin_frames()];
        let large = if shift > 12 { EntryBits::PS.bits() } else { 0 };

        let mut elsewhere: Vec<u64> = frames.map(base).into_iter().collect();
        elsewhere.dedup();
        elsewhere.retain(|other| *other != base(frame));
        let elsewhere = elsewhere.into_iter().map(|base| base | large).collect();
        self.entry(slot, self.leaf, EntryKind::Leaf, base(frame), elsewhere)
    }

    fn entry(
        &self,
        slot: TableSlot,
        depth: usize,
        kind: EntryKind,
        target: u64,
        elsewhere: Vec<u64>,
    ) -> MappedEntry {
        let plain = EntryBits::P | EntryBits::RW | EntryBits::US;
        let level = &levels(self.mode())[depth];
        let value = format::entry(self.mode(), level, kind, PhysAddr::new(target), plain);
        MappedEntry {
            entry: TableEntry { at: self.tables.address_of(slot), value },
            is_leaf: kind == EntryKind::Leaf,
            elsewhere,
            other_size: None,
            is_fixed: false,
        }
    }

    /// The first frame of the twin lane.
    const fn twin_frames(&self) -> u64 {
        self.frames + TWIN_DISTANCE as u64 * AREA_SIZE
    }

    fn shift(&self, depth: usize) -> u8 {
        levels(self.mode())[depth].shift
    }

    const fn mode(&self) -> PagingMode {
        self.tables.table_use.mode
    }
}
