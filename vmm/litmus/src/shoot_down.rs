//! The shoot-downs of a virtual memory system, run for real: what [`mmu_core::space`] does to tables and caches becomes
//! the program of one processor, while a process runs on another.
//!
//! A shoot-down drops what this processor has cached, interrupts the other one, which drops it, too, and waits until
//! it has said so. Without waiting, a frame is given away while the other processor still uses it.

use crate::outcome::{Observation, Observed};
use crate::places::{content, letter};
use crate::test::{Claim, Litmus};
use mmu_core::litmus::{Action, LitmusTest, Program};
use mmu_core::memory::{OutsideMemory, TableMemory, TableMemoryMut};
use mmu_core::space::{
    BackingStore, Event, EventSink, FrameMemory, PAGE_BYTES, Protection, Region, RegionKind,
    Safeguards, Settings, SlotNumber, SpaceError, SpaceId, System, TlbShootdown,
};
use mmu_core::x86::fault::PageFaultCode;
use mmu_core::x86::format::FourLevel;
use mmu_core::{ControlState, Fault, PhysAddr, Profile, Ring, VirtAddr};
use std::collections::{BTreeMap, BTreeSet};

/// The page of the process.
const PAGE: VirtAddr = VirtAddr::new(0x1000);
/// The system's frames, and the slots of its backing store, which no test uses.
const FIRST_FRAME: u64 = 0x18_0000;
const STORE: u64 = 0x1f_0000;
const FRAMES: usize = 16;
/// Where the other processor says that it has dropped what it had.
const ACKNOWLEDGED: PhysAddr = PhysAddr::new(0x17_0000);

type SmallSystem = System<FourLevel, FRAMES, 2>;

/// What a system does to memory and caches, as the actions of a processor.
#[derive(Default)]
struct Recorder {
    memory: BTreeMap<u64, u64>,
    /// Memory as it was when the recording began.
    before: BTreeMap<u64, u64>,
    is_recording: bool,
    waits: bool,
    /// The root of the space that runs.
    root: u64,
    actions: Vec<Action>,
    handler: Vec<Action>,
}

impl Recorder {
    fn perform(&mut self, action: Action) {
        if self.is_recording {
            self.actions.push(action);
        }
    }

    /// Drops something on both processors.
    fn shoot_down(&mut self, drop: Action) {
        if !self.is_recording {
            return;
        }
        self.handler = vec![drop, Action::Store(ACKNOWLEDGED, 1)];
        self.actions.extend([drop, Action::Interrupt(1)]);
        if self.waits {
            self.actions.push(Action::WaitFor(ACKNOWLEDGED, 1));
        }
    }

    fn begin(&mut self, waits: bool) {
        self.before = self.memory.clone();
        self.is_recording = true;
        self.waits = waits;
    }
}

impl TableMemory for Recorder {
    type Error = OutsideMemory;

    fn read_entry(&self, at: PhysAddr, _bytes: u8) -> Result<u64, OutsideMemory> {
        Ok(self.memory.get(&at.get()).copied().unwrap_or(0))
    }
}

impl TableMemoryMut for Recorder {
    fn write_entry(&mut self, at: PhysAddr, _bytes: u8, entry: u64) -> Result<(), OutsideMemory> {
        self.memory.insert(at.get(), entry);
        self.perform(Action::Store(at, entry));
        Ok(())
    }
}

impl FrameMemory for Recorder {
    /// Only words that are not 0 are wiped: the test knows no others.
    fn wipe(&mut self, frame: PhysAddr) -> Result<(), OutsideMemory> {
        let words = self.memory.range(frame.get()..frame.get() + PAGE_BYTES);
        let words: Vec<u64> = words.filter(|(_, word)| **word != 0).map(|(at, _)| *at).collect();
        words.into_iter().try_for_each(|at| self.write_entry(PhysAddr::new(at), 8, 0))
    }
}

