//! Guest memory by virtual address: reads and writes that go through the guest's page tables as the
//! guest's own would, with rights judged, A and D set, and faults returned.
//!
//! It works on any memory of vm-memory, for any table format, through a software TLB.

use mmu_core::cache::{AccessError, CachedMmu, TableMemoryUpdate};
use mmu_core::memory::{OutsideMemory, TableMemory};
use mmu_core::outcome::Span;
use mmu_core::x86::format::Format;
use mmu_core::{
    Access, AccessKind, ControlState, Fault, Outcome, PhysAddr, Profile, Ring, VirtAddr,
};
use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering};
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, VolatileMemory};

/// The largest piece that is moved as one access: it meets two pages at most.
const PIECE: usize = 0x1000;

/// Why a read or write did not complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{why}, {done} bytes after the start")]
pub struct VirtualError {
    /// What ended it.
    pub why: Why,
    /// The bytes moved before the piece that failed, which moved none (AD-7).
    pub done: usize,
}

/// What ended a read or write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The exception that the guest would have got.
    Fault(Fault),
    /// A table, or the page itself, lies where there is no memory.
    Outside(OutsideMemory),
    /// The entry at this address changed again and again while A or D was to be set.
    Contended(PhysAddr),
}

impl std::fmt::Display for Why {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Fault(fault) => fault.fmt(f),
            Self::Outside(outside) => outside.fmt(f),
            Self::Contended(at) => AccessError::Contended(*at).fmt(f),
        }
    }
}

impl From<AccessError> for Why {
    fn from(no_outcome: AccessError) -> Self {
        match no_outcome {
            AccessError::Outside(outside) => Self::Outside(outside),
            AccessError::Contended(at) => Self::Contended(at),
        }
    }
}

/// The virtual memory of a guest, as one processor of it sees it.
///
/// ```
/// use crosswalk_memory::VirtualMemory;
/// use mmu_core::x86::format::FourLevel;
/// use mmu_core::{ControlState, Profile, Ring, VirtAddr};
/// use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};
///
/// // One page: linear 0x1000 is physical 0x6000, writable, the user's.
/// let memory = [(GuestAddress(0), 0x10000)];
/// let memory: GuestMemoryMmap = GuestMemoryMmap::from_ranges(&memory)?;
/// memory.write_obj(0x2007_u64, GuestAddress(0x1000))?;
/// memory.write_obj(0x3007_u64, GuestAddress(0x2000))?;
/// memory.write_obj(0x4007_u64, GuestAddress(0x3000))?;
/// memory.write_obj(0x6007_u64, GuestAddress(0x4008))?;
///
/// let state = ControlState::long_mode(0x1000);
/// let profile = Profile::default();
/// let mut guest = VirtualMemory::<FourLevel, _>::new(&memory, state, profile);
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
pub struct VirtualMemory<'m, F: Format, M: GuestMemoryBackend> {
    mmu: CachedMmu<F>,
    memory: &'m M,
}

impl<'m, F: Format, M: GuestMemoryBackend> VirtualMemory<'m, F, M> {
    /// The virtual memory that a control state of this format describes, with an empty TLB.
    pub fn new(memory: &'m M, state: ControlState, profile: Profile) -> Self {
        Self { mmu: CachedMmu::new(state, profile), memory }
    }

    /// The MMU, to be told of register changes and invalidations.
    pub fn mmu(&mut self) -> &mut CachedMmu<F> {
        &mut self.mmu
    }

    /// Translates one access and moves no bytes: where it leads, whether there is memory or not, or
    /// its fault. A and D are set as the access would set them.
    ///
    /// # Errors
    /// When a table lies where there is no memory, or an entry is contended.
    pub fn translate(&mut self, access: &Access) -> Result<Outcome, Why> {
        Ok(self.mmu.access(&mut TablesInMemory(self.memory), access)?)
    }

    /// Fills a buffer from `address` on, as code of this ring would read it.
    ///
    /// # Errors
    /// When a byte cannot be read; see [`VirtualError`].
    pub fn read(
        &mut self,
        address: VirtAddr,
        buffer: &mut [u8],
        ring: Ring,
    ) -> Result<(), VirtualError> {
        let mut done = 0;
        for piece in buffer.chunks_mut(PIECE) {
            let at = address.wrapping_add(done as u64);
            let access = Access::read(at, piece.len() as u16, ring);
            self.in_spans(&access, |memory, span, from| {
                let len = usize::from(span.len);
                let place = GuestAddress(span.address.get());
                memory.read_slice(&mut piece[from..from + len], place)
            })
            .map_err(|why| VirtualError { why, done })?;
            done += piece.len();
        }
        Ok(())
    }

