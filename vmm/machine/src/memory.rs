//! The guest's memory, on vm-memory: low memory for image, mailbox and tables, and 1 GiB of
//! address space for data frames, of which few are ever touched.

use crosswalk_guest::contents;
use crosswalk_guest::high::PART_SIZE;
use crosswalk_guest::layout::{
    Arena, DATA_BASE, DATA_SIZE, FRAMES_PER_LANE, LOW_MEMORY_END, MAX_LANES,
};
use mmu_core::PhysAddr;
use mmu_core::memory::{OutsideMemory, TableMemory, TableMemoryMut};
use nix::sys::memfd::{MFdFlags, memfd_create};
use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use vm_memory::{
    Bytes, FileOffset, GuestAddress, GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion,
};
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// Bytes of data frames that one lane has in one arena.
pub const LANE_BYTES: usize = FRAMES_PER_LANE as usize * 0x1000;

/// The files behind memory that is shared.
#[derive(Debug)]
pub struct SharedFiles {
    /// From 0 on.
    pub low: File,
    /// The halves of the data memory.
    pub halves: [File; 2],
}

/// The guest's physical memory. Clones share it.
#[derive(Clone, Debug)]
pub struct GuestMemory(Arc<GuestMemoryMmap>);

impl GuestMemory {
    /// Maps fresh memory with every data frame filled.
    ///
    /// # Errors
    /// When the host gives no memory.
    pub fn new() -> Result<Self, std::io::Error> {
        let ranges = [
            (GuestAddress(0), LOW_MEMORY_END as usize),
            (GuestAddress(DATA_BASE), DATA_SIZE as usize),
        ];
        let memory = GuestMemoryMmap::from_ranges(&ranges).map_err(std::io::Error::other)?;
        Ok(Self::filled(memory))
    }

    /// The same in files without a name, which another process can map.
    ///
    /// # Errors
    /// When the host gives no memory.
    pub fn shared() -> Result<(Self, SharedFiles), std::io::Error> {
        let file = |name: &str, len: u64| {
            let file = File::from(memfd_create(name, MFdFlags::MFD_CLOEXEC)?);
            file.set_len(len)?;
            Ok::<_, std::io::Error>(file)
        };
        let low = file("low memory", DATA_BASE)?;
        let halves = [file("data memory", PART_SIZE)?, file("data memory", PART_SIZE)?];
        let whole =
            |file: &File| Ok::<_, std::io::Error>(Some(FileOffset::new(file.try_clone()?, 0)));
        let ranges = [
            (GuestAddress(0), LOW_MEMORY_END as usize, whole(&low)?),
            (GuestAddress(DATA_BASE), PART_SIZE as usize, whole(&halves[0])?),
            (GuestAddress(DATA_BASE + PART_SIZE), PART_SIZE as usize, whole(&halves[1])?),
        ];
        let memory =
            GuestMemoryMmap::from_ranges_with_files(&ranges).map_err(std::io::Error::other)?;
        Ok((Self::filled(memory), SharedFiles { low, halves }))
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
        self.0.load(GuestAddress(at), Ordering::Acquire).expect("the layout lies in memory")
    }

    /// Writes a word after everything that was written before.
    pub(crate) fn store(&self, at: u64, word: u64) {
        let stored = self.0.store(word, GuestAddress(at), Ordering::Release);
        stored.expect("the layout lies in memory");
    }

    /// Fills a lane's data frames, which start here, with what they should hold.
    pub fn restore(&self, first: u64) {
        let mut frames = [0; LANE_BYTES];
        contents::fill(first, &mut frames);
        self.write(first, &frames);
    }

    /// The regions: guest-physical start, host address, bytes.
    pub(crate) fn regions(&self) -> impl Iterator<Item = (u64, u64, u64)> {
        self.0.iter().map(|region| {
            let start = region.start_addr();
            let host = self.0.get_host_address(start).expect("a region has a host address");
            (start.0, host as u64, region.len())
        })
    }

    /// Where the host has the byte at a place of the fixed layout.
    pub(crate) fn host_address(&self, at: u64) -> u64 {
        let address = self.0.get_host_address(GuestAddress(at));
        address.expect("the layout lies in memory") as u64
    }

    /// Writes bytes at a place of the fixed layout.
    ///
    /// # Panics
    /// When the place is outside memory, which no caller asks for.
    pub fn write(&self, at: u64, bytes: &[u8]) {
        self.0.write_slice(bytes, GuestAddress(at)).expect("the layout lies in memory");
    }

    /// Reads bytes from a place of the fixed layout.
    ///
    /// # Panics
    /// When the place is outside memory, which no caller asks for.
    pub fn read(&self, at: u64, bytes: &mut [u8]) {
        self.0.read_slice(bytes, GuestAddress(at)).expect("the layout lies in memory");
    }

    /// Writes one of the protocol's structures.
    pub fn write_value<T: IntoBytes + Immutable + ?Sized>(&self, at: u64, value: &T) {
        self.write(at, value.as_bytes());
    }

    /// Reads one of the protocol's structures.
    pub fn read_value<T: FromBytes + IntoBytes>(&self, at: u64) -> T {
        let mut value = T::new_zeroed();
        self.read(at, value.as_mut_bytes());
        value
    }
}

/// Tables in guest memory, walked from the host's side.
impl TableMemory for GuestMemory {
    fn read_entry(&self, at: PhysAddr, bytes: u8) -> Result<u64, OutsideMemory> {
        let mut entry = [0; 8];
        self.0
            .read_slice(&mut entry[..bytes.into()], GuestAddress(at.get()))
            .map_err(|_| OutsideMemory(at))?;
        Ok(u64::from_le_bytes(entry))
    }
}

/// Tables in guest memory, built from the host's side before the guest runs.
impl TableMemoryMut for GuestMemory {
    fn write_entry(&mut self, at: PhysAddr, bytes: u8, entry: u64) -> Result<(), OutsideMemory> {
        let entry = &entry.to_le_bytes()[..bytes.into()];
        self.0.write_slice(entry, GuestAddress(at.get())).map_err(|_| OutsideMemory(at))
    }
}
