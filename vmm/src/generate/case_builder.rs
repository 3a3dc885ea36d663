//! A case in the making: a plain mapping of a lane's pages, somewhere, and an access to it. What is
//! unusual about it is added at the end.

use super::placement::{FreeSlots, TableSlot};
use super::unusual::make_unusual;
use crate::walker::value::comparison_succeeds;
use crosswalk_case::{Case, TableEntry};
use crosswalk_guest::contents::{self, CODE_OFFSETS, DESCRIPTOR_OFFSETS, crossing_code};
use crosswalk_guest::high;
use crosswalk_guest::layout::{Arena, HOLE_BASE, LOW_HOLE};
use crosswalk_guest::stub::{Code, Form};
use crosswalk_guest::tables;
use crosswalk_machine::Capabilities;
use mmu_core::walk::{encode_in_mode, root_in_mode};
use mmu_core::x86::format::{EntryBits, EntryKind, Leaf, Level, levels};
use mmu_core::{
    Access, AccessKind, ControlState, Cr4, PagingMode, PhysAddr, Regime, Ring, Segment, VirtAddr,
};
use rand::seq::{IndexedMutRandom, IndexedRandom};
use rand::{Rng, RngExt};

/// What a page is to map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// The lane's own data frames.
    Data,
    /// The same where they appear at a high place.
    High(u64),
    /// An address without memory.
    Outside,
}

/// An entry with what is known of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct DraftEntry {
    slot: TableSlot,
    level: &'static Level,
    pub(super) value: u64,
}

/// A case in the making.
pub(super) struct CaseBuilder<'c> {
    pub(super) mode: PagingMode,
    arena: Arena,
    lane: usize,
    pub(super) machine: &'c Capabilities,
    pub(super) state: ControlState,
    pub(super) kind: AccessKind,
    form: Form,
    size: u16,
    pub(super) ring: Ring,
    segment: Segment,
    /// The depth of the leaf, 0 for the root.
    pub(super) leaf_level: usize,
    pub(super) target: Target,
    pub(super) crosses: bool,
    pub(super) unusual: u32,
    /// The path of the first page, then what the second page has of its own.
    pub(super) entries: Vec<DraftEntry>,
    pub(super) address: u64,
}

impl<'c> CaseBuilder<'c> {
    pub(super) fn new(
        rng: &mut impl Rng,
        arena: Arena,
        lane: usize,
        machine: &'c Capabilities,
        mut state: ControlState,
    ) -> Self {
        let mode = state.mode();
        let cpl = if rng.random_bool(0.2) { Ring::Zero } else { Ring::Three };
        if cpl == Ring::Zero && state.cr4.contains(Cr4::SMAP) {
            state.ac = rng.random_bool(0.4);
        }
        state.pkru = random_pkru(rng, cpl, machine, &state);
        let leaf_level = random_leaf_level(rng, &state);
        let high: Vec<_> = high_places(machine, mode, leaf_level).collect();
        let target = match high.choose(rng) {
            Some(place) if rng.random_bool(0.1) => Target::High(*place),
            _ if machine.sees_outside && rng.random_bool(0.04) => Target::Outside,
            _ => Target::Data,
        };
        let mut draft = Self {
            mode,
            arena,
            lane,
            machine,
            state,
            kind: AccessKind::Read,
            form: Form::Load,
            size: 1,
            ring: cpl,
            segment: if rng.random_bool(0.25) { Segment::Stack } else { Segment::Data },
            leaf_level,
            target,
            crosses: rng.random_bool(0.12),
            unusual: [0, 1, 1, 1, 2, 2, 3][rng.random_range(0..7)],
            entries: Vec::new(),
            address: 0,
        };
        let kind = match rng.random_range(0..20) {
            0..6 => AccessKind::Read,
            6..11 => AccessKind::Write,
            11..15 => AccessKind::ReadModifyWrite,
            15..19 => AccessKind::Fetch,
            _ => AccessKind::Clflush,
        };
        draft.set_kind(rng, kind);
        draft
    }

