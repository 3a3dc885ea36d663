//! The guest side: the guest's kernel executes the same requests, and after each of them everything it
//! did is compared with the model (compare.rs), until the two differ.

use super::compare::{Compared, GuestSnapshot, ModelSnapshot, compare};
use super::diagnosis::cause;
use super::model::Model;
use super::program::Program;
use crosswalk_guest::system::accounting::Accounting;
use crosswalk_guest::system::layout::{
    ACCOUNTING, HISTORY, MAX_EVENTS, REQUEST, RESPONSE, SCRIPT_PAGES, SCRIPTS, SCRIPTS_IN_PROCESS,
};
use crosswalk_guest::system::program::{GuestProgram, ScriptStep};
use crosswalk_guest::system::{MAX_RUNS, ProgramRun, Request, Response, history};
use crosswalk_machine::memory::GuestMemory;
use crosswalk_machine::{GuestFailure, Identity, Machine, MachineError};
use mmu_core::space::{Event, SpaceId};
use mmu_core::x86::format::Format;
use mmu_core::{Features, PhysAddr};
use std::collections::BTreeSet;
use std::fmt;

/// The machine that a scenario also runs on.
pub struct MachineSide<'m> {
    /// The machine.
    pub machine: &'m mut dyn Machine,
    /// The id of the known finding that the machine sets A in PAE's PDPTEs, if it is known for that.
    pub loose_pdptes: Option<String>,
}

/// The result of comparing the two histories.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// The machine.
    pub machine: Identity,
    /// The number of requests that both sides executed.
    pub requests: u64,
    /// The number of events that are the same.
    pub events: u64,
    /// The number of frames and slots whose contents are the same, over all requests.
    pub frames: u64,
    /// The number of entries on the path of accesses that were not made in which the machine has another
    /// A, which it may (AD-2, AD-3).
    pub chosen: u64,
    /// A known finding of the machine that shows in its tables, and how often it did.
    pub known: Option<(String, u64)>,
    /// Where the histories differ first, if they do.
    pub divergence: Option<Divergence>,
}

/// The first difference between two histories.
#[derive(Clone, Debug)]
pub struct Divergence {
    /// The number of the request, from 1.
    pub request: u64,
    /// Everything that differs after it.
    pub differences: Vec<String>,
    /// Why, where it is known.
    pub cause: Option<String>,
    /// The events of the request on the machine. It ends where words are no event.
    pub events: Vec<Event>,
}

/// One line: the cause, or else the first difference.
impl fmt::Display for Divergence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { request, differences, cause, .. } = self;
        let first = differences.first().map_or("", String::as_str);
        write!(f, "the histories part at order {request}: {}", cause.as_deref().unwrap_or(first))
    }
}

/// The system in the guest.
pub struct GuestSystem<'m> {
    machine: &'m mut dyn Machine,
    /// The finding about PAE's PDPTEs, if the machine is known for it.
    loose_pdptes: Option<String>,
    /// Entries in which the machine has chosen another A so far.
    chosen: BTreeSet<PhysAddr>,
    pub(super) comparison: Comparison,
}

impl<'m> GuestSystem<'m> {
    pub(super) fn new(side: MachineSide<'m>) -> Self {
        let MachineSide { machine, loose_pdptes } = side;
        let comparison = Comparison {
            machine: machine.identity().clone(),
            requests: 0,
            events: 0,
            frames: 0,
            chosen: 0,
            known: None,
            divergence: None,
        };
        Self { machine, loose_pdptes, chosen: BTreeSet::new(), comparison }
    }

    /// The features of the machine's processor.
    pub(super) fn features(&self) -> Features {
        self.machine.capabilities().profile.features
    }

    /// The guest's memory.
    pub(super) fn memory(&self) -> &GuestMemory {
        self.machine.memory()
    }

    /// A request to run programs: each by its name in the guest, or from a script, which is written
    /// behind those of the programs before it.
    pub(super) fn load(&self, programs: &[(SpaceId, &Program)]) -> Result<Request, MachineError> {
        let mut runs = [None; MAX_RUNS];
        let mut offset = 0;
        for (run, (space, program)) in runs.iter_mut().zip(programs) {
            let (program, arguments) = if let Some(real) = program.real {
                real
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

    /// Has the guest execute a request, and compares it with the model. After the first divergence
    /// nothing is executed any more.
    ///
    /// # Errors
    /// When the machine dies, or the guest writes nonsense.
    pub(super) fn follow<F: Format>(
        &mut self,
        model: &Model<F>,
        request: &Request,
        expected: &ModelSnapshot<'_>,
    ) -> Result<(), MachineError> {
        if self.comparison.divergence.is_some() {
            return Ok(());
        }

        let memory = self.memory().clone();
        let seen = self.execute(request, &memory)?;
        let compared = compare(model, expected, &seen, self.loose_pdptes.is_some(), &self.chosen);
        self.add(model, expected, &seen, compared);
        Ok(())
    }

    /// Has the guest execute a request, and reads what it left behind.
    fn execute<'s>(
        &mut self,
        request: &Request,
        memory: &'s GuestMemory,
    ) -> Result<GuestSnapshot<'s>, MachineError> {
        memory.write_value(REQUEST, &request.to_words());
        memory.write_value(RESPONSE, &Response::EMPTY);
        self.machine.serve_request()?;

        let response: Response = memory.read_value(RESPONSE);
        if response.event_count > MAX_EVENTS as u64 {
            let failure = GuestFailure::TooManyEvents(response.event_count);
            return Err(MachineError::guest(failure, None));
        }

        let event_bytes = 8 * history::WORDS as u64;
        let events = (0..response.event_count)
            .map(|number| memory.read_value(HISTORY + number * event_bytes))
            .collect();
        let accounting: Accounting = memory.read_value(ACCOUNTING);
        Ok(GuestSnapshot { response, events, accounting, memory })
    }

    /// Adds what one request showed to the comparison.
    fn add<F: Format>(
        &mut self,
        model: &Model<F>,
        expected: &ModelSnapshot<'_>,
        seen: &GuestSnapshot<'_>,
        compared: Compared,
    ) {
        let comparison = &mut self.comparison;
        comparison.requests += 1;
        comparison.frames += compared.frames;

        // Entries that no longer differ were written again, or used.
        comparison.chosen += compared.chosen.difference(&self.chosen).count() as u64;
        self.chosen.clone_from(&compared.chosen);

        if let Some(id) = self.loose_pdptes.as_ref().filter(|_| compared.loose_pdptes > 0) {
            let (_, count) = comparison.known.get_or_insert_with(|| (id.clone(), 0));
            *count += compared.loose_pdptes;
        }

        if compared.differences.is_empty() {
            comparison.events += seen.response.event_count;
        } else {
            comparison.divergence = Some(Divergence {
                request: comparison.requests,
                cause: cause(model, expected, seen, &compared),
                differences: compared.differences,
                events: seen.events.iter().map_while(history::from_words).collect(),
            });
        }
    }
}
