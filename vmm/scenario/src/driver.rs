//! The driver: the processes of a scenario, which live in software and, where there is a machine, in
//! the guest as well. Everything a scenario does is a request that both sides execute.

use super::Setting;
use super::compare::ModelSnapshot;
use super::error::DriverError;
use super::guest_side::GuestSystem;
use super::model::{MAX_SLOTS, Model, RunOutcome};
use super::program::{Program, ProgramStep};
use super::story::{PageRow, Parting, Story, describe, verb};
use crosswalk_guest::layout::{OWN_TABLE_FRAMES, OWN_TABLES};
use crosswalk_guest::system::{Completion, Ending, ProgramRun, Request, Residence};
use crosswalk_machine::MachineError;
use mmu_core::memory::{TableMemory, TableMemoryMut};
use mmu_core::space::{
    Backing, Event, Invalid, ObjectId, PAGE_BYTES, Protection, Region, Safeguards, Settings,
    SpaceError, SpaceId,
};
use mmu_core::x86::format::Format;
use mmu_core::{AccessKind, Features, PagingMode, PhysAddr, VirtAddr};

/// The number of slots that programs are loaded from.
pub const IMAGES: u32 = 8;

/// A process of a scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its letter.
    pub name: char,
    /// Its address space.
    pub space: SpaceId,
}

/// The processes of a scenario on both sides, and the story so far.
pub struct Driver<'m, F: Format> {
    pub(super) model: Model<F>,
    guest: Option<GuestSystem<'m>>,
    pub(super) story: Story,
    next_name: char,
    /// The number of entries that the timeline had before the events of the last request.
    pub(super) events_from: usize,
}

/// Starting and ending.
impl<'m, F: Format> Driver<'m, F> {
    /// A driver without processes, on a system with this number of frames.
    ///
    /// # Errors
    /// When the machine dies, or a frame lies above the addresses that the format can hold.
    pub fn new(
        name: &str,
        shows: &str,
        frames: usize,
        setting: Setting,
        guest: Option<GuestSystem<'m>>,
    ) -> Result<Self, DriverError> {
        let has_execute_disable =
            guest.as_ref().is_none_or(|guest| guest.features().contains(Features::NX));
        let begin = |safeguards: Safeguards| Request::Begin {
            mode: F::MODE,
            frames: frames as u64,
            slots: MAX_SLOTS as u64,
            images: IMAGES.into(),
            execute_disable: has_execute_disable,
            safeguards,
            residence: setting.residence,
        };

        let Some(settings) = begin(setting.safeguards).settings() else {
            unreachable!("a request to begin has settings")
        };
        let mut model = Model::new(Settings { frames, ..settings }, setting.residence)?;
        if let Some(guest) = &guest
            && setting.residence == Residence::InProcess
        {
            copy_kernel_tables(guest, &mut model)?;
        }

        let story = Story {
            name: name.to_owned(),
            shows: shows.to_owned(),
            mode: F::MODE,
            timeline: Vec::new(),
            pages: Vec::new(),
            claims: Vec::new(),
            problems: Vec::new(),
            statistics: *model.system.statistics(),
            accesses: *model.computer.counts(),
            table_bytes: 0,
            frames,
            comparison: None,
            parting: None,
        };
        let mut driver = Self { model, guest, story, next_name: 'A', events_from: 0 };

        let on_machine = begin(setting.machine_safeguards);
        driver.follow(&on_machine, Ok(Completion::Done), &RunOutcome::default(), &[])?;
        Ok(driver)
    }

    /// Keeps a page map for every entry of the timeline, as long as their rows are no more than this.
    pub(super) fn keep_maps(&mut self, rows: usize) {
        self.model.rows_left = rows;
    }

