//! The software side: the system, the computer it runs on, and the processes. A program's steps are
//! made one by one; after every fault the state is audited (audit.rs).

use super::error::DriverError;
use super::page_map::PageMap;
use super::program::{Program, ProgramStep};
use crosswalk_guest::system::layout::{FRAMES, LEFT_BEHIND, STORE};
use crosswalk_guest::system::program::{image_word, name_in};
use crosswalk_guest::system::{Completion, Ending, Request, Residence, ScriptMismatch, execute};
use mmu_core::memory::{TableMemory, TableMemoryMut};
use mmu_core::space::{
    BackingStore, Decision, Event, EventSink, PAGE_BYTES, Settings, SlotNumber, Software,
    SpaceError, SpaceId, System,
};
use mmu_core::x86::format::Format;
use mmu_core::{Access, AccessKind, Features, Outcome, PhysAddr, Profile, Ring, VirtAddr};

/// The maximum number of frames: the flat table of 32-bit addresses alone takes 1024.
pub(super) const MAX_FRAMES: usize = 1100;

/// The maximum number of slots in the backing store, as in the guest.
pub(super) const MAX_SLOTS: usize = crosswalk_guest::system::layout::MAX_SLOTS;

/// An access that faults more often than this never ends.
const MAX_FAULTS: usize = 8;

/// Keeps events until the story takes them.
#[derive(Clone, Debug, Default)]
pub(super) struct EventHistory(pub(super) Vec<Event>);

impl EventSink for EventHistory {
    fn record(&mut self, event: Event) {
        self.0.push(event);
    }
}

/// The result of running programs.
#[derive(Clone, Debug, Default)]
pub(super) struct RunOutcome {
    /// How each program ended.
    pub(super) endings: Vec<Ending>,
    /// Loads that found another value than expected, in order.
    pub(super) mismatches: Vec<ScriptMismatch>,
    /// Accesses that faulted and were not made in the end.
    pub(super) not_made: Vec<(SpaceId, VirtAddr)>,
}

/// The software side.
pub(super) struct Model<F: Format> {
    pub(super) system: Box<System<F, MAX_FRAMES, MAX_SLOTS>>,
    pub(super) computer: Software<F, Vec<u8>, EventHistory>,
    pub(super) residence: Residence,
    /// The letters of the processes, by space.
    pub(super) names: Vec<(SpaceId, char)>,
    /// What is wrong, each problem with its cause.
    pub(super) problems: Vec<String>,
    /// The maximum number of bytes that tables took at one time.
    pub(super) most_table_bytes: u64,
    /// The number of events in the history that have been audited.
    pub(super) audited: usize,
    /// The map before each fault of the last request, with the number of events before it.
    pub(super) before_faults: Vec<(usize, PageMap)>,
    /// The number of rows that maps may still have.
    pub(super) rows_left: usize,
}

impl<F: Format> Model<F> {
    /// A computer with the memory of a guest, where nothing runs yet. Frames hold what an earlier
    /// owner could have left in them.
    ///
    /// # Errors
    /// When a frame lies above the addresses that the format can hold.
    pub(super) fn new(settings: Settings, residence: Residence) -> Result<Self, SpaceError> {
        let end_of_frames = FRAMES + settings.frames as u64 * PAGE_BYTES;
        let store = end_of_frames.max(STORE);
        let end_of_store = store + PAGE_BYTES * MAX_SLOTS as u64;
        let mut bytes = vec![0; end_of_store.get() as usize];
        for word in bytes[FRAMES.get() as usize..store.get() as usize].chunks_mut(8) {
            word.copy_from_slice(&LEFT_BEHIND.to_le_bytes());
        }

        let mut profile = Profile::default();
        profile.features.set(Features::NX, settings.execute_disable);
        let mut computer = Software::new(bytes, store, profile, EventHistory::default());

        for slot in 0..settings.images {
            for offset in (0..PAGE_BYTES).step_by(8) {
                let at = computer.place(SlotNumber(slot)) + offset;
                computer.write_entry(at, 8, image_word(slot, offset))?;
            }
        }

        Ok(Self {
            system: Box::new(System::new(settings)?),
            computer,
            residence,
            names: Vec::new(),
            problems: Vec::new(),
            most_table_bytes: 0,
            audited: 0,
            before_faults: Vec::new(),
            rows_left: 0,
        })
    }

    /// Executes a request that runs no process.
    pub(super) fn execute(&mut self, request: &Request) -> Result<Completion, SpaceError> {
        let completion = execute(&mut *self.system, &mut self.computer, self.residence, request);
        self.audit();
        completion
    }

