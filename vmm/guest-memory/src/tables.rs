//! Page tables in a memory of vm-memory. Entries are read and changed atomically, since the guest may
//! change them at the same time.

use mmu_core::PhysAddr;
use mmu_core::memory::{AtomicTableMemory, OutsideMemory, TableMemory};
use std::fmt;
use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering};
use vm_memory::bitmap::{Bitmap, MS};
use vm_memory::volatile_memory::Error as VolatileMemoryError;
use vm_memory::{
    Address, AtomicInteger, GuestMemoryBackend, GuestMemoryRegion, VolatileMemory, VolatileSlice,
};

/// The tables in a guest's memory, whose regions have been looked up once for all entries.
pub(crate) struct TablesInMemory<'m, M: GuestMemoryBackend> {
    regions: Vec<Region<'m, M>>,
}

struct Region<'m, M: GuestMemoryBackend> {
    start: u64,
    bytes: VolatileSlice<'m, MS<'m, M>>,
}

impl<M: GuestMemoryBackend> fmt::Debug for TablesInMemory<'_, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TablesInMemory").finish_non_exhaustive()
    }
}

impl<'m, M: GuestMemoryBackend> TablesInMemory<'m, M> {
    /// Looks up the regions. One that this program has not mapped is like no memory.
    pub(crate) fn new(memory: &'m M) -> Self {
        let regions = memory.iter().filter_map(|region| {
            let start = region.start_addr();
            let bytes = memory.get_slice(start, region.len().try_into().ok()?).ok()?;
            Some(Region { start: start.raw_value(), bytes })
        });
        Self { regions: regions.collect() }
    }

    /// The region with a physical address, and the offset into it.
    #[inline]
    fn region(
        &self,
        at: PhysAddr,
    ) -> Result<(&VolatileSlice<'m, MS<'m, M>>, usize), OutsideMemory> {
        let found = self.regions.iter().find_map(|region| {
            let offset = at.get().checked_sub(region.start)? as usize;
            (offset < region.bytes.len()).then_some((&region.bytes, offset))
        });
        found.ok_or(OutsideMemory(at))
    }
}

impl<M: GuestMemoryBackend> TableMemory for TablesInMemory<'_, M> {
    type Error = OutsideMemory;

    #[inline]
    fn read_entry(&self, at: PhysAddr, bytes: u8) -> Result<u64, OutsideMemory> {
        let (region, offset) = self.region(at)?;
        let loaded = match bytes {
            1 => load::<AtomicU8>(region, offset),
            2 => load::<AtomicU16>(region, offset),
            4 => load::<AtomicU32>(region, offset),
            _ => load::<AtomicU64>(region, offset),
        };
        loaded.map_err(|_| OutsideMemory(at))
    }
}

#[inline]
fn load<A: AtomicInteger<V: Into<u64>>>(
    region: &impl VolatileMemory,
    offset: usize,
) -> Result<u64, VolatileMemoryError> {
    Ok(region.get_atomic_ref::<A>(offset)?.load(Ordering::Acquire).into())
}

/// Replaces an entry if it still has the current value, and returns whether it had.
macro_rules! compare_exchange {
    ($region:expr, $offset:expr, $atomic:ty, $current:expr, $new:expr) => {
        $region.get_atomic_ref::<$atomic>($offset).map(|cell| {
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
        let (region, offset) = self.region(at)?;
        let updated = match bytes {
            1 => compare_exchange!(region, offset, AtomicU8, current, new),
            2 => compare_exchange!(region, offset, AtomicU16, current, new),
            4 => compare_exchange!(region, offset, AtomicU32, current, new),
            _ => compare_exchange!(region, offset, AtomicU64, current, new),
        };

        let is_updated = updated.map_err(|_| OutsideMemory(at))?;
        if is_updated {
            // As for every other write: a migration must send the page again.
            region.bitmap().mark_dirty(offset, bytes.into());
        }
        Ok(is_updated)
    }
}