    pub(super) fn set_kind(&mut self, rng: &mut impl Rng, kind: AccessKind) {
        let is_wide = Code::of(self.mode) == Code::Bits64;
        self.kind = kind;
        self.size = 1 << rng.random_range(0..if is_wide { 4 } else { 3 });
        self.form = Case::default_form(kind);
        let implicit =
            is_wide && self.ring == Ring::Three && self.machine.implicit_accesses.is_ok();
        match kind {
            AccessKind::ReadModifyWrite => {
                let forms = [Form::Exchange, Form::LockedExchange, Form::FailingCompare];
                self.form = forms[rng.random_range(0..3)];
            }
            AccessKind::Fetch => self.segment = Segment::Data,
            AccessKind::Clflush => self.size = 1,
            AccessKind::Read if implicit && rng.random_bool(0.15) => {
                self.form = Form::SegmentLimit;
                self.segment = Segment::Data;
                self.size = 8;
                self.crosses = false;
            }
            AccessKind::Read | AccessKind::Write => {}
        }
        if self.size == 1 && kind != AccessKind::Fetch {
            self.crosses = false;
        }
        // What a fetch or a descriptor read finds outside memory would run or mean anything.
        let needs_memory = matches!(self.form, Form::Jump | Form::SegmentLimit);
        if needs_memory && self.target == Target::Outside {
            self.target = Target::Data;
        }
    }

    /// The depth of the last level.
    fn last(&self) -> usize {
        levels(self.mode).len() - 1
    }

    /// A plain mapping of the lane's pages in random slots; without paging there is none.
    pub(super) fn place_anywhere(&mut self, rng: &mut impl Rng, slots: &mut FreeSlots) {
        if self.mode == PagingMode::Unpaged {
            let frames = self.arena.data_frames(self.lane);
            self.address = frames | self.page_offset(rng);
            return;
        }
        let needs_pair = self.crosses && self.leaf_level == self.last();
        let mut free = slots.clone();
        if let Some(path) = free.draw_path(rng, self.leaf_level, needs_pair) {
            *slots = free;
            let leaf = path[self.leaf_level];
            let second = needs_pair.then(|| vec![(leaf.next(), self.leaf_level)]);
            return self.map(rng, &path, second);
        }
        // No pair of slots is left: without crossing there is room for every lane.
        self.crosses = false;
        let path = slots.draw_path(rng, self.leaf_level, false);
        self.map(rng, &path.expect("every level has a slot for every lane"), None);
    }

    /// An access from the last page of one table to the first of the next: only the levels above
    /// the last differ.
    pub(super) fn cross_tables(&mut self, rng: &mut impl Rng, slots: &mut FreeSlots) -> Option<()> {
        let crossable = self.size > 1 || self.kind == AccessKind::Fetch;
        let fixed = self.target == Target::Outside
            || !self.maps_frames()
            || self.form == Form::SegmentLimit;
        if self.mode == PagingMode::Unpaged || !crossable || fixed {
            return None;
        }
        let last = self.last();
        let from_level = rng.random_range(0..last);
        // The first page has the last index below from_level; the second has the first. Slots are
        // taken from a copy until all are found.
        let mut free = slots.clone();
        let end = tables::slots(self.mode) - 1;
        let mut path = Vec::new();
        let mut second = Vec::new();
        if from_level == 0 && free.is_shared(0) {
            // From one PDPTE to the next: the guest itself lives at the start of the first two.
            let table = 2 + rng.random_range(0..2);
            path.push(free.take_in(table, end)?);
            second.push((TableSlot { table: 0, index: table as u64 }, 0));
            second.push((free.take_in(table + 1, 0)?, 1));
        } else {
            for level in path.len()..=from_level {
                if !free.is_shared(level) {
                    path.push(free.draw(rng, level, level == from_level)?);
                }
            }
            let turn = *path.last()?;
            // From the last slot of the lower half there is no next address.
            if self.is_long_mode() && from_level == 0 && turn.index == 255 {
                return None;
            }
            second.push((turn.next(), from_level));
        }
        for level in path.len() + usize::from(free.is_shared(0))..=last {
            path.push(free.take(level, end)?);
        }
        for level in second.len() + from_level..=last {
            second.push((free.take(level, 0)?, level));
        }
        free.add_shared(&mut path);
        *slots = free;
        self.crosses = true;
        self.leaf_level = last;
        self.map(rng, &path, Some(second));
        Some(())
    }

