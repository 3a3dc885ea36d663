//! The kernel of the virtual memory system, which serves the host's requests.

use crate::environment::ImageEnvironment;
use crate::process::ProcessorMode;
use crate::scheduler::{KernelSystem, run_in_turn};
use core::cell::UnsafeCell;
use crosswalk_guest::system::accounting::{self, Accounting};
use crosswalk_guest::system::layout::{
    ACCOUNTING, FRAMES, LEFT_BEHIND, MAX_SLOTS, REQUEST, RESPONSE, STORE,
};
use crosswalk_guest::system::program::image_word;
use crosswalk_guest::system::{Completion, Request, Residence, Response, execute};
use mmu_core::memory::TableMemoryMut;
use mmu_core::space::{BackingStore, PAGE_BYTES, Settings, SlotNumber, SpaceError, System};
use mmu_core::x86::format::{Bits32, FiveLevel, Format, FourLevel, Pae};
use mmu_core::{PagingMode, PhysAddr};

/// The system, in the format of its processes.
enum AnySystem {
    None,
    Bits32(KernelSystem<Bits32>),
    Pae(KernelSystem<Pae>),
    FourLevel(KernelSystem<FourLevel>),
    FiveLevel(KernelSystem<FiveLevel>),
}

/// Everything that the kernel keeps from one request to the next.
struct Kernel {
    system: AnySystem,
    processor: ProcessorMode,
}

/// A cell for the only kernel.
struct KernelCell(UnsafeCell<Kernel>);

// SAFETY: the guest has one processor, and nothing interrupts the kernel, so all accesses come from
// one thread.
unsafe impl Sync for KernelCell {}

static KERNEL: KernelCell = KernelCell(UnsafeCell::new(Kernel {
    system: AnySystem::None,
    processor: ProcessorMode {
        mode: PagingMode::FourLevel,
        residence: Residence::Separate,
        execute_disable: false,
    },
}));

/// Serves the request at [`REQUEST`], and writes the response to [`RESPONSE`].
pub(crate) fn serve() {
    // SAFETY: only the kernel's loop calls this function, and it does not call itself, so this is
    // the only reference to the kernel.
    let kernel = unsafe { &mut *KERNEL.0.get() };
    // SAFETY: the address is mapped and aligned, every bit pattern is a valid value, and the host,
    // which wrote the request, waits for the response.
    let words = unsafe { (REQUEST as *const [u64; Request::WORDS]).read_volatile() };

    let mut environment = ImageEnvironment { residence: kernel.processor.residence, events: 0 };
    let mut response = Response::EMPTY;
    // The host writes valid requests only. To any other the response stays empty.
    if let Some(request) = Request::from_words(&words) {
        kernel.handle(&mut environment, &request, &mut response);
    }
    response.event_count = environment.events;

    // SAFETY: the address is mapped, writable and aligned, and no reference to it exists.
    unsafe { (RESPONSE as *mut Response).write_volatile(response) };
}

impl Kernel {
    fn handle(
        &mut self,
        environment: &mut ImageEnvironment,
        request: &Request,
        response: &mut Response,
    ) {
        if let Some(settings) = request.settings() {
            let result = self.begin(environment, request, settings);
            response.completion = Response::completion_words(&result);
            return;
        }

        let processor = self.processor;
        match &mut self.system {
            AnySystem::None => {}
            AnySystem::Bits32(system) => {
                handle_in(system, environment, processor, request, response);
            }
            AnySystem::Pae(system) => {
                handle_in(system, environment, processor, request, response);
            }
            AnySystem::FourLevel(system) => {
                handle_in(system, environment, processor, request, response);
            }
            AnySystem::FiveLevel(system) => {
                handle_in(system, environment, processor, request, response);
            }
        }
    }

    /// Starts a system as [`Request::Begin`] asks for it.
    fn begin(
        &mut self,
        environment: &mut ImageEnvironment,
        request: &Request,
        settings: Settings,
    ) -> Result<Completion, SpaceError> {
        let Request::Begin { mode, residence, execute_disable, .. } = *request else {
            return Ok(Completion::Done);
        };

        ProcessorMode::load_own_tables();
        self.processor = ProcessorMode { mode, residence, execute_disable };
        self.processor.take_over();
        environment.residence = residence;
        fill_memory(environment, settings.images)?;

        self.system = match mode {
            PagingMode::Bits32 => AnySystem::Bits32(started(System::new(settings)?)),
            PagingMode::Pae => AnySystem::Pae(started(System::new(settings)?)),
            PagingMode::FiveLevel => AnySystem::FiveLevel(started(System::new(settings)?)),
            _ => AnySystem::FourLevel(started(System::new(settings)?)),
        };
        Ok(Completion::Done)
    }
}

/// Fills frames with [`LEFT_BEHIND`], the first `images` slots with images, and the other slots
/// with zeros.
fn fill_memory(environment: &mut ImageEnvironment, images: u32) -> Result<(), SpaceError> {
    for at in (FRAMES.get()..STORE.get()).step_by(8) {
        environment.write_entry(PhysAddr::new(at), 8, LEFT_BEHIND)?;
    }

    for slot in 0..MAX_SLOTS as u32 {
        let place = environment.place(SlotNumber(slot));
        for offset in (0..PAGE_BYTES).step_by(8) {
            let word = if slot < images { image_word(slot, offset) } else { 0 };
            environment.write_entry(place + offset, 8, word)?;
        }
    }

    Ok(())
}

/// Executes a request on the system, enters the processes of [`Request::Run`], and writes the
/// accounting.
fn handle_in<F: Format>(
    system: &mut KernelSystem<F>,
    environment: &mut ImageEnvironment,
    processor: ProcessorMode,
    request: &Request,
    response: &mut Response,
) {
    match request {
        Request::Run(runs) => run_in_turn(system, environment, processor, runs, response),
        // The kernel leaves the tables that are about to be freed for its own, which always map it.
        Request::Destroy(_) => ProcessorMode::load_own_tables(),
        _ => {}
    }

    let result = execute(system, environment, processor.residence, request);
    response.completion = Response::completion_words(&result);
    write_accounting(system);
}

/// A new system, after its accounting has been written.
fn started<F: Format>(system: KernelSystem<F>) -> KernelSystem<F> {
    write_accounting(&system);
    system
}

fn write_accounting<F: Format>(system: &KernelSystem<F>) {
    let accounting = accounting::of(system, FRAMES);
    // SAFETY: the address is mapped, writable and aligned, and no reference to it exists.
    unsafe { (ACCOUNTING as *mut Accounting).write_volatile(accounting) };
}
