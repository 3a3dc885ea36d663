//! Random operations: processes come, fork, map, write, read and go, while the clock takes frames away.
//! Every word that a process wrote is read back, until it is unmapped; and on a machine every step is
//! compared.

use super::driver::{Process, Stage};
use super::error::StageError;
use super::guest_side::Twin;
use super::program::{Program, Step};
use super::{Comparison, Scenario, Setting};
use crosswalk_guest::system::Ending;
use crosswalk_guest::system::program::image_word;
use crosswalk_machine::{Machine, MachineError};
use mmu_core::space::{
    Backing, ObjectId, PAGE_BYTES, Protection, Region, RegionKind, SlotNumber, SpaceError,
};
use mmu_core::x86::format::{Bits32, FiveLevel, Format, FourLevel, Pae};
use mmu_core::{PagingMode, VirtAddr};
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use std::collections::BTreeMap;
use std::fmt;

/// Few enough that the clock has work all the time; the tables of all processes alone would take
/// more.
const FRAMES: usize = 48;
const MOST_PROCESSES: usize = 5;
/// Steps of one tape.
const TAPE: usize = 500;

/// One operation. Processes, pages and words are taken modulo how many there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// A process is started, without regions.
    Create,
    /// A process ends.
    Destroy(u8),
    /// A process forks.
    Fork(u8),
    /// A part is added to a process.
    Map(u8, Part),
    /// A part is taken away.
    Unmap(u8, Part),
    /// The heap gets another page.
    Grow(u8),
    /// A part may be written from now on, or not.
    Protect(u8, Part, bool),
    /// A word of a part is read.
    Read(u8, Part, u16),
    /// A word of a part is written.
    Write(u8, Part, u16, u64),
    /// The clock takes a frame.
    Reclaim,
}

/// A part of a process, each with a place of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// Grows when asked.
    Heap,
    /// Grows when touched.
    Stack,
    /// Comes from the store.
    Image,
    /// One set of frames for all.
    Shared,
}

impl Part {
    const ALL: [Self; 4] = [Self::Heap, Self::Stack, Self::Image, Self::Shared];

    /// Where it starts when it is as large as it can be.
    const fn start(self) -> u64 {
        match self {
            Self::Heap => 0x8060_0000,
            Self::Stack => 0x807f_c000,
            Self::Image => 0x8050_0000,
            Self::Shared => 0x8070_0000,
        }
    }

    /// What is in it before anything is written.
    fn first_word(self, address: u64) -> u64 {
        let offset = address - self.start();
        match self {
            Self::Image => image_word(1 + (offset / PAGE_BYTES) as u32, offset % PAGE_BYTES),
            _ => 0,
        }
    }

    fn region(self, object: Option<ObjectId>) -> Region {
        let start = VirtAddr::new(self.start());
        match self {
            Self::Heap => Region::heap(start, 1, 6),
            Self::Stack => Region::stack(start.wrapping_add(4 * PAGE_BYTES), 1, 4),
            Self::Image => Region::new(RegionKind::Data, start, 2, Protection::DATA)
                .from_backing(Backing::Image(SlotNumber(1))),
            Self::Shared => {
                let region = Region::new(RegionKind::Shared, start, 2, Protection::DATA);
                object.map_or(region, |object| region.from_backing(Backing::Object(object)))
            }
        }
    }
}

/// The operations of a seed: the same ones for the same seed and count.
///
/// ```
/// use crosswalk::scenario::random::operations;
/// assert_eq!(operations(7, 100), operations(7, 100));
/// assert_ne!(operations(7, 100), operations(8, 100));
/// ```
pub fn operations(seed: u64, count: usize) -> Vec<Operation> {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
    let operation = |_| {
        let (process, word) = (rng.random(), rng.random());
        let part = Part::ALL[rng.random_range(0..4)];
        match rng.random_range(0..60) {
            0..24 => Operation::Write(process, part, word, rng.random()),
            24..44 => Operation::Read(process, part, word),
            44..46 => Operation::Reclaim,
            46..48 => Operation::Grow(process),
            48 => Operation::Protect(process, part, rng.random()),
            49..54 => Operation::Map(process, part),
            54 => Operation::Unmap(process, part),
            55..57 => Operation::Fork(process),
            57..59 => Operation::Create,
            _ => Operation::Destroy(process),
        }
    };
    (0..count).map(operation).collect()
}

