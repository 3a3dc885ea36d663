//! Where the parts of the harness are. What a test has of its own is below 2 MiB, except for frames of
//! 2 MiB, and is mapped at the bottom of the linear addresses; the harness maps all memory twice more.

use mmu_core::Ring;

/// Size of the guest's memory in bytes.
pub(super) const MEMORY_SIZE: u64 = 64 << 20;

/// Where all memory is mapped for ring 3, in every tree of a test: the second entry of each root.
pub(super) const WINDOW_3: u64 = WINDOW_3_SLOT << 39;
/// The number of that entry.
pub(super) const WINDOW_3_SLOT: u64 = 1;
/// Where all memory is mapped for ring 0: pages of the supervisor, which SMEP and SMAP do not deny it.
pub(super) const WINDOW_0: u64 = WINDOW_0_SLOT << 39;
/// The number of that entry.
pub(super) const WINDOW_0_SLOT: u64 = 2;

/// Where a ring sees physical address 0.
pub(super) const fn window(ring: Ring) -> u64 {
    match ring {
        Ring::Zero => WINDOW_0,
        Ring::Three => WINDOW_3,
    }
}

/// Real-mode code for the second processor, which starts here: the vector of the startup interrupt, times a page.
pub(super) const TRAMPOLINE: u64 = 0x5000;
/// The descriptor of the GDT for that code.
pub(super) const TRAMPOLINE_GDT: u64 = 0x5800;

/// The tables that the reset ROM turns on: all memory at its physical address, and at the ROM's window.
pub(super) const BOOT_TABLES: u64 = 0x20_0000;
/// The tables of the windows.
pub(super) const WINDOW_TABLES: u64 = 0x30_0000;
/// The global and the interrupt descriptors, and a task state for each processor.
pub(super) const GDT: u64 = 0x31_0000;
pub(super) const IDT: u64 = 0x31_1000;
pub(super) const TASKS: u64 = 0x31_2000;
pub(super) const TASK_SIZE: u64 = 0x100;
/// The end of each processor's stack for ring 0.
pub(super) const STACKS: u64 = 0x32_0000;
pub(super) const STACK_SIZE: u64 = 0x1000;
/// Code of ring 0.
pub(super) const CODE: u64 = 0x33_0000;
/// Each processor's program.
pub(super) const PROGRAMS: u64 = 0x34_0000;
pub(super) const PROGRAM_SIZE: u64 = 0x1_0000;
/// The actions of each program that ring 0 makes, in tests of ring 0.
pub(super) const ACTIONS: u64 = 0x36_0000;
pub(super) const ACTIONS_SIZE: u64 = 0x1_0000;
/// What processors tell each other and the host.
pub(super) const CONTROL: u64 = 0x38_0000;
/// Each processor's delays, 4 bytes an iteration.
pub(super) const DELAYS: u64 = 0x40_0000;
pub(super) const DELAYS_SIZE: u64 = 0x10_0000;
/// Each processor's results.
pub(super) const RESULTS: u64 = 0x200_0000;
pub(super) const RESULTS_SIZE: u64 = 0x100_0000;

/// Size of the results of one iteration.
pub(super) const RECORD_SIZE: u64 = 0x100;
/// Of each result: its value, and then the error code of a fault.
pub(super) const RESULT_SIZE: u64 = 16;
/// Number of results in a record. The last ones are observed words of memory.
pub(super) const SLOTS: usize = (RECORD_SIZE / RESULT_SIZE) as usize;
/// Number of results that are observed words.
pub(super) const OBSERVED_SLOTS: usize = 4;
/// The most iterations for which there is room.
pub(super) const MAX_ITERATIONS: u32 = (RESULTS_SIZE / RECORD_SIZE) as u32;

/// The processors' local APICs.
pub(super) const APIC: u64 = 0xfee0_0000;

/// The vector of interrupts that processors send each other.
pub(super) const INTERRUPT: u8 = 0x40;

/// The port to which a processor writes that has finished. Where there is nothing at it, nothing happens.
pub(super) const FINISHED_PORT: u8 = 0xf4;

/// In the control page: how many barriers a processor has come to.
pub(super) const fn barrier(processor: usize) -> u64 {
    0x40 * processor as u64
}

/// And whether it has finished.
pub(super) const fn finished(processor: usize) -> u64 {
    0x400 + 0x40 * processor as u64
}

/// Selectors.
pub(super) const CODE_0: u16 = 0x08;
pub(super) const DATA_0: u16 = 0x10;
pub(super) const DATA_3: u16 = 0x1b;
pub(super) const CODE_3: u16 = 0x23;

/// The selector of a processor's task state.
pub(super) const fn task_selector(processor: usize) -> u16 {
    0x28 + 0x10 * processor as u16
}
