//! The side on a machine: the guest's kernel carries out the same orders, and after each everything
//! that it did is held against the simulation (compare.rs). It goes on until the histories part.

use super::compare::{GuestSnapshot, ModelSnapshot, compare};
use super::diagnosis::cause;
use super::model::Model;
use super::program::Program;
use crate::finding::known;
use crate::walker::quirk::Quirks;
use crosswalk_guest::system::accounting::Accounting;
use crosswalk_guest::system::layout::{
    ACCOUNTING, HISTORY, MAX_EVENTS, REQUEST, RESPONSE, SCRIPT_PAGES, SCRIPTS, SCRIPTS_IN_PROCESS,
};
use crosswalk_guest::system::program::{GuestProgram, ScriptStep};
use crosswalk_guest::system::{MAX_RUNS, ProgramRun, Request, Response, history};
use crosswalk_machine::memory::GuestMemory;
use crosswalk_machine::{GuestFailure, Identity, Machine, MachineError};
use mmu_core::space::SpaceId;
use mmu_core::x86::format::Format;
use mmu_core::{Features, PhysAddr};
use std::collections::BTreeSet;
use std::fmt;

/// What came of holding two histories against each other.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// The machine.
    pub machine: Identity,
    /// Orders that both sides carried out.
    pub orders: u64,
    /// Events that are the same.
    pub events: u64,
    /// Frames and slots whose contents are the same, over all orders.
    pub frames: u64,
    /// Entries on the way of accesses that were not made in which the machine has another A, as it may
    /// (AD-2, AD-3).
    pub chosen: u64,
    /// A known finding of the machine that showed in tables, and how often.
    pub known: Option<(String, u64)>,
    /// Where the histories part, if they do.
    pub parted: Option<Divergence>,
}

/// The place where two histories part.
#[derive(Clone, Debug)]
pub struct Divergence {
    /// The number of the order, from 1.
    pub order: u64,
    /// All that differs after it.
    pub differences: Vec<String>,
    /// Why, where it can be told.
    pub cause: Option<String>,
}

/// One line: why, or else the first difference.
impl fmt::Display for Divergence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { order, differences, cause } = self;
        let first = differences.first().map_or("", String::as_str);
        write!(f, "the histories part at order {order}: {}", cause.as_deref().unwrap_or(first))
    }
}

/// The machine's side.
pub struct GuestSystem<'m> {
    machine: &'m mut dyn Machine,
    /// The finding about PAE's PDPTEs, if the machine is known for it.
    loose_pdptes: Option<String>,
    /// Entries in which it has chosen another A so far.
    chosen: BTreeSet<PhysAddr>,
    pub(super) comparison: Comparison,
}

impl<'m> GuestSystem<'m> {
    pub(super) fn new(machine: &'m mut dyn Machine) -> Self {
        let identity = machine.identity().clone();
        let known = known::shipped(&identity.flavour, &identity.beneath).unwrap_or_default();
        let loose = known.into_iter().find(|known| known.quirk == Quirks::LOOSE_PDPTES);
        let comparison = Comparison {
            machine: identity,
            orders: 0,
            events: 0,
            frames: 0,
            chosen: 0,
            known: None,
            parted: None,
        };
        Self {
            machine,
            loose_pdptes: loose.map(|known| known.id),
            chosen: BTreeSet::new(),
            comparison,
        }
    }

    /// What the machine's processor has.
    pub(super) fn features(&self) -> Features {
        self.machine.capabilities().profile.features
    }

    /// The guest's memory.
    pub(super) fn memory(&self) -> &GuestMemory {
        self.machine.memory()
    }

    /// Programs as the guest runs them: by name, or from scripts that are written one behind the other.
    pub(super) fn load(&self, programs: &[(SpaceId, &Program)]) -> Result<Request, MachineError> {
        let mut runs = [None; MAX_RUNS];
        let mut offset = 0;
        for (run, (space, program)) in runs.iter_mut().zip(programs) {
            let (program, arguments) = if let Some((real, arguments)) = program.real {
                (real, arguments)
            } else {
                let script = program.script();
                let end = offset + size_of_val(&*script) as u64;
                if end > SCRIPT_PAGES * 0x1000 {
                    let failure = GuestFailure::ProgramTooLong { steps: script.len() };
                    return Err(MachineError::guest(failure, None));
                }
                self.memory().write_value::<[ScriptStep]>(SCRIPTS + offset, &script);
                let start = SCRIPTS_IN_PROCESS + offset;
                offset = end;
                (GuestProgram::Play, [start, 0, 0])
            };
            *run = Some(ProgramRun { space: *space, program: program as u64, arguments });
        }
        Ok(Request::Run(runs))
    }

    /// Has the order carried out, and compares.
    ///
    /// # Errors
    /// When the machine dies, or the guest writes nonsense.
    pub(super) fn follow<F: Format>(
        &mut self,
        simulation: &Model<F>,
        order: &Request,
        expected: &ModelSnapshot<'_>,
    ) -> Result<(), MachineError> {
        if self.comparison.parted.is_some() {
            return Ok(());
        }
        let memory = self.memory().clone();
        memory.write_value(REQUEST, &order.to_words());
        memory.write_value(RESPONSE, &Response::EMPTY);
        self.machine.serve_request()?;
        let answer: Response = memory.read_value(RESPONSE);
        if answer.event_count > MAX_EVENTS as u64 {
            let failure = GuestFailure::TooManyEvents(answer.event_count);
            return Err(MachineError::guest(failure, None));
        }
        let event_bytes = 8 * history::WORDS as u64;
        let events = (0..answer.event_count).map(|number| HISTORY + number * event_bytes);
        let events = events.map(|at| memory.read_value::<[u64; history::WORDS]>(at)).collect();
        let books: Accounting = memory.read_value(ACCOUNTING);
        let seen = GuestSnapshot { answer, events, books, memory: &memory };
        let loose_pdptes = self.loose_pdptes.is_some();
        let compared = compare(simulation, expected, &seen, loose_pdptes, &self.chosen);
        let comparison = &mut self.comparison;
        comparison.orders += 1;
        comparison.frames += compared.frames;
        // Those that are the same by now were written anew, or used.
        comparison.chosen += compared.chosen.difference(&self.chosen).count() as u64;
        self.chosen.clone_from(&compared.chosen);
        if compared.differences.is_empty() {
            comparison.events += answer.event_count;
        } else {
            let cause = cause(simulation, expected, &seen, &compared);
            let differences = compared.differences;
            comparison.parted = Some(Divergence { order: comparison.orders, differences, cause });
        }
        if let Some(id) = self.loose_pdptes.as_ref().filter(|_| compared.loose_pdptes > 0) {
            let known = comparison.known.get_or_insert_with(|| (id.clone(), 0));
            known.1 += compared.loose_pdptes;
        }
        Ok(())
    }
}
