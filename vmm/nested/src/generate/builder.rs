//! One lane's case, put together: the pages that L2 needs, mapped by both dimensions.

use crate::NestedCase;
use crate::places::{Places, Shared};
use crosswalk_case::TableEntry;
use mmu_core::nested::{Ept, EptCapabilities, SecondLevel};
use mmu_core::x86::format::{EntryBits, Level, levels};
use mmu_core::{Access, ControlState, PagingMode, Profile, VirtAddr};
use rand::seq::IndexedRandom;
use rand::{Rng, RngExt};
use std::collections::BTreeMap;

/// What the cases of a batch have in common.
#[derive(Clone, Copy, Debug)]
pub(super) struct Setting {
    pub(super) profile: Profile,
    pub(super) second: SecondKind,
}

/// A second level, before its root is known.
#[derive(Clone, Copy, Debug)]
pub(super) enum SecondKind {
    /// NPT, with the host's control state.
    Npt(ControlState),
    /// EPT, with the bits of its pointer that are no address.
    Ept { flags: u64, five_levels: bool, mode_based_execute: bool, capabilities: EptCapabilities },
}

impl SecondKind {
    /// The mode whose formats have its levels.
    pub(super) fn mode(self) -> PagingMode {
        match self {
            Self::Npt(host) => host.mode(),
            Self::Ept { five_levels: true, .. } => PagingMode::FiveLevel,
            Self::Ept { five_levels: false, .. } => PagingMode::FourLevel,
        }
    }

    pub(super) const fn is_ept(self) -> bool {
        matches!(self, Self::Ept { .. })
    }

    fn with_root(self, root: u64) -> SecondLevel {
        match self {
            Self::Npt(host) => SecondLevel::Npt(ControlState { cr3: root, ..host }),
            Self::Ept { flags, mode_based_execute, capabilities, .. } => {
                SecondLevel::Ept(Ept { eptp: root | flags, mode_based_execute, capabilities })
            }
        }
    }

    /// An entry that allows everything.
    fn entry(self, level: &Level, is_leaf: bool, address: u64) -> u64 {
        let large = is_leaf && level.number > 1;
        let ps = if large { EntryBits::PS.bits() } else { 0 };
        match self {
            Self::Npt(_) if !level.has_flags => address | EntryBits::P.bits(),
            Self::Npt(_) => address | ps | ALL_RIGHTS,
            // Write-back memory; user-execute beside execute.
            Self::Ept { .. } => address | ps | 0x407 | if is_leaf { 6 << 3 } else { 0 },
        }
    }

    /// A and D.
    const fn accessed_and_dirty(self) -> [u64; 2] {
        match self {
            Self::Npt(_) => [EntryBits::A.bits(), EntryBits::D.bits()],
            Self::Ept { .. } => [1 << 8, 1 << 9],
        }
    }
}

const ALL_RIGHTS: u64 = EntryBits::P.bits() | EntryBits::RW.bits() | EntryBits::US.bits();

/// An entry of the case under construction.
#[derive(Clone, Copy, Debug)]
pub(super) struct Placed {
    pub(super) at: u64,
    pub(super) value: u64,
    pub(super) level: &'static Level,
    pub(super) is_leaf: bool,
    /// Whether the access needs it, and not only the instructions.
    pub(super) is_on_the_way: bool,
}

/// How the access is mapped.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    /// The level of L2's entry that maps the page.
    pub(super) guest_leaf: u8,
    /// The level of the second level's entry that maps the data frame.
    pub(super) nested_leaf: u8,
    /// The level of those that map L2's tables.
    pub(super) table_leaf: u8,
    /// Which of the lane's frames.
    pub(super) frame: u64,
    /// The offset of the access in its page.
    pub(super) offset: u64,
}

/// Builds a case.
pub(super) struct Builder<'r, R> {
    pub(super) rng: &'r mut R,
    pub(super) setting: Setting,
    places: Places,
    guest: ControlState,
    /// Bits of a guest-physical address.
    width: u8,
    pub(super) guest_entries: Vec<Placed>,
    pub(super) nested_entries: Vec<Placed>,
    /// The guest-physical addresses of L2's tables.
    tables: BTreeMap<u64, u64>,
    is_on_the_way: bool,
}

