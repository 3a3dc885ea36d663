//! The image that runs in the guest: an assembly part that boots, catches exceptions and makes the
//! accesses in both rings, and this small kernel in ring 3 that prepares each batch.
//!
//! Batches of other modes than 4-level paging leave long mode for the time (switch.s), and run their
//! lists with 32-bit code of their own (stubs32.s, traps32.s).
//!
//! Ring 0 is hand-written assembly only. Under a KVM that emulates ring-0 code every instruction
//! there costs about a microsecond, and some that compilers emit are not emulated at all; compiled
//! code in ring 3 runs natively everywhere.
//!
//! Besides batches it runs processes on a virtual memory system of its own (system.rs): process.rs
//! enters them by way of processes.s, and programs.s is what they run.
//!
//! On the host this is an empty program, so that ordinary tools can read the package.
#![cfg_attr(bare_metal, no_std, no_main)]

#[cfg(bare_metal)]
mod descriptors;
#[cfg(bare_metal)]
mod kernel;
#[cfg(bare_metal)]
mod memory;
#[cfg(bare_metal)]
mod process;
#[cfg(bare_metal)]
mod process_page;
#[cfg(bare_metal)]
mod self_test;
#[cfg(bare_metal)]
mod system;

#[cfg(bare_metal)]
use core::mem::offset_of;
#[cfg(bare_metal)]
use crosswalk_guest::layout::SUPERVISOR_WINDOW;
#[cfg(bare_metal)]
use crosswalk_guest::mailbox::Header;
#[cfg(bare_metal)]
use crosswalk_guest::system::program::{Call, StepKind};

#[cfg(bare_metal)]
core::arch::global_asm!(
    include_str!("boot.s"),
    include_str!("traps.s"),
    include_str!("stubs.s"),
    include_str!("switch.s"),
    include_str!("traps32.s"),
    include_str!("stubs32.s"),
    include_str!("processes.s"),
    include_str!("programs.s"),
    WINDOW = const SUPERVISOR_WINDOW,
    USER_STACK_TOP = const crosswalk_guest::layout::USER_STACK_TOP,
    FAULT_STACK = const crosswalk_guest::layout::FAULT_STACK_TOP + SUPERVISOR_WINDOW,
    CONTROL = const crosswalk_guest::layout::CONTROL,
    OWN_TABLES = const crosswalk_guest::layout::OWN_TABLES,
    MAGIC = const crosswalk_guest::stub::IMAGE_MAGIC,
    FAULT_TAG = const crosswalk_guest::mailbox::FAULT_TAG,
    DOORBELL_PORT = const crosswalk_guest::mailbox::DOORBELL_PORT,
    PANIC = const crosswalk_guest::mailbox::Doorbell::Panic as u8,
    STAY = const crosswalk_guest::mailbox::Switch::Stay as u64,
    FIVE_LEVEL = const crosswalk_guest::mailbox::Switch::FiveLevel as u64,
    GDT = const descriptors::GDT,
    SUPERVISOR_CODE = const descriptors::SUPERVISOR_CODE,
    SUPERVISOR_DATA = const descriptors::SUPERVISOR_DATA,
    USER_CODE = const descriptors::USER_CODE,
    USER_DATA = const descriptors::USER_DATA,
    TASK_STATE = const descriptors::TASK_STATE,
    FLAT_CODE_32 = const descriptors::FLAT_CODE_32,
    WINDOW_CODE_32 = const descriptors::WINDOW_CODE_32,
    USER_CODE_32 = const descriptors::USER_CODE_32,
    FLAT_TASK_STATE_32 = const descriptors::FLAT_TASK_STATE_32,
    WINDOW_TASK_STATE_32 = const descriptors::WINDOW_TASK_STATE_32,
    LOCAL_TABLE = const descriptors::LOCAL_TABLE,
    HEADER_CR0 = const offset_of!(Header, cr0),
    HEADER_CR2 = const offset_of!(Header, cr2),
    HEADER_CR3 = const offset_of!(Header, cr3),
    HEADER_CR4 = const offset_of!(Header, cr4),
    HEADER_EFER = const offset_of!(Header, efer),
    HEADER_KEEP_CONTROL = const offset_of!(Header, keep_control),
    HEADER_USER_RECORDS = const offset_of!(Header, user_records),
    HEADER_SUPERVISOR_RECORDS = const offset_of!(Header, supervisor_records),
    HEADER_SWITCH = const offset_of!(Header, switch),
    HEADER_LOADS_PKRS = const offset_of!(Header, loads_pkrs),
    HEADER_PKRS = const offset_of!(Header, pkrs),
    HEADER_LOAD_FAULT = const offset_of!(Header, load_fault),
    HEADER_EDITS_PDPTES = const offset_of!(Header, edits_pdptes),
    HEADER_PDPTES = const offset_of!(Header, pdptes),
    HEADER_ENTERS_PROCESS = const offset_of!(Header, enters_process),
    PROCESS_TASK_STATE_32 = const descriptors::PROCESS_TASK_STATE_32,
    HEADER = const process_page::HEADER + SUPERVISOR_WINDOW,
    CR2 = const process_page::CR2 + SUPERVISOR_WINDOW,
    STAYS = const process_page::STAYS + SUPERVISOR_WINDOW,
    FRAME = const process_page::FRAME + SUPERVISOR_WINDOW,
    FRAME_32 = const process_page::FRAME_32 + SUPERVISOR_WINDOW,
    SWITCH_STACK = const process_page::FRAME + SUPERVISOR_WINDOW,
    PROGRAMS = const crosswalk_guest::system::layout::PROGRAMS_IN_PROCESS,
    CALL_EXIT = const Call::Exit as u64,
    CALL_YIELD = const Call::Yield as u64,
    CALL_MISMATCH = const Call::Mismatch as u64,
    STEP_READ = const StepKind::Read as u64,
    STEP_WRITE = const StepKind::Write as u64,
    STEP_FETCH = const StepKind::Fetch as u64,
    STEP_YIELD = const StepKind::Yield as u64,
    CONTROL_PANIC = const offset_of!(crosswalk_guest::mailbox::Control, panic),
);

#[cfg(not(bare_metal))]
fn main() {}