    /// Ends the scenario and returns its story.
    ///
    /// # Errors
    /// When it stopped because the machine died.
    pub fn end(mut self, ended: Result<(), DriverError>) -> Result<Story, MachineError> {
        match ended {
            Ok(()) => {}
            Err(DriverError::Machine(error)) => return Err(error),
            Err(error) => self.problem(format!("the scenario stopped: {error}")),
        }
        self.capture();
        self.add_pages_at_the_end();

        let Self { model, guest, mut story, .. } = self;
        story.statistics = *model.system.statistics();
        story.accesses = *model.computer.counts();
        story.table_bytes = model.most_table_bytes;
        story.problems.extend(model.problems);
        story.comparison = guest.map(|guest| guest.comparison);
        if let Some(parting) = &mut story.parting {
            parting.entry = parting.entry.min(story.timeline.len().saturating_sub(1));
        }
        Ok(story)
    }

    /// Adds to the map of pages where each page is now.
    fn add_pages_at_the_end(&mut self) {
        for row in self.page_rows(false) {
            let is_same_page =
                |known: &&mut PageRow| (known.process, known.page) == (row.process, row.page);
            match self.story.pages.iter_mut().find(is_same_page) {
                Some(known) => known.after = row.after,
                None => self.story.pages.push(row),
            }
        }
        self.story.pages.sort_by_key(|row| (row.process, row.page));
    }
}

