//! The stage: processes of a scenario, which live in software and, if there is one, on a machine.
//! Whatever is done is an order that both sides carry out.

use super::compare::ModelSnapshot;
use super::error::DriverError;
use super::guest_side::GuestSystem;
use super::model::{MAX_FRAMES, MAX_SLOTS, Model, RunOutcome};
use super::program::{Program, ProgramStep};
use super::story::{Claim, PagePlace, PageRow, Story, describe, verb};
use super::{Scenario, Setting};
use crosswalk_guest::layout::{OWN_TABLE_FRAMES, OWN_TABLES};
use crosswalk_guest::system::{Completion, Ending, ProgramRun, Request, Residence};
use crosswalk_machine::MachineError;
use mmu_core::memory::{TableMemory, TableMemoryMut};
use mmu_core::space::{
    AccessCounts, Backing, Event, Invalid, ObjectId, PAGE_BYTES, PageState, Protection, Region,
    Settings, SpaceError, SpaceId, System,
};
use mmu_core::x86::format::Format;
use mmu_core::{AccessKind, Features, PagingMode, PhysAddr, VirtAddr};

/// The slots that programs are loaded from.
pub const IMAGES: u32 = 8;

/// A process of a scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its letter.
    pub name: char,
    /// Its address space.
    pub space: SpaceId,
}

/// The processes of a scenario, and what is told of them.
pub struct Driver<'m, F: Format> {
    pub(super) simulation: Model<F>,
    twin: Option<GuestSystem<'m>>,
    pub(super) story: Story,
    next_name: char,
}

impl<'m, F: Format> Driver<'m, F> {
    /// An empty stage with so many frames.
    ///
    /// # Errors
    /// When the machine is dead, or the frames lie too far up for the format.
    pub fn new(
        scenario: Scenario,
        frames: usize,
        setting: Setting,
        twin: Option<GuestSystem<'m>>,
    ) -> Result<Self, DriverError> {
        let begin = |duties| Request::Begin {
            mode: F::MODE,
            frames: frames as u64,
            slots: MAX_SLOTS as u64,
            images: IMAGES.into(),
            execute_disable: twin
                .as_ref()
                .is_none_or(|twin| twin.features().contains(Features::NX)),
            safeguards: duties,
            residence: setting.residence,
        };
        let order = begin(setting.duties);
        let settings = order.settings().map(|settings| Settings { frames, ..settings });
        let settings = settings.unwrap_or_else(|| unreachable!("this order has some"));
        let mut simulation = Model::new(settings, setting.residence)?;
        let on_machine = begin(setting.machine_duties);
        if let Some(twin) = &twin
            && setting.residence == Residence::InProcess
        {
            // The simulation's processes link the kernel's tables, too.
            for at in (0..OWN_TABLE_FRAMES as u64 * PAGE_BYTES).step_by(8) {
                let at = PhysAddr::new(OWN_TABLES + at);
                let entry = twin.memory().read_entry(at, 8)?;
                simulation.computer.write_entry(at, 8, entry)?;
            }
        }
        let story = Story {
            scenario,
            mode: F::MODE,
            timeline: Vec::new(),
            pages: Vec::new(),
            claims: Vec::new(),
            problems: Vec::new(),
            statistics: *simulation.system.statistics(),
            accesses: *simulation.computer.counts(),
            table_bytes: 0,
            frames,
            comparison: None,
        };
        let mut stage = Self { simulation, twin, story, next_name: 'A' };
        stage.follow(&on_machine, Ok(Completion::Done), &RunOutcome::default(), &[])?;
        Ok(stage)
    }