impl<'r, R: Rng> Builder<'r, R> {
    pub(super) fn new(
        rng: &'r mut R,
        setting: Setting,
        places: Places,
        guest: ControlState,
    ) -> Self {
        let is_narrow = matches!(guest.mode(), PagingMode::Unpaged | PagingMode::Bits32)
            || matches!(setting.second.mode(), PagingMode::Bits32 | PagingMode::Pae)
            || guest.mode() == PagingMode::Pae;
        let width = if is_narrow { 32 } else { setting.profile.physical_address_bits };
        Self {
            rng,
            setting,
            places,
            guest,
            width,
            guest_entries: Vec::new(),
            nested_entries: Vec::new(),
            tables: BTreeMap::new(),
            is_on_the_way: true,
        }
    }

    /// The case: `access` is completed with its address.
    pub(super) fn build(&mut self, shape: Shape, access: Access) -> NestedCase {
        let frames = self.places.arena().data_frames(self.places.lane());
        let frame = frames + shape.frame * 0x1000;

        self.is_on_the_way = true;
        let data = self.map(frame, shape.nested_leaf);
        let address = self.map_linear(data, shape.guest_leaf, shape.table_leaf, true);

        self.is_on_the_way = false;
        let code = self.map(self.places.code_page(), 1);
        let code = self.map_linear(code, 1, 1, false);
        if access.ring.cpl() == 0 && self.guest.mode() != PagingMode::Unpaged {
            // SMEP forbids the instructions of ring 0 a user page.
            if let Some(leaf) = self.guest_entries.last_mut() {
                leaf.value &= !EntryBits::US.bits();
            }
        }

        let access = Access { address: VirtAddr::new(address + shape.offset), ..access };
        let root = self.root_of_guest();
        NestedCase {
            profile: self.setting.profile,
            guest: ControlState { cr3: root, ..self.guest },
            second: self.setting.second.with_root(self.places.own_table(0)),
            guest_entries: Vec::new(),
            nested_entries: Vec::new(),
            code: VirtAddr::new(code),
            access,
        }
    }

    /// Puts the entries into a case.
    pub(super) fn fill(&self, case: &mut NestedCase) {
        let entries = |placed: &[Placed]| {
            let entry = |placed: &Placed| TableEntry { at: placed.at, value: placed.value };
            placed.iter().map(entry).collect()
        };
        case.guest_entries = entries(&self.guest_entries);
        case.nested_entries = entries(&self.nested_entries);

        // Under EPT the PDPTEs are registers, which an entry loads only without reserved bits.
        if self.setting.second.is_ept() && case.guest.mode() == PagingMode::Pae {
            let legal = EntryBits::P.bits()
                | self.setting.profile.physical_address_mask() & EntryBits::ADDRESS;
            for placed in self.guest_entries.iter().filter(|placed| !placed.level.has_flags) {
                let index = (placed.at & 0x1f) / 8;
                if let Some(pdpte) = case.guest.pdptes.get_mut(index as usize) {
                    *pdpte = placed.value & legal;
                }
            }
        }
    }

    /// CR3 of L2: the guest-physical address of its root.
    fn root_of_guest(&self) -> u64 {
        let Some(top) = levels(self.guest.mode()).first() else { return 0 };
        let table = self.places.shared_table(Shared::ToAccess(top.number));
        let gpa = self.tables.get(&table).copied().unwrap_or_default();
        if self.guest.mode() == PagingMode::Pae { gpa + self.pdpt_offset() } else { gpa }
    }

    /// The offset in its page of the table with the four entries of PAE paging: in the lane's part.
    fn pdpt_offset(&self) -> u64 {
        self.places.index(0, PagingMode::FourLevel) * 8
    }

