//! Random operations: a process reads back what it wrote until the page is unmapped, no frame is
//! lost or owned twice, and the history does not depend on the caches.

use super::*;
use crate::x86::state::PagingMode;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use std::collections::BTreeMap;

/// Number of operations.
const OPERATIONS: usize = 10_000;
/// Number of frames. The tables alone may use all of them.
const FRAMES: usize = 48;
const MAX_PROCESSES: usize = 6;
/// Offsets of the words in a page that are accessed.
const WORDS: [u64; 3] = [0, 0x7f8, 0xff8];

#[derive(Clone, Copy, Debug)]
enum SpaceOperation {
    Read { process: u8, part: Part, page: u8, word: u8 },
    Write { process: u8, part: Part, page: u8, word: u8, value: u64 },
    Reclaim,
    Grow { process: u8 },
    Protect { process: u8, part: Part, writable: bool },
    Map { process: u8, part: Part },
    Unmap { process: u8, part: Part },
    Fork { process: u8 },
    Create,
    Destroy { process: u8 },
}

fn operation() -> impl Strategy<Value = SpaceOperation> {
    let any_part = || (0..4_u8).prop_map(|number| Part::ALL[usize::from(number)]);
    let place = || (any::<u8>(), any_part(), 0..5_u8, 0..3_u8);
    let part = || (any::<u8>(), any_part());

    prop_oneof![
        20 => place().prop_map(|(process, part, page, word)| SpaceOperation::Read {
            process, part, page, word
        }),
        20 => (place(), any::<u64>()).prop_map(|((process, part, page, word), value)| {
            SpaceOperation::Write { process, part, page, word, value }
        }),
        2 => Just(SpaceOperation::Reclaim),
        2 => any::<u8>().prop_map(|process| SpaceOperation::Grow { process }),
        1 => (part(), any::<bool>()).prop_map(|((process, part), writable)| {
            SpaceOperation::Protect { process, part, writable }
        }),
        4 => part().prop_map(|(process, part)| SpaceOperation::Map { process, part }),
        1 => part().prop_map(|(process, part)| SpaceOperation::Unmap { process, part }),
        4 => any::<u8>().prop_map(|process| SpaceOperation::Fork { process }),
        1 => Just(SpaceOperation::Create),
        2 => any::<u8>().prop_map(|process| SpaceOperation::Destroy { process }),
    ]
}

/// The parts of a process, each of which can be mapped as one region.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Heap,
    Stack,
    Image,
    Shared,
}

impl Part {
    const ALL: [Self; 4] = [Self::Heap, Self::Stack, Self::Image, Self::Shared];
}

/// The lowest address that a part of a process can have.
const fn start_of(part: Part) -> u64 {
    match part {
        Part::Heap => HEAP,
        Part::Stack => 0x7f_c000,
        Part::Image => 0x40_0000,
        Part::Shared => 0x70_0000,
    }
}

fn region(part: Part) -> Region {
    let start = VirtAddr::new(start_of(part));
    match part {
        Part::Heap => Region::heap(start, 1, 6),
        Part::Stack => Region::stack(VirtAddr::new(0x80_0000), 1, 4),
        Part::Image => Region::new(RegionKind::Data, start, 2, Protection::DATA)
            .from_backing(Backing::Image(SlotNumber(1))),
        Part::Shared => Region::new(RegionKind::Shared, start, 2, Protection::DATA),
    }
}

type Words = BTreeMap<u64, u64>;

/// The model of a process: its regions, and the words that it wrote to them.
#[derive(Clone, Debug)]
struct ModelProcess {
    space: SpaceId,
    parts: BTreeMap<Part, (Region, Words)>,
}

/// The system, and a model of what its processes wrote.
struct CheckedSystem<F: Format, const WAYS: usize, const STRUCTURES: usize> {
    system: Box<System<F, MAX_FRAMES, MAX_SLOTS>>,
    computer: Software<F, Vec<u8>, Vec<Event>, 64, WAYS, STRUCTURES>,
    processes: Vec<ModelProcess>,
    shared: Option<(ObjectId, Words)>,
}

impl<F: Format, const WAYS: usize, const STRUCTURES: usize> CheckedSystem<F, WAYS, STRUCTURES> {
    fn new() -> Self {
        Self::with_safeguards(Safeguards::all())
    }

