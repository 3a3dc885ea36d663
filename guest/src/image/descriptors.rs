//! The descriptor tables, as constants: the linker script fixes the addresses that they contain
//! (SDM "Protected-Mode Memory Management", "Interrupt and Exception Handling", "Task Management").
//!
//! 64-bit code runs in the supervisor window. So does 32-bit code while paging is on; without
//! paging it runs at its physical addresses ("flat"). In both cases it uses the same offsets: its
//! code segment, and the data segment that follows it in the table, have the window as their base,
//! or 0. All other segments have base 0.

use crate::process_page::{FRAME_END, FRAME_END_32};
use crosswalk_guest::layout::{
    DOUBLE_FAULT_STACK_TOP, FAULT_STACK_TOP, IMAGE_BASE, SUPERVISOR_WINDOW,
};
use crosswalk_guest::mailbox::PROBE_LIMIT;
pub(crate) use crosswalk_guest::selector::{
    SUPERVISOR_CODE, SUPERVISOR_DATA, USER_CODE, USER_DATA,
};

/// Selector of the 64-bit task-state segment.
pub(crate) const TASK_STATE: u16 = 0x28;
/// Selector of 32-bit ring-0 code without paging. The segment of the guest's own data follows it.
pub(crate) const FLAT_CODE_32: u16 = 0x38;
/// Selector of 32-bit ring-0 code in the window. The segment of the guest's own data follows it.
pub(crate) const WINDOW_CODE_32: u16 = 0x48;
/// Selector of the guest's own data in the window.
pub(crate) const WINDOW_DATA_32: u16 = 0x50;
/// Selector of 32-bit ring-3 code.
pub(crate) const USER_CODE_32: u16 = 0x58 | 3;
/// Selector of the 32-bit task-state segment without paging.
pub(crate) const FLAT_TASK_STATE_32: u16 = 0x60;
/// Selector of the 32-bit task-state segment in the window.
pub(crate) const WINDOW_TASK_STATE_32: u16 = 0x68;
/// Selector of the data segment that only the kernel's descriptor probe looks up.
pub(crate) const PROBE_DATA: u16 = 0x70 | 3;
/// Selector of the local descriptor table, whose base the stubs of `lsl` change.
pub(crate) const LOCAL_TABLE: u16 = 0x78;
/// Selector of the 32-bit task-state segment while a process runs.
pub(crate) const PROCESS_TASK_STATE_32: u16 = 0x88;

/// The section `.descriptors` (link.ld).
const DESCRIPTORS: u64 = IMAGE_BASE + 0x1000;
/// The section `.vectors` (link.ld): one handler every 64 bytes (traps.s), first those of 64-bit code.
const VECTORS: u64 = IMAGE_BASE + 0x2000 + SUPERVISOR_WINDOW;
/// The handlers of compatibility mode, which follow them.
const COMPATIBLE_VECTORS: u64 = VECTORS + VECTOR_COUNT as u64 * VECTOR_SIZE;
/// The section `.vectors32` (link.ld), as an offset into either 32-bit code segment (traps32.s).
const VECTORS_32: u64 = IMAGE_BASE + 0x3000;
/// The section `.shadow_vectors` (link.ld): one handler every 64 bytes for each of [`FAULTS_OF_ACCESSES`]
/// (shadow_stacks.s).
const SHADOW_VECTORS: u64 = IMAGE_BASE + 0x3c00 + SUPERVISOR_WINDOW;
/// The vectors of #SS, #GP, #PF and #AC.
const FAULTS_OF_ACCESSES: [usize; 4] = [12, 13, 14, 17];
/// The section `.process` (link.ld): the handlers while a process runs, first those of 64-bit code
/// (processes.s).
const PROCESS_VECTORS: u64 = IMAGE_BASE + 0x5000 + SUPERVISOR_WINDOW;
/// The handlers of 32-bit code, which follow them, as an offset into the code segment.
const PROCESS_VECTORS_32: u64 = IMAGE_BASE + 0x5000 + VECTOR_COUNT as u64 * PROCESS_VECTOR_SIZE;
/// Bytes of a handler.
const VECTOR_SIZE: u64 = 64;
/// Bytes of a handler while a process runs.
const PROCESS_VECTOR_SIZE: u64 = 16;
/// Number of exception vectors.
const VECTOR_COUNT: usize = 32;
/// The vector of #DF.
const DOUBLE_FAULT: usize = 8;

/// Everything that the processor reads of its own accord.
#[repr(C, align(4096))]
struct Descriptors {
    gdt: [u64; 18],
    idt: [[u64; 2]; VECTOR_COUNT],
    compatible_idt: [[u64; 2]; VECTOR_COUNT],
    shadow_idt: [[u64; 2]; VECTOR_COUNT],
    process_idt: [[u64; 2]; VECTOR_COUNT],
    flat_idt_32: [u64; VECTOR_COUNT],
    window_idt_32: [u64; VECTOR_COUNT],
    process_idt_32: [u64; VECTOR_COUNT],
    task_state: TaskState,
    flat_task_state_32: TaskState32,
    window_task_state_32: TaskState32,
    process_task_state_32: TaskState32,
}

