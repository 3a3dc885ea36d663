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
//! On the host this is an empty program, so that ordinary tools can read the package.
#![cfg_attr(bare_metal, no_std, no_main)]

#[cfg(bare_metal)]
mod descriptors;
#[cfg(bare_metal)]
mod kernel;
#[cfg(bare_metal)]
mod memory;
#[cfg(bare_metal)]
mod self_test;

#[cfg(bare_metal)]
use core::mem::offset_of;
#[cfg(bare_metal)]
use guest::mailbox::Header;

#[cfg(bare_metal)]
core::arch::global_asm!(
    include_str!("boot.s"),
    include_str!("traps.s"),
    include_str!("stubs.s"),
    include_str!("switch.s"),
    include_str!("traps32.s"),
    include_str!("stubs32.s"),
    WINDOW = const guest::layout::SUPERVISOR_WINDOW,
    USER_STACK_TOP = const guest::layout::USER_STACK_TOP,
    FAULT_STACK = const guest::layout::FAULT_STACK_TOP + guest::layout::SUPERVISOR_WINDOW,
    CONTROL = const guest::layout::CONTROL,
    OWN_TABLES = const guest::layout::OWN_TABLES,
    MAGIC = const guest::stub::IMAGE_MAGIC,
    FAULT_TAG = const guest::mailbox::FAULT_TAG,
    DOORBELL_PORT = const guest::mailbox::DOORBELL_PORT,
    PANIC = const guest::mailbox::Doorbell::Panic as u8,
    STAY = const guest::mailbox::Switch::Stay as u64,
    FIVE_LEVEL = const guest::mailbox::Switch::FiveLevel as u64,
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
    CONTROL_PANIC = const offset_of!(guest::mailbox::Control, panic),
);

#[cfg(not(bare_metal))]
fn main() {}
