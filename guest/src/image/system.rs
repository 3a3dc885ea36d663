//! The kernel of the virtual memory system: carries out the orders of the host, and serves the faults
//! of the processes that it runs.

use crate::process::{ProcessRegisters, ProcessorMode, Trap};
use core::cell::UnsafeCell;
use crosswalk_guest::layout::{LOW_MEMORY_END, OWN_TABLES};
use crosswalk_guest::system::layout::{
    ACCOUNTING, FRAMES, HISTORY, LEFT_BEHIND, MAX_EVENTS, MAX_FRAMES, RESPONSE,
};
use crosswalk_guest::system::layout::{MAX_SLOTS, REQUEST, STORE};
use crosswalk_guest::system::program::{Call, image_word};
use crosswalk_guest::system::{
    Completion, Ending, MAX_RUNS, ProgramRun, Request, Residence, Response, ScriptMismatch, execute,
};
use crosswalk_guest::system::{accounting, history};
use mmu_core::memory::{OutsideMemory, TableMemory, TableMemoryMut};
use mmu_core::space::{
    BackingStore, Decision, Event, EventSink, FrameMemory, PAGE_BYTES, SlotNumber, SpaceError,
    SpaceId, System, TlbShootdown,
};
use mmu_core::x86::format::{Bits32, FiveLevel, Format, FourLevel, Pae};
use mmu_core::{Fault, PagingMode, PhysAddr, Vector, VirtAddr};

/// An access that faults so often at one place never ends.
const MAX_FAULTS: u32 = 8;

type Of<F> = System<F, MAX_FRAMES, MAX_SLOTS>;

/// The system, in the format of its processes.
enum Any {
    None,
    Bits32(Of<Bits32>),
    Pae(Of<Pae>),
    FourLevel(Of<FourLevel>),
    FiveLevel(Of<FiveLevel>),
}

/// All that the kernel keeps from one order to the next.
struct Kernel {
    system: Any,
    processor: ProcessorMode,
}

/// The only one. There is one processor, and no interrupt.
struct Only(UnsafeCell<Kernel>);

// SAFETY: the guest has one processor, and nothing interrupts the kernel.
unsafe impl Sync for Only {}

static KERNEL: Only = Only(UnsafeCell::new(Kernel {
    system: Any::None,
    processor: ProcessorMode {
        mode: PagingMode::FourLevel,
        residence: Residence::Separate,
        execute_disable: false,
    },
}));

/// Carries out the order that lies at its place, and leaves the answer at its own.
pub(crate) fn serve_request() {
    // SAFETY: this is called by the kernel's loop alone, and not from within.
    let kernel = unsafe { &mut *KERNEL.0.get() };
    // SAFETY: the host has written the order and waits; every bit pattern is a value.
    let words = unsafe { (REQUEST as *const [u64; 24]).read_volatile() };
    let mut machine = ImageEnvironment { residence: kernel.processor.residence, events: 0 };
    let mut answer = Response::EMPTY;
    match Request::from_words(&words) {
        // The host knows every order that it writes; no answer is none.
        None => {}
        Some(order) if order.settings().is_some() => {
            answer.carried = Response::words_of(&kernel.begin(&mut machine, &order));
        }
        Some(order) => {
            let processor = kernel.processor;
            match &mut kernel.system {
                Any::None => {}
                Any::Bits32(system) => serve(system, &mut machine, processor, &order, &mut answer),
                Any::Pae(system) => serve(system, &mut machine, processor, &order, &mut answer),
                Any::FourLevel(system) => {
                    serve(system, &mut machine, processor, &order, &mut answer);
                }
                Any::FiveLevel(system) => {
                    serve(system, &mut machine, processor, &order, &mut answer);
                }
            }
        }
    }
    answer.event_count = machine.events;
    // SAFETY: the place is the kernel's to write, mapped and aligned.
    unsafe { (RESPONSE as *mut Response).write_volatile(answer) };
}