    /// Stores bytes from `address` on, as code of this ring would write them.
    ///
    /// # Errors
    /// When a byte cannot be written; see [`VirtualError`].
    pub fn write(
        &mut self,
        address: VirtAddr,
        bytes: &[u8],
        ring: Ring,
    ) -> Result<(), VirtualError> {
        let mut done = 0;
        for piece in bytes.chunks(PIECE) {
            let at = address.wrapping_add(done as u64);
            let access = Access::new(AccessKind::Write, at, piece.len() as u16, ring);
            self.in_spans(&access, |memory, span, from| {
                let len = usize::from(span.len);
                let place = GuestAddress(span.address.get());
                memory.write_slice(&piece[from..from + len], place)
            })
            .map_err(|why| VirtualError { why, done })?;
            done += piece.len();
        }
        Ok(())
    }

    /// Translates one access, then moves each of its spans; the last argument of `move_span` is how
    /// many bytes of the access come before it.
    fn in_spans(
        &mut self,
        access: &Access,
        mut move_span: impl FnMut(&M, Span, usize) -> Result<(), vm_memory::GuestMemoryError>,
    ) -> Result<(), Why> {
        match self.translate(access)? {
            Outcome::Fault(fault) => Err(Why::Fault(fault)),
            Outcome::Translated(spans) => {
                // All spans are looked at before the first byte moves.
                for span in &spans {
                    let last = GuestAddress(span.address.get() + u64::from(span.len) - 1);
                    let first = GuestAddress(span.address.get());
                    if !self.memory.address_in_range(first) || !self.memory.address_in_range(last) {
                        return Err(Why::Outside(OutsideMemory(span.address)));
                    }
                }
                let mut from = 0;
                for span in spans {
                    move_span(self.memory, span, from)
                        .map_err(|_| Why::Outside(OutsideMemory(span.address)))?;
                    from += usize::from(span.len);
                }
                Ok(())
            }
        }
    }
}

/// Page tables in a vm-memory, read and changed atomically: the guest may change them too.
struct TablesInMemory<'m, M>(&'m M);

/// Calls a method of the atomic integer of this many bytes at a place in guest memory.
macro_rules! atomic {
    ($memory:expr, $at:expr, $bytes:expr, |$cell:ident: $integer:ident| $body:expr) => {{
        let outside = |_| OutsideMemory($at);
        let slice = $memory.get_slice(GuestAddress($at.get()), $bytes.into()).map_err(outside)?;
        let misplaced = |_| OutsideMemory($at);
        match $bytes {
            1 => {
                type $integer = u8;
                let $cell = slice.get_atomic_ref::<AtomicU8>(0).map_err(misplaced)?;
                $body
            }
            2 => {
                type $integer = u16;
                let $cell = slice.get_atomic_ref::<AtomicU16>(0).map_err(misplaced)?;
                $body
            }
            4 => {
                type $integer = u32;
                let $cell = slice.get_atomic_ref::<AtomicU32>(0).map_err(misplaced)?;
                $body
            }
            _ => {
                type $integer = u64;
                let $cell = slice.get_atomic_ref::<AtomicU64>(0).map_err(misplaced)?;
                $body
            }
        }
    }};
}

impl<M: GuestMemoryBackend> TableMemory for TablesInMemory<'_, M> {
    fn read_entry(&self, at: PhysAddr, bytes: u8) -> Result<u64, OutsideMemory> {
        #[allow(clippy::useless_conversion, reason = "u64 of a u64 in one of four cases")]
        Ok(atomic!(self.0, at, bytes, |cell: _Integer| u64::from(cell.load(Ordering::Acquire))))
    }
}