    fn with_safeguards(safeguards: Safeguards) -> Self {
        let SpaceBench::<F> { system, computer } = SpaceBench::with_safeguards(FRAMES, safeguards);

        // The same memory, with caches of other sizes.
        let end = computer.place(SlotNumber(MAX_SLOTS as u32)).get();
        let read_word = |at| computer.read_entry(PhysAddr::new(at), 8).unwrap();
        let bytes: Vec<u8> =
            (0..end).step_by(8).flat_map(|at| read_word(at).to_le_bytes()).collect();
        let store = computer.place(SlotNumber(0));
        let computer = Software::with_caches(bytes, store, Profile::default(), Vec::new());

        Self { system, computer, processes: Vec::new(), shared: None }
    }

    /// Performs the operations. Returns the history and all of memory, which must not depend on the
    /// caches.
    fn run(mut self, operations: &[SpaceOperation]) -> (Vec<Event>, Vec<u64>) {
        for (number, operation) in operations.iter().enumerate() {
            self.perform(*operation);
            if number % 100 == 0 {
                self.check();
            }
        }
        self.check();

        let end = self.computer.place(SlotNumber(MAX_SLOTS as u32)).get();
        let words = (0..end).step_by(8).map(PhysAddr::new);
        let memory = words.map(|at| self.computer.read_entry(at, 8).unwrap()).collect();

        (self.computer.history, memory)
    }

    fn check(&self) {
        self.system.audit(&self.computer).unwrap();
        assert_eq!(self.computer.stale(&self.system).unwrap(), None);
    }

    fn perform(&mut self, operation: SpaceOperation) {
        let count = self.processes.len();
        let result = match operation {
            SpaceOperation::Create => self.create(),
            SpaceOperation::Reclaim => self.system.reclaim(&mut self.computer).map(drop),
            SpaceOperation::Read { process: number, .. }
            | SpaceOperation::Write { process: number, .. }
            | SpaceOperation::Grow { process: number }
            | SpaceOperation::Protect { process: number, .. }
            | SpaceOperation::Map { process: number, .. }
            | SpaceOperation::Unmap { process: number, .. }
            | SpaceOperation::Fork { process: number }
            | SpaceOperation::Destroy { process: number } => match count {
                0 => Ok(()),
                _ => self.perform_for(usize::from(number) % count, operation),
            },
        };

        // An operation may fail for lack of frames, and must not lose anything then.
        assert!(
            matches!(result, Ok(()) | Err(SpaceError::OutOfFrames(_))),
            "{operation:?}: {result:?}"
        );
    }

    fn create(&mut self) -> Result<(), SpaceError> {
        if self.processes.len() < MAX_PROCESSES {
            let space = self.system.create(&mut self.computer)?;
            self.processes.push(ModelProcess { space, parts: BTreeMap::new() });
        }

        Ok(())
    }

    fn perform_for(&mut self, number: usize, operation: SpaceOperation) -> Result<(), SpaceError> {
        match operation {
            SpaceOperation::Read { part, page, word, .. } => {
                self.access(number, part, page, word, None)?;
            }
            SpaceOperation::Write { part, page, word, value, .. } => {
                self.access(number, part, page, word, Some(value))?;
            }
            SpaceOperation::Grow { .. } => self.grow(number),
            SpaceOperation::Protect { part, writable, .. } => {
                self.protect(number, part, writable)?;
            }
            SpaceOperation::Map { part, .. } => self.map(number, part)?,
            SpaceOperation::Unmap { part, .. } => self.unmap(number, part)?,
            SpaceOperation::Fork { .. } => self.fork(number)?,
            SpaceOperation::Destroy { .. } => self.destroy(number)?,
            SpaceOperation::Create | SpaceOperation::Reclaim => {}
        }

        Ok(())
    }

    fn fork(&mut self, number: usize) -> Result<(), SpaceError> {
        if self.processes.len() < MAX_PROCESSES {
            let ModelProcess { space, parts } = self.processes[number].clone();
            let child = self.system.fork(&mut self.computer, space)?;
            self.processes.push(ModelProcess { space: child, parts });
        }

        Ok(())
    }

    fn destroy(&mut self, number: usize) -> Result<(), SpaceError> {
        let process = self.processes.remove(number);
        self.system.destroy(&mut self.computer, process.space)?;
        self.drop_unused_object();
        Ok(())
    }

    fn grow(&mut self, number: usize) {
        let process = &mut self.processes[number];
        let grown = self.system.grow(process.space, VirtAddr::new(start_of(Part::Heap)), 1);
        if let Ok(grown) = grown
            && let Some((region, _)) = process.parts.get_mut(&Part::Heap)
        {
            *region = grown;
        }
    }

