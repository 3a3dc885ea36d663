//! Guest memory by virtual address: reads and writes that go through the guest's page tables as the
//! guest's own accesses do, with rights checked, A and D set, and faults returned.
//!
//! [`VirtualMemory`] works on any memory of vm-memory, in any paging mode, through a software TLB.
#![forbid(unsafe_code)]

mod error;
mod tables;
#[cfg(test)]
mod tests;

pub use error::{FailureCause, VirtualMemoryError};

use mmu_core::memory::OutsideMemory;
use mmu_core::outcome::Span;
use mmu_core::{
    Access, AccessError, AccessKind, AccessTranslation, AnyCachedMmu, ControlState, Profile, Ring,
    VirtAddr,
};
use tables::TablesInMemory;
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryError};

/// Maximum number of bytes that are moved as one access. Such an access touches at most two pages.
const MAX_ACCESS: usize = 0x1000;

/// The virtual memory of a guest, as one of its processors sees it.
///
/// ```
/// use crosswalk_memory::VirtualMemory;
/// use mmu_core::{ControlState, Profile, Ring, VirtAddr};
/// use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};
///
/// // One page: linear 0x1000 is physical 0x6000, and user code may write it.
/// let ranges = [(GuestAddress(0), 0x10000)];
/// let memory: GuestMemoryMmap = GuestMemoryMmap::from_ranges(&ranges)?;
/// memory.write_obj(0x2007_u64, GuestAddress(0x1000))?;
/// memory.write_obj(0x3007_u64, GuestAddress(0x2000))?;
/// memory.write_obj(0x4007_u64, GuestAddress(0x3000))?;
/// memory.write_obj(0x6007_u64, GuestAddress(0x4008))?;
///
/// let state = ControlState::four_level(0x1000);
/// let profile = Profile::default();
/// let mut guest = VirtualMemory::new(&memory, state, profile);
///
/// // Four bytes written by user code, which also sets A and D.
/// guest.write(VirtAddr::new(0x1ffc), &[1, 2, 3, 4], Ring::Three)?;
/// let bytes: [u8; 4] = memory.read_obj(GuestAddress(0x6ffc))?;
/// assert_eq!(bytes, [1, 2, 3, 4]);
/// let entry: u64 = memory.read_obj(GuestAddress(0x4008))?;
/// assert_eq!(entry, 0x6067);
///
/// let fault = guest.write(VirtAddr::new(0x1ffd), &[0; 4], Ring::Three);
/// let fault = fault.unwrap_err().to_string();
/// assert_eq!(fault, "#PF(W|U) at 0x2000, 0 bytes after the start");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct VirtualMemory<'m, M: GuestMemoryBackend> {
    mmu: AnyCachedMmu,
    memory: &'m M,
    tables: TablesInMemory<'m, M>,
}

impl<'m, M: GuestMemoryBackend> VirtualMemory<'m, M> {
    /// The virtual memory of a control state, in its paging mode. The TLB is empty.
    pub fn new(memory: &'m M, state: ControlState, profile: Profile) -> Self {
        let mmu = AnyCachedMmu::new(state, profile);
        Self { mmu, memory, tables: TablesInMemory::new(memory) }
    }

    /// The MMU, which the caller informs about register changes and invalidations.
    ///
    /// ```no_run
    /// # use crosswalk_memory::VirtualMemory;
    /// # use mmu_core::VirtAddr;
    /// # use vm_memory::GuestMemoryMmap;
    /// # fn edit(guest: &mut VirtualMemory<'_, GuestMemoryMmap>) {
    /// // After an edit of the page's entry, as the guest itself must do:
    /// guest.mmu().invlpg(VirtAddr::new(0x1000));
    /// # }
    /// ```
    pub fn mmu(&mut self) -> &mut AnyCachedMmu {
        &mut self.mmu
    }

    /// Translates one access without moving bytes: to physical addresses, whether there is memory at
    /// them or not. A and D are set as by the access itself.
    ///
    /// # Errors
    /// The fault, that a table is outside memory, or that an entry is contended.
    pub fn translate(&mut self, access: &Access) -> Result<AccessTranslation, AccessError> {
        self.mmu.translate(&self.tables, access)
    }

    /// Fills a buffer with the bytes from `address` on, as code in this ring reads them.
    ///
    /// # Errors
    /// When a byte cannot be read; see [`VirtualMemoryError`].
    pub fn read(
        &mut self,
        address: VirtAddr,
        buffer: &mut [u8],
        ring: Ring,
    ) -> Result<(), VirtualMemoryError> {
        let mut done = 0;
        for piece in buffer.chunks_mut(MAX_ACCESS) {
            let at = address.wrapping_add(done as u64);
            let access = Access::read(at, piece.len() as u16, ring);
            self.move_spans(&access, |memory, span, before| {
                let bytes = &mut piece[before..before + usize::from(span.len)];
                memory.read_slice(bytes, GuestAddress(span.address.get()))
            })
            .map_err(|cause| VirtualMemoryError { cause, done })?;
            done += piece.len();
        }
        Ok(())
    }

    /// Stores bytes from `address` on, as code in this ring writes them.
    ///
    /// # Errors
    /// When a byte cannot be written; see [`VirtualMemoryError`].
    pub fn write(
        &mut self,
        address: VirtAddr,
        bytes: &[u8],
        ring: Ring,
    ) -> Result<(), VirtualMemoryError> {
        let mut done = 0;
        for piece in bytes.chunks(MAX_ACCESS) {
            let at = address.wrapping_add(done as u64);
            let access = Access::new(AccessKind::Write, at, piece.len() as u16, ring);
            self.move_spans(&access, |memory, span, before| {
                let bytes = &piece[before..before + usize::from(span.len)];
                memory.write_slice(bytes, GuestAddress(span.address.get()))
            })
            .map_err(|cause| VirtualMemoryError { cause, done })?;
            done += piece.len();
        }
        Ok(())
    }

    /// Translates one access, then moves each of its spans. The last argument of `move_span` is the
    /// number of bytes of the access before the span.
    fn move_spans(
        &mut self,
        access: &Access,
        mut move_span: impl FnMut(&M, Span, usize) -> Result<(), GuestMemoryError>,
    ) -> Result<(), FailureCause> {
        let translated = self.translate(access)?;

        // All spans are checked before the first byte moves.
        let outside = |span: &Span| FailureCause::Outside(OutsideMemory(span.address));
        if let Some(span) = translated.spans().find(|span| !self.has_memory(span)) {
            return Err(outside(&span));
        }

        let mut before = 0;
        for span in translated.spans() {
            move_span(self.memory, span, before).map_err(|_| outside(&span))?;
            before += usize::from(span.len);
        }
        Ok(())
    }

    /// Whether there is memory at both ends of a span, which is within one page.
    fn has_memory(&self, span: &Span) -> bool {
        let first = GuestAddress(span.address.get());
        let last = GuestAddress(span.address.get() + u64::from(span.len) - 1);
        self.memory.address_in_range(first) && self.memory.address_in_range(last)
    }
}
