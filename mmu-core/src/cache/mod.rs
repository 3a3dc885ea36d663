//! Software caches of translations, for any format (SDM "Caching Translation Information"). They are
//! beside the walk, which does not know of them: a first reading can skip this folder.
//!
//! The files from the bottom up. Each imports only those before it:
//!
//! 1. `entry`: what is cached of a leaf ([`TlbEntry`]), and of the entries above it
//!    ([`StructureEntry`]);
//! 2. `invalidation`: what an instruction or a register change drops ([`Invalidation`]);
//! 3. `tlb`, `structures`: the caches themselves ([`Tlb`], [`StructureCaches`]);
//! 4. `mmu`, `miss`, `any_mode`: an access through them ([`CachedMmu`]), the walk when they miss, and
//!    the MMU of a processor that changes its mode ([`AnyCachedMmu`]);
//! 5. `moments`, `history`, `stale`: everything that the manuals allow caches to do after edits without
//!    invalidation ([`History`], [`Mmu::predict_stale`](crate::Mmu::predict_stale)), of which
//!    [`CachedMmu`] does one thing.
//!
//! The caches store facts: where an address leads, and what its entries allow. Whether an access is
//! allowed is judged again each time, from these facts and the current registers.
//!
//! The caches drop exactly what the manuals require, and keep the rest as long as there is room, so
//! that a missing invalidation in software shows. There are two exceptions, both on the safe side,
//! where a processor is "always free to invalidate additional entries". First, a fault always follows
//! from the tables in memory: there is no spurious fault after rights were relaxed, which TLB-2
//! allows but does not require. Second, [`invalidated_by`] includes a few changes that only one of
//! the manuals lists, or neither; [`must_be_invalidated_by`] has what they require.
//!
//! ```
//! use mmu_core::cache::CachedMmu;
//! use mmu_core::x86::format::Bits32;
//! use mmu_core::memory::{Bytes, TableMemoryMut, Unshared};
//! use mmu_core::{Access, ControlState, PhysAddr, Profile, Ring, VirtAddr};
//!
//! let mut memory = Unshared::new(Bytes::new(PhysAddr::new(0), [0; 0x2000]));
//! memory.write_entry(PhysAddr::new(0), 4, 0x1007)?; // PDE 0
//! memory.write_entry(PhysAddr::new(0x1004), 4, 0x5007)?; // PTE 1
//! let mut mmu = CachedMmu::<Bits32>::new(ControlState::bits32(0), Profile::default());
//!
//! let read = Access::read(VirtAddr::new(0x1234), 4, Ring::Three);
//! assert_eq!(mmu.translate(&memory, &read)?.address(), PhysAddr::new(0x5234));
//! memory.write_entry(PhysAddr::new(0x1004), 4, 0x6007)?;
//! assert_eq!(mmu.translate(&memory, &read)?.address(), PhysAddr::new(0x5234)); // still cached
//! mmu.invlpg(read.address);
//! assert_eq!(mmu.translate(&memory, &read)?.address(), PhysAddr::new(0x6234));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod any_mode;
mod entry;
mod history;
mod invalidation;
mod miss;
mod mmu;
mod moments;
#[cfg(test)]
mod properties;
mod stale;
mod structures;
#[cfg(test)]
mod tests;
mod tlb;

pub use any_mode::AnyCachedMmu;
pub use entry::{StructureEntry, TlbEntry};
pub use history::{EditError, History};
pub use invalidation::{Invalidation, RegisterWrite, invalidated_by, must_be_invalidated_by, pcid};
pub use mmu::CachedMmu;
pub use stale::{CACHED_TRANSLATION, SPURIOUS_FAULT};
pub use structures::StructureCaches;
pub use tlb::Tlb;
