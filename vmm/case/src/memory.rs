//! A case as the memory that a walk reads: the case's own copy of the tables, which no machine
//! touches.

use crate::{Case, TableEntry};
use crosswalk_guest::layout::LOW_MEMORY_END;
use mmu_core::PhysAddr;
use mmu_core::memory::{OutsideMemory, TableMemory, TableMemoryMut};

/// Walks read the entries that the case lists. In low memory, and in the frames of listed entries,
/// unlisted entries are 0; elsewhere there is no memory for tables (OUT-1).
impl TableMemory for Case {
    type Error = OutsideMemory;

    fn read_entry(&self, at: PhysAddr, bytes: u8) -> Result<u64, OutsideMemory> {
        let listed = self.entries.iter().find(|entry| entry.at == at.get());
        if let Some(entry) = listed {
            return Ok(entry.value & (u64::MAX >> (64 - 8 * bytes)));
        }
        if let Some(pdpte) = self.pdpte_at(at.get()) {
            return Ok(self.state.pdptes[pdpte]);
        }

        let shares_frame = |entry: &TableEntry| PhysAddr::new(entry.at).frame() == at.frame();
        let is_memory = at.get() < LOW_MEMORY_END || self.entries.iter().any(shares_frame);
        if is_memory { Ok(0) } else { Err(OutsideMemory(at)) }
    }
}

/// Stores by software.
impl TableMemoryMut for Case {
    fn write_entry(&mut self, at: PhysAddr, bytes: u8, value: u64) -> Result<(), OutsideMemory> {
        self.read_entry(at, bytes)?;
        match self.entries.iter_mut().find(|entry| entry.at == at.get()) {
            Some(entry) => entry.value = value,
            None => self.entries.push(TableEntry { at: at.get(), value }),
        }
        Ok(())
    }
}