    /// An access with bytes on both sides of an edge of the canonical addresses (CANON-2): from the
    /// last bytes of the lower half, or from the last below the upper half.
    pub(super) fn straddle_canonical(&mut self, rng: &mut impl Rng, slots: &mut FreeSlots) {
        while !matches!(self.form, Form::Load | Form::Store | Form::Exchange) {
            let kinds = [AccessKind::Read, AccessKind::Write, AccessKind::ReadModifyWrite];
            let kind = kinds[rng.random_range(0..3)];
            self.set_kind(rng, kind);
        }
        self.size = 1 << rng.random_range(1..4);
        self.target = Target::Data;
        self.leaf_level = self.last();
        self.crosses = true;
        self.unusual = self.unusual.min(1);
        let lower = rng.random_bool(0.5);
        let (top, below) = if lower { (255, 511) } else { (256, 0) };
        let path: Vec<TableSlot> = (0..=self.last())
            .filter_map(|level| slots.take(level, if level == 0 { top } else { below }))
            .collect();
        self.map(rng, &path, None);
        if !lower {
            // The mapped page is the one above the edge; the access starts below it.
            self.address = self.address.wrapping_sub(0x1000);
        }
    }

    pub(super) const fn is_long_mode(&self) -> bool {
        matches!(self.mode, PagingMode::FourLevel | PagingMode::FiveLevel)
    }

    /// Whether a small page can map what the access is to reach.
    pub(super) fn maps_frames(&self) -> bool {
        // An entry of 32 bits reaches a high place in a large page only.
        self.target == Target::Data || self.mode != PagingMode::Bits32
    }

    /// Writes the path of the first page and the second page's own entries, and forms the address.
    pub(super) fn map(
        &mut self,
        rng: &mut impl Rng,
        path: &[TableSlot],
        second: Option<Vec<(TableSlot, usize)>>,
    ) {
        let frames = self.arena.data_frames(self.lane);
        let shift = levels(self.mode)[self.leaf_level].shift;
        // Of two small pages the upper may have the lower frame: nothing says they are in order.
        let swapped = self.leaf_level == self.last() && rng.random_bool(0.5);
        let mut pages = [frames, frames + 0x1000];
        if swapped {
            pages.reverse();
        }
        // Two addresses of one frame.
        if second.is_some() && rng.random_bool(0.2) {
            pages[1] = pages[0];
        }
        if let Target::High(place) = self.target {
            pages = pages.map(|page| high::appears_at(place, page));
        }
        let base = match self.target {
            Target::Outside => outside_page(rng, self.machine, self.mode, shift),
            _ => pages[0] & !((1 << shift) - 1),
        };
        self.link(path.iter().copied().zip(0..), base);
        if let Some(second) = second {
            self.link(second.into_iter(), pages[1]);
        }
        let indices =
            path.iter().zip(levels(self.mode)).map(|(slot, level)| slot.index << level.shift);
        let within = (pages[0] & ((1 << shift) - 1)) | self.page_offset(rng);
        let address = VirtAddr::new(indices.sum::<u64>() | within);
        self.address = match self.mode {
            PagingMode::FourLevel => address.sign_extended(48).get(),
            PagingMode::FiveLevel => address.sign_extended(57).get(),
            _ => address.get(),
        };
    }

    /// Entries that point from each to the next, and the last to a page.
    fn link(&mut self, path: impl Iterator<Item = (TableSlot, usize)>, page: u64) {
        let plain = EntryBits::P | EntryBits::RW | EntryBits::US;
        let path: Vec<_> = path.collect();
        for (i, (slot, depth)) in path.iter().enumerate() {
            let level = &levels(self.mode)[*depth];
            let (kind, target) = match path.get(i + 1) {
                Some((next, _)) => (EntryKind::Table, self.arena.table(next.table)),
                None => (EntryKind::Leaf, page),
            };
            let value = encode_in_mode(self.mode, level, kind, PhysAddr::new(target), plain);
            // An entry that is used again holds the same.
            if self.entries.iter().any(|entry| entry.slot == *slot) {
                continue;
            }
            self.entries.push(DraftEntry { slot: *slot, level, value });
        }
    }

