//! The environment of the guest's virtual memory system: memory at the kernel's user addresses, and
//! the processor's real caches.

use crate::process::ProcessorMode;
use crosswalk_guest::system::Residence;
use crosswalk_guest::system::history;
use crosswalk_guest::system::layout::{HISTORY, MAX_EVENTS, STORE, holds_entry};
use mmu_core::memory::{OutsideMemory, TableMemory, TableMemoryMut};
use mmu_core::space::{
    BackingStore, Event, EventSink, FrameMemory, SlotNumber, SpaceId, TlbShootdown,
};
use mmu_core::{PhysAddr, VirtAddr};

/// The machine on which the kernel runs, during one request.
pub(crate) struct ImageEnvironment {
    pub(crate) residence: Residence,
    /// Number of events of the request so far.
    pub(crate) events: u64,
}

impl ImageEnvironment {
    /// A pointer to an entry of this many bytes, if it is aligned and in memory that may hold
    /// tables.
    fn pointer(at: PhysAddr, bytes: u8) -> Result<*mut u64, OutsideMemory> {
        if holds_entry(at, bytes) { Ok(at.get() as *mut u64) } else { Err(OutsideMemory(at)) }
    }

    /// Whether the kernel resides in the space of the process that ran last. Translations of other
    /// spaces are not cached.
    fn lives_in_processes(&self) -> bool {
        self.residence == Residence::InProcess
    }
}

impl TableMemory for ImageEnvironment {
    type Error = OutsideMemory;

    fn read_entry(&self, at: PhysAddr, bytes: u8) -> Result<u64, OutsideMemory> {
        let pointer = Self::pointer(at, bytes)?;

        // SAFETY: `pointer` has checked that the entry is aligned and in low memory, which is
        // mapped; no reference to it exists. The processor sets A and D while a process runs, not
        // during this read.
        Ok(unsafe {
            if bytes == 4 {
                pointer.cast::<u32>().read_volatile().into()
            } else {
                pointer.read_volatile()
            }
        })
    }
}

impl TableMemoryMut for ImageEnvironment {
    fn write_entry(&mut self, at: PhysAddr, bytes: u8, new: u64) -> Result<(), OutsideMemory> {
        let pointer = Self::pointer(at, bytes)?;

        // SAFETY: as in `read_entry`; the memory is also writable. The system writes to its frames
        // and to the store only, so the tables that map the kernel stay as they are.
        unsafe {
            if bytes == 4 {
                pointer.cast::<u32>().write_volatile(new as u32);
            } else {
                pointer.write_volatile(new);
            }
        }

        Ok(())
    }
}

impl FrameMemory for ImageEnvironment {}

impl BackingStore for ImageEnvironment {
    fn place(&self, slot: SlotNumber) -> PhysAddr {
        STORE + slot.offset()
    }
}

/// A kernel in a space of its own has nothing to flush: the way back to any process is a MOV to CR3
/// (TLB-4).
impl TlbShootdown for ImageEnvironment {
    fn flush_page(&mut self, _space: SpaceId, page: VirtAddr) {
        if self.lives_in_processes() {
            ProcessorMode::flush_page(page);
        }
    }

    fn flush_space(&mut self, _space: SpaceId) {
        if self.lives_in_processes() {
            ProcessorMode::load_own_tables();
        }
    }

    fn root_changed(&mut self, _space: SpaceId) {
        // PAE's PDPTEs are loaded together with paging, every time a process is entered (PDPTE-1).
    }
}

impl EventSink for ImageEnvironment {
    fn record(&mut self, event: Event) {
        if (self.events as usize) < MAX_EVENTS {
            let place = HISTORY as *mut [u64; history::WORDS];
            // SAFETY: the history is mapped, writable, aligned, has room for MAX_EVENTS entries
            // (system/layout.rs), and no reference to it exists.
            unsafe { place.add(self.events as usize).write_volatile(history::to_words(&event)) };
        }

        self.events += 1;
    }
}