    fn protect(&mut self, number: usize, part: Part, writable: bool) -> Result<(), SpaceError> {
        let process = &mut self.processes[number];
        if let Some((region, _)) = process.parts.get_mut(&part) {
            let protection = if writable { Protection::DATA } else { Protection::CONSTANTS };
            let last = region.end().wrapping_add(u64::MAX);
            self.system.protect(&mut self.computer, process.space, last, protection)?;
            region.protection = protection;
        }

        Ok(())
    }

    fn unmap(&mut self, number: usize, part: Part) -> Result<(), SpaceError> {
        let process = &mut self.processes[number];
        if let Some((region, _)) = process.parts.remove(&part) {
            let last = region.end().wrapping_add(u64::MAX);
            self.system.unmap(&mut self.computer, process.space, last)?;
            self.drop_unused_object();
        }

        Ok(())
    }

    fn map(&mut self, number: usize, part: Part) -> Result<(), SpaceError> {
        let process = &mut self.processes[number];
        if process.parts.contains_key(&part) {
            return Ok(());
        }

        let mut region = region(part);
        if part == Part::Shared {
            let system = &mut self.system;
            let (object, _) = self.shared.get_or_insert_with(|| {
                (system.create_object(2, Backing::Zero).unwrap(), Words::new())
            });
            region = region.from_backing(Backing::Object(*object));
        }

        self.system.map(&mut self.computer, process.space, region)?;
        process.parts.insert(part, (region, Words::new()));
        Ok(())
    }

    /// The system frees the shared object with its last mapping.
    fn drop_unused_object(&mut self) {
        if self.processes.iter().all(|process| !process.parts.contains_key(&Part::Shared)) {
            self.shared = None;
        }
    }

    /// Reads a word, or writes `value` to it, and compares the result with the model.
    fn access(
        &mut self,
        number: usize,
        part: Part,
        page: u8,
        word: u8,
        value: Option<u64>,
    ) -> Result<(), SpaceError> {
        let space = self.processes[number].space;
        let address = start_of(part) + 0x1000 * u64::from(page) + WORDS[usize::from(word)];
        let reached = self.reach(space, address, value.is_some())?;

        let Some(region) = self.region_at(number, part, address) else {
            // The address may be in another part; the model does not follow such accesses.
            return Ok(());
        };
        let is_denied = value.is_some() && !region.protection.contains(Protection::WRITE);

        if F::MODE == PagingMode::Linear {
            // The flat table has no rights: only the first touch of a page can be denied.
            assert!(reached.is_some() || is_denied, "{address:#x} in {space}");
        } else {
            assert_eq!(reached.is_none(), is_denied, "{address:#x} in {space}");
        }

        if region.kind == RegionKind::Stack && address < region.start.get() {
            self.update_stack(number)?;
        }

        match (reached, value) {
            (Some(at), Some(value)) => {
                self.computer.write_entry(at, 8, value).unwrap();
                self.words(number, part).insert(address, value);
            }
            (Some(at), None) => {
                let found = self.computer.read_entry(at, 8).unwrap();
                let image_word = 0xc0de_0001 + u64::from(page);
                let initial = if part == Part::Image { image_word } else { 0 };
                let expected = self.words(number, part).get(&address).copied().unwrap_or(initial);
                assert_eq!(found, expected, "{address:#x} in {space}");
            }
            (None, _) => {}
        }

        Ok(())
    }

    /// The region of a part, if it contains the address, or can grow down to it.
    fn region_at(&self, number: usize, part: Part, address: u64) -> Option<Region> {
        let (region, _) = self.processes[number].parts.get(&part)?;
        let grows_down = region.kind == RegionKind::Stack;
        let first = if grows_down { region.reserved().0 } else { region.start.get() };

        (first..region.end().get()).contains(&address).then_some(*region)
    }

    /// Takes the stack from the system, after an access that made it grow.
    fn update_stack(&mut self, number: usize) -> Result<(), SpaceError> {
        let process = &mut self.processes[number];
        let mut regions = self.system.regions(process.space)?.iter();
        let stack = regions.find(|region| region.kind == RegionKind::Stack).unwrap();

        let (region, _) = process.parts.get_mut(&Part::Stack).unwrap();
        *region = *stack;
        Ok(())
    }