    /// Maps a guest-physical page in L2's tables, and returns the linear address of the page.
    fn map_linear(&mut self, gpa: u64, leaf: u8, table_leaf: u8, is_access: bool) -> u64 {
        let mode = self.guest.mode();
        if mode == PagingMode::Unpaged {
            return gpa;
        }

        let mut linear = 0;
        let all = levels(mode);
        for (depth, level) in all.iter().enumerate() {
            let is_leaf = level.number == leaf || depth + 1 == all.len();
            let is_root = depth == 0;
            let kind = if is_access || is_root { Shared::ToAccess } else { Shared::ToCode };
            let table = self.places.shared_table(kind(level.number));
            self.guest_table(table, table_leaf);

            let index = match (mode, depth) {
                (PagingMode::Pae, 0) => u64::from(!is_access) * 2 + self.rng.random_range(0..2),
                (_, 0) => self.places.index(usize::from(!is_access), mode),
                _ => self.places.index(self.rng.random_range(0..8), mode),
            };
            linear |= index << level.shift;
            let offset = if mode == PagingMode::Pae && is_root { self.pdpt_offset() } else { 0 };
            let at = table + offset + index * entry_bytes(mode);

            if is_leaf {
                let mask = (1 << level.shift) - 1;
                let large = if level.number > 1 { EntryBits::PS.bits() } else { 0 };
                self.guest_entry(level, true, at, gpa & !mask | large);
                linear |= gpa & mask & !0xfff;
                break;
            }
            let below = self.places.shared_table(if is_access {
                Shared::ToAccess(level.number - 1)
            } else {
                Shared::ToCode(level.number - 1)
            });
            let below = self.guest_table(below, table_leaf);
            self.guest_entry(level, false, at, below);
        }

        match mode {
            PagingMode::FourLevel => VirtAddr::new(linear).sign_extended(48).get(),
            PagingMode::FiveLevel => VirtAddr::new(linear).sign_extended(57).get(),
            _ => linear,
        }
    }

    /// The guest-physical address of one of L2's tables.
    fn guest_table(&mut self, table: u64, table_leaf: u8) -> u64 {
        if let Some(gpa) = self.tables.get(&table) {
            return *gpa;
        }
        let gpa = self.map(table, table_leaf);
        self.tables.insert(table, gpa);
        gpa
    }

    fn guest_entry(&mut self, level: &'static Level, is_leaf: bool, at: u64, address: u64) {
        let mut value = address | EntryBits::P.bits();
        if level.has_flags {
            value |= ALL_RIGHTS;
            // A and D are often set already.
            let flags = [EntryBits::A.bits(), if is_leaf { EntryBits::D.bits() } else { 0 }];
            for flag in flags {
                if !self.is_on_the_way || self.rng.random_ratio(1, 4) {
                    value |= flag;
                }
            }
        }
        let is_on_the_way = self.is_on_the_way;
        self.guest_entries.push(Placed { at, value, level, is_leaf, is_on_the_way });
    }

    /// Maps a page of host-physical memory in the second level, by a leaf of this level where there can be
    /// one, and returns its guest-physical address.
    fn map(&mut self, hpa: u64, leaf: u8) -> u64 {
        /// Enough for all pages of a case.
        const TRIES: usize = 256;
        /// Large pages take slots of the one directory, of which small pages need some.
        const MAX_LARGE: usize = 3;

        let is_large = |placed: &&Placed| placed.is_leaf && placed.level.number > 1;
        let large = self.nested_entries.iter().filter(is_large).count();
        let leaf = if large < MAX_LARGE { leaf.min(self.largest_leaf()) } else { 1 };
        for number in 0..TRIES {
            // After a few tries a small page has to do.
            let leaf = if number < TRIES / 2 { leaf } else { 1 };
            if let Some(gpa) = self.try_to_map(hpa, leaf) {
                return gpa;
            }
        }
        unreachable!("a lane has more slots than pages")
    }

