//! Memory of bytes, without sharing.

use super::{OutsideMemory, TableMemory, TableMemoryMut};
use crate::address::PhysAddr;

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
    type Error = OutsideMemory;

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