impl Kernel {
    fn begin(
        &mut self,
        machine: &mut ImageEnvironment,
        order: &Request,
    ) -> Result<Completion, SpaceError> {
        let (Request::Begin { mode, residence, execute_disable, .. }, Some(settings)) =
            (*order, order.settings())
        else {
            return Ok(Completion::Done);
        };
        ProcessorMode::move_to(PhysAddr::new(OWN_TABLES));
        self.processor = ProcessorMode { mode, residence, execute_disable };
        self.processor.take_over();
        machine.residence = residence;
        for at in (FRAMES.get()..STORE.get()).step_by(8) {
            machine.write_entry(PhysAddr::new(at), 8, LEFT_BEHIND)?;
        }
        for slot in 0..MAX_SLOTS as u32 {
            for offset in (0..PAGE_BYTES).step_by(8) {
                let word = if slot < settings.images { image_word(slot, offset) } else { 0 };
                machine.write_entry(machine.place(SlotNumber(slot)) + offset, 8, word)?;
            }
        }
        self.system = match mode {
            PagingMode::Bits32 => Any::Bits32(started(System::new(settings)?)),
            PagingMode::Pae => Any::Pae(started(System::new(settings)?)),
            PagingMode::FiveLevel => Any::FiveLevel(started(System::new(settings)?)),
            _ => Any::FourLevel(started(System::new(settings)?)),
        };
        Ok(Completion::Done)
    }
}

/// The same system, with its books written.
fn started<F: Format>(system: Of<F>) -> Of<F> {
    write_books(&system);
    system
}

fn write_books<F: Format>(system: &Of<F>) {
    let books = accounting::of(system, FRAMES);
    // SAFETY: the place is the kernel's to write, mapped and aligned.
    unsafe { (ACCOUNTING as *mut accounting::Accounting).write_volatile(books) };
}

/// Carries out an order, and writes the books.
fn serve<F: Format>(
    system: &mut Of<F>,
    machine: &mut ImageEnvironment,
    processor: ProcessorMode,
    order: &Request,
    answer: &mut Response,
) {
    let carried = match order {
        Request::Run(runs) => {
            run_in_turn(system, machine, processor, runs, answer);
            Ok(Completion::Done)
        }
        other => {
            if matches!(other, Request::Destroy(_)) {
                // These tables always map the kernel.
                ProcessorMode::move_to(PhysAddr::new(OWN_TABLES));
            }
            execute(system, machine, processor.residence, other)
        }
    };
    answer.carried = Response::words_of(&carried);
    write_books(system);
}

/// Runs every program to its end: round robin, and whoever yields lets the next go on.
fn run_in_turn<F: Format>(
    system: &mut Of<F>,
    machine: &mut ImageEnvironment,
    processor: ProcessorMode,
    runs: &[Option<ProgramRun>; MAX_RUNS],
    answer: &mut Response,
) {
    let start = |run: ProgramRun| (run.space, processor.start(run.program, run.arguments));
    let mut waiting = runs.map(|run| run.map(start));
    while waiting.iter().any(Option::is_some) {
        for (place, ending) in waiting.iter_mut().zip(&mut answer.endings) {
            let Some((space, registers)) = place else { continue };
            let mut wrong = |wrong| {
                if let Some(place) = answer.wrongs.get_mut(answer.wrong_count as usize) {
                    *place = wrong;
                }
                answer.wrong_count += 1;
            };
            let turn = take_turn(system, machine, processor, *space, registers, &mut wrong);
            if let Some(ended) = turn {
                *ending = ended.words();
                *place = None;
            }
        }
    }
}

/// Runs a process until it yields (`None`) or ends.
fn take_turn<F: Format>(
    system: &mut Of<F>,
    machine: &mut ImageEnvironment,
    processor: ProcessorMode,
    space: SpaceId,
    registers: &mut ProcessRegisters,
    wrong: &mut impl FnMut(ScriptMismatch),
) -> Option<Ending> {
    let (mut last, mut repeated) = (None, 0);
    loop {
        let root = match system.root(space) {
            Ok(root) => root,
            Err(error) => return Some(Ending::Refused(error)),
        };
        let trap = processor.run(root, registers);
        if let Some((call, [address, low, high])) = registers.call(&trap) {
            registers.step_over();
            if call == Call::Mismatch as u64 {
                let found = low & 0xffff_ffff | high << 32;
                wrong(ScriptMismatch { space: space.0.into(), address, found });
                continue;
            }
            return if call == Call::Yield as u64 { None } else { Some(Ending::Exited) };
        }
        let Some(fault) = fault_of(&trap) else {
            return Some(Ending::Exception(trap.vector as u8));
        };
        repeated = if last == Some((trap.at, fault)) { repeated + 1 } else { 1 };
        last = Some((trap.at, fault));
        match system.fault(machine, space, &fault) {
            Ok(Decision::Invalid(invalid)) => return Some(Ending::Invalid(invalid)),
            Ok(_) if repeated >= MAX_FAULTS => return Some(Ending::Endless),
            Ok(_) => {}
            Err(error) => return Some(Ending::Refused(error)),
        }
    }
}