    /// Where in its page the access starts.
    fn page_offset(&mut self, rng: &mut impl Rng) -> u64 {
        let size = u64::from(self.size);
        let aligned = |rng: &mut dyn FnMut(u64) -> u64, range: std::ops::Range<u64>| {
            range.start + 8 * rng((range.end - range.start) / 8)
        };
        let mut below = |n: u64| rng.random_range(0..n);
        match (self.form, self.crosses) {
            (Form::Jump, true) => {
                let (offset, size) = crossing_code(Code::of(self.mode));
                self.size = size;
                offset
            }
            (Form::Jump, false) => {
                self.size = contents::CODE_SIZE;
                aligned(&mut below, CODE_OFFSETS)
            }
            (Form::SegmentLimit, _) => aligned(&mut below, DESCRIPTOR_OFFSETS),
            (_, true) => 0x1000 - 1 - below(size - 1),
            (_, false) => match below(8) {
                0 => 0,
                1 => 0x1000 - size,
                _ => below(0x1001 - size),
            },
        }
    }

    /// Adds what is unusual, and makes the case.
    pub(super) fn finish(mut self, rng: &mut impl Rng) -> Case {
        self.vary_accessed_and_dirty(rng);
        let is_supervisor_page = self.ring == Ring::Zero && rng.random_bool(0.5);
        if is_supervisor_page && let Some(entry) = self.own_entries().choose_mut(rng) {
            entry.value &= !EntryBits::US.bits();
        }
        for _ in 0..self.unusual {
            self.add_unusual_bit(rng);
        }
        let address_bits = if self.mode == PagingMode::FourLevel { 48 } else { 57 };
        let canonical = VirtAddr::new(self.address).is_canonical(address_bits);
        // A base that is not canonical cannot be loaded for lsl.
        let may_be_bad = self.is_long_mode() && canonical && self.form != Form::SegmentLimit;
        if may_be_bad && rng.random_bool(0.02) {
            // One of the bits that must repeat the highest translated one (CANON-1).
            self.address ^= 1 << rng.random_range(address_bits..64);
        }
        self.case(rng)
    }

    /// The case as it stands.
    pub(super) fn case(self, rng: &mut impl Rng) -> Case {
        let value = rng.random();
        let profile = self.machine.profile;
        let bytes = tables::entry_bytes(self.mode);
        let root = root_in_mode(&Regime::new(self.state, profile)).get();
        let at = |slot: &TableSlot| {
            let table = if slot.table == 0 { root } else { self.arena.table(slot.table) };
            table + slot.index * bytes
        };
        let entries = self.entries.iter();
        let entries =
            entries.map(|entry| TableEntry { at: at(&entry.slot), value: entry.value }).collect();
        let access = Access {
            kind: self.kind,
            address: VirtAddr::new(self.address),
            size: self.size,
            ring: self.ring,
            segment: self.segment,
            implicit: self.form == Form::SegmentLimit,
            shadow_stack: false,
        };
        let (state, form, before) = (self.state, self.form, Vec::new());
        let frames = self.arena.data_frames(self.lane);
        let case = Case { profile, state, entries, before, access, form, value };
        make_observable(case, frames)
    }

    /// The entries that belong to this lane alone: all but PAE's PDPTEs.
    fn own_entries(&mut self) -> Vec<&mut DraftEntry> {
        self.entries.iter_mut().filter(|entry| entry.level.has_flags).collect()
    }

    fn vary_accessed_and_dirty(&mut self, rng: &mut impl Rng) {
        for entry in self.own_entries() {
            if rng.random_bool(0.3) {
                entry.value |= EntryBits::A.bits();
            }
            if rng.random_bool(0.3) {
                entry.value |= EntryBits::D.bits();
            }
        }
    }

    fn add_unusual_bit(&mut self, rng: &mut impl Rng) {
        let (mode, machine, state) = (self.mode, self.machine, self.state);
        let is_fetch = self.kind == AccessKind::Fetch;
        let leaf_number = levels(mode).get(self.leaf_level).map_or(0, |level| level.number);
        let mut own = self.own_entries();
        let Some(entry) = own.choose_mut(rng) else { return };
        let is_leaf = entry.level.number == leaf_number;
        make_unusual(rng, &state, machine, entry.level, (is_leaf, is_fetch), &mut entry.value);
    }
}

