//! Building one random case: a plain mapping of a lane's pages and an access to it, and then what is
//! unusual about them.
//!
//! - `mapping`: the entries and the address, for slots that are given or drawn;
//! - `crossing`, `edges`, `graph`: mappings of a special shape;
//! - `target`: what the mapping leads to;
//! - `unusual`: bits that make an entry differ from a plain one;
//! - `observable`: a value to store that shows where it was stored;
//! - `variation`: what finished cases become now and then.

mod crossing;
mod edges;
mod graph;
mod mapping;
mod observable;
mod target;
mod unusual;
mod variation;

pub(super) use observable::make_observable;
pub(super) use target::{AccessTarget, outside_page};

use super::address_bits;
use super::placement::TableSlot;
use super::state::BatchState;
use crosswalk_case::{Case, TableEntry};
use crosswalk_guest::layout::Arena;
use crosswalk_guest::stub::{Code, Form};
use crosswalk_guest::tables::{self, TableUse};
use crosswalk_machine::{Capabilities, LeftOut};
use mmu_core::x86::format::{self, EntryBits, Leaf, Level, levels};
use mmu_core::{
    Access, AccessKind, ControlState, Cr0, Cr4, PagingMode, Regime, Ring, Segment, VirtAddr,
};
use rand::seq::IndexedMutRandom;
use rand::{Rng, RngExt};
use smallvec::SmallVec;
use unusual::EntryPlace;

/// A case in the making.
pub(super) struct CaseBuilder<'c> {
    pub(super) mode: PagingMode,
    pub(super) compatibility: bool,
    /// The bits in which the PDPTEs 2 and 3 of the batch are unusual, in compatibility mode.
    unusual_pdptes: [u64; 2],
    arena: Arena,
    lane: usize,
    pub(super) machine: &'c Capabilities,
    pub(super) state: ControlState,

    kind: AccessKind,
    form: Form,
    size: u16,
    ring: Ring,
    /// EFLAGS.AC.
    ac: bool,
    segment: Segment,

    /// The depth of the leaf, 0 for the root.
    leaf_level: usize,
    pub(super) target: AccessTarget,
    /// Whether the access crosses into a second page.
    pub(super) crosses: bool,
    /// Number of unusual bits to add.
    pub(super) unusual: u32,
    /// The path of the first page, then the second page's own entries.
    pub(super) entries: Vec<PlacedEntry>,
    /// The linear address of the access.
    pub(super) address: u64,
}

/// An entry and its place in the tables.
#[derive(Clone, Copy, Debug)]
pub(super) struct PlacedEntry {
    slot: TableSlot,
    level: &'static Level,
    pub(super) value: u64,
}

impl<'c> CaseBuilder<'c> {
    /// A case of a lane with a random access in this control state, and no mapping yet.
    pub(super) fn new(
        rng: &mut impl Rng,
        arena: Arena,
        lane: usize,
        machine: &'c Capabilities,
        batch: BatchState,
    ) -> Self {
        let BatchState { mut state, compatibility, unusual_pdptes } = batch;
        let mode = state.mode();
        let table_use = TableUse { mode, compatibility };
        let cpl = if rng.random_bool(0.2) { Ring::Zero } else { Ring::Three };
        // In ring 0 EFLAGS.AC suspends SMAP (RIGHT-4), in ring 3 it turns on alignment checks (ALIGN-1).
        let ac_counts = match cpl {
            Ring::Zero => state.cr4.contains(Cr4::SMAP),
            Ring::Three => state.cr0.contains(Cr0::AM),
        };
        let ac = if ac_counts { rng.random_bool(0.4) } else { rng.random_bool(0.02) };
        if Code::of(table_use) == Code::Bits64 {
            state.pkru = random_pkru(rng, cpl, machine, &state);
        }

        let leaf_level = random_leaf_level(rng, &state).max(tables::shared_levels(table_use));
        let target = AccessTarget::random(rng, machine, mode, leaf_level);
        let segment = if rng.random_bool(0.25) { Segment::Stack } else { Segment::Data };
        let crosses = rng.random_bool(0.12);
        let unusual = [0, 1, 1, 1, 2, 2, 3][rng.random_range(0..7)];
        let kind = random_kind(rng);

        let mut builder = Self {
            mode,
            compatibility,
            unusual_pdptes,
            arena,
            lane,
            machine,
            state,
            kind,
            form: Case::default_form(kind),
            size: 1,
            ring: cpl,
            ac,
            segment,
            leaf_level,
            target,
            crosses,
            unusual,
            entries: Vec::with_capacity(8),
            address: 0,
        };
        builder.set_kind(rng, kind);
        builder
    }

