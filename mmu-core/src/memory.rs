//! Memory that contains page tables, as a walk sees it.

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
pub trait TableMemory {
    /// Reads the entry of `bytes` bytes (1, 2, 4 or 8) at `at`, a multiple of `bytes`, low byte
    /// first.
    ///
    /// # Errors
    /// When there is no memory at `at`.
    fn read_entry(&self, at: PhysAddr, bytes: u8) -> Result<u64, OutsideMemory>;
}

/// Memory into which a mapper writes table entries.
pub trait TableMemoryMut: TableMemory {
    /// Stores an entry of `bytes` bytes at `at`, a multiple of `bytes`. No other byte changes.
    ///
    /// # Errors
    /// When there is no memory at `at`.
    fn write_entry(&mut self, at: PhysAddr, bytes: u8, entry: u64) -> Result<(), OutsideMemory>;
}

/// Memory described by the few entries that matter. The rest of their frames reads as 0, and so
/// does everything below an optional limit; all other addresses are outside memory.
///
/// ```
/// use mmu_core::memory::{SparseTables, TableMemory};
/// use mmu_core::PhysAddr;
/// let entries = [(0x1008, 0x2007)];
/// let tables = SparseTables::new(&entries);
/// assert_eq!(tables.read_entry(PhysAddr::new(0x1008), 8), Ok(0x2007));
/// assert_eq!(tables.read_entry(PhysAddr::new(0x1010), 8), Ok(0));
/// assert!(tables.read_entry(PhysAddr::new(0x2000), 8).is_err());
/// ```
#[derive(Clone, Copy, Debug)]
pub struct SparseTables<'e> {
    entries: &'e [(u64, u64)],
    zero_below: u64,
}

impl<'e> SparseTables<'e> {
    /// Memory that contains these entries, each a physical address and a value. Of two entries at
    /// the same address the first is read.
    pub const fn new(entries: &'e [(u64, u64)]) -> Self {
        Self { entries, zero_below: 0 }
    }

    /// The same with memory everywhere below `limit`.
    #[must_use]
    pub const fn with_memory_below(self, limit: u64) -> Self {
        Self { zero_below: limit, ..self }
    }
}

impl TableMemory for SparseTables<'_> {
    fn read_entry(&self, at: PhysAddr, _bytes: u8) -> Result<u64, OutsideMemory> {
        let wanted = at.get();
        if let Some(&(_, value)) = self.entries.iter().find(|(address, _)| *address == wanted) {
            return Ok(value);
        }

        let frame = |address: u64| PhysAddr::new(address).frame();
        let exists = wanted < self.zero_below
            || self.entries.iter().any(|(address, _)| frame(*address) == frame(wanted));
        if exists { Ok(0) } else { Err(OutsideMemory(at)) }
    }
}

/// Memory backed by consecutive bytes, from a physical address on.
///
/// ```
/// use mmu_core::memory::{Bytes, TableMemory, TableMemoryMut};
/// use mmu_core::PhysAddr;
/// let mut memory = Bytes::new(PhysAddr::new(0x1000), [0; 0x2000]);
/// memory.write_entry(PhysAddr::new(0x1004), 4, 0x2007)?;
/// assert_eq!(memory.read_entry(PhysAddr::new(0x1000), 8), Ok(0x2007_0000_0000));
/// # Ok::<(), mmu_core::memory::OutsideMemory>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Bytes<B> {
    start: PhysAddr,
    bytes: B,
}

impl<B: AsRef<[u8]>> Bytes<B> {
    /// Memory whose first byte has the physical address `start`.
    pub const fn new(start: PhysAddr, bytes: B) -> Self {
        Self { start, bytes }
    }

    /// The `len` bytes from a physical address on.
    ///
    /// # Errors
    /// When some of them are outside this memory.
    pub fn bytes(&self, at: PhysAddr, len: u64) -> Result<&[u8], OutsideMemory> {
        Ok(&self.bytes.as_ref()[self.range(at, len)?])
    }

    /// The indices of the `bytes` bytes from a physical address on.
    fn range(&self, at: PhysAddr, bytes: u64) -> Result<core::ops::Range<usize>, OutsideMemory> {
        let outside = OutsideMemory(at);
        let start = at.get().checked_sub(self.start.get()).ok_or(outside)?;
        let end = start.checked_add(bytes).ok_or(outside)?;

        if end > self.bytes.as_ref().len() as u64 {
            return Err(outside);
        }
        Ok(start as usize..end as usize)
    }

    /// The indices of the entry at a physical address. No memory has entries of more than 8 bytes.
    #[inline]
    fn entry_range(
        &self,
        at: PhysAddr,
        bytes: u8,
    ) -> Result<core::ops::Range<usize>, OutsideMemory> {
        if bytes > 8 { Err(OutsideMemory(at)) } else { self.range(at, bytes.into()) }
    }
}

impl<B: AsRef<[u8]>> TableMemory for Bytes<B> {
    fn read_entry(&self, at: PhysAddr, bytes: u8) -> Result<u64, OutsideMemory> {
        let range = self.entry_range(at, bytes)?;

        let mut entry = [0; 8];
        entry[..range.len()].copy_from_slice(&self.bytes.as_ref()[range]);
        Ok(u64::from_le_bytes(entry))
    }
}

impl<B: AsRef<[u8]> + AsMut<[u8]>> TableMemoryMut for Bytes<B> {
    fn write_entry(&mut self, at: PhysAddr, bytes: u8, entry: u64) -> Result<(), OutsideMemory> {
        let range = self.entry_range(at, bytes)?;

        let len = range.len();
        self.bytes.as_mut()[range].copy_from_slice(&entry.to_le_bytes()[..len]);
        Ok(())
    }
}