    /// Starts a process with these regions.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn start(&mut self, regions: &[Region]) -> Result<Process, DriverError> {
        let list: Vec<_> = regions.iter().map(describe).collect();
        let process = self.next_process();
        let create = format!("starts: {}", list.join(", "));
        let process = self.add_process(&Request::Create, process, Some(create))?;
        for region in regions {
            self.order(&Request::Map(process.space, *region))?;
        }
        Ok(process)
    }

    /// Forks a process.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn fork(&mut self, parent: Process) -> Result<Process, DriverError> {
        let child = self.next_process();
        let process = self.add_process(&Request::Fork(parent.space), child, None)?;
        self.did(Some(parent), format!("forks: {child}"));
        Ok(process)
    }

    /// Ends a process.
    ///
    /// # Errors
    /// When it has ended before.
    pub fn finish(&mut self, process: Process) -> Result<(), DriverError> {
        self.did(Some(process), "ends".into());
        self.remove(process)
    }

    /// Adds a region to a process.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn map(&mut self, process: Process, region: Region) -> Result<(), DriverError> {
        self.order(&Request::Map(process.space, region)).map(drop)
    }

    /// Removes the region that holds an address.
    ///
    /// # Errors
    /// When there is none.
    pub fn unmap(&mut self, process: Process, address: u64) -> Result<(), DriverError> {
        self.order(&Request::Unmap(process.space, VirtAddr::new(address))).map(drop)
    }

    /// Changes what may be done in the region that holds an address.
    ///
    /// # Errors
    /// When there is none.
    pub fn protect(
        &mut self,
        process: Process,
        address: u64,
        protection: Protection,
    ) -> Result<(), DriverError> {
        let address = VirtAddr::new(address);
        self.order(&Request::Protect(process.space, address, protection)).map(drop)
    }

    /// Gives a heap more pages.
    ///
    /// # Errors
    /// When the heap cannot grow so far.
    pub fn grow(&mut self, process: Process, heap: u64, pages: u64) -> Result<(), DriverError> {
        self.order(&Request::Grow(process.space, VirtAddr::new(heap), pages))?;
        self.did(Some(process), format!("asks for {pages} more pages of heap"));
        Ok(())
    }

    /// Makes a shared object.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn object(&mut self, pages: u64, backing: Backing) -> Result<ObjectId, DriverError> {
        match self.order(&Request::Share(pages, backing))? {
            Completion::Object(object) => Ok(object),
            other => unreachable!("a shared object was asked for, not {other:?}"),
        }
    }

    /// Takes the frames that the clock gives, at most so many.
    ///
    /// # Errors
    /// When memory ends.
    pub fn reclaim(&mut self, frames: usize) -> Result<usize, DriverError> {
        let mut taken = 0;
        while taken < frames && self.order(&Request::Reclaim)? != Completion::Taken(None) {
            taken += 1;
        }
        Ok(taken)
    }

    /// Runs a program, and tells what it does; the answer is whether it read what it should.
    ///
    /// # Errors
    /// When it is ended, or the system refuses.
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
    /// When one is ended, or the system refuses.
    pub fn run_in_turn(
        &mut self,
        programs: &[(Process, &str, &Program)],
    ) -> Result<bool, DriverError> {
        for (process, what, _) in programs {
            self.did(Some(*process), (*what).into());
        }
        let list: Vec<_> = programs.iter().map(|(process, _, what)| (*process, *what)).collect();
        let ran = self.run_programs(&list)?;
        for ((process, _), ending) in list.iter().zip(&ran.endings) {
            if *ending != Ending::Exited {
                return Err(DriverError::Ended(process.name, *ending));
            }
        }
        Ok(ran.wrongs.is_empty())
    }

    /// Runs programs, however they end.
    ///
    /// # Errors
    /// When the machine dies.
    pub(super) fn run_programs(
        &mut self,
        programs: &[(Process, &Program)],
    ) -> Result<RunOutcome, DriverError> {
        let runs: Vec<_> = programs.iter().map(|(process, what)| (process.space, *what)).collect();
        let ran = self.simulation.run(&runs)?;
        let events = self.take_events();
        let order = match &self.twin {
            Some(twin) => twin.load(&runs)?,
            None => Request::Run([None::<ProgramRun>; crosswalk_guest::system::MAX_RUNS]),
        };
        self.follow(&order, Ok(Completion::Done), &ran, &events)?;
        Ok(ran)
    }

    /// An access that is not allowed: the process is ended for this reason. `None` means that the
    /// access was made after all, and the process lives.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn attempt(
        &mut self,
        process: Process,
        kind: AccessKind,
        address: u64,
    ) -> Result<Option<Invalid>, DriverError> {
        self.did(Some(process), format!("tries to {} {address:#x}", verb(kind)));
        let address = VirtAddr::new(address);
        let step = match kind {
            AccessKind::Fetch => ProgramStep::Fetch(address, 0),
            kind if kind.writes() => ProgramStep::Write(address, 0),
            _ => ProgramStep::Read(address, 0),
        };
        let ran = self.run_programs(&[(process, &vec![step].into())])?;
        match ran.endings[0] {
            Ending::Exited => Ok(None),
            Ending::Invalid(invalid) => {
                self.did(Some(process), "is ended".into());
                self.remove(process)?;
                Ok(Some(invalid))
            }
            other => Err(DriverError::Ended(process.name, other)),
        }
    }

    /// Claims something, true or not.
    pub fn claim(&mut self, holds: bool, claim: impl Into<String>) {
        self.story.claims.push(Claim { claim: claim.into(), holds });
    }

    /// The middle of the story: where pages are is told for now and for the end.
    pub fn halfway(&mut self) {
        self.did(None, "(the map below calls this \"before\")".into());
        self.story.pages = self.page_rows(true);
    }

    /// Whether entries can forbid fetches: those of 4 bytes cannot, and a processor may be without.
    pub fn has_execute_disable(&self) -> bool {
        let features = self.mmu().regime().profile.features;
        F::ENTRY_BYTES == 8 && features.contains(Features::NX)
    }

    /// The system.
    pub fn system(&self) -> &System<F, MAX_FRAMES, MAX_SLOTS> {
        &self.simulation.system
    }

    /// The memory of the software.
    pub fn memory(&self) -> &impl TableMemory {
        &self.simulation.computer
    }

    /// The MMU beneath the caches.
    pub fn mmu(&self) -> &mmu_core::Mmu<F> {
        self.simulation.computer.mmu().mmu()
    }

    /// What the accesses so far cost.
    pub fn accesses(&self) -> &AccessCounts {
        self.simulation.computer.counts()
    }

    /// Bytes of tables of all processes.
    pub fn table_bytes(&self) -> u64 {
        self.simulation.table_bytes()
    }

    /// The frame of a page that is in memory.
    ///
    /// # Errors
    /// When there is no such process.
    pub fn frame(&self, process: Process, page: u64) -> Result<Option<PhysAddr>, DriverError> {
        let (page, end) = (VirtAddr::new(page), VirtAddr::new(page + PAGE_BYTES));
        let found = self.system().next_page(self.memory(), process.space, page, end)?;
        Ok(match found {
            Some((_, PageState::InFrame(frame))) => Some(frame),
            _ => None,
        })
    }

    /// How many frames of pages a process has.
    pub fn frames_of(&self, process: Process) -> usize {
        let rows = self.page_rows(false);
        let mine = rows.iter().filter(|row| row.process == process.name);
        mine.filter(|row| matches!(row.after, Some(PagePlace::Frame(..)))).count()
    }

    /// The end: what happened, as a story.
    ///
    /// # Errors
    /// When it stopped because the machine is dead.
    pub fn end(mut self, ended: Result<(), DriverError>) -> Result<Story, MachineError> {
        match ended {
            Ok(()) => {}
            Err(DriverError::Machine(error)) => return Err(error),
            Err(error) => self.problem(format!("the scenario stopped: {error}")),
        }
        for row in self.page_rows(false) {
            let same =
                |known: &&mut PageRow| (known.process, known.page) == (row.process, row.page);
            match self.story.pages.iter_mut().find(same) {
                Some(known) => known.after = row.after,
                None => self.story.pages.push(row),
            }
        }
        let Self { simulation, twin, mut story, .. } = self;
        story.pages.sort_by_key(|row| (row.process, row.page));
        story.statistics = *simulation.system.statistics();
        story.accesses = *simulation.computer.counts();
        story.table_bytes = simulation.most_table_bytes;
        story.problems.extend(simulation.problems);
        story.comparison = twin.map(|twin| twin.comparison);
        Ok(story)
    }

    /// Takes down a problem.
    pub fn problem(&mut self, problem: String) {
        self.simulation.problem(problem);
    }

    /// Has both sides carry out an order.
    pub(super) fn order(&mut self, order: &Request) -> Result<Completion, DriverError> {
        let carried = self.simulation.execute(order);
        let events = self.take_events();
        self.follow(order, carried, &RunOutcome::default(), &events)?;
        Ok(carried?)
    }

    /// Has the machine carry out what the simulation did, and compares.
    fn follow(
        &mut self,
        order: &Request,
        carried: Result<Completion, SpaceError>,
        ran: &RunOutcome,
        events: &[Event],
    ) -> Result<(), DriverError> {
        if let Some(twin) = &mut self.twin {
            twin.follow(&self.simulation, order, &ModelSnapshot { carried, ran, events })?;
        }
        Ok(())
    }

    /// Letters are given again after the last.
    fn next_process(&mut self) -> char {
        let name = self.next_name;
        self.next_name = if name == 'Z' { 'A' } else { char::from(name as u8 + 1) };
        name
    }

    /// What is wrong so far, if something is.
    pub(super) fn wrong(&self) -> Option<String> {
        let twin = self.twin.as_ref().and_then(|twin| twin.comparison.parted.as_ref());
        self.simulation.problems.first().cloned().or_else(|| twin.map(ToString::to_string))
    }

    /// A process is made by an order.
    fn add_process(
        &mut self,
        order: &Request,
        name: char,
        what: Option<String>,
    ) -> Result<Process, DriverError> {
        let Completion::Space(space) = self.order(order)? else {
            unreachable!("a space was asked for")
        };
        self.simulation.names.push((space, name));
        let process = Process { name, space };
        if let Some(what) = what {
            self.did(Some(process), what);
        }
        Ok(process)
    }

    fn remove(&mut self, process: Process) -> Result<(), DriverError> {
        let destroyed = self.order(&Request::Destroy(process.space));
        self.simulation.names.retain(|(space, _)| *space != process.space);
        destroyed.map(drop)
    }
}

/// How many tables a process takes for the supervisor's regions and the parts that scenarios have, by
/// mode: counted by hand, as tests do.
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
