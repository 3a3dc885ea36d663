//! A virtual memory system: address spaces whose pages are brought in when they are touched, copied
//! when they are written, and moved to a store when memory is short.
//!
//! The files from the bottom up. Each imports only those before it:
//!
//! 1. `ids`: [`SpaceId`], [`ObjectId`] and [`SlotNumber`], and the size of a page;
//! 2. `region`, `object`: the parts of an address space ([`Region`], [`Protection`], [`Backing`]), and
//!    what several spaces share;
//! 3. `event`, `error`: the history ([`Event`], [`Decision`]), and why an operation fails
//!    ([`SpaceError`]);
//! 4. `environment`: [`FrameMemory`], [`TlbShootdown`], [`BackingStore`] and [`EventSink`], which a
//!    system runs on, together an [`Environment`];
//! 5. `frames`, `slots`, `tables`: which [`Frames`] and [`Slots`] are in use, with the references to
//!    each, and the tables of one space;
//! 6. `system`, `inspect`: the [`System`] with its [`Settings`], and read-only views of it;
//! 7. `reclaim`: the clock ([`System::reclaim`]), and frames for pages and tables;
//! 8. `pages`, `regions`, `spaces`: the operations on the entries of pages, on regions (map, unmap,
//!    protect, grow) and on whole spaces (create, fork, destroy);
//! 9. `fault`: the page-fault handler ([`System::fault`]), which makes the decisions;
//! 10. `audit`: whether the accounting agrees with the tables ([`System::audit`]);
//! 11. `software`: a computer in software to run a system on, with the MMU of [`cache`](crate::cache).
//!
//! It is generic over the table format, needs no allocator, and is deterministic: the same operations
//! and faults give the same decisions, frames and table entries, whatever walks the tables. Two MMUs
//! that agree on every fault, and on every A and D, agree on the whole history. There is one
//! processor, and it runs no process while the system works.
//!
//! ```
//! use mmu_core::memory::{Bytes, OutsideMemory, TableMemory, TableMemoryMut};
//! use mmu_core::space::*;
//! use mmu_core::x86::format::FourLevel;
//! use mmu_core::{Fault, PageFaultCode, PhysAddr, VirtAddr};
//!
//! /// 16 frames and a store of 8 slots behind them. No process runs, so nothing is cached.
//! struct Machine(Bytes<[u8; 0x1_8000]>);
//! impl TableMemory for Machine {
//!     type Error = OutsideMemory;
//!
//!     fn read_entry(&self, at: PhysAddr, bytes: u8) -> Result<u64, OutsideMemory> {
//!         self.0.read_entry(at, bytes)
//!     }
//! }
//! impl TableMemoryMut for Machine {
//!     fn write_entry(&mut self, at: PhysAddr, bytes: u8, new: u64) -> Result<(), OutsideMemory> {
//!         self.0.write_entry(at, bytes, new)
//!     }
//! }
//! impl FrameMemory for Machine {}
//! impl BackingStore for Machine {
//!     fn place(&self, slot: SlotNumber) -> PhysAddr {
//!         PhysAddr::new(0x1_0000) + slot.offset()
//!     }
//! }
//! impl TlbShootdown for Machine {
//!     fn flush_page(&mut self, _: SpaceId, _: VirtAddr) {}
//!     fn flush_space(&mut self, _: SpaceId) {}
//!     fn root_changed(&mut self, _: SpaceId) {}
//! }
//! impl EventSink for Machine {
//!     fn record(&mut self, _: Event) {}
//! }
//!
//! let mut machine = Machine(Bytes::new(PhysAddr::new(0), [0; 0x1_8000]));
//! let mut system = System::<FourLevel, 16, 8>::new(Settings {
//!     first_frame: PhysAddr::new(0),
//!     frames: 16,
//!     slots: 8,
//!     images: 0,
//!     execute_disable: true,
//!     safeguards: Safeguards::all(),
//! })?;
//! let space = system.create(&mut machine)?;
//! let heap = VirtAddr::new(0x60_0000);
//! system.map(&mut machine, space, Region::heap(heap, 1, 4))?;
//!
//! let write = PageFaultCode::W | PageFaultCode::U;
//! let fault = |address| Fault::page_fault(write, address);
//!
//! let decision = system.fault(&mut machine, space, &fault(heap))?;
//! assert_eq!(decision, Decision::Minor(Minor::ZeroFill));
//!
//! let decision = system.fault(&mut machine, space, &fault(VirtAddr::new(0x60_1000)))?;
//! assert_eq!(decision, Decision::Invalid(Invalid::NoRegion)); // the heap has one page so far
//! system.audit(&machine).unwrap();
//! # Ok::<(), SpaceError>(())
//! ```

mod audit;
mod environment;
mod error;
mod event;
mod fault;
mod frames;
mod ids;
mod inspect;
mod object;
mod pages;
mod reclaim;
mod region;
mod regions;
mod slots;
mod software;
mod spaces;
mod system;
mod tables;
#[cfg(test)]
mod tests;

pub use audit::Flaw;
pub use environment::{BackingStore, Environment, EventSink, FrameMemory, TlbShootdown};
pub use error::SpaceError;
pub use event::{Decision, Event, Invalid, Minor, Statistics};
pub use frames::{Frame, FrameUse, Frames};
pub use ids::{ObjectId, PAGE_BYTES, SlotNumber, SpaceId};
pub use object::MAX_OBJECT_PAGES;
pub use region::{Backing, Protection, Region, RegionKind};
pub use slots::Slots;
pub use software::{AccessCounts, Software, StaleTranslation};
pub use system::{MAX_OBJECTS, MAX_REGIONS, MAX_SPACES, Safeguards, Settings, System};
pub use tables::{LeafEntry, PageState};
