//! Memory images of x86 guests: which formats there are, what they say about the processors, and every
//! mapping of their page tables, in any paging mode.
//!
//! - [`MemoryImage`] is a file with the memory of a guest; [`FileMemory`] reads it, a table at a time;
//! - [`MemoryImage::control_state`] has the registers of a CPU, and says which of them were derived;
//! - [`Scan`] is an iterator over all mappings with the rights of their paths, in bounded time;
//! - [`TableTree`] has every table once, with what its entries lead to;
//! - [`PageRanges`] merges the pages that are alike, and [`ScanTotals`] counts what there is;
//! - [`LeadsTo`] is the reverse of a mapping, [`Differences`] are those of two address spaces, and [`Audit`] looks
//!   for what should not be;
//! - [`monitor`] has the lines that QEMU's monitor prints about tables.
//!
//! Whatever a file contains, reading it takes bounded memory and time, and ends in one error.
#![forbid(unsafe_code)]

mod audit;
mod bytes;
mod checkpoints;
mod difference;
mod error;
mod extents;
mod file_memory;
mod filter;
mod format;
mod image;
mod layout;
pub mod monitor;
mod ranges;
mod registers;
mod reverse;
mod scan;
mod search;
#[cfg(any(test, feature = "test-images"))]
pub mod test_images;
#[cfg(test)]
mod tests;
mod totals;
mod tree;

pub use audit::{Audit, AuditCheck, AuditChecks, AuditChecksError, AuditFinding};
pub use difference::{Change, Differences, MappedPiece};
pub use error::{MemoryImageError, ReadError};
pub use extents::{Extent, Extents};
pub use file_memory::FileMemory;
pub use filter::{PageFilter, PageFilterError};
pub use format::{ImageFormat, RamRange, RamRangeError};
pub use image::{ImageOptions, MemoryImage};
pub use ranges::{PageFlags, PageRange, PageRanges};
pub use registers::{CpuNote, DerivedState, StateOptions, VmcoreInfo};
pub use reverse::LeadsTo;
pub use scan::{Found, FrameSet, Limits, Scan};
pub use totals::ScanTotals;
pub use tree::{TableTree, TreeLimits, TreeRun, TreeTable, TreeTarget};

/// The examples of the README, as tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}
