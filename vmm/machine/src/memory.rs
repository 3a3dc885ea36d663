//! The guest's memory, on vm-memory: low memory for image, mailbox and page tables, 1 GiB of address
//! space for data frames, few of which are ever touched, and windows of further page tables.

use crosswalk_guest::contents;
use crosswalk_guest::high::PART_SIZE;
use crosswalk_guest::layout::{
    Arena, DATA_BASE, DATA_SIZE, FRAMES_PER_LANE, LOW_MEMORY_END, MAX_LANES,
};
use crosswalk_guest::table_windows::TableWindow;
use mmu_core::PhysAddr;
use mmu_core::memory::{OutsideMemory, TableMemory, TableMemoryMut};
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use vm_memory::{
    Bytes, FileOffset, GuestAddress, GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion,
};
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// Size in bytes of the data frames that one lane has in one arena.
pub const LANE_BYTES: usize = FRAMES_PER_LANE as usize * 0x1000;

/// The files behind memory that another process can map.
#[derive(Debug)]
pub struct SharedFiles {
    /// The file of low memory, which starts at address 0.
    pub low: File,
    /// The files of the two halves of the data memory.
    pub halves: [File; 2],
    /// The files of the windows of further page tables.
    pub windows: [File; 2],
}

/// The guest's physical memory. Clones share it, and it stays mapped as long as one of them lives.
#[derive(Clone, Debug)]
pub struct GuestMemory(Arc<GuestMemoryMmap>);

/// A region of guest-physical memory that is contiguous in the host's address space.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HostRegion {
    /// The guest-physical address.
    pub(crate) guest_physical: u64,
    /// The address at which the host has mapped it.
    pub(crate) host_address: u64,
    /// Its size in bytes.
    pub(crate) len: u64,
}

impl GuestMemory {
    /// Maps new memory, with every data frame filled.
    ///
    /// # Errors
    /// If the host cannot map it.
    pub fn new() -> Result<Self, std::io::Error> {
        let [first, second] = TableWindow::ALL.map(TableWindow::start);
        let ranges = [
            (GuestAddress(0), LOW_MEMORY_END as usize),
            (GuestAddress(DATA_BASE), DATA_SIZE as usize),
            (GuestAddress(first), TableWindow::SIZE as usize),
            (GuestAddress(second), TableWindow::SIZE as usize),
        ];
        let memory = GuestMemoryMmap::from_ranges(&ranges).map_err(std::io::Error::other)?;
        Ok(Self::filled(memory))
    }

    /// Maps new memory in files without a name, which another process can map as well, with every
    /// data frame filled.
    ///
    /// # Errors
    /// If the host cannot create or map the files.
    pub fn shared() -> Result<(Self, SharedFiles), std::io::Error> {
        let file = |name: &str, len: u64| {
            let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
            let file = File::from(memfd_create(name, flags)?);
            file.set_len(len)?;
            // If the other process could cut it, the next access here would be a SIGBUS.
            let seals = SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SEAL;
            fcntl(&file, FcntlArg::F_ADD_SEALS(seals))?;
            Ok::<_, std::io::Error>(file)
        };
        let low = file("low memory", DATA_BASE)?;
        let halves = [file("data memory", PART_SIZE)?, file("data memory", PART_SIZE)?];
        let window = || file("table memory", TableWindow::SIZE);
        let windows = [window()?, window()?];

        let [first, second] = TableWindow::ALL.map(TableWindow::start);
        let whole =
            |file: &File| Ok::<_, std::io::Error>(Some(FileOffset::new(file.try_clone()?, 0)));
        let ranges = [
            (GuestAddress(0), LOW_MEMORY_END as usize, whole(&low)?),
            (GuestAddress(DATA_BASE), PART_SIZE as usize, whole(&halves[0])?),
            (GuestAddress(DATA_BASE + PART_SIZE), PART_SIZE as usize, whole(&halves[1])?),
            (GuestAddress(first), TableWindow::SIZE as usize, whole(&windows[0])?),
            (GuestAddress(second), TableWindow::SIZE as usize, whole(&windows[1])?),
        ];
        let memory =
            GuestMemoryMmap::from_ranges_with_files(&ranges).map_err(std::io::Error::other)?;

        Ok((Self::filled(memory), SharedFiles { low, halves, windows }))
    }

    fn filled(memory: GuestMemoryMmap) -> Self {
        let memory = Self(Arc::new(memory));

        for arena in Arena::ALL {
            for lane in 0..MAX_LANES {
                memory.restore(arena.data_frames(lane));
            }
        }

        memory
    }

    /// Reads a word that another thread or process may be writing.
    pub(crate) fn load(&self, at: u64) -> u64 {
        self.0.load(GuestAddress(at), Ordering::Acquire).expect("the layout is in memory")
    }

    /// Writes a word. Another thread or process that sees it also sees all earlier writes.
    pub(crate) fn store(&self, at: u64, word: u64) {
        let stored = self.0.store(word, GuestAddress(at), Ordering::Release);
        stored.expect("the layout is in memory");
    }

    /// Fills the data frames of a lane, which start at `first`, with their original contents.
    pub fn restore(&self, first: u64) {
        let mut frames = [0; LANE_BYTES];
        contents::fill(first, &mut frames);
        self.write(first, &frames);
    }

    /// Fills a data frame with its original contents.
    pub(crate) fn restore_frame(&self, frame: u64) {
        let mut contents = [0; 0x1000];
        contents::fill(frame, &mut contents);
        self.write(frame, &contents);
    }