/// What a run of operations came to.
#[derive(Debug)]
pub struct Played {
    /// How many operations were performed.
    pub performed: usize,
    /// Words that were written.
    pub written: u64,
    /// Words that were read and held what they should.
    pub read: u64,
    /// What a machine made of it.
    pub comparison: Option<Comparison>,
    /// What went wrong at the last operation.
    pub problem: Option<String>,
}

impl fmt::Display for Played {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { performed, written, read, problem, .. } = self;
        write!(f, "{performed} operations, {written} words written, {read} read")?;
        match problem {
            Some(problem) => write!(f, "; then {problem}"),
            None => Ok(()),
        }
    }
}

/// Performs operations until something goes wrong, in software and on a machine if there is one.
///
/// # Errors
/// When the machine dies.
///
/// # Panics
/// When the mode has no tables of x86.
pub fn play(
    machine: Option<&mut dyn Machine>,
    setting: Setting,
    operations: &[Operation],
) -> Result<Played, MachineError> {
    let twin = machine.map(Twin::new);
    match setting.mode {
        PagingMode::Bits32 => play_in::<Bits32>(twin, setting, operations),
        PagingMode::Pae => play_in::<Pae>(twin, setting, operations),
        PagingMode::FourLevel => play_in::<FourLevel>(twin, setting, operations),
        PagingMode::FiveLevel => play_in::<FiveLevel>(twin, setting, operations),
        mode => panic!("{mode} has no tables of x86"),
    }
}

/// The fewest operations that go wrong, too: those after the first that fails are dropped, then
/// pieces, ever smaller ones.
///
/// # Errors
/// When the machine dies.
pub fn shrink<E>(
    operations: &[Operation],
    mut play: impl FnMut(&[Operation]) -> Result<Played, E>,
) -> Result<Vec<Operation>, E> {
    let mut smallest = operations.to_vec();
    let first = play(&smallest)?;
    if first.problem.is_none() {
        return Ok(smallest);
    }
    smallest.truncate(first.performed);
    let mut piece = smallest.len() / 2;
    while piece > 0 {
        let mut start = 0;
        while start < smallest.len() {
            let end = (start + piece).min(smallest.len());
            let without = [&smallest[..start], &smallest[end..]].concat();
            let played = play(&without)?;
            if played.problem.is_some() {
                smallest = without;
                smallest.truncate(played.performed);
            } else {
                start = end;
            }
        }
        piece /= 2;
    }
    Ok(smallest)
}

fn play_in<F: Format>(
    twin: Option<Twin<'_>>,
    setting: Setting,
    operations: &[Operation],
) -> Result<Played, MachineError> {
    let scenario = Scenario { name: "random", shows: "random operations" };
    let stage = match Stage::<F>::new(scenario, FRAMES, setting, twin) {
        Ok(stage) => stage,
        Err(StageError::Machine(error)) => return Err(error),
        Err(error) => unreachable!("every format can address so few frames: {error}"),
    };
    let mut model = Model { stage, processes: Vec::new(), shared: None, written: 0, read: 0 };
    let (mut performed, mut problem) = (0, None);
    for operation in operations {
        performed += 1;
        problem = match model.perform(*operation) {
            Ok(()) => model.stage.wrong(),
            Err(StageError::Machine(error)) => return Err(error),
            Err(error) => Some(error.to_string()),
        };
        if problem.is_some() {
            break;
        }
    }
    if problem.is_none() {
        problem = match model.read_everything() {
            Ok(()) => model.stage.wrong(),
            Err(StageError::Machine(error)) => return Err(error),
            Err(error) => Some(error.to_string()),
        };
    }
    let Model { stage, written, read, .. } = model;
    let comparison = stage.end(Ok(()))?.comparison;
    Ok(Played { performed, written, read, comparison, problem })
}