/// The 64-bit task-state segment, of which only the interrupt stacks are used.
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

/// The 32-bit task-state segment, of which only the ring-0 stack is used.
#[repr(C, packed(4))]
struct TaskState32 {
    link: u32,
    esp0: u32,
    ss0: u32,
    rest: [u32; 22],
    io_map: u32,
}

const TASK_STATE_SIZE: u64 = size_of::<TaskState>() as u64;
const TASK_STATE_32_SIZE: u64 = size_of::<TaskState32>() as u64;

// Type and attribute bits of descriptors.
const PRESENT: u64 = 1 << 47;
const RING_3: u64 = 3 << 45;
const CODE_OR_DATA: u64 = 1 << 44;
const CODE: u64 = 0b1011 << 40;
const DATA: u64 = 0b0011 << 40;
const LONG: u64 = 1 << 53;
/// 32-bit operands and stack pointers, and a limit of 4 GiB.
const WIDE: u64 = 0xf << 48 | 0xffff | 1 << 54 | 1 << 55;
const AVAILABLE_TASK: u64 = 0b1001 << 40;
const LOCAL: u64 = 0b0010 << 40;
const INTERRUPT_GATE: u64 = 0b1110 << 40;

const SEGMENT: u64 = PRESENT | CODE_OR_DATA;

/// The base field of a descriptor.
const fn base(address: u64) -> u64 {
    (address & 0xff_ffff) << 16 | (address >> 24 & 0xff) << 56
}

const PROBE_LIMIT_BITS: u64 =
    (PROBE_LIMIT as u64 & 0xffff) | (PROBE_LIMIT as u64 >> 16 & 0xf) << 48;

/// The descriptor of a task-state segment, given its offset in [`Descriptors`], in the window.
const fn task_descriptor(offset: usize, size: u64) -> u64 {
    let address = DESCRIPTORS + SUPERVISOR_WINDOW + offset as u64;
    base(address) | (size - 1) | PRESENT | AVAILABLE_TASK
}

/// The gates of 64-bit code. All use an interrupt stack, double faults one of their own: compiled
/// code uses the red zone, and in a list of records RSP does not point to a stack.
const fn gates(first: u64, size: u64, stack: u64) -> [[u64; 2]; VECTOR_COUNT] {
    let mut gates = [[0; 2]; VECTOR_COUNT];

    let mut vector = 0;
    while vector < VECTOR_COUNT {
        let handler = first + vector as u64 * size;
        let interrupt_stack = if vector == DOUBLE_FAULT { 2 } else { stack };
        gates[vector] = [gate(SUPERVISOR_CODE, handler) | interrupt_stack << 32, handler >> 32];
        vector += 1;
    }

    gates
}

/// The gates with CR4.CET=1: those of other 64-bit code, but for the faults of accesses.
const fn shadow_gates() -> [[u64; 2]; VECTOR_COUNT] {
    let mut all = gates(VECTORS, VECTOR_SIZE, 1);
    // These handlers follow each other, whatever their vectors.
    let faults = gates(SHADOW_VECTORS, VECTOR_SIZE, 1);

    let mut index = 0;
    while index < FAULTS_OF_ACCESSES.len() {
        all[FAULTS_OF_ACCESSES[index]] = faults[index];
        index += 1;
    }

    all
}

/// The gates of 32-bit code.
const fn gates_32(code: u16, first: u64, size: u64) -> [u64; VECTOR_COUNT] {
    let mut gates = [0; VECTOR_COUNT];

    let mut vector = 0;
    while vector < VECTOR_COUNT {
        gates[vector] = gate(code, first + vector as u64 * size);
        vector += 1;
    }

    gates
}

/// An interrupt gate: in 32-bit code all of it, in 64-bit code its low half without the stack.
const fn gate(code: u16, handler: u64) -> u64 {
    let offset = handler & 0xffff | (handler >> 16 & 0xffff) << 48;
    offset | (code as u64) << 16 | PRESENT | INTERRUPT_GATE
}

/// A 32-bit task state with a ring-0 stack.
const fn task_state_32(stack: u64) -> TaskState32 {
    TaskState32 {
        link: 0,
        esp0: stack as u32,
        ss0: SUPERVISOR_DATA as u32,
        rest: [0; 22],
        io_map: (TASK_STATE_32_SIZE as u32) << 16,
    }
}

/// The offset of a table in [`Descriptors`].
macro_rules! at {
    ($field:ident) => {
        core::mem::offset_of!(Descriptors, $field)
    };
}