/// What processes do.
impl<F: Format> Driver<'_, F> {
    /// Starts a process with these regions.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn start(&mut self, regions: &[Region]) -> Result<Process, DriverError> {
        self.capture();
        let list: Vec<_> = regions.iter().map(describe).collect();
        let name = self.next_process();
        let what = format!("starts: {}", list.join(", "));

        let process = self.add_process(&Request::Create, name, Some(what))?;
        for region in regions {
            self.request(&Request::Map(process.space, *region))?;
        }
        Ok(process)
    }

    /// Forks a process.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn fork(&mut self, parent: Process) -> Result<Process, DriverError> {
        self.capture();
        let name = self.next_process();
        let child = self.add_process(&Request::Fork(parent.space), name, None)?;
        self.did(Some(parent), format!("forks: {name}"));
        Ok(child)
    }

    /// Ends a process.
    ///
    /// # Errors
    /// When it has already ended.
    pub fn finish(&mut self, process: Process) -> Result<(), DriverError> {
        self.capture();
        self.did(Some(process), "ends".into());
        self.remove(process)
    }

    /// Adds a region to a process.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn map(&mut self, process: Process, region: Region) -> Result<(), DriverError> {
        self.capture();
        self.request(&Request::Map(process.space, region)).map(drop)
    }

    /// Removes the region that contains an address.
    ///
    /// # Errors
    /// When there is no such region.
    pub fn unmap(&mut self, process: Process, address: u64) -> Result<(), DriverError> {
        self.capture();
        self.request(&Request::Unmap(process.space, VirtAddr::new(address))).map(drop)
    }

    /// Changes the protection of the region that contains an address.
    ///
    /// # Errors
    /// When there is no such region.
    pub fn protect(
        &mut self,
        process: Process,
        address: u64,
        protection: Protection,
    ) -> Result<(), DriverError> {
        self.capture();
        let address = VirtAddr::new(address);
        self.request(&Request::Protect(process.space, address, protection)).map(drop)
    }

    /// Adds pages to a heap.
    ///
    /// # Errors
    /// When that would exceed the heap's limit.
    pub fn grow(&mut self, process: Process, heap: u64, pages: u64) -> Result<(), DriverError> {
        self.capture();
        self.request(&Request::Grow(process.space, VirtAddr::new(heap), pages))?;
        self.did(Some(process), format!("asks for {pages} more pages of heap"));
        Ok(())
    }

    /// Creates a shared object.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn object(&mut self, pages: u64, backing: Backing) -> Result<ObjectId, DriverError> {
        self.capture();
        match self.request(&Request::Share(pages, backing))? {
            Completion::Object(object) => Ok(object),
            other => unreachable!("a request for a shared object returned {other:?}"),
        }
    }

    /// Lets the clock take frames, at most this many; returns how many it took.
    ///
    /// # Errors
    /// When the store is full.
    pub fn reclaim(&mut self, frames: usize) -> Result<usize, DriverError> {
        let mut taken = 0;
        self.capture();
        while taken < frames && self.request(&Request::Reclaim)? != Completion::Taken(None) {
            self.capture();
            taken += 1;
        }
        Ok(taken)
    }

    /// Runs a program, with a line of the story for it. Returns whether every load found the expected
    /// value.
    ///
    /// # Errors
    /// When the process is ended, or the system refuses.
    pub fn run(
        &mut self,
        process: Process,
        what: &str,
        program: &Program,
    ) -> Result<bool, DriverError> {
        self.run_in_turn(&[(process, what, program)])
    }

    /// Runs several processes in turn, each to the end of its program.
    ///
    /// # Errors
    /// When one of them is ended, or the system refuses.
    pub fn run_in_turn(
        &mut self,
        programs: &[(Process, &str, &Program)],
    ) -> Result<bool, DriverError> {
        for (process, what, _) in programs {
            self.capture();
            self.did(Some(*process), (*what).into());
        }

        let list: Vec<_> =
            programs.iter().map(|(process, _, program)| (*process, *program)).collect();
        let outcome = self.run_programs(&list)?;

        for ((process, _), ending) in list.iter().zip(&outcome.endings) {
            if *ending != Ending::Exited {
                return Err(DriverError::Ended(process.name, *ending));
            }
        }
        Ok(outcome.mismatches.is_empty())
    }

    /// Runs programs, however they end.
    ///
    /// # Errors
    /// When the machine dies.
    pub(super) fn run_programs(
        &mut self,
        programs: &[(Process, &Program)],
    ) -> Result<RunOutcome, DriverError> {
        let runs: Vec<_> =
            programs.iter().map(|(process, program)| (process.space, *program)).collect();
        let outcome = self.model.run(&runs)?;
        let events = self.take_events();

        let request = match &self.guest {
            Some(guest) => guest.load(&runs)?,
            None => Request::Run([None::<ProgramRun>; crosswalk_guest::system::MAX_RUNS]),
        };
        self.follow(&request, Ok(Completion::Done), &outcome, &events)?;
        Ok(outcome)
    }

    /// Tries an access that is not allowed, and returns why the process was ended. `None` means that
    /// the access was made after all, and the process is alive.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn attempt(
        &mut self,
        process: Process,
        kind: AccessKind,
        address: u64,
    ) -> Result<Option<Invalid>, DriverError> {
        self.capture();
        self.did(Some(process), format!("tries to {} {address:#x}", verb(kind)));

        let address = VirtAddr::new(address);
        let step = match kind {
            AccessKind::Fetch => ProgramStep::Fetch(address, 0),
            kind if kind.writes() => ProgramStep::Write(address, 0),
            _ => ProgramStep::Read(address, 0),
        };
        let outcome = self.run_programs(&[(process, &vec![step].into())])?;

        match outcome.endings[0] {
            Ending::Exited => Ok(None),
            Ending::Invalid(invalid) => {
                self.capture();
                self.did(Some(process), "is ended".into());
                self.remove(process)?;
                Ok(Some(invalid))
            }
            other => Err(DriverError::Ended(process.name, other)),
        }
    }
}