    /// All regions of the memory.
    pub(crate) fn regions(&self) -> impl Iterator<Item = HostRegion> {
        self.0.iter().map(|region| {
            let guest_physical = region.start_addr().0;
            let host_address = self.host_address(guest_physical);
            HostRegion { guest_physical, host_address, len: region.len() }
        })
    }

    /// All ranges but the data memory that nothing has touched: each as its first address and its size in bytes.
    pub fn ranges_in_use(&self) -> Vec<(u64, u64)> {
        const PAGE: u64 = 0x1000;

        let mut ranges: Vec<(u64, u64)> = Vec::new();
        for region in self.regions() {
            let start = region.guest_physical;
            if !(DATA_BASE..DATA_BASE + DATA_SIZE).contains(&start) {
                ranges.push((start, region.len));
                continue;
            }
            for at in (start..start + region.len).step_by(PAGE as usize) {
                if self.holds(at, &[0; PAGE as usize]) {
                    continue;
                }
                match ranges.last_mut().filter(|(start, len)| start + len == at) {
                    Some((_, len)) => *len += PAGE,
                    None => ranges.push((at, PAGE)),
                }
            }
        }
        ranges
    }

    /// The address at which the host has mapped an address of the fixed layout.
    pub(crate) fn host_address(&self, at: u64) -> u64 {
        let address = self.0.get_host_address(GuestAddress(at));
        address.expect("the layout is in memory") as u64
    }

    /// Writes bytes at an address of the fixed layout.
    ///
    /// # Panics
    /// If the range is outside memory.
    pub fn write(&self, at: u64, bytes: &[u8]) {
        self.0.write_slice(bytes, GuestAddress(at)).expect("the layout is in memory");
    }

    /// Reads bytes from an address of the fixed layout.
    ///
    /// # Panics
    /// If the range is outside memory.
    pub fn read(&self, at: u64, bytes: &mut [u8]) {
        self.0.read_slice(bytes, GuestAddress(at)).expect("the layout is in memory");
    }

    /// Whether a range of the fixed layout has these contents. It is compared where it is, without a
    /// copy.
    ///
    /// # Panics
    /// If the range is outside memory.
    pub(crate) fn holds(&self, at: u64, contents: &[u8]) -> bool {
        let place = self.0.get_slice(GuestAddress(at), contents.len());
        let place = place.expect("the layout is in memory").ptr_guard();

        // SAFETY: both ranges are mapped and of this length: `get_slice` has checked the first, which
        // `self` keeps mapped. A guest may write to it meanwhile, so no Rust code reads it; whatever
        // memcmp reads, it only returns a number.
        let difference = unsafe {
            libc::memcmp(place.as_ptr().cast(), contents.as_ptr().cast(), contents.len())
        };
        difference == 0
    }

    /// Writes a structure of the protocol.
    ///
    /// # Panics
    /// If the range is outside memory.
    pub fn write_value<T: IntoBytes + Immutable + ?Sized>(&self, at: u64, value: &T) {
        self.write(at, value.as_bytes());
    }

    /// Reads a structure of the protocol.
    ///
    /// # Panics
    /// If the range is outside memory.
    pub fn read_value<T: FromBytes + IntoBytes>(&self, at: u64) -> T {
        let mut value = T::new_zeroed();
        self.read(at, value.as_mut_bytes());
        value
    }
}

/// Page tables in guest memory, as the host walks them.
impl TableMemory for GuestMemory {
    type Error = OutsideMemory;

    fn read_entry(&self, at: PhysAddr, bytes: u8) -> Result<u64, OutsideMemory> {
        let mut entry = [0; 8];
        // No memory has entries of more than 8 bytes.
        let part = entry.get_mut(..bytes.into()).ok_or(OutsideMemory(at))?;
        self.0.read_slice(part, GuestAddress(at.get())).map_err(|_| OutsideMemory(at))?;

        Ok(u64::from_le_bytes(entry))
    }
}

/// Page tables in guest memory, as the host builds them before the guest runs.
impl TableMemoryMut for GuestMemory {
    fn write_entry(&mut self, at: PhysAddr, bytes: u8, entry: u64) -> Result<(), OutsideMemory> {
        let entry = entry.to_le_bytes();
        let part = entry.get(..bytes.into()).ok_or(OutsideMemory(at))?;
        self.0.write_slice(part, GuestAddress(at.get())).map_err(|_| OutsideMemory(at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crosswalk_guest::layout::OWN_TABLES;

    #[test]
    fn contents_are_compared_to_the_last_byte() {
        let memory = GuestMemory::new().expect("memory can be mapped");
        let first = Arena::ALL[1].data_frames(7);
        let mut contents = vec![0; LANE_BYTES];
        memory.read(first, &mut contents);
        assert!(memory.holds(first, &contents));

        for offset in [0, 0x0fff, 0x1000, 0x1fff] {
            memory.write(first + offset, &[!contents[offset as usize]]);
            assert!(!memory.holds(first, &contents), "{offset:#x}");
            memory.restore(first);
        }
        assert!(memory.holds(first, &contents[..0x1001]));
    }

    #[test]
    fn no_entry_has_more_than_8_bytes() {
        let mut memory = GuestMemory::new().expect("memory can be mapped");
        let at = PhysAddr::new(OWN_TABLES);

        assert_eq!(memory.write_entry(at, 8, 0x1122_3344_5566_7788), Ok(()));
        assert_eq!(memory.read_entry(at, 4), Ok(0x5566_7788));
        for bytes in [9, u8::MAX] {
            assert_eq!(memory.read_entry(at, bytes), Err(OutsideMemory(at)));
            assert_eq!(memory.write_entry(at, bytes, 0), Err(OutsideMemory(at)));
        }
    }
}