/// The fault that the system is told of; `None` for exceptions that no address causes.
fn fault_of(trap: &Trap) -> Option<Fault> {
    let vector = Vector::from_number(trap.vector as u8)?;
    let cr2 = (vector == Vector::PageFault).then(|| VirtAddr::new(trap.cr2));
    Some(Fault { vector, error_code: trap.error_code as u32, cr2 })
}

/// The machine that the kernel runs on: memory where its user addresses are, and the real caches.
struct ImageEnvironment {
    residence: Residence,
    events: u64,
}

impl ImageEnvironment {
    /// Where an entry of this many bytes lies, if it is in the memory that tables may be in.
    fn pointer(at: PhysAddr, bytes: u8) -> Result<*mut u64, OutsideMemory> {
        let is_inside = at.get() >= OWN_TABLES && at.get() + u64::from(bytes) <= LOW_MEMORY_END;
        if is_inside && at.get().is_multiple_of(bytes.into()) {
            Ok(at.get() as *mut u64)
        } else {
            Err(OutsideMemory(at))
        }
    }

    /// Whether the kernel is in the space of whoever ran last. Only that one is cached.
    fn lives_in_processes(&self) -> bool {
        self.residence == Residence::InProcess
    }
}

impl TableMemory for ImageEnvironment {
    fn read_entry(&self, at: PhysAddr, bytes: u8) -> Result<u64, OutsideMemory> {
        let pointer = Self::pointer(at, bytes)?;
        // SAFETY: mapped and aligned. The processor sets A and D there while a process runs, which
        // volatile sees.
        Ok(unsafe {
            if bytes == 4 {
                pointer.cast::<u32>().read_volatile().into()
            } else {
                pointer.read_volatile()
            }
        })
    }
}

impl TableMemoryMut for ImageEnvironment {
    fn write_entry(&mut self, at: PhysAddr, bytes: u8, new: u64) -> Result<(), OutsideMemory> {
        let pointer = Self::pointer(at, bytes)?;
        // SAFETY: as above; the kernel's own tables are never written, as no frame lies there.
        unsafe {
            if bytes == 4 {
                pointer.cast::<u32>().write_volatile(new as u32);
            } else {
                pointer.write_volatile(new);
            }
        }
        Ok(())
    }
}

impl FrameMemory for ImageEnvironment {}

impl BackingStore for ImageEnvironment {
    fn place(&self, slot: SlotNumber) -> PhysAddr {
        STORE + slot.offset()
    }
}

/// In a space of its own the kernel has nothing to forget: the way back to any process is a MOV to CR3
/// (TLB-4).
impl TlbShootdown for ImageEnvironment {
    fn flush_page(&mut self, _space: SpaceId, page: VirtAddr) {
        if self.lives_in_processes() {
            ProcessorMode::forget(page);
        }
    }

    fn flush_space(&mut self, _space: SpaceId) {
        if self.lives_in_processes() {
            ProcessorMode::move_to(PhysAddr::new(OWN_TABLES));
        }
    }

    fn root_changed(&mut self, _space: SpaceId) {
        // PAE's PDPTEs are loaded with paging, whenever a process is entered (PDPTE-1).
    }
}

impl EventSink for ImageEnvironment {
    fn record(&mut self, event: Event) {
        if (self.events as usize) < MAX_EVENTS {
            let place = HISTORY as *mut [u64; history::WORDS];
            // SAFETY: below MAX_EVENTS all places are the kernel's to write.
            unsafe { place.add(self.events as usize).write_volatile(history::to_words(&event)) };
        }
        self.events += 1;
    }
}