#[unsafe(link_section = ".descriptors")]
#[used]
static DESCRIPTOR_TABLES: Descriptors = Descriptors {
    gdt: [
        0,
        SEGMENT | CODE | LONG,
        SEGMENT | DATA | WIDE,
        SEGMENT | DATA | WIDE | RING_3,
        SEGMENT | CODE | LONG | RING_3,
        task_descriptor(at!(task_state), TASK_STATE_SIZE),
        0, // The high half of the base.
        SEGMENT | CODE | WIDE,
        SEGMENT | DATA | WIDE,
        SEGMENT | CODE | WIDE | base(SUPERVISOR_WINDOW),
        SEGMENT | DATA | WIDE | base(SUPERVISOR_WINDOW),
        SEGMENT | CODE | WIDE | RING_3,
        // Without paging there is no window.
        task_descriptor(at!(flat_task_state_32), TASK_STATE_32_SIZE) - base(SUPERVISOR_WINDOW),
        task_descriptor(at!(window_task_state_32), TASK_STATE_32_SIZE),
        SEGMENT | DATA | RING_3 | PROBE_LIMIT_BITS,
        PRESENT | LOCAL | 7,
        0,
        task_descriptor(at!(process_task_state_32), TASK_STATE_32_SIZE),
    ],
    idt: gates(VECTORS, VECTOR_SIZE, 1),
    compatible_idt: gates(COMPATIBLE_VECTORS, VECTOR_SIZE, 1),
    shadow_idt: shadow_gates(),
    process_idt: gates(PROCESS_VECTORS, PROCESS_VECTOR_SIZE, 3),
    flat_idt_32: gates_32(FLAT_CODE_32, VECTORS_32, VECTOR_SIZE),
    window_idt_32: gates_32(WINDOW_CODE_32, VECTORS_32, VECTOR_SIZE),
    process_idt_32: gates_32(WINDOW_CODE_32, PROCESS_VECTORS_32, PROCESS_VECTOR_SIZE),
    task_state: TaskState {
        reserved: 0,
        privilege_stacks: [FAULT_STACK_TOP + SUPERVISOR_WINDOW; 3],
        reserved_too: 0,
        interrupt_stacks: [
            FAULT_STACK_TOP + SUPERVISOR_WINDOW,
            DOUBLE_FAULT_STACK_TOP + SUPERVISOR_WINDOW,
            FRAME_END + SUPERVISOR_WINDOW,
            0,
            0,
            0,
            0,
        ],
        reserved_again: 0,
        reserved_half: 0,
        io_map: TASK_STATE_SIZE as u16,
    },
    flat_task_state_32: task_state_32(FAULT_STACK_TOP),
    window_task_state_32: task_state_32(FAULT_STACK_TOP + SUPERVISOR_WINDOW),
    process_task_state_32: task_state_32(FRAME_END_32 + SUPERVISOR_WINDOW),
};

/// The operand of LGDT and LIDT: a limit and a base, of which 32-bit code loads the low half.
#[repr(C, packed)]
struct Pointer {
    limit: u16,
    base: u64,
}

/// Defines such an operand, in the page of switch.s, which every process maps as well.
macro_rules! pointer {
    ($name:ident, $field:ident: $type:ty, $window:expr) => {
        #[unsafe(link_section = ".switch")]
        #[unsafe(no_mangle)]
        #[used]
        static $name: Pointer = Pointer {
            limit: size_of::<$type>() as u16 - 1,
            base: DESCRIPTORS + $window + at!($field) as u64,
        };
    };
}

pointer!(FLAT_GDT_POINTER, gdt: [u64; 18], 0);
pointer!(GDT_POINTER, gdt: [u64; 18], SUPERVISOR_WINDOW);
pointer!(IDT_POINTER, idt: [[u64; 2]; VECTOR_COUNT], SUPERVISOR_WINDOW);
pointer!(COMPATIBLE_IDT_POINTER, compatible_idt: [[u64; 2]; VECTOR_COUNT], SUPERVISOR_WINDOW);
pointer!(SHADOW_IDT_POINTER, shadow_idt: [[u64; 2]; VECTOR_COUNT], SUPERVISOR_WINDOW);
pointer!(PROCESS_IDT_POINTER, process_idt: [[u64; 2]; VECTOR_COUNT], SUPERVISOR_WINDOW);
pointer!(FLAT_IDT_32_POINTER, flat_idt_32: [u64; VECTOR_COUNT], 0);
pointer!(WINDOW_IDT_32_POINTER, window_idt_32: [u64; VECTOR_COUNT], SUPERVISOR_WINDOW);
pointer!(PROCESS_IDT_32_POINTER, process_idt_32: [u64; VECTOR_COUNT], SUPERVISOR_WINDOW);

/// The address of the 64-bit task-state segment, in the window.
pub(crate) const TASK_STATE_ADDRESS: u64 = DESCRIPTORS + SUPERVISOR_WINDOW + at!(task_state) as u64;

/// The physical address of the global descriptor table.
pub(crate) const GDT: u64 = DESCRIPTORS;