impl BackingStore for Recorder {
    fn place(&self, slot: SlotNumber) -> PhysAddr {
        PhysAddr::new(STORE + PAGE_BYTES * u64::from(slot.0))
    }
}

impl TlbShootdown for Recorder {
    fn flush_page(&mut self, _space: SpaceId, page: VirtAddr) {
        self.shoot_down(Action::Invlpg(page));
    }

    fn flush_space(&mut self, _space: SpaceId) {
        self.shoot_down(Action::WriteCr3(self.root));
    }

    fn root_changed(&mut self, _space: SpaceId) {}
}

impl EventSink for Recorder {
    fn record(&mut self, _event: Event) {}
}

/// A system with one process, whose page is there and contains `a`.
fn start(recorder: &mut Recorder) -> Result<(SmallSystem, SpaceId, PhysAddr), SpaceError> {
    let mut system = SmallSystem::new(Settings {
        first_frame: PhysAddr::new(FIRST_FRAME),
        frames: FRAMES,
        slots: 2,
        images: 0,
        execute_disable: true,
        safeguards: Safeguards::all(),
    })?;
    let space = system.create(recorder)?;
    recorder.root = system.root(space)?.get();
    touch(&mut system, recorder, space)?;

    let frame = frame_of_page(&system, recorder, space)?;
    recorder.memory.insert(frame.get(), content('a'));
    Ok((system, space, frame))
}

/// Lets a process have a page, and write to it for the first time.
fn touch(
    system: &mut SmallSystem,
    recorder: &mut Recorder,
    space: SpaceId,
) -> Result<(), SpaceError> {
    system.map(recorder, space, Region::new(RegionKind::Data, PAGE, 1, Protection::DATA))?;
    let code = PageFaultCode::W | PageFaultCode::U;
    system.fault(recorder, space, &Fault::page_fault(code, PAGE))?;
    Ok(())
}

/// The frame of the page of a process.
fn frame_of_page(
    system: &SmallSystem,
    recorder: &Recorder,
    space: SpaceId,
) -> Result<PhysAddr, SpaceError> {
    use mmu_core::x86::format::EntryBits;
    let path = system.path(recorder, space, PAGE)?;
    let leaf = path.last().map_or(Ok(0), |at| recorder.read_entry(at, 8))?;
    Ok(PhysAddr::new(leaf & EntryBits::ADDRESS))
}

/// A process unmaps its page, and another process gets the frame and writes `d`. The first process also runs on the
/// second processor: it may read what it had, or fault, and never what the other one wrote.
///
/// # Errors
/// None, with the system as it is: it has frames enough.
pub fn unmap(waits: bool) -> Result<Litmus, SpaceError> {
    let mut recorder = Recorder::default();
    let (mut system, space, frame) = start(&mut recorder)?;
    let other = system.create(&mut recorder)?;

    recorder.begin(waits);
    system.unmap(&mut recorder, space, PAGE)?;
    touch(&mut system, &mut recorder, other)?;
    recorder.perform(Action::Store(frame, content('d')));

    let name = if waits { "space-unmap" } else { "space-unmap-no-wait" };
    let about = if waits {
        "A page is unmapped and its frame given to another process, by the system of `scenario`."
    } else {
        "The same without waiting for the other processor: it reads what belongs to the other process."
    };
    let process = [Action::Read(PAGE), Action::Read(PAGE)];
    let observed = vec![Observed::Not, Observed::Content];
    // The other process makes a table of the frame first.
    let allowed: &[&str] = if waits { &["a", "np"] } else { &["0x0", "0x186007", "a", "d", "np"] };
    Ok(test(recorder, (name, about), &process, [Vec::new(), observed], allowed))
}

