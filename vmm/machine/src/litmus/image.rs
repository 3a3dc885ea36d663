//! The memory of a guest that runs a test: the test's own words, the harness, and tables that map it.

use super::kernel::{GDT_POINTER, IDT_POINTER, Kernel, entry_frame, trampoline};
use super::layout::{
    ACTIONS, ACTIONS_SIZE, APIC, BOOT_TABLES, CODE, CODE_3, DATA_3, DELAYS, DELAYS_SIZE, GDT, IDT,
    INTERRUPT, MEMORY_SIZE, PROGRAM_SIZE, PROGRAMS, STACK_SIZE, STACKS, TASK_SIZE, TASKS,
    TRAMPOLINE, TRAMPOLINE_GDT, WINDOW_0, WINDOW_0_SLOT, WINDOW_3, WINDOW_3_SLOT, WINDOW_TABLES,
    task_selector,
};
use super::program;
use crosswalk_guest::layout::{IMAGE_BASE, SUPERVISOR_WINDOW};
use mmu_core::Ring;
use mmu_core::litmus::LitmusTest;
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

/// Present, writable, user, accessed; of a page dirty, too.
const TABLE: u64 = 0x27;
const LARGE_PAGE: u64 = 0xe7;
/// The page of the supervisor.
const SUPERVISOR_PAGE: u64 = LARGE_PAGE & !4;
/// Where the boot ROM finds the address of the first instruction.
const ENTRY: u64 = IMAGE_BASE + 8;

/// Writes everything into memory. Returns the kernel that is in it.
pub(super) fn load(
    memory: &GuestMemoryMmap,
    test: &LitmusTest,
    iterations: u32,
    delays: &[Vec<u32>],
) -> Kernel {
    let word = |at: u64, value: u64| {
        memory.write_obj(value, GuestAddress(at)).expect("the layout is in memory");
    };
    let bytes = |at: u64, bytes: &[u8]| {
        memory.write_slice(bytes, GuestAddress(at)).expect("the layout is in memory");
    };

    for (at, value) in &test.memory {
        word(at.get(), *value);
    }
    let kernel = Kernel::new(test);
    assert!(kernel.code.len() < 0x8000, "there is room for ring 0");
    bytes(CODE, &kernel.code);
    bytes(TRAMPOLINE, &trampoline(&kernel));
    for number in 0..test.programs.len() {
        let program = program::program(test, number, iterations);
        assert!(program.len() as u64 <= PROGRAM_SIZE, "there is room for a program");
        bytes(PROGRAMS + PROGRAM_SIZE * number as u64, &program);
        if test.ring == Ring::Zero {
            let actions = program::actions_in_ring_0(test, number);
            assert!(actions.len() as u64 <= ACTIONS_SIZE, "there is room for actions");
            bytes(ACTIONS + ACTIONS_SIZE * number as u64, &actions);
        }
        let delays: Vec<u8> = delays[number].iter().flat_map(|delay| delay.to_le_bytes()).collect();
        bytes(DELAYS + DELAYS_SIZE * number as u64, &delays);
        let handler = handler_at(number);
        bytes(
            handler - WINDOW_0,
            &program::handler(&test.programs[number].handler, handler - WINDOW_0),
        );
    }

    tables(&word, test);
    descriptors(&word, &bytes, &kernel);
    // The ROM adds its own window.
    word(ENTRY, kernel.boots[0]);
    kernel
}

/// Where a processor's handler is.
const fn handler_at(number: usize) -> u64 {
    WINDOW_0 + CODE + 0x8000 + 0x2000 * number as u64
}