impl<M: GuestMemoryBackend> TableMemoryUpdate for TablesInMemory<'_, M> {
    fn update_entry(
        &mut self,
        at: PhysAddr,
        bytes: u8,
        old: u64,
        new: u64,
    ) -> Result<bool, OutsideMemory> {
        let ordering = (Ordering::AcqRel, Ordering::Acquire);
        Ok(atomic!(self.0, at, bytes, |cell: Integer| {
            let (old, new) = (old as Integer, new as Integer);
            cell.compare_exchange(old, new, ordering.0, ordering.1).is_ok()
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mmu_core::x86::format::{Bits32, FourLevel};
    use mmu_core::{Cr4, Efer, Vector};
    use vm_memory::GuestMemoryMmap;

    const SIZE: usize = 0x20_0000;

    /// Linear 0x1000 is physical 0x6000, 0x2000 is 0x5000 and read-only, 0x3000 has no memory, and
    /// 0x4000 is not mapped.
    fn memory() -> GuestMemoryMmap {
        let memory = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), SIZE)]).unwrap();
        for (at, entry) in [
            (0x1000, 0x2007_u64),
            (0x2000, 0x3007),
            (0x3000, 0x4007),
            (0x4008, 0x6007),
            (0x4010, 0x5005),
            (0x4018, 0x7000_0007),
        ] {
            memory.write_obj(entry, GuestAddress(at)).unwrap();
        }
        memory
    }

    fn guest(memory: &GuestMemoryMmap) -> VirtualMemory<'_, FourLevel, GuestMemoryMmap> {
        VirtualMemory::new(memory, ControlState::long_mode(0x1000), Profile::default())
    }

    fn entry(memory: &GuestMemoryMmap, at: u64) -> u64 {
        memory.read_obj(GuestAddress(at)).unwrap()
    }

    #[test]
    fn a_read_across_pages_gathers_from_both_frames_and_sets_a() {
        let memory = memory();
        memory.write_slice(&[1, 2], GuestAddress(0x6ffe)).unwrap();
        memory.write_slice(&[3, 4], GuestAddress(0x5000)).unwrap();
        let mut bytes = [0; 4];
        guest(&memory).read(VirtAddr::new(0x1ffe), &mut bytes, Ring::Three).unwrap();
        assert_eq!(bytes, [1, 2, 3, 4]);
        assert_eq!((entry(&memory, 0x4008), entry(&memory, 0x4010)), (0x6027, 0x5025));
    }

    #[test]
    fn ad_7_a_write_that_faults_on_its_second_page_stores_nothing() {
        let memory = memory();
        let result = guest(&memory).write(VirtAddr::new(0x1ffe), &[9; 4], Ring::Three);
        let VirtualError { why: Why::Fault(fault), done: 0 } = result.unwrap_err() else {
            panic!("a read-only page faults")
        };
        assert_eq!((fault.vector, fault.error_code), (Vector::PageFault, 7));
        assert_eq!(fault.cr2, Some(VirtAddr::new(0x2000)));
        assert_eq!(memory.read_obj::<u16>(GuestAddress(0x6ffe)).unwrap(), 0);
    }

    #[test]
    fn a_long_write_says_how_far_it_came() {
        let memory = memory();
        let result = guest(&memory).write(VirtAddr::new(0x1000), &[7; 0x1800], Ring::Three);
        assert_eq!(result.unwrap_err().done, 0x1000);
        assert_eq!(memory.read_obj::<u64>(GuestAddress(0x6ff8)).unwrap(), 0x0707_0707_0707_0707);
        assert_eq!(memory.read_obj::<u64>(GuestAddress(0x5000)).unwrap(), 0);
    }

    #[test]
    fn what_is_not_mapped_faults_and_what_has_no_memory_says_so() {
        let memory = memory();
        let mut guest = guest(&memory);
        let mut byte = [0];
        let absent = guest.read(VirtAddr::new(0x4000), &mut byte, Ring::Zero).unwrap_err();
        assert_eq!(absent.why.to_string(), "#PF(0) at 0x4000");
        let outside = guest.read(VirtAddr::new(0x3000), &mut byte, Ring::Zero).unwrap_err();
        assert_eq!(outside.why, Why::Outside(OutsideMemory(PhysAddr::new(0x7000_0000))));
        let bad = guest.read(VirtAddr::new(1 << 63), &mut byte, Ring::Zero).unwrap_err();
        assert_eq!(bad.why.to_string(), "#GP(0)");
    }

    #[test]
    fn a_translation_leads_where_there_is_no_memory_too() {
        let memory = memory();
        let read = Access::read(VirtAddr::new(0x3ffe), 2, Ring::Three);
        let outcome = guest(&memory).translate(&read).unwrap();
        assert_eq!(outcome.physical_address(), Some(PhysAddr::new(0x7000_0ffe)));
        assert_eq!(entry(&memory, 0x4018), 0x7000_0027);
    }

    #[test]
    fn a_32_bit_entry_keeps_its_neighbour() {
        let memory: GuestMemoryMmap =
            GuestMemoryMmap::from_ranges(&[(GuestAddress(0), SIZE)]).unwrap();
        for (at, entry) in [(0x1000, 0x2007_u32), (0x1004, 0xdead_beef), (0x2004, 0x6007)] {
            memory.write_obj(entry, GuestAddress(at)).unwrap();
        }
        let mut state = ControlState::long_mode(0x1000);
        (state.cr4, state.efer) = (Cr4::empty(), Efer::empty());
        let mut guest = VirtualMemory::<Bits32, _>::new(&memory, state, Profile::default());
        guest.write(VirtAddr::new(0x1004), &[5], Ring::Zero).unwrap();
        assert_eq!(memory.read_obj::<u8>(GuestAddress(0x6004)).unwrap(), 5);
        let words =
            [0x1000, 0x1004, 0x2004].map(|at| memory.read_obj::<u32>(GuestAddress(at)).unwrap());
        assert_eq!(words, [0x2027, 0xdead_beef, 0x6067]);
    }

    #[test]
    fn an_invalidation_is_needed_to_see_an_edit() {
        let memory = memory();
        memory.write_obj(1_u8, GuestAddress(0x6000)).unwrap();
        memory.write_obj(2_u8, GuestAddress(0x8000)).unwrap();
        let mut guest = guest(&memory);
        let page = VirtAddr::new(0x1000);
        let mut byte = [0];
        guest.read(page, &mut byte, Ring::Three).unwrap();
        memory.write_obj(0x8007_u64, GuestAddress(0x4008)).unwrap();
        guest.read(page, &mut byte, Ring::Three).unwrap();
        assert_eq!(byte, [1]);
        guest.mmu().invlpg(page);
        guest.read(page, &mut byte, Ring::Three).unwrap();
        assert_eq!(byte, [2]);
    }
}