/// How both sides execute a request.
impl<F: Format> Driver<'_, F> {
    /// The first problem so far, if there is one.
    pub(super) fn wrong(&self) -> Option<String> {
        let divergence = self.guest.as_ref().and_then(|guest| guest.comparison.divergence.as_ref());
        self.model.problems.first().cloned().or_else(|| divergence.map(ToString::to_string))
    }

    /// Has both sides execute a request.
    pub(super) fn request(&mut self, request: &Request) -> Result<Completion, DriverError> {
        let completion = self.model.execute(request);
        let events = self.take_events();
        self.follow(request, completion, &RunOutcome::default(), &events)?;
        Ok(completion?)
    }

    /// Has the guest execute what the model did, and compares them.
    fn follow(
        &mut self,
        request: &Request,
        completion: Result<Completion, SpaceError>,
        outcome: &RunOutcome,
        events: &[Event],
    ) -> Result<(), DriverError> {
        let Some(guest) = &mut self.guest else { return Ok(()) };
        guest.follow(&self.model, request, &ModelSnapshot { completion, outcome, events })?;

        if self.story.parting.is_none()
            && let Some(divergence) = &guest.comparison.divergence
        {
            let machine = divergence.events.clone();
            self.story.parting = Some(self.parting(request, &machine));
        }
        Ok(())
    }

    /// Where on the timeline the histories part at a request, in which the machine has these events.
    fn parting(&self, request: &Request, events: &[Event]) -> Parting {
        let from = self.events_from;
        let machine = self.entries_of(events);
        let software = &self.story.timeline[from..];

        // Without another event it is the last of them that leaves other memory, or else what was asked for, which
        // the story may tell only now.
        let differs = |place: &usize| {
            let of_software = software.get(*place).map(|entry| (entry.process, &entry.what));
            of_software != machine.get(*place).map(|entry| (entry.process, &entry.what))
        };
        let place = (0..software.len().max(machine.len())).find(differs);
        let is_told_later =
            matches!(request, Request::Create | Request::Fork(_) | Request::Grow(..));
        let entry = match place {
            Some(place) => from + place.min(software.len().saturating_sub(1)),
            None if is_told_later => from,
            None => (from + software.len()).saturating_sub(1),
        };
        Parting { entry, from, machine }
    }

    /// The next letter; after the last one the letters start again.
    fn next_process(&mut self) -> char {
        let name = self.next_name;
        self.next_name = if name == 'Z' { 'A' } else { char::from(name as u8 + 1) };
        name
    }

    /// Creates a process by a request, and tells the story `what` it did.
    fn add_process(
        &mut self,
        request: &Request,
        name: char,
        what: Option<String>,
    ) -> Result<Process, DriverError> {
        let Completion::Space(space) = self.request(request)? else {
            unreachable!("a request for a space returned something else")
        };

        self.model.names.push((space, name));
        let process = Process { name, space };
        if let Some(what) = what {
            self.did(Some(process), what);
        }
        Ok(process)
    }

    fn remove(&mut self, process: Process) -> Result<(), DriverError> {
        let destroyed = self.request(&Request::Destroy(process.space));
        self.model.names.retain(|(space, _)| *space != process.space);
        destroyed.map(drop)
    }
}

/// Copies the kernel's own tables into the model: a process with the kernel in its space links them.
fn copy_kernel_tables<F: Format>(
    guest: &GuestSystem<'_>,
    model: &mut Model<F>,
) -> Result<(), DriverError> {
    for offset in (0..OWN_TABLE_FRAMES as u64 * PAGE_BYTES).step_by(8) {
        let at = PhysAddr::new(OWN_TABLES + offset);
        let entry = guest.memory().read_entry(at, 8)?;
        model.computer.write_entry(at, 8, entry)?;
    }
    Ok(())
}

/// The number of tables that a process takes for the supervisor's regions and for the parts that
/// scenarios have, by mode. Counted by hand, as the tests do.
pub(super) const fn tables_of_a_process(mode: PagingMode) -> usize {
    match mode {
        // The directory; tables for all of a program, the window, and switch.s.
        PagingMode::Bits32 => 4,
        // Three directories below the root; tables for code and data, heap and stack, the others.
        PagingMode::Pae => 1 + 3 + 4,
        // Two directories: switch.s is not needed.
        PagingMode::FourLevel => 2 + 2 + 3,
        PagingMode::FiveLevel => 3 + 3 + 4,
        PagingMode::Unpaged | PagingMode::Linear => 0,
    }
}