/// Tables that map all memory: in the windows of each tree, and for booting at its physical address, too.
fn tables(word: &impl Fn(u64, u64), test: &LitmusTest) {
    let table = |number: u64| WINDOW_TABLES + 0x1000 * number;
    let (pdpt_0, pd_0, pdpt_3, pd_3, devices) = (table(0), table(1), table(2), table(3), table(4));
    for number in 0..MEMORY_SIZE >> 21 {
        word(pd_0 + 8 * number, number << 21 | SUPERVISOR_PAGE);
        word(pd_3 + 8 * number, number << 21 | LARGE_PAGE);
    }
    word(pdpt_0, pd_0 | TABLE);
    word(pdpt_3, pd_3 | TABLE);
    // The APIC, uncached.
    word(devices + 8 * (APIC >> 21 & 0x1ff), APIC & !0x1f_ffff | SUPERVISOR_PAGE | 1 << 4);
    word(pdpt_0 + 8 * (APIC >> 30), devices | TABLE);

    let roots = test.memory.iter().map(|(at, _)| at.get() & !0xfff);
    let is_root = |root: &u64| *root == test.state.cr3 & !0xfff || is_further_root(*root, test);
    for root in roots.filter(is_root) {
        word(root + 8 * WINDOW_0_SLOT, pdpt_0 | TABLE);
        word(root + 8 * WINDOW_3_SLOT, pdpt_3 | TABLE);
    }

    let (boot_pdpt, boot_pd) = (BOOT_TABLES + 0x1000, BOOT_TABLES + 0x2000);
    for number in 0..MEMORY_SIZE >> 21 {
        // Nothing keeps ring 0 from executing there.
        word(boot_pd + 8 * number, number << 21 | SUPERVISOR_PAGE);
    }
    word(BOOT_TABLES, boot_pdpt | TABLE);
    word(BOOT_TABLES + 8 * WINDOW_0_SLOT, pdpt_0 | TABLE);
    word(boot_pdpt, boot_pd | TABLE);
    word(boot_pdpt + 8 * (SUPERVISOR_WINDOW >> 30), boot_pd | TABLE);
}

/// Whether a MOV to CR3 of the test leads to this root.
fn is_further_root(root: u64, test: &LitmusTest) -> bool {
    use mmu_core::litmus::Action;
    let programs = test.programs.iter();
    let mut actions = programs.flat_map(|program| program.actions.iter().chain(&program.handler));
    actions.any(
        |action| matches!(action, Action::WriteCr3(value) if value & 0x000f_ffff_ffff_f000 == root),
    )
}

/// Segments, interrupts, task states, and the frames with which processors enter ring 3.
fn descriptors(word: &impl Fn(u64, u64), bytes: &impl Fn(u64, &[u8]), kernel: &Kernel) {
    const CODE_64: u64 = 0x00af_9b00_0000_ffff;
    const DATA: u64 = 0x00cf_9300_0000_ffff;
    const USER: u64 = 3 << 45;
    let segments = [0, CODE_64, DATA, DATA | USER, CODE_64 | USER];
    for (number, segment) in (0..).zip(segments) {
        word(GDT + 8 * number, segment);
    }
    for number in 0..2_usize {
        let task = WINDOW_0 + TASKS + TASK_SIZE * number as u64;
        let at = GDT + u64::from(task_selector(number));
        let low = 0x67 | (task & 0x00ff_ffff) << 16 | 0x89 << 40 | (task >> 24 & 0xff) << 56;
        word(at, low);
        word(at + 8, task >> 32);
        // RSP0, four bytes into the task state, and no I/O bitmap.
        let stack = STACKS + STACK_SIZE * (number as u64 + 1) - 0x80 + WINDOW_0;
        bytes(task - WINDOW_0 + 4, &stack.to_le_bytes());
        bytes(task - WINDOW_0 + 0x66, &0x68_u16.to_le_bytes());

        let frame = [
            WINDOW_3 + PROGRAMS + PROGRAM_SIZE * number as u64,
            u64::from(CODE_3),
            0x202, // IF
            0,
            u64::from(DATA_3),
        ];
        for (place, value) in (0..).zip(frame) {
            word(entry_frame(number) - WINDOW_0 + 8 * place, value);
        }
    }

    let gates = [(13, kernel.general_protection), (14, kernel.page_fault)];
    for (vector, target) in gates {
        gate(word, vector, target);
    }
    // Only the second processor is ever interrupted, or only the first: each handler has a vector of its own.
    gate(word, u64::from(INTERRUPT), handler_at(0));
    gate(word, u64::from(INTERRUPT) + 1, handler_at(1));

    let pointer = |at: u64, limit: u16, base: u64| {
        bytes(at, &limit.to_le_bytes());
        bytes(at + 2, &base.to_le_bytes());
    };
    pointer(GDT + GDT_POINTER, 0x47, WINDOW_0 + GDT);
    pointer(IDT + IDT_POINTER, 0x41f, WINDOW_0 + IDT);
    pointer(TRAMPOLINE_GDT, 0x47, GDT);
}

/// An interrupt gate to ring 0.
fn gate(word: &impl Fn(u64, u64), vector: u64, target: u64) {
    let at = IDT + 16 * vector;
    let low = target & 0xffff | 0x08 << 16 | 0x8e00 << 32 | (target >> 16 & 0xffff) << 48;
    word(at, low);
    word(at + 8, target >> 32);
}