/// Gives a case a value each byte of which differs from what the lane's frames hold at the place, so
/// that storing it shows, and with which no comparison succeeds.
pub(super) fn make_observable(mut case: Case, frames: u64) -> Case {
    let mut bytes = case.value.to_le_bytes();
    for (byte, offset) in bytes.iter_mut().zip(case.access.address.get() & 0xfff..) {
        let held = [frames, frames + 0x1000].map(|frame| contents::byte(frame + offset));
        while *byte == 0 || held.contains(byte) {
            *byte = byte.wrapping_add(0x5b);
        }
    }
    case.value = u64::from_le_bytes(bytes);
    // Unusual bits may have led elsewhere than to the lane's frames.
    while comparison_succeeds(&case) {
        case.value = case.value.wrapping_add(0x5b);
    }
    case
}

/// The high places at which a mode can reach the data memory.
fn high_places(
    machine: &Capabilities,
    mode: PagingMode,
    leaf_level: usize,
) -> impl Iterator<Item = u64> {
    let reach = match mode {
        _ if !machine.high_memory => 0,
        // In pages of 4 MiB only (MODE-5).
        PagingMode::Bits32 if leaf_level == 0 => 40,
        PagingMode::Unpaged | PagingMode::Linear | PagingMode::Bits32 => 0,
        _ => 52,
    };
    let bits = machine.profile.physical_address_bits;
    high::places(bits).filter(move |place| *place < 1 << reach)
}

fn random_pkru(rng: &mut impl Rng, cpl: Ring, machine: &Capabilities, state: &ControlState) -> u32 {
    let has_keys = state.cr4.contains(Cr4::PKE);
    let loads = cpl == Ring::Three || machine.pkru_in_ring_0;
    if has_keys && loads && rng.random_bool(0.5) {
        return rng.random();
    }
    // CR4.PKE is 0: PKRU must not matter (RIGHT-5).
    let is_long_mode = matches!(state.mode(), PagingMode::FourLevel | PagingMode::FiveLevel);
    let may = is_long_mode && cpl == Ring::Three && machine.pkru_without_pku;
    if !has_keys && may && rng.random_bool(0.01) { rng.random_range(1..4) } else { 0 }
}

/// The depth of the leaf: 4 KiB pages in half the cases, larger ones where the mode has them.
fn random_leaf_level(rng: &mut impl Rng, state: &ControlState) -> usize {
    let levels = levels(state.mode());
    let Some(last) = levels.len().checked_sub(1) else { return 0 };
    let can_be_leaf = |level: &Level| match level.leaf {
        Leaf::Never => false,
        // A large page without the feature is worth trying (MODE-10), unlike one without the bit in
        // CR4, which is a table's address then (MODE-4).
        Leaf::IfPageSizeBit(_, cr4) => state.cr4.contains(cr4),
        Leaf::Always => true,
    };
    let depth = last.saturating_sub([0, 0, 0, 1, 1, 2][rng.random_range(0..6)]);
    if can_be_leaf(&levels[depth]) { depth } else { last }
}

/// The start of a page, 2^`shift` bytes, where there is no memory.
pub(super) fn outside_page(
    rng: &mut impl Rng,
    machine: &Capabilities,
    mode: PagingMode,
    shift: u8,
) -> u64 {
    let bits = machine.profile.physical_address_bits;
    let range = match mode {
        PagingMode::Bits32 if shift == 12 => LOW_HOLE,
        PagingMode::Bits32 => HOLE_BASE..1 << bits.min(40),
        _ => HOLE_BASE..1 << bits,
    };
    loop {
        let page = rng.random_range(range.clone()) & !((1 << shift) - 1);
        let ends = [page, page + (1 << shift) - 1];
        // Unusual bits may lead elsewhere in the address bits that PSE-36 adds: not to where data
        // appears at a high place, nor below 4 GiB.
        let stays_outside = (page >> 32).count_ones() >= u32::from(bits - 32).min(4)
            && page & 0xc000_0000 == 0xc000_0000;
        if mode == PagingMode::Bits32 && shift > 12 && !stays_outside {
            continue;
        }
        if page >= range.start && ends.iter().all(|at| high::data_behind(*at, bits).is_none()) {
            return page;
        }
    }
}
