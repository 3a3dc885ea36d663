//! Memory that contains page tables, as a walk sees it.
//!
//! A walk reads entries ([`TableMemory`]), a mapper writes them ([`TableMemoryMut`]), and a processor
//! sets A and D in them ([`AtomicTableMemory`]). An emulator or hypervisor implements these traits for
//! its own memory, with an error of its own, or uses one of these. References to memory are memory, too;
//! of an `Arc`, pass `&*arc`.
//!
//! - [`AtomicWords`]: words of 64 bits that several processors use at once;
//! - [`Bytes`]: bytes that nobody else uses; a processor sets A and D in [`Unshared`] bytes;
//! - [`SparseTables`]: a few entries, to be read only.

mod bytes;
mod sparse;
#[cfg(test)]
mod tests;
mod unshared;
#[cfg(target_has_atomic = "64")]
mod words;

pub use bytes::Bytes;
pub use sparse::SparseTables;
pub use unshared::Unshared;
#[cfg(target_has_atomic = "64")]
pub use words::AtomicWords;

use crate::address::PhysAddr;
use core::fmt;

/// The error for a physical address at which there is no memory (OUT-1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutsideMemory(pub PhysAddr);

impl fmt::Display for OutsideMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "there is no memory at physical address {}", self.0)
    }
}

impl core::error::Error for OutsideMemory {}

/// Memory from which a walk reads table entries.
///
/// Whatever ends a read is an error of the memory's own, and a walk returns it untouched: where a
/// hypervisor translates guest-physical addresses, the violation that a table causes; where memory is
/// on another host, that it does not answer.
///
/// ```
/// use mmu_core::memory::TableMemory;
/// use mmu_core::walk::WalkError;
/// use mmu_core::x86::format::FourLevel;
/// use mmu_core::{Access, ControlState, Mmu, PhysAddr, Profile, Ring, VirtAddr};
///
/// #[derive(Debug, PartialEq)]
/// struct EptViolation(PhysAddr);
///
/// /// A guest's memory, in which the host has mapped nothing yet.
/// struct Guest;
/// impl TableMemory for Guest {
///     type Error = EptViolation;
///
///     fn read_entry(&self, at: PhysAddr, _bytes: u8) -> Result<u64, EptViolation> {
///         Err(EptViolation(at))
///     }
/// }
///
/// let mmu = Mmu::<FourLevel>::new(ControlState::four_level(0x1000), Profile::default());
/// let read = Access::read(VirtAddr::new(0x80_0000_0000), 8, Ring::Three);
/// let walked = mmu.walk(&Guest, read.address, &read, &mut ());
/// assert_eq!(walked, Err(WalkError::Memory(EptViolation(PhysAddr::new(0x1008)))));
/// ```
pub trait TableMemory {
    /// Why an entry cannot be read. [`OutsideMemory`] says that there is nothing at its address, and
    /// only this is something that [`Mmu::predict`](crate::Mmu::predict) knows the meaning of (OUT-1).
    type Error;

    /// Reads the entry of `bytes` bytes (1, 2, 4 or 8) at `at`, a multiple of `bytes`, low byte
    /// first.
    ///
    /// # Errors
    /// When the entry cannot be read.
    fn read_entry(&self, at: PhysAddr, bytes: u8) -> Result<u64, Self::Error>;

    /// Reads entries that follow each other, the first of them at `at`: one after the other, unless a
    /// memory knows a faster way.
    ///
    /// # Errors
    /// When one of them cannot be read. The contents of `entries` have no meaning then.
    #[inline]
    fn read_entries(
        &self,
        at: PhysAddr,
        bytes: u8,
        entries: &mut [u64],
    ) -> Result<(), Self::Error> {
        let mut next = at;
        for entry in entries {
            *entry = self.read_entry(next, bytes)?;
            next = next + u64::from(bytes);
        }
        Ok(())
    }
}

/// Memory into which a mapper writes table entries.
pub trait TableMemoryMut: TableMemory {
    /// Stores an entry of `bytes` bytes at `at`, a multiple of `bytes`. No other byte changes.
    ///
    /// # Errors
    /// When the entry cannot be written.
    fn write_entry(&mut self, at: PhysAddr, bytes: u8, entry: u64) -> Result<(), Self::Error>;
}

/// Memory whose entries processors update while others may do so, too: a processor that walks sets A
/// and D this way (AD-4; SDM "Accessed and Dirty Flags").
///
/// It takes a shared reference, so that the processors of an emulator can run in threads of their own.
///
/// ```
/// use core::sync::atomic::AtomicU64;
/// use mmu_core::PhysAddr;
/// use mmu_core::memory::{AtomicTableMemory, AtomicWords, TableMemory};
///
/// let memory = AtomicWords::new(PhysAddr::new(0), [const { AtomicU64::new(0) }; 512]);
/// let at = PhysAddr::new(8);
/// assert_eq!(memory.compare_exchange(at, 8, 0, 0x2007), Ok(true));
/// assert_eq!(memory.compare_exchange(at, 8, 0, 0x3007), Ok(false)); // it is 0x2007 now
/// assert_eq!(memory.read_entry(at, 8), Ok(0x2007));
/// ```
pub trait AtomicTableMemory: TableMemory {
    /// Replaces the entry of `bytes` bytes (1, 2, 4 or 8) at `at`, a multiple of `bytes`, by `new`
    /// if it is still `current`, and returns whether it was. This is one locked compare-exchange.
    /// `false` always means that the entry has changed; the exchange must not fail for any other
    /// reason.
    ///
    /// # Errors
    /// When the entry cannot be updated.
    fn compare_exchange(
        &self,
        at: PhysAddr,
        bytes: u8,
        current: u64,
        new: u64,
    ) -> Result<bool, Self::Error>;
}

/// References to memory are memory.
macro_rules! forward {
    ($($reference:ty),*) => {$(
        impl<T: TableMemory + ?Sized> TableMemory for $reference {
            type Error = T::Error;

            #[inline]
            fn read_entry(&self, at: PhysAddr, bytes: u8) -> Result<u64, T::Error> {
                (**self).read_entry(at, bytes)
            }

            #[inline]
            fn read_entries(
                &self,
                at: PhysAddr,
                bytes: u8,
                entries: &mut [u64],
            ) -> Result<(), T::Error> {
                (**self).read_entries(at, bytes, entries)
            }
        }

        impl<T: AtomicTableMemory + ?Sized> AtomicTableMemory for $reference {
            #[inline]
            fn compare_exchange(
                &self,
                at: PhysAddr,
                bytes: u8,
                current: u64,
                new: u64,
            ) -> Result<bool, T::Error> {
                (**self).compare_exchange(at, bytes, current, new)
            }
        }
    )*};
}

forward!(&T, &mut T);

impl<T: TableMemoryMut + ?Sized> TableMemoryMut for &mut T {
    #[inline]
    fn write_entry(&mut self, at: PhysAddr, bytes: u8, entry: u64) -> Result<(), T::Error> {
        (**self).write_entry(at, bytes, entry)
    }
}