    /// The words that were written to a part of a process.
    fn words(&mut self, number: usize, part: Part) -> &mut Words {
        if part == Part::Shared {
            return &mut self.shared.as_mut().unwrap().1;
        }

        let (_, words) = self.processes[number].parts.get_mut(&part).unwrap();
        words
    }

    /// The physical address that an access reaches after its faults; `None` if it is not allowed.
    fn reach(
        &mut self,
        space: SpaceId,
        address: u64,
        writes: bool,
    ) -> Result<Option<PhysAddr>, SpaceError> {
        self.computer.run(&self.system, space)?;

        let kind = if writes { AccessKind::Write } else { AccessKind::Read };
        let access = Access::new(kind, VirtAddr::new(address), 4, Ring::Three);

        for _ in 0..4 {
            match self.computer.access(&access).unwrap() {
                Outcome::Translated(spans) => return Ok(Some(spans[0].address)),
                Outcome::Fault(fault) => {
                    let decision = self.system.fault(&mut self.computer, space, &fault)?;
                    if let Decision::Invalid(_) = decision {
                        return Ok(None);
                    }
                }
            }
        }

        panic!("{address:#x} in {space} faults indefinitely");
    }
}

for_each_format! {
    nothing_is_lost
    nothing_is_lost_in_shorter_histories
}

/// An MMU with caches and one without lead to the same history, and to the same bytes in every
/// table, frame and slot.
fn nothing_is_lost<F: Format>() {
    let mut runner = TestRunner::deterministic();
    let operations = prop::collection::vec(operation(), OPERATIONS);

    for _ in 0..2 {
        let operations = operations.new_tree(&mut runner).unwrap().current();
        let cached = CheckedSystem::<F, 4, 16>::new().run(&operations);
        let uncached = CheckedSystem::<F, 0, 0>::new().run(&operations);
        assert_much_happened::<F>(&cached.0);
        assert_eq!(cached.0, uncached.0);
        assert!(cached.1 == uncached.1, "memory differs");
    }
}

/// The operations caused enough events of each kind to prove something.
fn assert_much_happened<F: Format>(history: &[Event]) {
    let count = |is_wanted: fn(&Event) -> bool| history.iter().filter(|e| is_wanted(e)).count();
    let evicted = count(|event| matches!(event, Event::Evicted { .. }));
    let written = count(|event| matches!(event, Event::Evicted { written: Some(_), .. }));
    let major = count(|event| matches!(event, Event::Fault { decision: Decision::Major(_), .. }));
    let copied =
        count(|event| matches!(event, Event::Fault { decision: Decision::Minor(Minor::Copy), .. }));

    assert!(evicted >= 100, "{evicted} pages evicted");
    assert!(written >= 100, "{written} pages written to the store");
    assert!(major >= 100, "{major} major faults");

    // Without rights there is no copy on write.
    if F::MODE != PagingMode::Linear {
        assert!(copied >= 100, "{copied} pages copied");
    }
}

/// The same with fewer operations, so that a failure is shrunk.
fn nothing_is_lost_in_shorter_histories<F: Format>() {
    let config =
        ProptestConfig { cases: 12, max_shrink_iters: 20_000, ..ProptestConfig::default() };
    proptest!(config, |(operations in prop::collection::vec(operation(), 1..1000))| {
        let cached = CheckedSystem::<F, 4, 16>::new().run(&operations);
        let uncached = CheckedSystem::<F, 0, 0>::new().run(&operations);
        prop_assert_eq!(cached.0, uncached.0);
        prop_assert!(cached.1 == uncached.1, "memory differs");
    });
}

/// The operations on a system without one of its safeguards.
fn run_without(safeguard: Safeguards) {
    let operations = prop::collection::vec(operation(), OPERATIONS);
    let operations = operations.new_tree(&mut TestRunner::deterministic()).unwrap().current();
    CheckedSystem::<FourLevel, 4, 16>::with_safeguards(Safeguards::all() - safeguard)
        .run(&operations);
}

#[test]
#[should_panic(expected = "StaleTranslation")]
fn a_missing_shoot_down_is_detected() {
    run_without(Safeguards::SHOOT_DOWN);
}

#[test]
#[should_panic(expected = "left == right")]
fn a_missing_wipe_is_detected() {
    run_without(Safeguards::WIPE);
}

#[test]
#[should_panic(expected = "WritableAndShared")]
fn a_missing_write_protection_is_detected() {
    run_without(Safeguards::WRITE_PROTECT);
}
