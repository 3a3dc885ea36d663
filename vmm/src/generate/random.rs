//! Random cases: a plain mapping with none, one or a few unusual bits, and any access to it.

use super::case_builder::{CaseBuilder, Target, outside_page};
use super::placement::FreeSlots;
use super::state::random_state;
use super::{ENDLESS, Stream, arena_of_batch, is_alone, random_cases_before, stream_seed};
use crosswalk_case::Case;
use crosswalk_guest::layout::{Arena, MAX_LANES};
use crosswalk_machine::Capabilities;
use crosswalk_machine::batch::Batch;
use mmu_core::x86::format::EntryBits;
use mmu_core::{AccessKind, ControlState, PagingMode};
use rand::seq::IndexedMutRandom;
use rand::{Rng, RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

/// Random cases in one mode; the same for the same seed and machine.
#[derive(Clone, Debug)]
pub struct RandomStream {
    seed: u64,
    mode: PagingMode,
    machine: Capabilities,
}

impl RandomStream {
    /// For a machine with these capabilities.
    pub const fn new(seed: u64, mode: PagingMode, machine: Capabilities) -> Self {
        Self { seed, mode, machine }
    }
}

impl Stream for RandomStream {
    fn mode(&self) -> PagingMode {
        self.mode
    }

    fn batches(&self) -> u64 {
        ENDLESS
    }

    fn cases_before(&self, batch: u64) -> u64 {
        random_cases_before(self.mode, batch)
    }

    fn batch(&self, number: u64, most: usize) -> Batch {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(stream_seed(self.seed, self.mode, number));
        let arena = arena_of_batch(number);
        let cases = if is_alone(self.mode, number) {
            vec![alone(&mut rng, self.mode, arena, &self.machine)]
        } else {
            together(&mut rng, self.mode, arena, &self.machine, most.min(MAX_LANES))
        };
        Batch { arena, cases }
    }
}

/// Cases that can run together, one for each lane.
pub(super) fn together(
    rng: &mut impl Rng,
    mode: PagingMode,
    arena: Arena,
    machine: &Capabilities,
    lanes: usize,
) -> Vec<Case> {
    let state = random_state(rng, mode, arena, machine);
    let mut slots = FreeSlots::new(mode);
    (0..lanes).map(|number| lane(rng, arena, number, machine, state, &mut slots)).collect()
}

/// The case of one lane, in slots that no other has taken.
pub(super) fn lane(
    rng: &mut impl Rng,
    arena: Arena,
    lane: usize,
    machine: &Capabilities,
    state: ControlState,
    slots: &mut FreeSlots,
) -> Case {
    let mut draft = CaseBuilder::new(rng, arena, lane, machine, state);
    // The lanes of special shape come first, while their slots are free; what they take more than
    // one of at a level, other lanes can spare.
    let placed = match lane {
        0..3 => draft.cross_tables(rng, slots),
        3..5 => draft.place_at_edge(rng, slots),
        5..11 => draft.place_in_graph(rng, slots),
        _ => None,
    };
    if placed.is_none() {
        draft.place_anywhere(rng, slots);
    }
    draft.finish(rng)
}

/// A case that runs in a batch of its own, because a machine may handle it in a way that involves
/// other lanes, or give up on it. Without paging there is none of that kind.
pub(super) fn alone(
    rng: &mut impl Rng,
    mode: PagingMode,
    arena: Arena,
    machine: &Capabilities,
) -> Case {
    let state = random_state(rng, mode, arena, machine);
    let mut draft = CaseBuilder::new(rng, arena, 0, machine, state);
    let mut slots = FreeSlots::new(mode);
    let is_long_mode = matches!(mode, PagingMode::FourLevel | PagingMode::FiveLevel);
    match (mode, rng.random_range(0..4)) {
        (PagingMode::Unpaged | PagingMode::Linear, _) => draft.place_anywhere(rng, &mut slots),
        (PagingMode::Pae, 1) => return bad_pdpte(rng, draft, &mut slots),
        (PagingMode::Pae, 2 | 3) => return edited_pdpte(rng, draft, &mut slots),
        (_, 0) if is_long_mode && machine.sees_outside => {
            fetch_outside(rng, &mut draft, &mut slots);
        }
        (_, 0 | 1) => return table_outside(rng, draft, &mut slots),
        (_, 2) if is_long_mode && draft.place_at_upper_half(rng, &mut slots).is_some() => {}
        _ if is_long_mode => draft.straddle_canonical(rng, &mut slots),
        _ => return table_outside(rng, draft, &mut slots),
    }
    draft.finish(rng)
}

/// A fetch from where there is no memory.
fn fetch_outside(rng: &mut impl Rng, draft: &mut CaseBuilder<'_>, slots: &mut FreeSlots) {
    draft.set_kind(rng, AccessKind::Fetch);
    draft.target = Target::Outside;
    draft.crosses = false;
    draft.unusual = 0;
    draft.place_anywhere(rng, slots);
}

/// A plain mapping, one of whose tables lies where there is no memory (OUT-1).
fn table_outside(rng: &mut impl Rng, mut draft: CaseBuilder<'_>, slots: &mut FreeSlots) -> Case {
    draft.crosses = false;
    draft.unusual = 0;
    draft.place_anywhere(rng, slots);
    let (machine, mode) = (draft.machine, draft.mode);
    let tables = draft.entries.len() - 1;
    // The guest itself may live below a PDPTE of PAE.
    let first = usize::from(mode == PagingMode::Pae).min(tables);
    if let Some(entry) = draft.entries[first..tables].choose_mut(rng) {
        entry.value = outside_page(rng, machine, mode, 12) | (entry.value & 0xfff);
    }
    draft.finish(rng)
}

/// A PDPTE that is bad when it is loaded (PDPTE-2): reserved bits, mostly in a present entry.
fn bad_pdpte(rng: &mut impl Rng, mut draft: CaseBuilder<'_>, slots: &mut FreeSlots) -> Case {
    let index = place_below_free_pdpte(rng, &mut draft, slots);
    let bits = u32::from(draft.machine.profile.physical_address_bits);
    let low = [1, 2, 5, 6, 7, 8][rng.random_range(0..6)];
    let bit = if rng.random_bool(0.5) { low } else { rng.random_range(bits..64) };
    let pdpte = &mut draft.state.pdptes[index];
    *pdpte |= 1 << bit;
    if rng.random_bool(0.25) {
        *pdpte &= !EntryBits::P.bits();
    }
    draft.entries[0].value = *pdpte;
    draft.finish(rng)
}

/// A PDPTE that is changed in memory after it was loaded (PDPTE-1).
fn edited_pdpte(rng: &mut impl Rng, mut draft: CaseBuilder<'_>, slots: &mut FreeSlots) -> Case {
    let index = place_below_free_pdpte(rng, &mut draft, slots);
    let good = draft.state.pdptes[index];
    let other = draft.state.pdptes[5 - index];
    let now = [0, good & !EntryBits::P.bits(), other, good | 0x20][rng.random_range(0..4)];
    let then = [good, good & !EntryBits::P.bits()][rng.random_range(0..2)];
    draft.state.pdptes[index] = then;
    draft.entries[0].value = now;
    draft.finish(rng)
}

/// Places a plain mapping below PDPTE 2 or 3, where the guest itself does not live, and returns the
/// PDPTE's index.
fn place_below_free_pdpte(
    rng: &mut impl Rng,
    draft: &mut CaseBuilder<'_>,
    slots: &mut FreeSlots,
) -> usize {
    draft.unusual = draft.unusual.min(1);
    draft.crosses = false;
    loop {
        draft.entries.clear();
        draft.place_anywhere(rng, slots);
        let index = draft.address as usize >> 30;
        if index >= 2 {
            return index;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate::tests::capabilities;
    use crosswalk_machine::batch::arena_of;
    use std::collections::HashSet;

    #[test]
    fn lanes_share_no_entry_and_all_fit_the_layout() {
        for mode in PagingMode::ALL {
            for seed in 0..20 {
                let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
                let arena = Arena::for_batch(seed);
                let machine = capabilities(seed % 3 != 0);
                let cases = together(&mut rng, mode, arena, &machine, 480);
                let mut met = HashSet::new();
                for case in &cases {
                    assert_eq!(case.mode(), mode);
                    assert_eq!(arena_of(case), Ok(arena), "{case}");
                    let shared = usize::from(mode == PagingMode::Pae);
                    let own = case
                        .entries
                        .iter()
                        .filter(|entry| shared == 0 || arena.table_at(entry.at) != Some(0));
                    for entry in own {
                        assert!(met.insert(entry.at), "{:#x} belongs to two lanes", entry.at);
                    }
                }
            }
        }
    }

    #[test]
    fn cases_that_run_alone_fit_the_layout() {
        let machine = capabilities(true);
        for mode in PagingMode::ALL {
            for seed in 0..300 {
                let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
                let arena = Arena::for_batch(seed);
                let case = alone(&mut rng, mode, arena, &machine);
                assert_eq!(arena_of(&case), Ok(arena), "{case}");
            }
        }
    }

    #[test]
    fn a_case_outlives_its_text_form() {
        for mode in PagingMode::ALL {
            let mut rng = Xoshiro256PlusPlus::seed_from_u64(7);
            for case in together(&mut rng, mode, Arena::ALL[0], &capabilities(true), 480) {
                assert_eq!(Case::from_json(&case.to_json()).unwrap(), case);
            }
        }
    }
}
