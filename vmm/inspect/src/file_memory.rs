//! The physical memory in a file, or in what is read like one. It is read where it is asked for, a table at a
//! time, and never as a whole. A file is not mapped: one that another program cuts short would end this one,
//! `/proc/PID/mem` cannot be mapped, and the pages of a mapping count as memory of this process.

use crate::extents::Extents;
use mmu_core::PhysAddr;
use mmu_core::memory::{OutsideMemory, TableMemory};
use rustix::fs::{SeekFrom, seek};
use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Number of bytes that are read at once for table entries.
const TABLE_BYTES: usize = 0x1000;

/// Why physical memory cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The image has nothing at this address.
    #[error("the image has no memory at physical address {}", .0.0)]
    Outside(OutsideMemory),
    /// The host cannot read the file, or the guest.
    #[error("what has the memory cannot be read at {offset:#x}: {kind}")]
    Host {
        /// The offset in the file.
        offset: u64,
        /// Why not.
        kind: io::ErrorKind,
    },
}

/// What is read like a file: bytes at offsets.
pub(crate) trait ReadAt: fmt::Debug + Send + Sync {
    /// Fills a buffer with the bytes from an offset on.
    fn fill(&self, bytes: &mut [u8], offset: u64) -> io::Result<()>;

    /// The next offset that is not in a hole. `None` behind the last one.
    fn next_data(&self, offset: u64) -> io::Result<Option<u64>>;
}

impl ReadAt for File {
    fn fill(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        self.read_exact_at(bytes, offset)
    }

    fn next_data(&self, offset: u64) -> io::Result<Option<u64>> {
        match seek(self, SeekFrom::Data(offset)) {
            Ok(data) => Ok(Some(data)),
            Err(rustix::io::Errno::NXIO) => Ok(None),
            // A file system that knows no holes, or a device.
            Err(rustix::io::Errno::INVAL) => Ok(Some(offset)),
            Err(error) => Err(error.into()),
        }
    }
}

/// Physical memory in a file, or in what is read like one: the memory of a live guest.
#[derive(Debug)]
pub struct FileMemory {
    bytes: Box<dyn ReadAt>,
    extents: Extents,
}

impl FileMemory {
    /// The memory that the extents of a file say is in it.
    pub fn new(file: File, extents: Extents) -> Self {
        Self::in_bytes(Box::new(file), extents)
    }

    /// The same of what is read like a file.
    pub(crate) const fn in_bytes(bytes: Box<dyn ReadAt>, extents: Extents) -> Self {
        Self { bytes, extents }
    }

    /// Where in the file which addresses are.
    pub const fn extents(&self) -> &Extents {
        &self.extents
    }

    /// The bytes of the file.
    pub(crate) fn bytes(&self) -> &dyn ReadAt {
        &*self.bytes
    }

    /// Fills a buffer with the bytes from a physical address on.
    ///
    /// # Errors
    /// If the image does not have all of them, or the file cannot be read.
    #[inline]
    pub fn read(&self, at: PhysAddr, bytes: &mut [u8]) -> Result<(), ReadError> {
        let mut address = at.get();
        let mut rest = bytes;

        while !rest.is_empty() {
            let outside = ReadError::Outside(OutsideMemory(PhysAddr::new(address)));
            let (offset, len) = self.extents.find(address).ok_or(outside)?;
            let count = usize::try_from(len).unwrap_or(usize::MAX).min(rest.len());
            let (now, behind) = rest.split_at_mut(count);
            let read = self.bytes.fill(now, offset);
            read.map_err(|error| ReadError::Host { offset, kind: error.kind() })?;

            // At the end of 64 bits there is nothing more to find.
            address = address.wrapping_add(count as u64);
            rest = behind;
            if address == 0 && !rest.is_empty() {
                return Err(ReadError::Outside(OutsideMemory(PhysAddr::new(0))));
            }
        }
        Ok(())
    }
}

impl TableMemory for FileMemory {
    type Error = ReadError;

    fn read_entry(&self, at: PhysAddr, bytes: u8) -> Result<u64, ReadError> {
        let mut entry = [0];
        self.read_entries(at, bytes, &mut entry)?;
        Ok(entry[0])
    }

    fn read_entries(&self, at: PhysAddr, bytes: u8, entries: &mut [u64]) -> Result<(), ReadError> {
        let size = usize::from(bytes);
        let mut buffer = [0; TABLE_BYTES];
        let mut place = at;

        for part in entries.chunks_mut(TABLE_BYTES / size) {
            let raw = &mut buffer[..part.len() * size];
            self.read(place, raw)?;
            for (entry, raw) in part.iter_mut().zip(raw.chunks_exact(size)) {
                let mut word = [0; 8];
                word[..size].copy_from_slice(raw);
                *entry = u64::from_le_bytes(word);
            }
            place = place + part.len() as u64 * u64::from(bytes);
        }
        Ok(())
    }
}