/// A process forks, and its child looks at the page twice. The parent also writes on the second processor: the child sees
/// that both times or not at all.
///
/// # Errors
/// None, with the system as it is: it has frames enough.
pub fn fork(waits: bool) -> Result<Litmus, SpaceError> {
    let mut recorder = Recorder::default();
    let (mut system, space, frame) = start(&mut recorder)?;

    recorder.begin(waits);
    system.fork(&mut recorder, space)?;
    recorder.perform(Action::Load(frame));
    recorder.perform(Action::Load(frame));

    let name = if waits { "space-fork" } else { "space-fork-no-wait" };
    let about = if waits {
        "A process forks while it writes on another processor; its child reads the page twice."
    } else {
        "The same without waiting for the other processor: the child sees the page change."
    };
    let process = [Action::Write(PAGE, content('w'))];
    let child = vec![Observed::Content; 2];
    let allowed: &[&str] =
        if waits { &["a a pf", "w w ok"] } else { &["a a ok", "a a pf", "a w ok", "w w ok"] };
    Ok(test(recorder, (name, about), &process, [child, vec![Observed::Content]], allowed))
}

/// Every test of this kind.
///
/// # Errors
/// Those of the system.
pub fn all() -> Result<Vec<Litmus>, SpaceError> {
    [unmap(true), unmap(false), fork(true), fork(false)].into_iter().collect()
}

/// What was recorded, against a process.
fn test(
    recorder: Recorder,
    (name, about): (&str, &str),
    process: &[Action],
    results: [Vec<Observed>; 2],
    allowed: &[&str],
) -> Litmus {
    let Recorder { mut before, actions, handler, root, .. } = recorder;
    before.entry(ACKNOWLEDGED.get()).or_insert(0);
    for action in &actions {
        if let Action::Store(at, _) | Action::Load(at) = action {
            before.entry(at.get()).or_insert(0);
        }
    }
    let memory: Vec<(PhysAddr, u64)> =
        before.into_iter().map(|(at, word)| (PhysAddr::new(at), word)).collect();

    let words = |actions: &[Action]| actions.iter().map(words).collect::<Vec<String>>();
    let columns = vec![words(&actions), words(process)];
    let handlers = vec![Vec::new(), words(&handler)];
    let programs = vec![
        Program { actions, ..Program::default() },
        Program { actions: process.to_vec(), handler },
    ];
    let claim = Claim {
        choices: BTreeSet::new(),
        outcomes: allowed.iter().map(|outcome| (*outcome).into()).collect(),
    };
    Litmus {
        name: name.into(),
        about: about.into(),
        columns,
        handlers,
        setting: vec![format!("mmu_core::space, page {PAGE}, root {root:#x}")],
        claims: vec![claim],
        model: LitmusTest {
            memory,
            state: ControlState::four_level(root),
            profile: Profile::default(),
            ring: Ring::Three,
            programs,
            observed: Vec::new(),
        },
        observation: Observation { results: results.into(), entries: Vec::new() },
    }
}

/// An action in words.
fn words(action: &Action) -> String {
    let word = |value: u64| letter(value).map_or_else(|| format!("{value:#x}"), String::from);
    match action {
        Action::Store(ACKNOWLEDGED, value) => format!("ack = {value}"),
        Action::WaitFor(_, value) => format!("wait ack = {value}"),
        Action::Store(at, value) => format!("[{at}] = {}", word(*value)),
        Action::Load(at) => format!("load [{at}]"),
        Action::Read(_) => "read page".into(),
        Action::Write(_, value) => format!("write page = {}", word(*value)),
        Action::Invlpg(_) => "invlpg page".into(),
        Action::WriteCr3(_) => "cr3 root".into(),
        Action::Interrupt(other) => format!("interrupt P{other}"),
        other => format!("{other:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_for_the_other_processor_is_what_keeps_processes_apart() {
        for test in all().unwrap() {
            let judged = test.judge().unwrap();
            let plain = judged.by_choices().remove(&BTreeSet::new()).unwrap_or_default();
            assert_eq!(plain, test.claims[0].outcomes, "{}", test.name);
        }
    }
}
