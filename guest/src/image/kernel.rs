//! The ring-3 kernel. It takes a batch, writes its page tables and has its accesses made, or takes
//! a request for the virtual memory system, and reports completion.

use crate::descriptors::PROBE_DATA;
use crate::{nested, player, self_test, system};
use core::arch::asm;
use core::arch::x86_64::{__cpuid_count, CpuidResult};
use crosswalk_guest::layout::{Arena, CONTROL};
use crosswalk_guest::mailbox::{CPUID_LEAVES, Control, Doorbell, Header};
use crosswalk_guest::system::layout::REQUEST;
use crosswalk_guest::table_windows::TablePlace;

unsafe extern "C" {
    /// Runs both lists of the batch whose header is at this address (boot.s).
    fn run_batch(header: u64);
    /// Sends a message to the host, which may change memory before this returns (boot.s).
    fn ring_doorbell(message: u64);
}

const CONTROL_PAGE: *mut Control = CONTROL as *mut Control;

/// The first compiled code. `boot` enters it once, in ring 3.
#[unsafe(no_mangle)]
extern "C" fn kernel() -> ! {
    report_processor();

    // SAFETY: the control page is mapped, aligned, and every bit pattern is a valid `Control`.
    let tape = unsafe { (&raw const (*CONTROL_PAGE).tape).read_volatile() };
    if tape != 0 {
        player::play(tape, run_batch_at);
    }
    serve(run_batch_at)
}

/// Serves commands for ever. Batches are run by this function, which gets the address of the arena.
pub(crate) fn serve(run: impl Fn(u64)) -> ! {
    let mut completed = 0;
    loop {
        let place = next_command(&mut completed);

        if place == REQUEST {
            system::serve();
        } else {
            run(place);
        }
    }
}

/// Writes what the guest reports once, at boot, into the control page.
pub(crate) fn report_processor() {
    // SAFETY: the control page is mapped, writable, aligned, and used by no one else before the
    // first doorbell.
    unsafe {
        (&raw mut (*CONTROL_PAGE).descriptor_limit).write_volatile(own_descriptor_limit());
        (&raw mut (*CONTROL_PAGE).modes_walked).write_volatile(self_test::modes_walked());
        (&raw mut (*CONTROL_PAGE).cpuid).write_volatile(CPUID_LEAVES.map(cpuid));
    }
}

/// Reports a command as completed and waits for the next. Returns the address that it names, and updates
/// `completed` to its number.
fn next_command(completed: &mut u64) -> u64 {
    // SAFETY: the control page is mapped, writable, aligned, and every bit pattern is a valid
    // `Control`. The host may change it until the new command has been read, which volatile
    // accesses allow. `ring_doorbell` keeps the C calling convention.
    unsafe {
        (&raw mut (*CONTROL_PAGE).completed).write_volatile(*completed);
        ring_doorbell(Doorbell::Completed as u64);

        while (&raw const (*CONTROL_PAGE).command).read_volatile() == *completed {
            core::hint::spin_loop();
        }

        *completed = completed.wrapping_add(1);
        let places = &raw const (*CONTROL_PAGE).places;
        places.cast::<u64>().add(Control::place_of(*completed)).read_volatile()
    }
}

/// Runs the batch in the arena at an address.
pub(crate) fn run_batch_at(place: u64) {
    let [first, second] = Arena::ALL;
    let arena = if place == first.base() { first } else { second };

    // SAFETY: the arena is mapped and aligned, every bit pattern is a valid `Header`, and the host,
    // which filled it in, does not change it during the batch.
    let header = unsafe { (arena.base() as *const Header).read_volatile() };
    write_tables(arena, &header);
    nested::prepare(arena, &header);

    // SAFETY: the host has filled in the arena. `run_batch` keeps the C calling convention and
    // restores the kernel's control state.
    unsafe { run_batch(arena.base()) };
}

/// Writes the page tables of the batch from the host's copies. The guest must do this itself: a
/// hypervisor that shadows the tables intercepts the guest's writes, but not the host's.
fn write_tables(arena: Arena, header: &Header) {
    for (image, word) in header.table_places.iter().enumerate().take(header.tables as usize) {
        let Some(place) = TablePlace::of_word(*word) else { continue };
        let from = arena.table_image(image) as *const u64;
        let to = place.linear(arena) as *mut u64;

        for word in 0..512 {
            // SAFETY: both pages are mapped, writable, aligned, and in the arena or a window, to which
            // the kernel has no references; `word` stays within a page.
            unsafe { to.add(word).write_volatile(from.add(word).read_volatile()) };
        }
    }
}

/// EAX, EBX, ECX and EDX of CPUID for a leaf and subleaf.
fn cpuid((leaf, subleaf): (u32, u32)) -> [u32; 4] {
    let CpuidResult { eax, ebx, ecx, edx } = __cpuid_count(leaf, subleaf);
    [eax, ebx, ecx, edx]
}

/// The limit that LSL finds in a descriptor of the guest: an implicit supervisor read of the
/// descriptor table. `u64::MAX` if it finds no such descriptor.
fn own_descriptor_limit() -> u64 {
    let mut limit = u64::MAX;
    // SAFETY: LSL only reads a descriptor, and leaves its register unchanged if there is none.
    unsafe { asm!("lsl {0}, {1}", inout(reg) limit, in(reg) u64::from(PROBE_DATA)) };
    limit
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // SAFETY: `ring_doorbell` keeps the C calling convention and has no precondition.
    unsafe { ring_doorbell(Doorbell::Panic as u64) };

    loop {
        core::hint::spin_loop();
    }
}
