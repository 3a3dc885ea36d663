//! Memory in which a walk can set A and D.

use crate::address::PhysAddr;
use crate::memory::{Bytes, OutsideMemory, TableMemory, TableMemoryMut};

/// Memory whose entries can be changed while other processors or devices may change them, too.
///
/// ```
/// use mmu_core::PhysAddr;
/// use mmu_core::cache::TableMemoryUpdate;
/// use mmu_core::memory::{Bytes, TableMemory};
/// let at = PhysAddr::new(8);
/// let mut memory = Bytes::new(PhysAddr::new(0), [0; 0x1000]);
/// assert_eq!(memory.update_entry(at, 8, 0, 0x2007), Ok(true));
/// assert_eq!(memory.update_entry(at, 8, 0, 0x3007), Ok(false)); // it is 0x2007 now
/// assert_eq!(memory.read_entry(at, 8), Ok(0x2007));
/// ```
pub trait TableMemoryUpdate: TableMemory {
    /// Replaces the entry of `bytes` bytes (1, 2, 4 or 8) at `at`, a multiple of `bytes`, by `new`
    /// if it is still `old`, and returns whether it was. This is one locked compare-exchange (AD-4;
    /// SDM "Accessed and Dirty Flags"). `false` always means that the entry has changed; the exchange
    /// must not fail for any other reason.
    ///
    /// # Errors
    /// When no memory answers there.
    fn update_entry(
        &mut self,
        at: PhysAddr,
        bytes: u8,
        old: u64,
        new: u64,
    ) -> Result<bool, OutsideMemory>;
}

/// The exclusive reference serves as the lock.
impl<B: AsRef<[u8]> + AsMut<[u8]>> TableMemoryUpdate for Bytes<B> {
    fn update_entry(
        &mut self,
        at: PhysAddr,
        bytes: u8,
        old: u64,
        new: u64,
    ) -> Result<bool, OutsideMemory> {
        let unchanged = self.read_entry(at, bytes)? == old;
        if unchanged {
            self.write_entry(at, bytes, new)?;
        }
        Ok(unchanged)
    }
}
