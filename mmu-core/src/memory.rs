//! The memory that holds page tables, as far as a walk needs it.

use crate::address::PhysAddr;
use alloc::vec::Vec;
use core::fmt;

/// There is no memory at this physical address (OUT-1).
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
    /// The 64-bit entry at `at`, which is 8-byte aligned.
    ///
    /// # Errors
    /// When no memory answers there.
    fn read_entry(&self, at: PhysAddr) -> Result<u64, OutsideMemory>;
}

/// Memory into which a mapper writes table entries.
pub trait TableMemoryMut: TableMemory {
    /// Stores a 64-bit entry at `at`, which is 8-byte aligned.
    ///
    /// # Errors
    /// When no memory answers there.
    fn write_entry(&mut self, at: PhysAddr, entry: u64) -> Result<(), OutsideMemory>;
}

/// Memory given by the few entries that matter; the rest of their frames reads 0, and so does
/// everything below `zero_below`. Anywhere else is outside memory.
///
/// ```
/// use mmu_core::memory::{SparseTables, TableMemory};
/// use mmu_core::PhysAddr;
/// let tables = SparseTables::new(vec![(0x1008, 0x2007)]);
/// assert_eq!(tables.read_entry(PhysAddr::new(0x1008)), Ok(0x2007));
/// assert_eq!(tables.read_entry(PhysAddr::new(0x1010)), Ok(0));
/// assert!(tables.read_entry(PhysAddr::new(0x2000)).is_err());
/// ```
#[derive(Clone, Debug, Default)]
pub struct SparseTables {
    entries: Vec<(u64, u64)>,
    zero_below: u64,
}

impl SparseTables {
    /// Memory that holds these entries, each a physical address and a value. Of two entries at one
    /// address the first counts.
    pub fn new(entries: Vec<(u64, u64)>) -> Self {
        Self { entries, zero_below: 0 }
    }

    /// The same, with memory everywhere below `limit`.
    #[must_use]
    pub fn with_memory_below(self, limit: u64) -> Self {
        Self { zero_below: limit, ..self }
    }
}

impl TableMemory for SparseTables {
    fn read_entry(&self, at: PhysAddr) -> Result<u64, OutsideMemory> {
        let wanted = at.get();
        if let Some(&(_, value)) = self.entries.iter().find(|(address, _)| *address == wanted) {
            return Ok(value);
        }
        let frame = |address: u64| address >> 12;
        let known = wanted < self.zero_below
            || self.entries.iter().any(|(address, _)| frame(*address) == frame(wanted));
        if known { Ok(0) } else { Err(OutsideMemory(at)) }
    }
}

impl TableMemoryMut for SparseTables {
    fn write_entry(&mut self, at: PhysAddr, entry: u64) -> Result<(), OutsideMemory> {
        match self.entries.iter_mut().find(|(address, _)| *address == at.get()) {
            Some((_, value)) => *value = entry,
            None => self.entries.push((at.get(), entry)),
        }
        Ok(())
    }
}
