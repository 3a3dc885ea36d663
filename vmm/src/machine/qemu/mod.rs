//! QEMU's TCG: a processor emulated in software, in a process of its own, on memory that it shares
//! with this one.

mod arguments;
pub mod process;
mod program;
pub mod rom;
