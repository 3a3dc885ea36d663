//! Page tables in a memory of vm-memory. Entries are read and changed atomically, since the guest may
//! change them at the same time.

use mmu_core::PhysAddr;
use mmu_core::memory::{AtomicTableMemory, OutsideMemory, TableMemory};
use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering};
use vm_memory::bitmap::{BitmapSlice, MS};
use vm_memory::volatile_memory::Error as VolatileMemoryError;
use vm_memory::{AtomicInteger, GuestAddress, GuestMemoryBackend, VolatileMemory, VolatileSlice};

/// The tables in a guest's memory.
pub(crate) struct TablesInMemory<'m, M>(pub(crate) &'m M);

impl<M: GuestMemoryBackend> TablesInMemory<'_, M> {
    /// The bytes of an entry.
    fn entry(
        &self,
        at: PhysAddr,
        bytes: u8,
    ) -> Result<VolatileSlice<'_, MS<'_, M>>, OutsideMemory> {
        let slice = self.0.get_slice(GuestAddress(at.get()), bytes.into());
        slice.map_err(|_| OutsideMemory(at))
    }
}

impl<M: GuestMemoryBackend> TableMemory for TablesInMemory<'_, M> {
    type Error = OutsideMemory;

    fn read_entry(&self, at: PhysAddr, bytes: u8) -> Result<u64, OutsideMemory> {
        let entry = self.entry(at, bytes)?;
        let loaded = match bytes {
            1 => load::<AtomicU8, _>(&entry),
            2 => load::<AtomicU16, _>(&entry),
            4 => load::<AtomicU32, _>(&entry),
            _ => load::<AtomicU64, _>(&entry),
        };
        loaded.map_err(|_| OutsideMemory(at))
    }
}

fn load<A, B>(entry: &VolatileSlice<'_, B>) -> Result<u64, VolatileMemoryError>
where
    A: AtomicInteger<V: Into<u64>>,
    B: BitmapSlice,
{
    Ok(entry.get_atomic_ref::<A>(0)?.load(Ordering::Acquire).into())
}

/// Replaces an entry if it still has the current value, and returns whether it had.
macro_rules! compare_exchange {
    ($entry:expr, $atomic:ty, $current:expr, $new:expr) => {
        $entry.get_atomic_ref::<$atomic>(0).map(|cell| {
            cell.compare_exchange($current as _, $new as _, Ordering::AcqRel, Ordering::Acquire)
                .is_ok()
        })
    };
}

impl<M: GuestMemoryBackend> AtomicTableMemory for TablesInMemory<'_, M> {
    fn compare_exchange(
        &self,
        at: PhysAddr,
        bytes: u8,
        current: u64,
        new: u64,
    ) -> Result<bool, OutsideMemory> {
        let entry = self.entry(at, bytes)?;
        let updated = match bytes {
            1 => compare_exchange!(entry, AtomicU8, current, new),
            2 => compare_exchange!(entry, AtomicU16, current, new),
            4 => compare_exchange!(entry, AtomicU32, current, new),
            _ => compare_exchange!(entry, AtomicU64, current, new),
        };
        updated.map_err(|_| OutsideMemory(at))
    }
}
