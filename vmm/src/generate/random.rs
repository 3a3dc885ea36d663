//! Random cases: a plain mapping with none, one or a few unusual bits, and any access to it. Bits
//! that a walker could be wrong about are drawn more often than chance would.

use super::placement::{Slot, Slots};
use crate::case::{Case, TableEntry, sign_extend};
use crate::machine::Capabilities;
use guest::contents::{self, CODE_OFFSETS, CROSSING_CODE_OFFSET, CROSSING_CODE_SIZE};
use guest::layout::{AREA_SIZE, Arena, DATA_BASE, HOLE_BASE};
use guest::stub::Form;
use mmu_core::format::EntryBits;
use mmu_core::{
    Access, AccessKind, ControlState, Cr0, Cr4, Efer, Features, Profile, Ring, Segment, VirtAddr,
};
use rand::seq::IndexedMutRandom;
use rand::{Rng, RngExt};

/// The linear-address shift of each level's index, root first.
const SHIFTS: [u32; 4] = [39, 30, 21, 12];
/// The level whose entries map 4 KiB pages.
const LAST: usize = 3;

/// Cases that can run together, one for each lane.
pub(super) fn together(
    rng: &mut impl Rng,
    arena: Arena,
    capabilities: &Capabilities,
    lanes: usize,
) -> Vec<Case> {
    let state = random_state(rng, arena, capabilities);
    let mut slots = Slots::new();
    let mut cases = Vec::with_capacity(lanes);
    for lane in 0..lanes {
        let mut draft = Draft::new(rng, arena, lane, capabilities, state);
        // The lanes of special shape come first, while their slots are free.
        let placed = if lane < 3 { draft.cross_tables(rng, &mut slots) } else { None };
        if placed.is_none() {
            draft.place_anywhere(rng, &mut slots);
        }
        cases.push(draft.finish(rng));
    }
    cases
}

/// A case that runs in a batch of its own, because a machine may handle it in a way that involves
/// other lanes, or give up on it.
pub(super) fn alone(rng: &mut impl Rng, arena: Arena, capabilities: &Capabilities) -> Case {
    let state = random_state(rng, arena, capabilities);
    let mut draft = Draft::new(rng, arena, 0, capabilities, state);
    let mut slots = Slots::new();
    match rng.random_range(0..4) {
        0 => draft.fetch_outside(rng, &mut slots),
        1 => return draft.table_outside(rng, &mut slots),
        _ => draft.straddle_canonical(rng, &mut slots),
    }
    draft.finish(rng)
}

/// The control state of a batch.
fn random_state(rng: &mut impl Rng, arena: Arena, capabilities: &Capabilities) -> ControlState {
    let features = capabilities.profile.features;
    let mut state = ControlState::long_mode(arena.table(0));
    // PWT and PCD in CR3: caching, not address (MODE-8).
    state.cr3 |= [0, 0x8, 0x10, 0x18][rng.random_range(0..4)];
    state.cr0.set(Cr0::WP, rng.random_bool(0.6));
    state.efer.set(Efer::NXE, features.contains(Features::NX) && rng.random_bool(0.7));
    let forced = capabilities.not_in_cpuid;
    for (bit, feature, chance) in [
        (Cr4::SMEP, Features::SMEP, 0.25),
        (Cr4::SMAP, Features::SMAP, 0.25),
        (Cr4::PKE, Features::PKU, 0.4),
    ] {
        let available = features.contains(feature) || forced.contains(bit);
        state.cr4.set(bit, available && rng.random_bool(chance));
    }
    // When the machine itself sets CR4, the guest cannot flush global translations.
    let flushes_global = !state.cr4.intersects(forced);
    let pge = features.contains(Features::PGE) && flushes_global && rng.random_bool(0.5);
    state.cr4.set(Cr4::PGE, pge);
    state
}

/// What a page is to map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target {
    /// The lane's own data frames.
    Data,
    /// An address without memory.
    Outside,
}