type Words = BTreeMap<u64, u64>;

/// What a process is to find.
#[derive(Clone)]
struct Known {
    process: Process,
    parts: BTreeMap<Part, (Region, Words)>,
}

/// The stage, and what its processes wrote.
struct Model<'m, F: Format> {
    stage: Stage<'m, F>,
    processes: Vec<Known>,
    shared: Option<(ObjectId, Words)>,
    written: u64,
    read: u64,
}

impl<F: Format> Model<'_, F> {
    /// Too little memory is no reason to lose anything: whoever asked goes without.
    fn perform(&mut self, operation: Operation) -> Result<(), StageError> {
        match self.try_to(operation) {
            Err(StageError::Space(SpaceError::OutOfFrames(_))) => Ok(()),
            other => other,
        }
    }

    fn try_to(&mut self, operation: Operation) -> Result<(), StageError> {
        let count = self.processes.len();
        let place = |process: u8| (count > 0).then(|| usize::from(process) % count);
        match operation {
            Operation::Reclaim => self.stage.reclaim(1).map(drop),
            Operation::Create => {
                if count < MOST_PROCESSES {
                    let process = self.stage.start(&[])?;
                    self.processes.push(Known { process, parts: BTreeMap::new() });
                }
                Ok(())
            }
            Operation::Destroy(process)
            | Operation::Fork(process)
            | Operation::Map(process, _)
            | Operation::Unmap(process, _)
            | Operation::Grow(process)
            | Operation::Protect(process, ..)
            | Operation::Read(process, ..)
            | Operation::Write(process, ..) => match place(process) {
                Some(place) => self.try_for(place, operation),
                None => Ok(()),
            },
        }
    }

    fn try_for(&mut self, place: usize, operation: Operation) -> Result<(), StageError> {
        let process = self.processes[place].process;
        match operation {
            Operation::Destroy(_) => {
                for part in Part::ALL {
                    self.read_back(place, part)?;
                }
                self.remove(place)
            }
            Operation::Fork(_) if self.processes.len() < MOST_PROCESSES => {
                let child = self.stage.fork(process)?;
                let parts = self.processes[place].parts.clone();
                self.processes.push(Known { process: child, parts });
                Ok(())
            }
            Operation::Map(_, part) if !self.processes[place].parts.contains_key(&part) => {
                if part == Part::Shared && self.shared.is_none() {
                    self.shared = Some((self.stage.object(2, Backing::Zero)?, Words::new()));
                }
                let region = part.region(self.shared.as_ref().map(|(object, _)| *object));
                self.stage.map(process, region)?;
                self.processes[place].parts.insert(part, (region, Words::new()));
                Ok(())
            }
            Operation::Unmap(_, part) => {
                self.read_back(place, part)?;
                if let Some((region, _)) = self.processes[place].parts.remove(&part) {
                    self.stage.unmap(process, region.end().get() - 1)?;
                    self.forget_shared();
                }
                Ok(())
            }
            Operation::Grow(_) => {
                let heap = self.processes[place].parts.get_mut(&Part::Heap);
                if let Some((region, _)) = heap.filter(|(region, _)| region.pages < region.limit) {
                    self.stage.grow(process, Part::Heap.start(), 1)?;
                    region.pages += 1;
                }
                Ok(())
            }
            Operation::Protect(_, part, writable) => {
                if let Some((region, _)) = self.processes[place].parts.get_mut(&part) {
                    let new = if writable { Protection::DATA } else { Protection::CONSTANTS };
                    self.stage.protect(process, region.end().get() - 1, new)?;
                    region.protection = new;
                }
                Ok(())
            }
            Operation::Read(_, part, word) => self.access(place, part, word, None),
            Operation::Write(_, part, word, value) => self.access(place, part, word, Some(value)),
            _ => Ok(()),
        }
    }

    /// A load or store of a word. One in sixteen stores that are not allowed is tried: it ends the
    /// process.
    fn access(
        &mut self,
        place: usize,
        part: Part,
        word: u16,
        value: Option<u64>,
    ) -> Result<(), StageError> {
        let Some((region, _)) = self.processes[place].parts.get(&part) else { return Ok(()) };
        let (start, pages) = match part {
            // It grows as far as it can.
            Part::Stack => (part.start(), region.limit),
            _ => (region.start.get(), region.pages),
        };
        let address = start + u64::from(word) % (pages * PAGE_BYTES / 8) * 8;
        let denied = !region.protection.contains(Protection::WRITE);
        let value = value.filter(|value| !denied || value % 16 == 0);
        let step = match value {
            Some(value) => Step::Write(VirtAddr::new(address), value),
            None => Step::Read(VirtAddr::new(address), self.expected(place, part, address)),
        };
        match self.run(place, &vec![step].into())? {
            Ending::Exited => {}
            Ending::Invalid(_) if denied && value.is_some() => return self.remove(place),
            Ending::Refused(SpaceError::OutOfFrames(_)) => return Ok(()),
            other => return Err(StageError::Ended(self.processes[place].process.name, other)),
        }
        if let Some(value) = value {
            self.written += 1;
            self.words(place, part).insert(address, value);
        } else {
            self.read += 1;
        }
        Ok(())
    }

    /// Reads every word of a part that was written.
    fn read_back(&mut self, place: usize, part: Part) -> Result<(), StageError> {
        if !self.processes[place].parts.contains_key(&part) {
            return Ok(());
        }
        let words: Vec<_> =
            self.words(place, part).iter().map(|(at, value)| (*at, *value)).collect();
        for words in words.chunks(TAPE) {
            let read = |&(at, value): &(u64, u64)| Step::Read(VirtAddr::new(at), value);
            match self.run(place, &words.iter().map(read).collect())? {
                Ending::Exited => self.read += words.len() as u64,
                Ending::Refused(SpaceError::OutOfFrames(_)) => {}
                other => return Err(StageError::Ended(self.processes[place].process.name, other)),
            }
        }
        Ok(())
    }

    fn read_everything(&mut self) -> Result<(), StageError> {
        for place in 0..self.processes.len() {
            for part in Part::ALL {
                self.read_back(place, part)?;
            }
        }
        Ok(())
    }

    fn run(&mut self, place: usize, program: &Program) -> Result<Ending, StageError> {
        let process = self.processes[place].process;
        Ok(self.stage.run_programs(&[(process, program)])?.endings[0])
    }

    fn words(&mut self, place: usize, part: Part) -> &mut Words {
        if let (Some((_, words)), Part::Shared) = (&mut self.shared, part) {
            return words;
        }
        let parts = &mut self.processes[place].parts;
        &mut parts.get_mut(&part).expect("the process has the part").1
    }

    fn expected(&mut self, place: usize, part: Part, address: u64) -> u64 {
        let known = self.words(place, part).get(&address).copied();
        known.unwrap_or_else(|| part.first_word(address))
    }

    fn remove(&mut self, place: usize) -> Result<(), StageError> {
        let known = self.processes.remove(place);
        self.stage.finish(known.process)?;
        self.forget_shared();
        Ok(())
    }

    /// A shared object is gone with the last who has it.
    fn forget_shared(&mut self) {
        if !self.processes.iter().any(|known| known.parts.contains_key(&Part::Shared)) {
            self.shared = None;
        }
    }
}
