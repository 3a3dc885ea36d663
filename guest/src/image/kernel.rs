//! The ring-3 kernel: takes a batch, writes its page tables, has its accesses made, says so; or takes an
//! order for the virtual memory system.

use crate::descriptors::PROBE_DATA;
use crate::self_test;
use crate::system::serve_request;
use core::arch::asm;
use core::arch::x86_64::{__cpuid_count, CpuidResult};
use crosswalk_guest::layout::{Arena, CONTROL};
use crosswalk_guest::mailbox::{CPUID_LEAVES, Control, Doorbell, Header};
use crosswalk_guest::system::layout::REQUEST;

unsafe extern "C" {
    /// Runs both lists of the batch whose header is at this address (boot.s).
    fn run_batch(header: u64);
    /// Tells the host something; it may change memory before this returns (boot.s).
    fn ring_doorbell(message: u64);
}

/// The first compiled code: entered once, from `boot`, in ring 3.
#[unsafe(no_mangle)]
extern "C" fn kernel() -> ! {
    let control = CONTROL as *mut Control;
    let mut completed = 0;
    // SAFETY: as in the loop below.
    unsafe {
        (&raw mut (*control).descriptor_limit).write_volatile(own_descriptor_limit());
        (&raw mut (*control).modes_walked).write_volatile(self_test::modes_walked());
        (&raw mut (*control).cpuid).write_volatile(CPUID_LEAVES.map(cpuid));
    }
    loop {
        // SAFETY: the control page is mapped, writable, aligned, and all its values are valid; the
        // host changes it only between the doorbell and its answer, and volatile sees that.
        let arena = unsafe {
            (&raw mut (*control).completed).write_volatile(completed);
            ring_doorbell(Doorbell::Completed as u64);
            while (&raw const (*control).command).read_volatile() == completed {
                core::hint::spin_loop();
            }
            completed = (&raw const (*control).command).read_volatile();
            (&raw const (*control).arena).read_volatile()
        };
        if arena == REQUEST {
            serve_request();
            continue;
        }
        let arena = if arena == Arena::ALL[0].base() { Arena::ALL[0] } else { Arena::ALL[1] };
        // SAFETY: the host has filled the arena's header, and waits.
        let tables = unsafe { (arena.base() as *const Header).read_volatile() }.tables;
        write_tables(arena, tables as usize);
        // SAFETY: the host has filled the arena; run_batch keeps the C calling convention.
        unsafe { run_batch(arena.base()) };
    }
}

/// Writes the first page tables of the arena from the host's copy. The guest must do this itself: a
/// hypervisor that shadows the tables sees the guest's writes, but not the host's.
fn write_tables(arena: Arena, count: usize) {
    for table in 0..count.min(Arena::TABLES) {
        let from = arena.table_image(table) as *const u64;
        let to = arena.table(table) as *mut u64;
        for slot in 0..512 {
            // SAFETY: both pages lie in the arena, which is mapped, writable and nobody else's.
            unsafe { to.add(slot).write_volatile(from.add(slot).read_volatile()) };
        }
    }
}

/// What CPUID says of a leaf and subleaf.
fn cpuid((leaf, subleaf): (u32, u32)) -> [u32; 4] {
    let CpuidResult { eax, ebx, ecx, edx } = __cpuid_count(leaf, subleaf);
    [eax, ebx, ecx, edx]
}

/// What the processor finds when ring 3 asks for the limit of a descriptor of the guest: an implicit
/// supervisor read of the descriptor table. `u64::MAX` when it finds no such descriptor.
fn own_descriptor_limit() -> u64 {
    let mut limit = u64::MAX;
    // SAFETY: LSL only reads a descriptor; without a fitting one it leaves its register alone.
    unsafe { asm!("lsl {0}, {1}", inout(reg) limit, in(reg) u64::from(PROBE_DATA)) };
    limit
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // SAFETY: keeps the C calling convention and has no precondition.
    unsafe { ring_doorbell(Doorbell::Panic as u64) };
    loop {
        core::hint::spin_loop();
    }
}
