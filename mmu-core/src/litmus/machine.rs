//! The abstract machine: its states, and what can happen next in each.
//!
//! Memory is one; every processor has a queue of stores on their way there (SDM "Memory Ordering in P6 and More
//! Recent Processor Families"), and a set of what it may have cached. A walk, with the flags that it sets,
//! is one step, as an access is. What is evicted is evicted: nothing happens in a test because of it.

use super::caches::MayCache;
use super::choices::LitmusChoices;
use super::decisions::LitmusSemantics;
use super::event::{Event, EventKind};
use super::memory::{Addresses, PendingStore, Sight};
use super::test::{Action, LitmusTest, Program};
use super::{ActionResult, LitmusError};
use crate::address::VirtAddr;
use crate::x86::state::ControlState;
use alloc::vec;
use alloc::vec::Vec;

/// A moment of a test.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct MachineState {
    pub(super) words: Vec<u64>,
    pub(super) processors: Vec<Processor>,
}

/// One processor at that moment.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Processor {
    /// The number of the next action of its program,
    pub(super) next: usize,
    /// and of its handler, if it is there.
    pub(super) in_handler: Option<usize>,
    pub(super) is_interrupted: bool,
    pub(super) stores: Vec<PendingStore>,
    pub(super) cache: MayCache,
    pub(super) state: ControlState,
    pub(super) results: Vec<ActionResult>,
    /// The word in which D has been set for the next action, before it is clear whether it faults.
    pub(super) dirtied: Option<u8>,
    /// Entries that are about to be overwritten with their flags. Only where flags are not set by a locked
    /// operation.
    pub(super) write_back: Vec<PendingStore>,
}

/// What may happen next, and the state after it.
pub(super) struct Successor {
    pub(super) event: Event,
    pub(super) choices: LitmusChoices,
    pub(super) state: MachineState,
}

/// A test on a machine that decides in one way.
pub(super) struct Machine<'t, S> {
    pub(super) test: &'t LitmusTest,
    pub(super) semantics: S,
    pub(super) addresses: Addresses,
    /// The pages' addresses that accesses translate.
    pub(super) pages: Vec<VirtAddr>,
}

impl<'t, S: LitmusSemantics> Machine<'t, S> {
    pub(super) fn new(test: &'t LitmusTest, semantics: S) -> Self {
        let addresses = Addresses::new(test.memory.iter().map(|(at, _)| *at));
        let actions = test.programs.iter().flat_map(|program| &program.actions);
        let mut pages: Vec<VirtAddr> = actions.filter_map(Action::translates).collect();
        pages.sort_unstable();
        pages.dedup();
        Self { test, semantics, addresses, pages }
    }

    /// The state at the beginning.
    pub(super) fn initial(&self) -> Result<MachineState, LitmusError> {
        let mut words = vec![0; self.addresses.len()];
        for (at, value) in &self.test.memory {
            words[usize::from(self.addresses.number(*at)?)] = *value;
        }
        let processor = Processor {
            next: 0,
            in_handler: None,
            is_interrupted: false,
            stores: Vec::new(),
            cache: MayCache::default(),
            state: self.test.state,
            results: Vec::new(),
            dirtied: None,
            write_back: Vec::new(),
        };
        let processors = vec![processor; self.test.programs.len()];
        let mut state = MachineState { words, processors };
        self.fill_caches(&mut state);
        Ok(state)
    }

    /// Whether everything is done, and every store is in memory.
    pub(super) fn is_final(&self, state: &MachineState) -> bool {
        state.processors.iter().zip(&self.test.programs).all(|(processor, program)| {
            processor.next == program.actions.len()
                && processor.in_handler.is_none()
                && !processor.is_interrupted
                && processor.stores.is_empty()
                && processor.write_back.is_empty()
        })
    }

    /// What a processor does next, interrupts aside.
    pub(super) fn next_action(&self, state: &MachineState, number: usize) -> Option<Action> {
        let processor = &state.processors[number];
        let program = &self.test.programs[number];
        match processor.in_handler {
            Some(next) => program.handler.get(next).copied(),
            None => program.actions.get(processor.next).copied(),
        }
    }

    /// Memory as a processor sees it, its own stores included.
    pub(super) fn sight<'a>(&'a self, state: &'a MachineState, processor: usize) -> Sight<'a> {
        Sight {
            addresses: &self.addresses,
            words: &state.words,
            stores: &state.processors[processor].stores,
        }
    }

    pub(super) fn fill_caches(&self, state: &mut MachineState) {
        for number in 0..state.processors.len() {
            let mut cache = core::mem::take(&mut state.processors[number].cache);
            let sight = self.sight(state, number);
            let processor = &state.processors[number];
            let registers = (&processor.state, self.test.profile);
            let sees_stores = self.semantics.walk_sees_own_stores();
            let sight = if sees_stores { sight } else { sight.without_stores() };
            cache.fill(self.semantics, registers, &self.pages, sight);
            state.processors[number].cache = cache;
        }
    }
}

impl Processor {
    /// The next action is done.
    pub(super) fn finish(
        &mut self,
        program: &Program,
        action: &Action,
        result: Option<ActionResult>,
    ) {
        if let Some(number) = self.in_handler {
            self.in_handler = Some(number + 1).filter(|next| *next < program.handler.len());
        } else {
            self.next += 1;
            if action.is_observed() {
                self.results.extend(result);
            }
        }
        self.dirtied = None;
    }
}

impl Successor {
    pub(super) const fn new(processor: usize, kind: EventKind, state: MachineState) -> Self {
        Self { event: Event { processor, kind }, choices: LitmusChoices::empty(), state }
    }
}
