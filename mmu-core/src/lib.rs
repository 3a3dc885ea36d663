//! A software MMU for x86 paging, complete enough to be the reference that real processors,
//! hypervisors and emulators are checked against, and small enough to be read in an hour.
//!
//! Read it from the ground up:
//!
//! 1. [`address`], [`profile`]: the numbers, and which processor is meant;
//! 2. [`state`], [`access`], [`fault`], [`memory`]: what a walk is given and what it may end in;
//! 3. [`regime`], [`format`](mod@format): what decides a walk, and the table formats, as data;
//! 4. [`rules`]: every decision of a walk, one method each, so that a *mutant* (a walker with one
//!    known mistake) is the reference with one method overridden;
//! 5. [`walk`]: the one walk over all formats, and [`Mmu::predict`], which turns it into the set of
//!    outcomes that the manuals allow;
//! 6. [`build`]: writing page tables;
//! 7. [`cache`]: remembering translations, as a TLB does. A first reading can skip it;
//! 8. [`space`]: a virtual memory system on top: address spaces, faults, frames. No walk needs it.
//!
//! Comments cite rules by id (`CODE-4`); [`rule::Rule`] lists them with their meaning. SDM is
//! Intel's Software Developer's Manual volume 3A, APM is AMD's Architecture Programmer's Manual
//! volume 2, both cited by section title.
//!
//! ```
//! use mmu_core::{Access, ControlState, Mmu, Outcome, Profile, Ring, VirtAddr};
//! use mmu_core::format::FourLevel;
//! use mmu_core::memory::SparseTables;
//!
//! // One page, mapped at 0x1000 through four tables of one entry each.
//! let tables = SparseTables::new(&[
//!     (0x10_000, 0x11_007), // PML4E: present, writable, user
//!     (0x11_000, 0x12_007), // PDPTE
//!     (0x12_000, 0x13_007), // PDE
//!     (0x13_008, 0x50_005), // PTE: present, read-only, user
//! ]);
//! let state = ControlState::long_mode(0x10_000);
//! let mmu = Mmu::<FourLevel>::new(state, Profile::default());
//!
//! let read = Access::read(VirtAddr::new(0x1234), 8, Ring::Three);
//! let outcome = &mmu.predict(&tables, &read).alternatives[0].outcome;
//! assert_eq!(outcome.physical_address().unwrap().get(), 0x50_234);
//!
//! let write = Access::write(VirtAddr::new(0x1234), 8, Ring::Three);
//! let Outcome::Fault(fault) = mmu.predict(&tables, &write).alternatives[0].outcome else {
//!     panic!("a user write to a read-only page faults");
//! };
//! assert_eq!(fault.to_string(), "#PF(P|W|U) at 0x1234");
//! ```
#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
#[macro_use]
extern crate std;

pub mod access;
pub mod address;
pub mod build;
pub mod cache;
pub mod control;
pub mod fault;
pub mod format;
pub mod memory;
pub mod outcome;
pub mod profile;
pub mod regime;
pub mod rule;
pub mod rules;
pub mod space;
pub mod state;
pub mod walk;

pub use access::{Access, AccessKind, Ring, Segment};
pub use address::{PageSize, PhysAddr, VirtAddr};
pub use fault::{Fault, PageFaultCode, Vector};
pub use outcome::{Alternative, EntryUpdate, Outcome, Prediction};
pub use profile::{Features, Pins, Profile, Vendor};
pub use regime::Regime;
pub use rule::{Rule, RuleSet};
pub use rules::{Reference, Rules};
pub use state::{ControlState, Cr0, Cr4, Efer, PagingMode};
pub use walk::Mmu;
