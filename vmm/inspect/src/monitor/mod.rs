//! What QEMU's monitor prints about page tables, with the same letters: [`TlbLine`] is a line of
//! `info tlb`, and [`MemRanges`] makes the lines of `info mem`. [`MonitorCheck`] compares a monitor's answer with
//! the tables, and says who is right.
//!
//! The addresses and pages are right where those of QEMU are not: bits 51 and 50 of an address are there,
//! XD is not part of one, a 4 MiB page may lie above 4 GiB (MODE-5), and an entry with reserved bits maps
//! nothing.

mod check;
mod mem;
mod tlb;

pub use check::{DifferenceCount, MonitorCheck, MonitorDifference};
pub use mem::{MemLine, MemRanges};
pub use tlb::{TlbLine, TlbLineError};
