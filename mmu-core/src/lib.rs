//! A software MMU for x86 paging, complete enough to be the reference that real processors,
//! hypervisors and emulators are checked against, and small enough to be read from end to end.
//!
//! To give an emulator its MMU, start at [`AnyCachedMmu`] and the example `two_processors`. To ask what
//! the manuals allow, start at [`Mmu::predict`]. To read the code, read it from the ground up:
//!
//! 1. [`address`], [`access`], [`memory`], [`outcome`]: what a walk is given and what it returns;
//! 2. [`x86`]: everything specific to x86: control state, processor profiles, faults, table formats
//!    as data, and every decision of a walk as one method of [`Semantics`], so that a *mutant* (a
//!    walker with one known mistake) is the reference with one method overridden;
//! 3. [`table`]: descending through page tables, and writing them;
//! 4. [`walk`]: one walk for all formats; [`Mmu::predict`], which turns it into the set of outcomes that
//!    the manuals allow, and [`Mmu::translate`], which takes one of them;
//! 5. `nested`: two-dimensional walks, where a second level of tables (NPT, EPT) translates what the
//!    guest's tables call physical. A first reading can skip it;
//! 6. [`cache`]: caching translations, as a TLB does. Skip it on a first reading;
//! 7. `litmus`: what several processors may show that edit tables and use them. Skip it, too;
//! 8. [`space`]: a virtual memory system on top: address spaces, fault handling, frames. No walk
//!    depends on it.
//!
//! Comments cite rules by id (`CODE-4`); [`Rule`] lists them with their meaning. SDM is Intel's
//! Software Developer's Manual, volume 3A; APM is AMD's Architecture Programmer's Manual, volume 2.
//! Both are cited by section title.
//!
//! ```
//! use mmu_core::{Access, ControlState, Mmu, Outcome, Profile, Ring, VirtAddr};
//! use mmu_core::x86::format::FourLevel;
//! use mmu_core::memory::SparseTables;
//!
//! // One page, mapped at 0x1000 through four tables of one entry each.
//! let tables = SparseTables::new(&[
//!     (0x10_000, 0x11_007), // PML4E: present, writable, user
//!     (0x11_000, 0x12_007), // PDPTE
//!     (0x12_000, 0x13_007), // PDE
//!     (0x13_008, 0x50_005), // PTE: present, read-only, user
//! ]);
//! let state = ControlState::four_level(0x10_000);
//! let mmu = Mmu::<FourLevel>::new(state, Profile::default());
//!
//! let read = Access::read(VirtAddr::new(0x1234), 8, Ring::Three);
//! let outcome = &mmu.predict(&tables, &read)?.alternatives[0].outcome;
//! assert_eq!(outcome.physical_address().unwrap().get(), 0x50_234);
//!
//! let write = Access::write(VirtAddr::new(0x1234), 8, Ring::Three);
//! let prediction = mmu.predict(&tables, &write)?;
//! let Outcome::Fault(fault) = prediction.alternatives[0].outcome else {
//!     panic!("a user write to a read-only page faults");
//! };
//! assert_eq!(fault.to_string(), "#PF(P|W|U) at 0x1234");
//! # Ok::<(), mmu_core::access::SizeError>(())
//! ```
#![no_std]
#![forbid(unsafe_code)]

#[cfg(feature = "alloc")]
extern crate alloc;
#[cfg(test)]
#[macro_use]
extern crate std;

pub mod access;
pub mod address;
pub mod cache;
#[cfg(feature = "alloc")]
pub mod litmus;
pub mod memory;
pub mod name;
#[cfg(feature = "alloc")]
pub mod nested;
pub mod outcome;
pub mod space;
pub mod table;
pub mod walk;
pub mod x86;

pub use access::{Access, AccessKind, Ring, Segment};
pub use address::{PageSize, PhysAddr, VirtAddr};
pub use cache::AnyCachedMmu;
pub use outcome::{
    AccessError, AccessTranslation, Alternative, EntryUpdate, Outcome, Prediction, Translation,
};
pub use walk::{AnyMmu, Mmu};
pub use x86::fault::{Fault, PageFaultCode, Vector};
pub use x86::profile::{Features, Pins, Profile, Vendor};
pub use x86::regime::Regime;
pub use x86::rule::{Rule, RuleSet};
pub use x86::semantics::{Reference, Semantics};
pub use x86::state::{ControlState, Cr0, Cr4, Efer, PagingMode};

/// The examples of the README, as tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}