    /// Sets the kind of the access and draws its form and size. Not every kind goes with every segment
    /// and target, or can cross into a second page.
    pub(super) fn set_kind(&mut self, rng: &mut impl Rng, kind: AccessKind) {
        let is_wide = Code::of(self.table_use()) == Code::Bits64;
        self.kind = kind;
        self.form = Case::default_form(kind);
        self.size = 1 << rng.random_range(0..if is_wide { 4 } else { 3 });

        let can_be_implicit =
            is_wide && self.ring == Ring::Three && self.machine.implicit_accesses.is_ok();
        match kind {
            AccessKind::ReadModifyWrite => {
                let forms = [Form::Exchange, Form::LockedExchange, Form::FailingCompare];
                self.form = forms[rng.random_range(0..3)];
            }
            AccessKind::Fetch => self.segment = Segment::Data,
            AccessKind::Clflush => self.size = 1,
            AccessKind::Read if can_be_implicit && rng.random_bool(0.15) => {
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

        // An address without memory has no code to run and no descriptor to read.
        let needs_memory = matches!(self.form, Form::Jump | Form::SegmentLimit);
        if needs_memory && self.target == AccessTarget::Outside {
            self.target = AccessTarget::Data;
        }
    }

    /// What decides how the lane uses the tables.
    pub(super) const fn table_use(&self) -> TableUse {
        TableUse { mode: self.mode, compatibility: self.compatibility }
    }

    /// The depth of the last level.
    fn last(&self) -> usize {
        levels(self.mode).len() - 1
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
        self.vary_canonical(rng);

        let machine = self.machine;
        let frames = self.arena.data_frames(self.lane);
        let maps_data = self.target == AccessTarget::Data;
        let varied = variation::vary(self.case(rng), machine, maps_data.then_some(frames));
        make_observable(varied, frames)
    }

    /// Makes the PDPTE that leads to the page unusual, or clears its A. No other lane may share it.
    pub(super) fn vary_pdpte(&mut self, rng: &mut impl Rng) {
        let state = self.state;
        let machine = self.machine;
        let is_fetch = self.kind == AccessKind::Fetch;
        let depth = tables::shared_levels(self.table_use()) - 1;
        let is_leaf = depth == self.leaf_level;

        let entry = &mut self.entries[depth];
        if rng.random_bool(0.5) {
            entry.value &= !EntryBits::A.bits();
        }
        if rng.random_bool(0.7) {
            let place = EntryPlace { level: entry.level, is_leaf, is_fetch };
            entry.value = place.make_unusual(rng, &state, machine, entry.value);
        }
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

    /// Makes some unusual change to one of the lane's entries.
    fn add_unusual_bit(&mut self, rng: &mut impl Rng) {
        let state = self.state;
        let machine = self.machine;
        let is_fetch = self.kind == AccessKind::Fetch;
        let leaf = levels(self.mode).get(self.leaf_level).map_or(0, |level| level.number);

        let mut own = self.own_entries();
        let Some(entry) = own.choose_mut(rng) else { return };
        let is_leaf = entry.level.number == leaf;
        let place = EntryPlace { level: entry.level, is_leaf, is_fetch };
        entry.value = place.make_unusual(rng, &state, machine, entry.value);
    }

    /// Turns an address that is canonical into one that is not, rarely.
    fn vary_canonical(&mut self, rng: &mut impl Rng) {
        let Some(bits) = address_bits(self.mode) else { return };
        let is_canonical = VirtAddr::new(self.address).is_canonical(bits);
        // The descriptor table that LSL reads cannot have a non-canonical base.
        let may_be_bad = is_canonical && !self.compatibility && self.form != Form::SegmentLimit;
        if may_be_bad && rng.random_bool(0.02) {
            // One of the bits that must repeat the highest translated one (CANON-1).
            self.address ^= 1 << rng.random_range(bits..64);
        }
    }

    /// The case as it stands.
    fn case(self, rng: &mut impl Rng) -> Case {
        let value = rng.random();
        let profile = self.machine.profile;

        let root = format::root(&Regime::new(self.state, profile)).get();
        let address_of = |slot: &TableSlot| {
            let table = if slot.table == 0 { root } else { self.arena.table(slot.table) };
            table + slot.index * tables::entry_bytes(self.mode)
        };
        let entries = self
            .entries
            .iter()
            .map(|entry| TableEntry { at: address_of(&entry.slot), value: entry.value })
            .collect();

        let access = Access {
            kind: self.kind,
            address: VirtAddr::new(self.address),
            size: self.size,
            ring: self.ring,
            segment: self.segment,
            implicit: self.form == Form::SegmentLimit,
            shadow_stack: false,
            ac: self.ac,
            compatibility: self.compatibility,
        };
        Case {
            profile,
            state: self.state,
            entries,
            before: Vec::new(),
            access,
            form: self.form,
            value,
        }
    }

    /// The entries that belong to this lane alone.
    fn own_entries(&mut self) -> SmallVec<[&mut PlacedEntry; 8]> {
        let table_use = self.table_use();
        let is_own = |entry: &&mut PlacedEntry| !tables::is_shared(table_use, entry.slot.table);
        self.entries.iter_mut().filter(is_own).collect()
    }
}

fn random_kind(rng: &mut impl Rng) -> AccessKind {
    match rng.random_range(0..20) {
        0..6 => AccessKind::Read,
        6..11 => AccessKind::Write,
        11..15 => AccessKind::ReadModifyWrite,
        15..19 => AccessKind::Fetch,
        _ => AccessKind::Clflush,
    }
}

fn random_pkru(rng: &mut impl Rng, cpl: Ring, machine: &Capabilities, state: &ControlState) -> u32 {
    let has_keys = state.cr4.contains(Cr4::PKE);
    let can_load = cpl == Ring::Three || machine.pkru_in_ring_0;
    if has_keys && can_load && rng.random_bool(0.5) {
        let pkru = rng.random();
        let keeps_key_0 =
            machine.left_out.contains(LeftOut::READ_ONLY_KEY_0) && state.cr0.contains(Cr0::WP);
        return if keeps_key_0 { pkru & !2 } else { pkru };
    }

    // While CR4.PKE is 0, PKRU must not matter (RIGHT-5).
    let is_long_mode = state.mode().is_long_mode();
    let works_without_keys = is_long_mode && cpl == Ring::Three && machine.pkru_without_pku;
    if !has_keys && works_without_keys && rng.random_bool(0.01) {
        rng.random_range(1..4)
    } else {
        0
    }
}

/// The depth of the leaf: a 4 KiB page in half of the cases, a larger one where the mode has such.
fn random_leaf_level(rng: &mut impl Rng, state: &ControlState) -> usize {
    let levels = levels(state.mode());
    let Some(last) = levels.len().checked_sub(1) else { return 0 };

    let can_be_leaf = |level: &Level| match level.leaf {
        Leaf::Never => false,
        // A large page that the processor does not support is worth trying (MODE-10). One without
        // its bit in CR4 is not: the entry points to a table then (MODE-4).
        Leaf::IfPageSizeBit(_, cr4) => state.cr4.contains(cr4),
        Leaf::Always => true,
    };
    let depth = last.saturating_sub([0, 0, 0, 1, 1, 2][rng.random_range(0..6)]);
    if can_be_leaf(&levels[depth]) { depth } else { last }
}
