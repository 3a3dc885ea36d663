//! Memory images of x86 guests and live guests of QEMU: what they say about the processors, and every mapping of
//! their page tables, in any paging mode.
//!
//! - [`MemoryImage`] is a file with the memory of a guest, and [`LiveGuest`] a guest of QEMU, which is stopped while it
//!   is read; [`KvmGuest`] is a guest of KVM as a run of crosswalk copies it at one moment; [`Source`] is any of them, and
//!   [`PhysicalMemory`] reads its memory, a table at a time;
//! - [`Source::control_state`] has the registers of a CPU, and says which of them were derived;
//! - [`Scan`] is an iterator over all mappings with the rights of their paths, in bounded time;
//! - [`ScanPieces`] are those of a scan, for several threads;
//! - [`TableTree`] has every table once, with what its entries lead to;
//! - [`PageRanges`] merges the pages that are alike, and [`ScanTotals`] counts what there is;
//! - [`LeadsTo`] is the reverse of a mapping, [`Differences`] are those of two address spaces, and [`Audit`] looks
//!   for what should not be;
//! - [`monitor`] has the lines that QEMU's monitor prints about tables.
//!
//! Whatever a file contains or a monitor answers, reading it takes bounded memory and time, and ends in one error.
#![forbid(unsafe_code)]

mod audit;
mod bytes;
mod checkpoints;
mod difference;
mod dump;
mod error;
mod extents;
mod filter;
mod format;
mod image;
mod kvm;
mod layout;
mod live;
pub mod monitor;
mod physical_memory;
mod ranges;
mod registers;
mod reverse;
mod scan;
mod search;
mod source;
#[cfg(any(test, feature = "test-images"))]
pub mod test_images;
#[cfg(test)]
mod tests;
mod totals;
mod tree;
mod unix_socket;

pub use audit::{Audit, AuditCheck, AuditChecks, AuditChecksError, AuditFinding, Auditor};
pub use difference::{Change, Differences, MappedPiece};
pub use dump::{DumpRange, write_dump};
pub use error::{MemoryImageError, ReadError};
pub use extents::{Extent, Extents};
pub use filter::{PageFilter, PageFilterError};
pub use format::{ImageFormat, RamRange, RamRangeError};
pub use image::{ImageOptions, MemoryImage};
pub use kvm::{
    GuestSnapshot, GuestSocket, KvmAddress, KvmAddressError, KvmGuest, SealedMemory,
    SnapshotMoment, SnapshotRegisters,
};
pub use live::{LiveGuest, MemoryAccess, MonitorAddress, MonitorAddressError};
pub use physical_memory::PhysicalMemory;
pub use ranges::{PageFlags, PageRange, PageRanges};
pub use registers::{
    CpuNote, CpuRegisters, DerivedState, RegisterOrigin, RegisterOrigins, StateOptions, VmcoreInfo,
};
pub use reverse::LeadsTo;
pub use scan::{Found, FrameSet, Limits, Scan, ScanPiece, ScanPieces, entry_count, missing_root};
pub use source::Source;
pub use totals::ScanTotals;
pub use tree::{TableTree, TreeLimits, TreeRun, TreeTable, TreeTarget};

/// The examples of the README, as tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}
