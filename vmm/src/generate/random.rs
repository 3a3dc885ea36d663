//! Random cases: a plain mapping with no, one or a few unusual bits, and any access to it.

use super::alone::alone;
use super::builder::CaseBuilder;
use super::placement::FreeSlots;
use super::relocation::relocate;
use super::state::{BatchState, random_batch_state};
use super::wrap::or_wrapped;
use super::{ENDLESS, Stream, is_alone, random_cases_before, stream_seed};
use crosswalk_case::Case;
use crosswalk_guest::layout::{Arena, MAX_LANES};
use crosswalk_machine::Capabilities;
use crosswalk_machine::batch::Batch;
use mmu_core::PagingMode;
use rand::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

/// Random cases of one mode. The same seed and machine give the same cases.
#[derive(Clone, Debug)]
pub struct RandomStream {
    seed: u64,
    mode: PagingMode,
    machine: Capabilities,
}

impl RandomStream {
    /// Cases for a machine with these capabilities.
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
        let seed = stream_seed(self.seed, self.mode, number);
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
        let arena = Arena::for_batch(number);
        let mut cases = if is_alone(self.mode, number) {
            let case = alone(&mut rng, (self.mode, number), arena, &self.machine);
            vec![or_wrapped(case, seed, arena, &self.machine)]
        } else {
            together(&mut rng, (self.mode, number), arena, &self.machine, most.min(MAX_LANES))
        };
        relocate(&mut cases, seed, (self.mode, number), arena, &self.machine);
        Batch { arena, cases }
    }
}

/// Cases that can run together, one for each lane.
pub(super) fn together(
    rng: &mut impl Rng,
    batch: (PagingMode, u64),
    arena: Arena,
    machine: &Capabilities,
    lanes: usize,
) -> Vec<Case> {
    let state = random_batch_state(rng, batch, arena, machine);
    let mut slots = FreeSlots::new(state.table_use());
    (0..lanes).map(|number| lane(rng, arena, number, machine, state, &mut slots)).collect()
}

/// The case of one lane, in slots that no other lane has taken.
pub(super) fn lane(
    rng: &mut impl Rng,
    arena: Arena,
    lane: usize,
    machine: &Capabilities,
    state: BatchState,
    slots: &mut FreeSlots,
) -> Case {
    let mut builder = CaseBuilder::new(rng, arena, lane, machine, state);

    // Lanes of a special shape come first, while their slots are free. They may take several slots of
    // a level; the other lanes do not need all of them.
    let placed = match lane {
        0..3 => builder.cross_tables(rng, slots),
        3..5 => builder.place_at_edge(rng, slots),
        5..11 => builder.place_in_graph(rng, slots),
        _ => None,
    };
    if placed.is_none() {
        builder.place_anywhere(rng, slots);
    }
    builder.finish(rng)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate::tests::capabilities;
    use crosswalk_guest::tables;
    use crosswalk_machine::batch::arena_of;
    use std::collections::HashSet;

    #[test]
    fn lanes_share_no_entry_and_all_fit_the_layout() {
        for mode in PagingMode::ALL {
            for seed in 0..20 {
                let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
                let arena = Arena::for_batch(seed);
                let machine = capabilities(seed % 3 != 0);
                let cases = together(&mut rng, (mode, seed), arena, &machine, 480);
                assert_lanes_are_apart(mode, arena, &cases);
            }
        }
    }

    fn assert_lanes_are_apart(mode: PagingMode, arena: Arena, cases: &[Case]) {
        let shared = tables::shared_levels(cases[0].table_use());
        let mut used = HashSet::new();

        for case in cases {
            assert_eq!(case.mode(), mode);
            assert_eq!(arena_of(case), Ok(arena), "{case}");
            let own = case
                .entries
                .iter()
                .filter(|entry| arena.table_at(entry.at).is_none_or(|table| table >= shared));
            for entry in own {
                assert!(used.insert(entry.at), "{:#x} belongs to two lanes", entry.at);
            }
        }
    }

    #[test]
    fn a_case_is_the_same_after_its_text_form() {
        for mode in PagingMode::ALL {
            let mut rng = Xoshiro256PlusPlus::seed_from_u64(7);
            for case in together(&mut rng, (mode, 11), Arena::ALL[0], &capabilities(true), 480) {
                assert_eq!(Case::from_json(&case.to_json()).unwrap(), case);
            }
        }
    }
}
