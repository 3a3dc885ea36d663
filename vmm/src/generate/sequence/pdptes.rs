//! Sequences that edit a PDPTE of PAE paging. The processor has it in a register until MOV to CR3 loads it
//! again (PDPTE-1), or reads it during the walk (PDPTE-4).

use super::steps::StepWriter;
use crosswalk_case::{Action, Case, TableEntry};
use mmu_core::x86::format::EntryBits;
use rand::seq::IndexedRandom;
use rand::{Rng, RngExt};

const P: u64 = EntryBits::P.bits();
/// A in other entries; reserved in a PDPTE.
const ACCESSED: u64 = EntryBits::A.bits();

/// The PDPTE is the first entry of the sequence.
impl<R: Rng> StepWriter<'_, R> {
    /// A sequence in which software edits the PDPTE before each access but the first.
    pub(super) fn write_with_pdpte(mut self) -> Case {
        self.vary_entries();
        let initial = self.values.clone();
        let state = self.state;

        let rounds = self.rng.random_range(1..3);
        self.access(false);
        for round in 1..=rounds {
            let can_be_loaded = self.edit_pdpte();
            match self.rng.random_range(0..3) {
                0 if can_be_loaded => self.actions.push(Action::ReloadCr3),
                1 => self.invalidate_page(),
                _ => {}
            }
            self.access(round == rounds);
        }
        self.case(state, &initial)
    }

    /// Stores the PDPTE, and returns whether MOV to CR3 can load it (PDPTE-2).
    fn edit_pdpte(&mut self) -> bool {
        let pdpte = &self.mapping.entries[0];
        let TableEntry { at, value: first } = pdpte.entry;
        let elsewhere = pdpte.elsewhere.iter().map(|table| table | P);
        let good: Vec<u64> = elsewhere.chain([first, first & !P, 0]).collect();
        let others: Vec<u64> = good.into_iter().filter(|value| *value != self.values[0]).collect();

        let is_bad = self.rng.random_bool(0.15);
        let new = match others.choose(self.rng) {
            Some(new) if !is_bad => *new,
            _ => first | ACCESSED,
        };
        self.edits += 1;
        self.values[0] = new;
        self.actions.push(Action::Write(TableEntry { at, value: new }));
        !is_bad
    }
}
