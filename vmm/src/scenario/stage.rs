//! The stage: processes on the software MMU, watched at every step.

use super::Scenario;
use super::program::{Program, Step};
use super::story::{Claim, Happened, Moment, PagePlace, PageRow, Story};
use mmu_core::cache::NoOutcome;
use mmu_core::format::Format;
use mmu_core::memory::{OutsideMemory, TableMemory, TableMemoryMut};
use mmu_core::space::{
    Backing, BackingStore, Decision, Duties, Event, Invalid, ObjectId, PAGE_BYTES, PageState,
    Record, Region, Settings, SlotNumber, Software, SpaceError, SpaceId, System,
};
use mmu_core::{Access, AccessKind, Outcome, PhysAddr, Profile, Ring, VirtAddr};

/// The flat table of 32-bit addresses alone takes 1024.
const MAX_FRAMES: usize = 1100;
const MAX_SLOTS: usize = 32;
/// The slots that programs are loaded from.
pub const IMAGES: u32 = 8;
/// Where the supervisor's page lies, outside the frames of the system.
pub const KERNEL_FRAME: PhysAddr = PhysAddr::new(0);
/// An access that faults more often than this never ends.
const MOST_FAULTS: usize = 8;

/// Why a scenario stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StageError {
    /// The system refused.
    #[error("{0}")]
    Space(#[from] SpaceError),
    /// An access has no outcome.
    #[error("{0}")]
    NoOutcome(#[from] NoOutcome),
    /// A frame is not there.
    #[error("{0}")]
    Outside(#[from] OutsideMemory),
    /// A process was ended by an access that should be allowed.
    #[error("an access to {0} ended its process: {1}")]
    Ended(VirtAddr, Decision),
    /// An access faults again and again.
    #[error("the access to {0} faults again and again")]
    Endless(VirtAddr),
}

/// A process of a scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its letter.
    pub name: char,
    /// Its address space.
    pub space: SpaceId,
}

/// Keeps what happens until it is told.
#[derive(Clone, Debug, Default)]
pub(super) struct History(pub(super) Vec<Event>);

impl Record for History {
    fn record(&mut self, event: Event) {
        self.0.push(event);
    }
}

/// The processes of a scenario, and what is told of them.
pub struct Stage<F: Format> {
    pub(super) system: Box<System<F, MAX_FRAMES, MAX_SLOTS>>,
    pub(super) computer: Software<F, Vec<u8>, History>,
    pub(super) processes: Vec<Process>,
    pub(super) story: Story,
    next_name: char,
}

impl<F: Format> Stage<F> {
    /// An empty stage with so many frames.
    ///
    /// # Panics
    /// When there are more than a format can address, which is a mistake of the scenario.
    pub fn new(scenario: Scenario, frames: usize, duties: Duties) -> Self {
        let slots = PhysAddr::new(PAGE_BYTES * (frames as u64 + 1));
        let mut bytes = vec![0; slots.get() as usize + PAGE_BYTES as usize * MAX_SLOTS];
        // What was in memory before: only a wipe makes zeros of it.
        bytes[PAGE_BYTES as usize..slots.get() as usize].fill(0xa5);
        let history = History::default();
        let mut computer = Software::new(bytes, slots, Profile::default(), history);
        for slot in (0..IMAGES).map(SlotNumber) {
            for offset in (0..PAGE_BYTES).step_by(8) {
                let at = computer.place(slot) + offset;
                let written = computer.write_entry(at, 8, image_word(slot, offset));
                written.expect("the store lies in memory");
            }
        }
        let settings = Settings {
            first_frame: KERNEL_FRAME + PAGE_BYTES,
            frames,
            slots: MAX_SLOTS as u32,
            images: IMAGES,
            execute_disable: true,
            duties,
        };
        let system = System::new(settings).expect("every format can address so few frames");
        let story = Story {
            scenario,
            mode: F::MODE,
            timeline: Vec::new(),
            pages: Vec::new(),
            claims: Vec::new(),
            problems: Vec::new(),
            statistics: *system.statistics(),
            accesses: *computer.counts(),
            table_bytes: 0,
            frames,
        };
        Self { system: Box::new(system), computer, processes: Vec::new(), story, next_name: 'A' }
    }

    /// Starts a process with these regions.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn start(&mut self, regions: &[Region]) -> Result<Process, StageError> {
        let space = self.system.create(&mut self.computer)?;
        let process = self.named(space);
        let list: Vec<_> = regions.iter().map(describe).collect();
        self.did(Some(process), format!("starts: {}", list.join(", ")));
        for region in regions {
            self.system.map(&mut self.computer, space, *region)?;
        }
        self.watch();
        Ok(process)
    }

    /// Forks a process.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn fork(&mut self, parent: Process) -> Result<Process, StageError> {
        let space = self.system.fork(&mut self.computer, parent.space)?;
        let child = self.named(space);
        self.tell_events();
        self.did(Some(parent), format!("forks: {}", child.name));
        self.watch();
        Ok(child)
    }

    /// Ends a process.
    ///
    /// # Errors
    /// When it has ended before.
    pub fn finish(&mut self, process: Process) -> Result<(), StageError> {
        self.did(Some(process), "ends".into());
        self.remove(process)
    }

    /// Gives a heap more pages.
    ///
    /// # Errors
    /// When the heap cannot grow so far.
    pub fn grow(&mut self, process: Process, heap: u64, pages: u64) -> Result<(), StageError> {
        self.system.grow(process.space, VirtAddr::new(heap), pages)?;
        self.did(Some(process), format!("asks for {pages} more pages of heap"));
        Ok(())
    }

    /// Makes a shared object.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn object(&mut self, pages: u64, backing: Backing) -> Result<ObjectId, StageError> {
        Ok(self.system.create_object(pages, backing)?)
    }

    /// Takes the frames that the clock gives, at most so many.
    ///
    /// # Errors
    /// When memory ends.
    pub fn reclaim(&mut self, frames: usize) -> Result<usize, StageError> {
        let mut taken = 0;
        while taken < frames && self.system.reclaim(&mut self.computer)?.is_some() {
            taken += 1;
        }
        self.tell_events();
        self.watch();
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
    ) -> Result<bool, StageError> {
        self.did(Some(process), what.into());
        let mut as_expected = true;
        for step in program {
            let (kind, address) = match *step {
                Step::Read(address, _) => (AccessKind::Read, address),
                Step::Write(address, _) => (AccessKind::Write, address),
                Step::Fetch(address) => (AccessKind::Fetch, address),
            };
            let at = match self.access(process, kind, address)? {
                Ok(at) => at,
                Err(invalid) => {
                    return Err(StageError::Ended(address, Decision::Invalid(invalid)));
                }
            };
            match *step {
                Step::Write(_, value) => self.computer.write_entry(at, 8, value)?,
                Step::Fetch(_) => {}
                Step::Read(_, expected) => {
                    let found = self.computer.read_entry(at, 8)?;
                    if found != expected {
                        as_expected = false;
                        let name = process.name;
                        self.problem(format!(
                            "{name} read {found:#x} at {address}, expected {expected:#x}"
                        ));
                    }
                }
            }
        }
        self.watch();
        Ok(as_expected)
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
    ) -> Result<Option<Invalid>, StageError> {
        self.did(Some(process), format!("tries to {} {address:#x}", verb(kind)));
        match self.access(process, kind, VirtAddr::new(address))? {
            Ok(_) => Ok(None),
            Err(invalid) => {
                self.did(Some(process), "is ended".into());
                self.remove(process)?;
                Ok(Some(invalid))
            }
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

    /// The system.
    pub fn system(&self) -> &System<F, MAX_FRAMES, MAX_SLOTS> {
        &self.system
    }

    /// The computer.
    pub fn memory(&self) -> &impl TableMemory {
        &self.computer
    }

    /// The MMU beneath the caches.
    pub fn mmu(&self) -> &mmu_core::Mmu<F> {
        self.computer.mmu().mmu()
    }

    /// What the accesses so far cost.
    pub fn accesses(&self) -> &mmu_core::space::AccessCounts {
        self.computer.counts()
    }

    /// The frame of a page that is in memory.
    ///
    /// # Errors
    /// When there is no such process.
    pub fn frame(&self, process: Process, page: u64) -> Result<Option<PhysAddr>, StageError> {
        let (page, end) = (VirtAddr::new(page), VirtAddr::new(page + PAGE_BYTES));
        let found = self.system.next_page(&self.computer, process.space, page, end)?;
        Ok(match found {
            Some((_, PageState::InFrame(frame))) => Some(frame),
            _ => None,
        })
    }

    /// How many frames of pages a process has.
    ///
    /// # Errors
    /// When there is no such process.
    pub fn frames_of(&self, process: Process) -> usize {
        let rows = self.page_rows(false);
        let mine = |row: &&PageRow| row.process == process.name;
        rows.iter()
            .filter(mine)
            .filter(|row| matches!(row.after, Some(PagePlace::Frame(frame, _)) if frame != KERNEL_FRAME))
            .count()
    }

    /// Bytes of tables of all processes.
    pub fn table_bytes(&self) -> u64 {
        let tables = self.system.spaces().map(|space| self.system.table_frames(space) as u64);
        tables.sum::<u64>() * PAGE_BYTES
    }

    /// The end: what happened, as a story.
    pub fn end(mut self, ended: Result<(), StageError>) -> Story {
        self.tell_events();
        self.watch();
        if let Err(error) = ended {
            self.problem(format!("the scenario stopped: {error}"));
        }
        for row in self.page_rows(false) {
            let same =
                |known: &&mut PageRow| (known.process, known.page) == (row.process, row.page);
            match self.story.pages.iter_mut().find(same) {
                Some(known) => known.after = row.after,
                None => self.story.pages.push(row),
            }
        }
        self.story.pages.sort_by_key(|row| (row.process, row.page));
        self.story.statistics = *self.system.statistics();
        self.story.accesses = *self.computer.counts();
        self.story
    }

    /// An access of the running process, with the faults on its way: the physical address, or why it
    /// is not allowed.
    fn access(
        &mut self,
        process: Process,
        kind: AccessKind,
        address: VirtAddr,
    ) -> Result<Result<PhysAddr, Invalid>, StageError> {
        self.computer.run(&self.system, process.space)?;
        let access = Access::new(kind, address, 8, Ring::Three);
        for _ in 0..MOST_FAULTS {
            let fault = match self.computer.access(&access)? {
                Outcome::Translated(spans) => return Ok(Ok(spans[0].address)),
                Outcome::Fault(fault) => fault,
            };
            let decision = self.system.fault(&mut self.computer, process.space, &fault)?;
            self.tell_events();
            self.watch();
            if let Decision::Invalid(invalid) = decision {
                return Ok(Err(invalid));
            }
        }
        Err(StageError::Endless(address))
    }

    fn named(&mut self, space: SpaceId) -> Process {
        let process = Process { name: self.next_name, space };
        self.next_name = char::from(self.next_name as u8 + 1);
        self.processes.push(process);
        process
    }

    fn remove(&mut self, process: Process) -> Result<(), StageError> {
        self.system.destroy(&mut self.computer, process.space)?;
        self.processes.retain(|known| *known != process);
        self.watch();
        Ok(())
    }

    pub(super) fn name_of(&self, space: SpaceId) -> Option<char> {
        let process = self.processes.iter().find(|process| process.space == space)?;
        Some(process.name)
    }

    fn did(&mut self, process: Option<Process>, what: String) {
        let process = process.map(|process| process.name);
        self.story.timeline.push(Moment { process, what: Happened::Did(what) });
    }

    /// Takes down a problem, once.
    pub fn problem(&mut self, problem: String) {
        if !self.story.problems.contains(&problem) {
            self.story.problems.push(problem);
        }
    }
}

/// What a slot with an image holds.
pub const fn image_word(slot: SlotNumber, offset: u64) -> u64 {
    0xc0de << 32 | (slot.0 as u64) << 16 | offset
}

fn verb(kind: AccessKind) -> &'static str {
    match kind {
        AccessKind::Fetch => "execute",
        kind if kind.writes() => "write",
        _ => "read",
    }
}

fn describe(region: &Region) -> String {
    let (kind, start, pages) = (region.kind.name(), region.start, region.pages);
    let limit = match region.limit {
        limit if limit == pages => String::new(),
        limit => format!(" to {limit}"),
    };
    format!("{kind} at {start} ({pages}{limit})")
}
