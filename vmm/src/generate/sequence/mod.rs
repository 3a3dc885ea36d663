//! Random sequences: accesses to a page or two, and what happens to entries and registers between them.
//!
//! - `mapping`: the pages of a lane, and where else their entries may lead;
//! - `steps`: the actions, drawn from a Markov chain;
//! - `copies`: instructions with a source among them;
//! - `movs`: MOVs to control registers among them;
//! - `records`: how much room a sequence needs in the guest's list;
//! - `pdptes`: sequences that edit a PDPTE of PAE paging, which is in a register;
//! - [`every`]: all sequences of a few actions, instead of random ones;
//! - [`guided`]: random ones, chosen by how rarely chance shows what they show.
//!
//! A sequence may leave a stale translation behind on purpose (TLB-2): then several outcomes are
//! allowed. The last lanes of a batch are those whose actions drop everything, so that the others meet
//! what strangers have left in the caches.

mod copies;
pub mod every;
pub mod guided;
mod mapping;
mod movs;
mod pdptes;
mod records;
mod steps;

use super::placement::FreeSlots;
use super::shadow_stacks::with_shadow_stacks;
use super::state::{has_shadow_stacks, is_compatible, random_state, turn_shadow_stacks_on};
use super::{ENDLESS, Stream, is_alone, paged_cases_before, stream_seed};
use crosswalk_case::Case;
use crosswalk_guest::layout::{Arena, MAX_SEQUENCES, lane_of_sequence};
use crosswalk_guest::tables::TableUse;
use crosswalk_machine::Capabilities;
use crosswalk_machine::batch::Batch;
use mapping::{Mapping, SequenceTables};
use mmu_core::{ControlState, Cr0, PagingMode};
use rand::{Rng, RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use steps::StepWriter;

/// Keeps the cases of a seed apart from those that `random` has for it.
const SALT: u64 = 0x5e90_e4ce_0000_0000;

/// Random sequences of one mode that has tables. The same seed and machine give the same cases.
#[derive(Clone, Debug)]
pub struct SequenceStream {
    seed: u64,
    mode: PagingMode,
    machine: Capabilities,
}

impl SequenceStream {
    /// Sequences for a machine with these capabilities.
    pub const fn new(seed: u64, mode: PagingMode, machine: Capabilities) -> Self {
        Self { seed, mode, machine }
    }
}

impl Stream for SequenceStream {
    fn mode(&self) -> PagingMode {
        self.mode
    }

    fn batches(&self) -> u64 {
        ENDLESS
    }

    fn cases_before(&self, batch: u64) -> u64 {
        paged_cases_before(MAX_SEQUENCES as u64, batch)
    }

    fn batch(&self, number: u64, most: usize) -> Batch {
        let seed = stream_seed(self.seed ^ SALT, self.mode, number);
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
        let together = SequenceBatch::random(&mut rng, self.mode, number, &self.machine);

        let cases = if is_alone(self.mode, number) {
            vec![together.alone(&mut rng)]
        } else {
            together.together(&mut rng, most.min(MAX_SEQUENCES))
        };
        Batch { arena: Arena::for_batch(number), cases }
    }
}

/// The control state of a batch. Ring 3 checks no alignment in sequences: EFLAGS.AC is about SMAP there.
fn sequence_state(
    rng: &mut impl Rng,
    (mode, number): (PagingMode, u64),
    arena: Arena,
    machine: &Capabilities,
) -> ControlState {
    let mut state = random_state(rng, mode, arena, machine);
    state.cr0 -= Cr0::AM;
    if has_shadow_stacks(mode, number, machine) {
        turn_shadow_stacks_on(&mut state);
    }
    state
}

/// What the sequences of a batch have in common.
struct SequenceBatch<'m> {
    machine: &'m Capabilities,
    state: ControlState,
    tables: SequenceTables,
}

/// The slot of the root that some machines cannot use (K3).
const UNUSABLE_SLOT: usize = 256;

impl<'m> SequenceBatch<'m> {
    /// What the sequences of the batch with this number have in common.
    fn random(
        rng: &mut impl Rng,
        mode: PagingMode,
        number: u64,
        machine: &'m Capabilities,
    ) -> Self {
        let arena = Arena::for_batch(number);
        let table_use = TableUse { mode, compatibility: is_compatible(mode, number, machine) };
        let state = sequence_state(rng, (mode, number), arena, machine);
        let tables = SequenceTables::new(&state, table_use, arena, machine);
        Self { machine, state, tables }
    }

    /// Sequences that can run together, each with slots and frames of its own.
    fn together(&self, rng: &mut impl Rng, count: usize) -> Vec<Case> {
        let mut slots = self.free_slots();
        (0..count).map(|number| self.sequence(rng, number, &mut slots)).collect()
    }

    /// The sequence with this number in the batch, by slots that are still free.
    fn sequence(&self, rng: &mut impl Rng, number: usize, slots: &mut FreeSlots) -> Case {
        let lane = lane_of_sequence(number);
        let mut mapping = Mapping::random(rng, &self.tables, lane, slots);
        // The others meet what the lanes before them have left in the caches.
        let drops_everything = number >= MAX_SEQUENCES * 2 / 3;
        if drops_everything && rng.random_bool(0.4) {
            mapping.add_root(rng, &self.tables, lane, slots);
        }
        let sequence = StepWriter::new(rng, self, mapping, drops_everything).write();
        with_shadow_stacks(sequence)
    }

    /// A sequence that runs alone: it edits an entry that other lanes would share, or its leaf is in a
    /// table that can only be read, where the machine has such memory.
    fn alone(&self, rng: &mut impl Rng) -> Case {
        let mut slots = self.free_slots();
        if slots.shared_levels() > 0 && rng.random_bool(0.75) {
            let mapping = Mapping::below_free_pdpte(rng, &self.tables, &mut slots);
            let writer = StepWriter::new(rng, self, mapping, true);
            let is_pae = self.state.mode() == PagingMode::Pae;
            return if is_pae { writer.write_with_pdpte() } else { writer.write() };
        }

        let has_wide_entries = self.state.mode() != PagingMode::Bits32;
        let mapping = if self.machine.read_only_tables.is_ok() && has_wide_entries {
            Mapping::in_read_only_table(rng, &self.tables, &mut slots)
        } else {
            Mapping::random(rng, &self.tables, 0, &mut slots)
        };
        StepWriter::new(rng, self, mapping, true).write()
    }

    fn free_slots(&self) -> FreeSlots {
        let mut slots = FreeSlots::new(self.tables.table_use);
        let _ = slots.take_in(0, UNUSABLE_SLOT);
        slots
    }
}

#[cfg(test)]
mod tests;
