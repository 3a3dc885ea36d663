//! The image that runs in the guest: an assembly part that boots, handles exceptions and makes the
//! accesses in both rings, and a small kernel in ring 3 that prepares each batch.
//!
//! Batches of modes other than 4-level paging leave 4-level paging and return to it afterwards
//! (switch.s). Batches outside long mode run their lists with 32-bit code of their own (stubs32.s,
//! traps32.s).
//!
//! Ring 0 is hand-written assembly only. Under a KVM that emulates ring-0 code, every instruction
//! there costs about a microsecond, and some instructions that compilers emit are not emulated at
//! all. Compiled code in ring 3 runs natively everywhere.
//!
//! Where there is no host, the kernel takes its batches from a tape that lies in memory, and prints their results
//! (player).
//!
//! In a nested batch ring 0 is a hypervisor, and runs guests of its own (nested.rs, nested.s).
//!
//! Besides batches, the kernel runs processes on a virtual memory system of its own (system.rs).
//! process.rs enters them through processes.s, and programs.s holds the programs that they run.
//!
//! On the host this is an empty program, so that ordinary tools can read the package.
#![cfg_attr(bare_metal, no_std, no_main)]

#[cfg(bare_metal)]
mod assembly;
#[cfg(bare_metal)]
mod descriptors;
#[cfg(bare_metal)]
mod environment;
#[cfg(bare_metal)]
mod kernel;
#[cfg(bare_metal)]
mod memory;
#[cfg(bare_metal)]
mod nested;
#[cfg(bare_metal)]
mod player;
#[cfg(bare_metal)]
mod process;
#[cfg(bare_metal)]
mod process_page;
#[cfg(bare_metal)]
mod scheduler;
#[cfg(bare_metal)]
mod self_test;
#[cfg(bare_metal)]
mod system;

#[cfg(not(bare_metal))]
fn main() {}
