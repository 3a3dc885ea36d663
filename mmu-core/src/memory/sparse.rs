//! Memory for examples and tests: a few entries.

use super::{OutsideMemory, TableMemory};
use crate::address::PhysAddr;

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
    type Error = OutsideMemory;

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
