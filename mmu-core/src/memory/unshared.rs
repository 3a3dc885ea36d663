//! Memory that one processor has to itself.

use super::{AtomicTableMemory, TableMemory, TableMemoryMut};
use crate::address::PhysAddr;
use core::cell::RefCell;

/// Memory that only one thread uses, so that updating an entry needs no atomic instruction. `M` is the
/// memory or an exclusive reference to it.
///
/// ```
/// use mmu_core::PhysAddr;
/// use mmu_core::memory::{AtomicTableMemory, Bytes, TableMemoryMut, Unshared};
///
/// let mut bytes = Bytes::new(PhysAddr::new(0), [0; 0x1000]);
/// let memory = Unshared::new(&mut bytes);
/// assert_eq!(memory.compare_exchange(PhysAddr::new(8), 4, 0, 0x2007), Ok(true));
/// assert_eq!(bytes.bytes(PhysAddr::new(8), 2)?, [0x07, 0x20]);
/// # Ok::<(), mmu_core::memory::OutsideMemory>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Unshared<M> {
    /// Borrowed only while a method below runs, and none of them calls another: never twice.
    memory: RefCell<M>,
}

impl<M> Unshared<M> {
    /// Wraps memory.
    pub const fn new(memory: M) -> Self {
        Self { memory: RefCell::new(memory) }
    }

    /// The memory itself.
    pub fn get_mut(&mut self) -> &mut M {
        self.memory.get_mut()
    }

    /// Unwraps the memory.
    pub fn into_inner(self) -> M {
        self.memory.into_inner()
    }
}

impl<M: TableMemory> TableMemory for Unshared<M> {
    type Error = M::Error;

    #[inline]
    fn read_entry(&self, at: PhysAddr, bytes: u8) -> Result<u64, M::Error> {
        self.memory.borrow().read_entry(at, bytes)
    }
}

impl<M: TableMemoryMut> TableMemoryMut for Unshared<M> {
    fn write_entry(&mut self, at: PhysAddr, bytes: u8, entry: u64) -> Result<(), M::Error> {
        self.memory.get_mut().write_entry(at, bytes, entry)
    }
}

/// No other thread can come between the comparison and the store.
impl<M: TableMemoryMut> AtomicTableMemory for Unshared<M> {
    fn compare_exchange(
        &self,
        at: PhysAddr,
        bytes: u8,
        current: u64,
        new: u64,
    ) -> Result<bool, M::Error> {
        let mut memory = self.memory.borrow_mut();

        let is_unchanged = memory.read_entry(at, bytes)? == current;
        if is_unchanged {
            memory.write_entry(at, bytes, new)?;
        }
        Ok(is_unchanged)
    }
}