    /// The highest level of the second level whose entries can map pages.
    fn largest_leaf(&self) -> u8 {
        match self.setting.second.mode() {
            PagingMode::Bits32 | PagingMode::Pae => 2,
            _ => 3,
        }
    }

    fn try_to_map(&mut self, hpa: u64, leaf: u8) -> Option<u64> {
        let mode = self.setting.second.mode();
        let all = levels(mode);
        let own = all.len().saturating_sub(2).max(1);

        let mut gpa = 0;
        let mut table = self.places.own_table(0);
        let mut path: Vec<Placed> = Vec::new();
        for (depth, level) in all.iter().enumerate() {
            let is_leaf = level.number == leaf || depth + 1 == all.len();
            let index = if is_leaf && level.number > 1 && depth >= own {
                self.fresh_slot(mode)
            } else if depth < own {
                self.index_of_own(level)
            } else {
                self.places.index(self.rng.random_range(0..8), mode)
            };

            let at = table + index * entry_bytes(mode);
            gpa |= index << level.shift;
            if is_leaf {
                let mask = (1 << level.shift) - 1;
                gpa |= hpa & mask & !0xfff;
                let value = self.setting.second.entry(level, true, hpa & !mask);
                path.push(self.nested_entry(level, true, at, value));
                break;
            }

            table = match level.number - 1 {
                _ if depth + 1 < own => self.places.own_table(depth + 1),
                2 => self.places.shared_table(Shared::NestedDirectory),
                _ => self.places.shared_table(Shared::NestedTable(index as usize)),
            };
            let value = self.setting.second.entry(level, false, table);
            path.push(self.nested_entry(level, false, at, value));
        }

        self.accept(path).then_some(gpa)
    }

    /// An index in one of the lane's own tables: mostly one that is in use.
    fn index_of_own(&mut self, level: &Level) -> u64 {
        let bits = level.index_bits.min(self.width.saturating_sub(level.shift));
        let used: Vec<u64> = self
            .nested_entries
            .iter()
            .filter(|placed| placed.level == level && !placed.is_leaf)
            .map(|placed| (placed.at & 0xfff) / entry_bytes(self.setting.second.mode()))
            .collect();
        match used.choose(self.rng) {
            Some(index) if self.rng.random_ratio(3, 4) => *index,
            _ => self.rng.random_range(0..1 << bits),
        }
    }

    /// A slot of a directory for a large page.
    fn fresh_slot(&mut self, mode: PagingMode) -> u64 {
        self.places.index(self.rng.random_range(0..8), mode)
    }

    fn nested_entry(
        &mut self,
        level: &'static Level,
        is_leaf: bool,
        at: u64,
        mut value: u64,
    ) -> Placed {
        if level.has_flags {
            for flag in self.setting.second.accessed_and_dirty() {
                if !self.is_on_the_way || self.rng.random_ratio(1, 4) {
                    value |= flag;
                }
            }
        }
        Placed { at, value, level, is_leaf, is_on_the_way: self.is_on_the_way }
    }

    /// Takes the entries of a path, if those that exist already lead the same way and its leaf is new.
    fn accept(&mut self, path: Vec<Placed>) -> bool {
        let known = |at: u64, all: &[Placed]| all.iter().position(|placed| placed.at == at);
        for placed in &path {
            if let Some(index) = known(placed.at, &self.nested_entries) {
                let there = &self.nested_entries[index];
                let leads_alike = !there.is_leaf
                    && !placed.is_leaf
                    && there.level == placed.level
                    && (there.value ^ placed.value) & EntryBits::ADDRESS & !0xfff == 0;
                if !leads_alike {
                    return false;
                }
            }
        }
        for placed in path {
            match known(placed.at, &self.nested_entries) {
                Some(index) => self.nested_entries[index].is_on_the_way |= placed.is_on_the_way,
                None => self.nested_entries.push(placed),
            }
        }
        true
    }
}

/// Bytes of an entry in a mode.
const fn entry_bytes(mode: PagingMode) -> u64 {
    match mode {
        PagingMode::Bits32 => 4,
        _ => 8,
    }
}
