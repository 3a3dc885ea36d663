//! Addresses at the edges of the address space and of the canonical addresses.

use super::{AccessTarget, CaseBuilder};
use crate::generate::placement::{FreeSlots, TableSlot};
use crosswalk_guest::stub::Form;
use crosswalk_guest::tables;
use mmu_core::x86::format::levels;
use mmu_core::{AccessKind, Ring};
use rand::{Rng, RngExt};

/// The last index of the root's lower half, and the first of its upper half.
const LAST_OF_LOWER_HALF: usize = 255;
const FIRST_OF_UPPER_HALF: usize = 256;

/// The indices of a small page.
#[derive(Clone, Copy)]
struct Indices {
    root: usize,
    /// At every other level.
    below: usize,
}

impl CaseBuilder<'_> {
    /// Maps a small page just below an edge: the last page of the lower half, or of the whole address
    /// space. `None` if a slot is taken.
    pub(in crate::generate) fn place_at_edge(
        &mut self,
        rng: &mut impl Rng,
        slots: &mut FreeSlots,
    ) -> Option<()> {
        let end = tables::slots(self.mode) - 1;
        let is_lower_half = self.mode.is_long_mode() && rng.random_bool(0.5);
        if is_lower_half && self.compatibility {
            return self.straddle_4_gib(rng, slots);
        }
        let root = if is_lower_half { LAST_OF_LOWER_HALF } else { end };
        self.place_at(rng, slots, Indices { root, below: end })
    }

    /// Maps the first page of the upper half, for ring 0. For ring 3, one KVM behaves differently from
    /// run to run there, and a run must be the same every time.
    pub(in crate::generate) fn place_at_upper_half(
        &mut self,
        rng: &mut impl Rng,
        slots: &mut FreeSlots,
    ) -> Option<()> {
        if self.ring == Ring::Three {
            return None;
        }
        self.place_at(rng, slots, Indices { root: FIRST_OF_UPPER_HALF, below: 0 })
    }

    fn place_at(
        &mut self,
        rng: &mut impl Rng,
        slots: &mut FreeSlots,
        indices: Indices,
    ) -> Option<()> {
        let levels = levels(self.mode);
        if levels.is_empty() || !self.maps_frames() {
            return None;
        }

        let mut free = slots.clone();
        let mut path = Vec::new();
        let shared = free.shared_levels();
        for depth in shared..levels.len() {
            match depth {
                // Below the last PDPTE.
                _ if depth == shared && shared > 0 => {
                    let last = free.first_own_tables().end - 1;
                    path.push(free.take_in(last, indices.below)?);
                }
                0 => path.push(free.take(0, indices.root)?),
                _ => path.push(free.take(depth, indices.below)?),
            }
        }
        free.add_shared(&mut path);

        *slots = free;
        self.crosses = false;
        self.leaf_level = levels.len() - 1;
        self.map(rng, &path, None);
        Some(())
    }

    /// An access with bytes on both sides of 4 GiB, in compatibility mode (CANON-2). Nothing is mapped at
    /// address 0. `None` if a slot is taken.
    pub(in crate::generate) fn straddle_4_gib(
        &mut self,
        rng: &mut impl Rng,
        slots: &mut FreeSlots,
    ) -> Option<()> {
        while !matches!(self.form, Form::Load | Form::Store | Form::Exchange) {
            let kinds = [AccessKind::Read, AccessKind::Write, AccessKind::ReadModifyWrite];
            let kind = kinds[rng.random_range(0..3)];
            self.set_kind(rng, kind);
        }
        self.size = 1 << rng.random_range(1..3);
        self.target = AccessTarget::Data;
        self.unusual = self.unusual.min(1);

        let end = tables::slots(self.mode) - 1;
        self.place_at(rng, slots, Indices { root: end, below: end })?;
        self.address = 0xffff_f000 | (0x1000 - rng.random_range(1..u64::from(self.size)));
        Some(())
    }

    /// An access with bytes on both sides of an edge of the canonical addresses (CANON-2): at the end
    /// of the lower half, or just below the upper half.
    pub(in crate::generate) fn straddle_canonical(
        &mut self,
        rng: &mut impl Rng,
        slots: &mut FreeSlots,
    ) {
        while !matches!(self.form, Form::Load | Form::Store | Form::Exchange) {
            let kinds = [AccessKind::Read, AccessKind::Write, AccessKind::ReadModifyWrite];
            let kind = kinds[rng.random_range(0..3)];
            self.set_kind(rng, kind);
        }
        self.size = 1 << rng.random_range(1..4);
        self.target = AccessTarget::Data;
        self.leaf_level = self.last();
        self.crosses = true;
        self.unusual = self.unusual.min(1);

        let is_lower_half = rng.random_bool(0.5);
        let indices = if is_lower_half {
            Indices { root: LAST_OF_LOWER_HALF, below: tables::slots(self.mode) - 1 }
        } else {
            Indices { root: FIRST_OF_UPPER_HALF, below: 0 }
        };
        let index = |level| if level == 0 { indices.root } else { indices.below };
        let path: Vec<TableSlot> =
            (0..=self.last()).filter_map(|level| slots.take(level, index(level))).collect();
        self.map(rng, &path, None);
        if !is_lower_half {
            // The mapped page is the one above the edge. The access starts on the page below.
            self.address = self.address.wrapping_sub(0x1000);
        }
    }
}
