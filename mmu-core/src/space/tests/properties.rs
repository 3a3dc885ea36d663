//! Random operations: whatever a process wrote is read back until it is unmapped, no frame is lost or
//! owned twice, and the history does not depend on what is cached.

use super::*;
use crate::x86::state::PagingMode;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use std::collections::BTreeMap;

/// So many operations a seed.
const OPERATIONS: usize = 10_000;
/// Tables alone may take all of them.
const FRAMES: usize = 48;
const MAX_PROCESSES: usize = 6;
/// Words of a page that are looked at.
const WORDS: [u64; 3] = [0, 0x7f8, 0xff8];

#[derive(Clone, Copy, Debug)]
enum SpaceOperation {
    Read { process: u8, part: u8, page: u8, word: u8 },
    Write { process: u8, part: u8, page: u8, word: u8, value: u64 },
    Reclaim,
    Grow { process: u8 },
    Protect { process: u8, part: u8, writable: bool },
    Map { process: u8, part: u8 },
    Unmap { process: u8, part: u8 },
    Fork { process: u8 },
    Create,
    Destroy { process: u8 },
}

fn operation() -> impl Strategy<Value = SpaceOperation> {
    let place = || (any::<u8>(), 0..4_u8, 0..5_u8, 0..3_u8);
    let part = || (any::<u8>(), 0..4_u8);
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

const HEAP_PART: u8 = 0;
const STACK_PART: u8 = 1;
const IMAGE_PART: u8 = 2;
const SHARED_PART: u8 = 3;

/// The first address of a part of a process, when it is as large as it can be.
const fn start_of(part: u8) -> u64 {
    match part {
        HEAP_PART => HEAP,
        STACK_PART => 0x7f_c000,
        IMAGE_PART => 0x40_0000,
        _ => 0x70_0000,
    }
}

fn region(part: u8) -> Region {
    let start = VirtAddr::new(start_of(part));
    match part {
        HEAP_PART => Region::heap(start, 1, 6),
        STACK_PART => Region::stack(VirtAddr::new(0x80_0000), 1, 4),
        IMAGE_PART => Region::new(RegionKind::Data, start, 2, Protection::DATA)
            .from_backing(Backing::Image(SlotNumber(1))),
        _ => Region::new(RegionKind::Shared, start, 2, Protection::DATA),
    }
}

type Words = BTreeMap<u64, u64>;

/// What a process is to find.
#[derive(Clone, Debug)]
struct ModelProcess {
    space: SpaceId,
    parts: BTreeMap<u8, (Region, Words)>,
}

/// The system, and beside it what its processes wrote.
struct CheckedSystem<F: Format, const WAYS: usize, const STRUCTURES: usize> {
    system: Box<System<F, MAX_FRAMES, MAX_SLOTS>>,
    computer: Software<F, Vec<u8>, Vec<Event>, 64, WAYS, STRUCTURES>,
    processes: Vec<ModelProcess>,
    shared: Option<(ObjectId, Words)>,
}

impl<F: Format, const WAYS: usize, const STRUCTURES: usize> CheckedSystem<F, WAYS, STRUCTURES> {
    fn new() -> Self {
        Self::with_duties(Safeguards::all())
    }

    fn with_duties(duties: Safeguards) -> Self {
        let SpaceBench::<F> { system, computer } = SpaceBench::with_duties(FRAMES, duties);
        let store = computer.place(SlotNumber(0));
        let bytes = (0..store.get() + 0x1000 * MAX_SLOTS as u64).step_by(8);
        let bytes =
            bytes.flat_map(|at| computer.read_entry(PhysAddr::new(at), 8).unwrap().to_le_bytes());
        let bytes = bytes.collect::<Vec<_>>();
        let computer = Software::with_caches(bytes, store, Profile::default(), Vec::new());
        Self { system, computer, processes: Vec::new(), shared: None }
    }

    /// Everything that two MMUs are to agree on: the history, tables, frames and store.
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
        let process = |process: u8| (count > 0).then(|| usize::from(process) % count);
        let done = match operation {
            SpaceOperation::Create => self.create(),
            SpaceOperation::Reclaim => self.system.reclaim(&mut self.computer).map(drop),
            SpaceOperation::Read { process: number, .. }
            | SpaceOperation::Write { process: number, .. }
            | SpaceOperation::Grow { process: number }
            | SpaceOperation::Protect { process: number, .. }
            | SpaceOperation::Map { process: number, .. }
            | SpaceOperation::Unmap { process: number, .. }
            | SpaceOperation::Fork { process: number }
            | SpaceOperation::Destroy { process: number } => match process(number) {
                None => Ok(()),
                Some(process) => self.perform_for(process, operation),
            },
        };
        // Too little memory is no reason to lose anything: whoever asked goes without.
        assert!(
            matches!(done, Ok(()) | Err(SpaceError::OutOfFrames(_))),
            "{operation:?}: {done:?}"
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
        let space = self.processes[number].space;
        let start = |part| VirtAddr::new(start_of(part));
        match operation {
            SpaceOperation::Read { part, page, word, .. } => {
                self.access(number, part, page, word, None)?;
            }
            SpaceOperation::Write { part, page, word, value, .. } => {
                self.access(number, part, page, word, Some(value))?;
            }
            SpaceOperation::Grow { .. } => {
                let grown = self.system.grow(space, start(HEAP_PART), 1);
                if let (Ok(grown), Some((region, _))) =
                    (grown, self.processes[number].parts.get_mut(&HEAP_PART))
                {
                    *region = grown;
                }
            }
            SpaceOperation::Protect { part, writable, .. } => {
                if let Some((region, _)) = self.processes[number].parts.get_mut(&part) {
                    let new = if writable { Protection::DATA } else { Protection::CONSTANTS };
                    let last = region.end().wrapping_add(u64::MAX);
                    self.system.protect(&mut self.computer, space, last, new)?;
                    region.protection = new;
                }
            }
            SpaceOperation::Map { part, .. } => self.map(number, part)?,
            SpaceOperation::Unmap { part, .. } => {
                if let Some((region, _)) = self.processes[number].parts.remove(&part) {
                    let last = region.end().wrapping_add(u64::MAX);
                    self.system.unmap(&mut self.computer, space, last)?;
                    self.forget_shared();
                }
            }
            SpaceOperation::Fork { .. } if self.processes.len() < MAX_PROCESSES => {
                let child = self.system.fork(&mut self.computer, space)?;
                let parts = self.processes[number].parts.clone();
                self.processes.push(ModelProcess { space: child, parts });
            }
            SpaceOperation::Destroy { .. } => {
                self.processes.remove(number);
                self.system.destroy(&mut self.computer, space)?;
                self.forget_shared();
            }
            SpaceOperation::Fork { .. } | SpaceOperation::Create | SpaceOperation::Reclaim => {}
        }
        Ok(())
    }

    fn map(&mut self, number: usize, part: u8) -> Result<(), SpaceError> {
        let process = &mut self.processes[number];
        if process.parts.contains_key(&part) {
            return Ok(());
        }
        let mut region = region(part);
        if part == SHARED_PART {
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

    /// The object goes with the last who shows it.
    fn forget_shared(&mut self) {
        if self.processes.iter().all(|process| !process.parts.contains_key(&SHARED_PART)) {
            self.shared = None;
        }
    }

    /// A read, or a write of a value, with what is expected of it.
    fn access(
        &mut self,
        number: usize,
        part: u8,
        page: u8,
        word: u8,
        value: Option<u64>,
    ) -> Result<(), SpaceError> {
        let space = self.processes[number].space;
        let address = start_of(part) + 0x1000 * u64::from(page) + WORDS[usize::from(word)];
        let reached = self.reach(space, address, value.is_some())?;
        let shared = self.shared.as_mut();
        let known = self.processes[number].parts.get_mut(&part);
        let known = known.filter(|(region, _)| {
            let grows = region.kind == RegionKind::Stack;
            let first = if grows { region.reserved().0 } else { region.start.get() };
            (first..region.end().get()).contains(&address)
        });
        let Some((region, words)) = known else {
            // It may lie in the part that follows; otherwise nothing is there.
            return Ok(());
        };
        let is_protected = value.is_some() && !region.protection.contains(Protection::WRITE);
        if F::MODE == PagingMode::Linear {
            // Without rights only the first touch asks what is allowed.
            assert!(reached.is_some() || is_protected, "{address:#x} in {space}");
        } else {
            assert_eq!(reached.is_none(), is_protected, "{address:#x} in {space}");
        }
        if region.kind == RegionKind::Stack && address < region.start.get() {
            let mut regions = self.system.regions(space)?.iter();
            *region = *regions.find(|known| known.kind == RegionKind::Stack).unwrap();
        }
        let words = if part == SHARED_PART { &mut shared.unwrap().1 } else { words };
        match (reached, value) {
            (Some(at), Some(value)) => {
                self.computer.write_entry(at, 8, value).unwrap();
                words.insert(address, value);
            }
            (Some(at), None) => {
                let found = self.computer.read_entry(at, 8).unwrap();
                let image = 0xc0de_0001 + u64::from(page);
                let at_first = if part == IMAGE_PART { image } else { 0 };
                let expected = words.get(&address).copied().unwrap_or(at_first);
                assert_eq!(found, expected, "{address:#x} in {space}");
            }
            (None, _) => {}
        }
        Ok(())
    }

    /// The physical address that an access reaches in the end; `None` if it is not allowed.
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
        panic!("{address:#x} in {space} faults again and again");
    }
}

for_each_format! {
    nothing_is_lost
    nothing_is_lost_in_shorter_histories
}

/// Ten thousand operations, on an MMU with caches and on one without: the same history, and the same
/// bytes in every table, frame and slot.
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

/// Random operations that reach nothing would prove nothing.
fn assert_much_happened<F: Format>(history: &[Event]) {
    let count = |wanted: fn(&Event) -> bool| history.iter().filter(|event| wanted(event)).count();
    let decided = |event: &Event| match event {
        Event::Fault { decision, .. } => Some(*decision),
        _ => None,
    };
    let copies = history.iter().filter_map(decided);
    let copies = copies.filter(|decision| *decision == Decision::Minor(Minor::Copy)).count();
    let has_flags = F::MODE != PagingMode::Linear;
    for (happened, what) in [
        (count(|event| matches!(event, Event::Evicted { .. })), "taken"),
        (count(|event| matches!(event, Event::Evicted { written: Some(_), .. })), "written"),
        (
            count(|event| matches!(event, Event::Fault { decision: Decision::Major(_), .. })),
            "major faults",
        ),
        (if has_flags { copies } else { 100 }, "copied"),
    ] {
        assert!(happened >= 100, "{happened} {what}");
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

/// The property finds what it is there to find.
fn without(duty: Safeguards) {
    let operations = prop::collection::vec(operation(), OPERATIONS);
    let operations = operations.new_tree(&mut TestRunner::deterministic()).unwrap().current();
    CheckedSystem::<FourLevel, 4, 16>::with_duties(Safeguards::all() - duty).run(&operations);
}

#[test]
#[should_panic(expected = "StaleTranslation")]
fn a_forgotten_shoot_down_is_found() {
    without(Safeguards::SHOOT_DOWN);
}

#[test]
#[should_panic(expected = "left == right")]
fn a_forgotten_wipe_is_found() {
    without(Safeguards::WIPE);
}

#[test]
#[should_panic(expected = "WritableAndShared")]
fn a_forgotten_write_protection_is_found() {
    without(Safeguards::WRITE_PROTECT);
}