    /// Runs every program to its end, round robin: a program that yields lets the next one go on.
    pub(super) fn run(&mut self, runs: &[(SpaceId, &Program)]) -> Result<RunOutcome, DriverError> {
        let mut outcome =
            RunOutcome { endings: vec![Ending::Exited; runs.len()], ..RunOutcome::default() };
        let mut left: Vec<_> = runs.iter().map(|(_, program)| Some(&program.steps[..])).collect();

        while left.iter().any(Option::is_some) {
            for (place, ((space, _), steps)) in runs.iter().zip(&mut left).enumerate() {
                let Some(remaining) = steps else { continue };
                let yields_at = remaining.iter().position(|step| *step == ProgramStep::Yield);
                let (now, later) = remaining.split_at(yields_at.unwrap_or(remaining.len()));

                let ending = self.make(*space, now, &mut outcome)?;
                let goes_on = yields_at.is_some() && ending == Ending::Exited;
                *steps = goes_on.then(|| &later[1..]);
                outcome.endings[place] = ending;
            }
        }
        Ok(outcome)
    }

    /// Makes steps until one of them ends the program.
    fn make(
        &mut self,
        space: SpaceId,
        steps: &[ProgramStep],
        outcome: &mut RunOutcome,
    ) -> Result<Ending, DriverError> {
        for step in steps {
            let Some((kind, address)) = step.access() else { continue };
            let at = match self.access(space, kind, address)? {
                Attempted::Made(at) => at,
                Attempted::Ended(ending) => {
                    outcome.not_made.push((space, address));
                    return Ok(ending);
                }
            };

            let (found, expected) = match *step {
                ProgramStep::Write(_, value) => {
                    self.computer.write_entry(at, 8, value)?;
                    continue;
                }
                ProgramStep::Read(_, expected) => (self.computer.read_entry(at, 8)?, expected),
                ProgramStep::Fetch(_, name) => {
                    (name_in(self.computer.read_entry(at, 8)?).into(), name.into())
                }
                ProgramStep::Yield => continue,
            };
            if found != expected {
                outcome.mismatches.push(ScriptMismatch {
                    space: space.0.into(),
                    address: address.get(),
                    found,
                });
                let name = self.name_of(space).unwrap_or('?');
                self.problem(format!(
                    "{name} read {found:#x} at {address}, expected {expected:#x}"
                ));
            }
        }

        self.audit();
        Ok(Ending::Exited)
    }

    /// Makes an access of a process, with the faults on its way.
    fn access(
        &mut self,
        space: SpaceId,
        kind: AccessKind,
        address: VirtAddr,
    ) -> Result<Attempted, DriverError> {
        if let Err(error) = self.computer.run(&self.system, space) {
            return Ok(Attempted::Ended(Ending::Refused(error)));
        }

        let access = Access::new(kind, address, 8, Ring::Three);
        for _ in 0..MAX_FAULTS {
            let fault = match self.computer.access(&access)? {
                Outcome::Translated(spans) => return Ok(Attempted::Made(spans[0].address)),
                Outcome::Fault(fault) => fault,
            };

            if let Some(map) = self.map() {
                self.before_faults.push((self.computer.history.0.len(), map));
            }
            let decision = self.system.fault(&mut self.computer, space, &fault);
            self.audit();
            match decision {
                Ok(Decision::Invalid(invalid)) => {
                    return Ok(Attempted::Ended(Ending::Invalid(invalid)));
                }
                Ok(_) => {}
                Err(error) => return Ok(Attempted::Ended(Ending::Refused(error))),
            }
        }
        Ok(Attempted::Ended(Ending::Endless))
    }

    /// The map of this moment; `None` if those before it have taken all rows.
    pub(super) fn map(&mut self) -> Option<PageMap> {
        if self.rows_left == 0 {
            return None;
        }
        let map = PageMap::of(&self.system, &self.computer, &self.names).ok()?;
        self.rows_left = self.rows_left.saturating_sub(map.rows());
        Some(map)
    }

    /// The letter of the process that has this space.
    pub(super) fn name_of(&self, space: SpaceId) -> Option<char> {
        self.names.iter().find(|(known, _)| *known == space).map(|(_, name)| *name)
    }

    /// Records a problem, once.
    pub(super) fn problem(&mut self, problem: String) {
        if !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
    }

    /// Bytes of the tables of all processes.
    pub(super) fn table_bytes(&self) -> u64 {
        let tables = self.system.spaces().map(|space| self.system.table_frames(space) as u64);
        tables.sum::<u64>() * PAGE_BYTES
    }
}

/// The result of an access.
enum Attempted {
    /// It was made, at this physical address.
    Made(PhysAddr),
    /// It ended the program.
    Ended(Ending),
}