/// A case in the making.
struct Draft<'c> {
    arena: Arena,
    lane: usize,
    machine: &'c Capabilities,
    state: ControlState,
    kind: AccessKind,
    form: Form,
    size: u16,
    ring: Ring,
    segment: Segment,
    /// The level of the leaf, 1 to 3: 1 GiB, 2 MiB, 4 KiB.
    leaf_level: usize,
    target: Target,
    crosses: bool,
    unusual: u32,
    /// The path of the first page, then what the second page has of its own. With each entry its
    /// level and whether it maps a page.
    entries: Vec<(Slot, usize, u64)>,
    address: u64,
}

impl<'c> Draft<'c> {
    fn new(
        rng: &mut impl Rng,
        arena: Arena,
        lane: usize,
        machine: &'c Capabilities,
        mut state: ControlState,
    ) -> Self {
        let cpl = if rng.random_bool(0.2) { Ring::Zero } else { Ring::Three };
        if cpl == Ring::Zero && state.cr4.contains(Cr4::SMAP) {
            state.ac = rng.random_bool(0.4);
        }
        let has_keys = state.cr4.contains(Cr4::PKE);
        if cpl == Ring::Three {
            if has_keys && rng.random_bool(0.5) {
                state.pkru = rng.random();
            } else if !has_keys && machine.pkru_without_pku && rng.random_bool(0.01) {
                // CR4.PKE is 0: PKRU must not matter (RIGHT-5).
                state.pkru = rng.random_range(1..4);
            }
        }
        let mut draft = Self {
            arena,
            lane,
            machine,
            state,
            kind: AccessKind::Read,
            form: Form::Load,
            size: 1,
            ring: cpl,
            segment: if rng.random_bool(0.25) { Segment::Stack } else { Segment::Data },
            leaf_level: [3, 3, 3, 2, 2, 1][rng.random_range(0..6)],
            target: if rng.random_bool(0.04) { Target::Outside } else { Target::Data },
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

    fn set_kind(&mut self, rng: &mut impl Rng, kind: AccessKind) {
        self.kind = kind;
        self.size = 1 << rng.random_range(0..4);
        self.form = Case::default_form(kind);
        match kind {
            AccessKind::ReadModifyWrite => {
                let forms = [Form::Exchange, Form::LockedExchange, Form::FailingCompare];
                self.form = forms[rng.random_range(0..3)];
            }
            AccessKind::Fetch => {
                self.segment = Segment::Data;
                self.target = Target::Data;
            }
            AccessKind::Clflush => self.size = 1,
            AccessKind::Read | AccessKind::Write => {}
        }
        if self.size == 1 && kind != AccessKind::Fetch {
            self.crosses = false;
        }
        // A failing comparison may or may not store the old value: no proof outside memory.
        if self.form == Form::FailingCompare {
            self.target = Target::Data;
        }
    }

    /// Random slots for a plain mapping of the lane's pages.
    fn place_anywhere(&mut self, rng: &mut impl Rng, slots: &mut Slots) {
        let needs_pair = self.crosses && self.leaf_level == LAST;
        let drawn: Vec<Slot> = (0..=self.leaf_level)
            .filter_map(|level| slots.draw(rng, level, needs_pair && level == LAST))
            .collect();
        if drawn.len() <= self.leaf_level {
            // No pair of slots is left: without crossing there is room for every lane.
            self.crosses = false;
            let leaf = slots.draw(rng, self.leaf_level, false);
            let path: Vec<Slot> = drawn.into_iter().chain(leaf).collect();
            return self.map(rng, &path, None);
        }
        let next = needs_pair.then(|| {
            let leaf = drawn[LAST];
            vec![(Slot { index: leaf.index + 1, ..leaf }, LAST)]
        });
        self.map(rng, &drawn, next);
    }

    /// An access from the last page of one table to the first of the next: only the levels above
    /// the last differ.
    fn cross_tables(&mut self, rng: &mut impl Rng, slots: &mut Slots) -> Option<()> {
        let from_level = rng.random_range(0..LAST);
        let crossable = self.size > 1 || self.kind == AccessKind::Fetch;
        if !crossable || self.target == Target::Outside {
            return None;
        }
        self.crosses = true;
        self.leaf_level = LAST;
        // The first page has the last index below from_level; the second has the first. Slots are
        // taken from a copy until all are found.
        let mut free = slots.clone();
        let mut path = Vec::new();
        for level in 0..=LAST {
            let slot = match level.cmp(&from_level) {
                std::cmp::Ordering::Less => free.draw(rng, level, false)?,
                std::cmp::Ordering::Equal => free.draw(rng, level, true)?,
                std::cmp::Ordering::Greater => free.take(level, 511)?,
            };
            path.push(slot);
        }
        // From the last slot of the lower half there is no next address.
        if from_level == 0 && path[0].index == 255 {
            return None;
        }
        let turn = path[from_level];
        let mut second = vec![(Slot { index: turn.index + 1, ..turn }, from_level)];
        for level in from_level + 1..=LAST {
            second.push((free.take(level, 0)?, level));
        }
        *slots = free;
        self.map(rng, &path, Some(second));
        Some(())
    }

    /// A fetch from where there is no memory.
    fn fetch_outside(&mut self, rng: &mut impl Rng, slots: &mut Slots) {
        self.set_kind(rng, AccessKind::Fetch);
        self.target = Target::Outside;
        self.crosses = false;
        self.unusual = 0;
        self.place_anywhere(rng, slots);
    }

    /// A plain mapping, one of whose tables lies where there is no memory (OUT-1).
    fn table_outside(mut self, rng: &mut impl Rng, slots: &mut Slots) -> Case {
        self.crosses = false;
        self.unusual = 0;
        self.place_anywhere(rng, slots);
        let profile = self.machine.profile;
        let tables = self.entries.len() - 1;
        if let Some((_, _, value)) = self.entries[..tables].choose_mut(rng) {
            *value = outside_page(rng, profile, 12) | (*value & 0xfff);
        }
        self.finish(rng)
    }

    /// An access with bytes on both sides of an edge of the canonical addresses (CANON-2): from the
    /// last bytes of the lower half, or from the last below the upper half.
    fn straddle_canonical(&mut self, rng: &mut impl Rng, slots: &mut Slots) {
        if matches!(self.kind, AccessKind::Fetch | AccessKind::Clflush) {
            let kinds = [AccessKind::Read, AccessKind::Write, AccessKind::ReadModifyWrite];
            let kind = kinds[rng.random_range(0..3)];
            self.set_kind(rng, kind);
        }
        self.size = 1 << rng.random_range(1..4);
        self.target = Target::Data;
        self.leaf_level = LAST;
        self.crosses = true;
        self.unusual = self.unusual.min(1);
        let lower = rng.random_bool(0.5);
        let indices = if lower { [255, 511, 511, 511] } else { [256, 0, 0, 0] };
        let path: Vec<Slot> =
            (0..4).filter_map(|level| slots.take(level, indices[level])).collect();
        self.map(rng, &path, None);
        if !lower {
            // The mapped page is the one above the edge; the access starts below it.
            self.address = self.address.wrapping_sub(0x1000);
        }
    }

    /// Writes the path of the first page and the second page's own entries, and forms the address.
    fn map(&mut self, rng: &mut impl Rng, path: &[Slot], second: Option<Vec<(Slot, usize)>>) {
        let frames = self.arena.data_frames(self.lane);
        let shift = SHIFTS[self.leaf_level];
        // Of two small pages the upper may have the lower frame: nothing says they are in order.
        let swapped = self.leaf_level == LAST && rng.random_bool(0.5);
        let [first_frame, second_frame] =
            if swapped { [frames + 0x1000, frames] } else { [frames, frames + 0x1000] };
        let base = match self.target {
            Target::Data => first_frame & !((1 << shift) - 1),
            Target::Outside => outside_page(rng, self.machine.profile, shift),
        };
        self.link(path.iter().copied().zip(0..), base);
        if let Some(second) = second {
            self.link(second.into_iter(), second_frame);
        }
        let indices = path.iter().zip(SHIFTS).map(|(slot, shift)| slot.index << shift);
        let within = (first_frame & ((1 << shift) - 1)) | self.page_offset(rng);
        self.address = sign_extend(indices.sum::<u64>() | within);
    }

    /// Entries that point from each to the next, and the last to a page.
    fn link(&mut self, path: impl Iterator<Item = (Slot, usize)>, page: u64) {
        let plain = (EntryBits::P | EntryBits::RW | EntryBits::US).bits();
        let path: Vec<_> = path.collect();
        for (i, (slot, level)) in path.iter().enumerate() {
            let value = match path.get(i + 1) {
                Some((next, _)) => self.arena.table(next.table) | plain,
                None if *level == LAST => page | plain,
                None => page | plain | EntryBits::PS.bits(),
            };
            self.entries.push((*slot, *level, value));
        }
    }

    /// Where in its page the access starts.
    fn page_offset(&mut self, rng: &mut impl Rng) -> u64 {
        let size = u64::from(self.size);
        match (self.kind, self.crosses) {
            (AccessKind::Fetch, true) => {
                self.size = CROSSING_CODE_SIZE;
                CROSSING_CODE_OFFSET
            }
            (AccessKind::Fetch, false) => {
                self.size = contents::CODE_SIZE;
                CODE_OFFSETS.start
                    + 8 * rng.random_range(0..(CODE_OFFSETS.end - CODE_OFFSETS.start) / 8)
            }
            (_, true) => 0x1000 - rng.random_range(1..size),
            (_, false) => match rng.random_range(0..8) {
                0 => 0,
                1 => 0x1000 - size,
                _ => rng.random_range(0..=0x1000 - size),
            },
        }
    }

    /// Adds what is unusual, and makes the case.
    fn finish(mut self, rng: &mut impl Rng) -> Case {
        self.vary_accessed_and_dirty(rng);
        let is_supervisor_page = self.ring == Ring::Zero && rng.random_bool(0.5);
        if is_supervisor_page && let Some((_, _, value)) = self.entries.choose_mut(rng) {
            *value &= !EntryBits::US.bits();
        }
        for _ in 0..self.unusual {
            self.add_unusual_bit(rng);
        }
        if VirtAddr::new(self.address).is_canonical(48) && rng.random_bool(0.02) {
            // One of the bits that must repeat the highest translated one (CANON-1).
            self.address ^= 1 << rng.random_range(48..64);
        }
        let arena = self.arena;
        let entries = self
            .entries
            .iter()
            .map(|(slot, _, value)| TableEntry { at: slot.address(arena), value: *value })
            .collect();
        let access = Access {
            kind: self.kind,
            address: VirtAddr::new(self.address),
            size: self.size,
            ring: self.ring,
            segment: self.segment,
            implicit: false,
            shadow_stack: false,
        };
        let value = self.observable_value(rng.random());
        let profile = self.machine.profile;
        Case { profile, state: self.state, entries, access, form: self.form, value }
    }

    /// A value each byte of which differs from what the lane's frames hold at the place, so that
    /// storing it shows.
    fn observable_value(&self, value: u64) -> u64 {
        let frames = self.arena.data_frames(self.lane);
        let mut bytes = value.to_le_bytes();
        for frame in [frames, frames + 0x1000] {
            let first = (frame & !0xfff) | (self.address & 0xfff);
            for (byte, at) in bytes.iter_mut().zip(first..) {
                while *byte == contents::byte(at) || *byte == 0 {
                    *byte = byte.wrapping_add(0x5b);
                }
            }
        }
        u64::from_le_bytes(bytes)
    }

    fn vary_accessed_and_dirty(&mut self, rng: &mut impl Rng) {
        for (_, _, value) in &mut self.entries {
            if rng.random_bool(0.3) {
                *value |= EntryBits::A.bits();
            }
            if rng.random_bool(0.3) {
                *value |= EntryBits::D.bits();
            }
        }
    }

    fn add_unusual_bit(&mut self, rng: &mut impl Rng) {
        let profile = self.machine.profile;
        let leaf_level = self.leaf_level;
        let Some((_, level, value)) = self.entries.choose_mut(rng) else { return };
        let is_large_leaf = *level == leaf_level && leaf_level < LAST;
        let is_leaf = *level == leaf_level;
        let one_of =
            |rng: &mut dyn FnMut(u32) -> u32, low: u32, high: u32| 1 << (low + rng(high - low));
        let mut below = |n: u32| rng.random_range(0..n);
        match below(16) {
            0 | 1 => *value &= !EntryBits::P.bits(),
            2 => {
                // Not present, and every other bit free (CODE-1).
                let noise = u64::from(below(u32::MAX)) << 32 | u64::from(below(u32::MAX));
                *value = noise & !EntryBits::P.bits();
            }
            3 | 4 => *value &= !EntryBits::RW.bits(),
            5 | 6 => *value &= !EntryBits::US.bits(),
            7 | 8 => *value |= EntryBits::XD.bits(),
            9 => {
                // Above MAXPHYADDR, where there are such bits.
                let first = u32::from(profile.physical_address_bits);
                if first < 52 {
                    *value |= one_of(&mut below, first, 52);
                }
            }
            10 if is_large_leaf => *value |= one_of(&mut below, 13, SHIFTS[leaf_level]),
            10 => *value |= EntryBits::PS.bits(),
            11 => *value |= EntryBits::G.bits(),
            12 if is_large_leaf => *value |= EntryBits::LARGE_PAT.bits(),
            12 => *value |= one_of(&mut below, 3, 5),
            // Bits that are ignored: 11:9 and 58:52, and the key where keys are off.
            13 => *value |= one_of(&mut below, 9, 12),
            14 => *value |= one_of(&mut below, 52, 59),
            _ if is_leaf => *value |= EntryBits::with_key(1 + below(15)),
            _ => *value |= one_of(&mut below, 59, 63),
        }
    }
}

/// The start of a page, 2^`shift` bytes, where there is no memory.
fn outside_page(rng: &mut impl Rng, profile: Profile, shift: u32) -> u64 {
    let end = 1_u64 << profile.physical_address_bits;
    rng.random_range(HOLE_BASE..end) & !((1 << shift) - 1)
}

const _: () = assert!(DATA_BASE.is_multiple_of(1 << 30) && AREA_SIZE == 1 << 21);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::batch::arena_of;
    use rand::SeedableRng;
    use rand_xoshiro::Xoshiro256PlusPlus;
    use std::collections::HashSet;

    fn capabilities() -> Capabilities {
        Capabilities {
            profile: Profile::default(),
            not_in_cpuid: Cr4::empty(),
            modes: Vec::new(),
            implicit_accesses: Ok(()),
            pkru_without_pku: true,
        }
    }

    #[test]
    fn lanes_share_no_entry_and_all_fit_the_layout() {
        for seed in 0..40 {
            let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
            let arena = Arena::for_batch(seed);
            let cases = together(&mut rng, arena, &capabilities(), 480);
            let mut met = HashSet::new();
            for case in &cases {
                assert_eq!(arena_of(case), Ok(arena), "{case}");
                for entry in &case.entries {
                    assert!(met.insert(entry.at), "{:#x} belongs to two lanes", entry.at);
                }
            }
        }
    }

    #[test]
    fn a_case_outlives_its_text_form() {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(7);
        for case in together(&mut rng, Arena::ALL[0], &capabilities(), 480) {
            assert_eq!(Case::from_json(&case.to_json()).unwrap(), case);
        }
    }
}
