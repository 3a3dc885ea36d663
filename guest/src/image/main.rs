//! The image that runs in the guest: an assembly part that boots, catches exceptions and makes the
//! accesses in both rings, and this small kernel in ring 3 that prepares each batch.
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
core::arch::global_asm!(
    include_str!("boot.s"),
    include_str!("traps.s"),
    include_str!("stubs.s"),
    WINDOW = const guest::layout::SUPERVISOR_WINDOW,
    USER_STACK_TOP = const guest::layout::USER_STACK_TOP,
    FAULT_STACK = const guest::layout::FAULT_STACK_TOP + guest::layout::SUPERVISOR_WINDOW,
    CONTROL = const guest::layout::CONTROL + guest::layout::SUPERVISOR_WINDOW,
    MAGIC = const guest::stub::IMAGE_MAGIC,
    FAULT_TAG = const guest::mailbox::FAULT_TAG,
    DOORBELL_PORT = const guest::mailbox::DOORBELL_PORT,
    PANIC = const guest::mailbox::Doorbell::Panic as u8,
    USER_CODE = const descriptors::USER_CODE,
    USER_DATA = const descriptors::USER_DATA,
    TASK_STATE = const descriptors::TASK_STATE,
);

#[cfg(not(bare_metal))]
fn main() {}
