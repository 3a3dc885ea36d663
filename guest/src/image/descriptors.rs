//! The descriptor tables, as constants: the linker script fixes the addresses they contain
//! (SDM "Protected-Mode Memory Management", "Interrupt and Exception Handling", "Task Management").

use guest::layout::{DOUBLE_FAULT_STACK_TOP, FAULT_STACK_TOP, IMAGE_BASE, SUPERVISOR_WINDOW};
use guest::mailbox::PROBE_LIMIT;

/// Selector of 64-bit ring-3 code.
pub(crate) const USER_CODE: u16 = 0x20 | 3;
/// Selector of ring-3 data.
pub(crate) const USER_DATA: u16 = 0x18 | 3;
/// Selector of the task-state segment.
pub(crate) const TASK_STATE: u16 = 0x28;
/// Selector of 64-bit ring-0 code.
const SUPERVISOR_CODE: u16 = 0x08;

/// The section `.descriptors` (link.ld), seen through the supervisor window.
const DESCRIPTORS: u64 = IMAGE_BASE + 0x1000 + SUPERVISOR_WINDOW;
/// The section `.vectors` (link.ld): one handler every 64 bytes (traps.s).
const VECTORS: u64 = IMAGE_BASE + 0x2000 + SUPERVISOR_WINDOW;
const VECTOR_SIZE: u64 = 64;
const VECTOR_COUNT: usize = 32;

/// Everything the processor reads by itself.
#[repr(C, align(4096))]
struct Descriptors {
    gdt: [u64; 7],
    idt: [[u64; 2]; VECTOR_COUNT],
    task_state: TaskState,
}

/// The 64-bit task-state segment: only its interrupt stacks are used.
#[repr(C, packed(4))]
struct TaskState {
    reserved: u32,
    privilege_stacks: [u64; 3],
    reserved_too: u64,
    interrupt_stacks: [u64; 7],
    reserved_again: u64,
    reserved_half: u16,
    io_map: u16,
}

const TASK_STATE_SIZE: u64 = size_of::<TaskState>() as u64;

// Type and attribute bits of descriptors.
const PRESENT: u64 = 1 << 47;
const RING_3: u64 = 3 << 45;
const CODE_OR_DATA: u64 = 1 << 44;
const CODE: u64 = 0b1011 << 40;
const DATA: u64 = 0b0011 << 40;
const LONG: u64 = 1 << 53;
const AVAILABLE_TASK: u64 = 0b1001 << 40;
const INTERRUPT_GATE: u64 = 0b1110 << 40;

/// A limit that long mode ignores, and that the descriptor probe of the kernel looks for.
const PROBE_LIMIT_BITS: u64 =
    (PROBE_LIMIT as u64 & 0xffff) | (PROBE_LIMIT as u64 >> 16 & 0xf) << 48;

const fn task_descriptor() -> [u64; 2] {
    let base = DESCRIPTORS + core::mem::offset_of!(Descriptors, task_state) as u64;
    let low = (base & 0xff_ffff) << 16 | (base >> 24 & 0xff) << 56;
    [low | (TASK_STATE_SIZE - 1) | PRESENT | AVAILABLE_TASK, base >> 32]
}

/// Every vector on an interrupt stack of its own: compiled code uses the red zone, and in a list of
/// records RSP is no stack at all.
const fn gates() -> [[u64; 2]; VECTOR_COUNT] {
    let mut gates = [[0; 2]; VECTOR_COUNT];
    let mut vector = 0;
    while vector < VECTOR_COUNT {
        let handler = VECTORS + vector as u64 * VECTOR_SIZE;
        let stack = if vector == 8 { 2 } else { 1 };
        let low = handler & 0xffff | (SUPERVISOR_CODE as u64) << 16 | stack << 32;
        gates[vector] =
            [low | PRESENT | INTERRUPT_GATE | (handler >> 16 & 0xffff) << 48, handler >> 32];
        vector += 1;
    }
    gates
}

const TASK: [u64; 2] = task_descriptor();

#[unsafe(link_section = ".descriptors")]
#[used]
static DESCRIPTOR_TABLES: Descriptors = Descriptors {
    gdt: [
        0,
        PRESENT | CODE_OR_DATA | CODE | LONG,
        PRESENT | CODE_OR_DATA | DATA,
        PRESENT | CODE_OR_DATA | DATA | RING_3 | PROBE_LIMIT_BITS,
        PRESENT | CODE_OR_DATA | CODE | LONG | RING_3,
        TASK[0],
        TASK[1],
    ],
    idt: gates(),
    task_state: TaskState {
        reserved: 0,
        privilege_stacks: [FAULT_STACK_TOP + SUPERVISOR_WINDOW; 3],
        reserved_too: 0,
        interrupt_stacks: [
            FAULT_STACK_TOP + SUPERVISOR_WINDOW,
            DOUBLE_FAULT_STACK_TOP + SUPERVISOR_WINDOW,
            0,
            0,
            0,
            0,
            0,
        ],
        reserved_again: 0,
        reserved_half: 0,
        io_map: TASK_STATE_SIZE as u16,
    },
};

/// What LGDT and LIDT load: a limit and a base.
#[repr(C, packed)]
struct Pointer {
    limit: u16,
    base: u64,
}

#[unsafe(no_mangle)]
#[used]
static GDT_POINTER: Pointer =
    Pointer { limit: size_of::<[u64; 7]>() as u16 - 1, base: DESCRIPTORS };

#[unsafe(no_mangle)]
#[used]
static IDT_POINTER: Pointer = Pointer {
    limit: size_of::<[[u64; 2]; VECTOR_COUNT]>() as u16 - 1,
    base: DESCRIPTORS + core::mem::offset_of!(Descriptors, idt) as u64,
};
