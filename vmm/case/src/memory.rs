//! A case as the memory that a walk reads: its own copy of the tables.

use crate::{Case, TableEntry};
use mmu_core::PhysAddr;
use mmu_core::cache::TableMemoryUpdate;
use mmu_core::memory::{OutsideMemory, TableMemory, TableMemoryMut};

/// The case's tables as memory to walk: the case's own copy, which no machine touches.
impl TableMemory for Case {
    fn read_entry(&self, at: PhysAddr, bytes: u8) -> Result<u64, OutsideMemory> {
        let frame = |address: u64| address >> 12;
        let listed = self.entries.iter().find(|entry| entry.at == at.get());
        if let Some(entry) = listed {
            return Ok(entry.value & (u64::MAX >> (64 - 8 * bytes)));
        }
        if let Some(pdpte) = self.pdpte_at(at.get()) {
            return Ok(self.state.pdptes[pdpte]);
        }
        let known = at.get() < TABLE_MEMORY_END
            || self.entries.iter().any(|entry| frame(entry.at) == frame(at.get()));
        if known { Ok(0) } else { Err(OutsideMemory(at)) }
    }
}

/// The last physical address below which unlisted entries read 0; above, there is no memory for
/// tables (OUT-1).
const TABLE_MEMORY_END: u64 = crosswalk_guest::layout::LOW_MEMORY_END;

/// Software's stores into the case's copy of the tables.
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

/// The processor's.
impl TableMemoryUpdate for Case {
    fn update_entry(
        &mut self,
        at: PhysAddr,
        bytes: u8,
        old: u64,
        new: u64,
    ) -> Result<bool, OutsideMemory> {
        let unchanged = self.read_entry(at, bytes)? == old;
        if unchanged && old != new {
            self.write_entry(at, bytes, new)?;
        }
        Ok(unchanged)
    }
}
