//! What the system runs on: memory, translation caches, a backing store, and a record of events. A
//! guest's kernel and a model on the host each provide their own.

use super::event::Event;
use super::ids::{PAGE_BYTES, SlotNumber, SpaceId};
use crate::address::{PhysAddr, VirtAddr};
use crate::memory::{OutsideMemory, TableMemoryMut};

/// Memory with whole frames: tables and the contents of pages.
///
/// The default methods go word by word through [`TableMemoryMut`]; override them where memory offers
/// something faster.
pub trait FrameMemory: TableMemoryMut<Error = OutsideMemory> {
    /// Fills a frame with zeros.
    ///
    /// # Errors
    /// When no memory answers there.
    fn wipe(&mut self, frame: PhysAddr) -> Result<(), OutsideMemory> {
        for offset in (0..PAGE_BYTES).step_by(8) {
            self.write_entry(frame + offset, 8, 0)?;
        }
        Ok(())
    }

    /// Copies a frame over another.
    ///
    /// # Errors
    /// When no memory answers there.
    fn copy(&mut self, from: PhysAddr, to: PhysAddr) -> Result<(), OutsideMemory> {
        for offset in (0..PAGE_BYTES).step_by(8) {
            let word = self.read_entry(from + offset, 8)?;
            self.write_entry(to + offset, 8, word)?;
        }
        Ok(())
    }
}

/// The caches of translations (TLB-4). With PCIDs, a space that does not run may be cached, too.
/// Without them MOV to CR3 has dropped it, and there is nothing to do.
pub trait TlbShootdown {
    /// Drops the translation of one page of a space, and the entries above that lead there: INVLPG.
    fn flush_page(&mut self, space: SpaceId, page: VirtAddr);

    /// Drops all translations of a space: MOV to CR3. If the space has ended, its number and the frame
    /// of its root may be given to another space next.
    fn flush_space(&mut self, space: SpaceId);

    /// An entry of the root table was added. PAE paging holds these in registers, which must be loaded
    /// again if the space runs (PDPTE-1). Other formats need nothing, as P was 0 (TLB-1).
    fn root_changed(&mut self, space: SpaceId);
}

/// The backing store: numbered slots of one page each. For the default methods it is a region of
/// memory.
pub trait BackingStore: FrameMemory {
    /// The physical address of a slot.
    fn place(&self, slot: SlotNumber) -> PhysAddr;

    /// Writes a frame to a slot.
    ///
    /// # Errors
    /// When no memory answers there.
    fn save(&mut self, frame: PhysAddr, slot: SlotNumber) -> Result<(), OutsideMemory> {
        self.copy(frame, self.place(slot))
    }

    /// Reads a slot into a frame.
    ///
    /// # Errors
    /// When no memory answers there.
    fn load(&mut self, slot: SlotNumber, frame: PhysAddr) -> Result<(), OutsideMemory> {
        self.copy(self.place(slot), frame)
    }
}

/// Receives the events of a system.
pub trait EventSink {
    /// Something happened.
    fn record(&mut self, event: Event);
}

/// Everything that a system runs on.
pub trait Environment: BackingStore + TlbShootdown + EventSink {}

impl<E: BackingStore + TlbShootdown + EventSink> Environment for E {}
