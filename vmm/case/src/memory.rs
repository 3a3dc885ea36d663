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
            let unused = 64_u32.saturating_sub(u32::from(bytes).saturating_mul(8));
            return Ok(entry.value & u64::MAX.checked_shr(unused).unwrap_or(0));
        }
        if let Some(pdpte) = self.pdpte_at(at.get()) {
            return self.state.pdptes.get(pdpte).copied().ok_or(OutsideMemory(at));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crosswalk_guest::layout::Arena;
    use mmu_core::{Profile, Ring};

    #[test]
    fn an_entry_of_any_size_is_read() {
        let mut case = Case::plain(Arena::ALL[0], 3, Ring::Three, Profile::default());
        let at = PhysAddr::new(0x0044_0100);
        case.entries.push(TableEntry { at: at.get(), value: 0x1122_3344_5566_7788 });

        for (bytes, expected) in [
            (0, 0),
            (1, 0x88),
            (4, 0x5566_7788),
            (8, 0x1122_3344_5566_7788),
            (9, 0x1122_3344_5566_7788),
            (u8::MAX, 0x1122_3344_5566_7788),
        ] {
            assert_eq!(case.read_entry(at, bytes), Ok(expected), "{bytes} bytes");
        }
    }
}
