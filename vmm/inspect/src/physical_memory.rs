//! Physical memory, wherever its bytes are: in a file, as they are or compressed, or in what is read like one. It is
//! read where it is asked for, a table at a time, and never as a whole.

use crate::bytes::ImageBytes;
use crate::error::ReadError;
use crate::extents::Extents;
use crate::layout::Layout;
use mmu_core::PhysAddr;
use mmu_core::memory::TableMemory;

/// Number of bytes that are read at once for table entries.
const TABLE_BYTES: usize = 0x1000;

const PAGE: u64 = 0x1000;

/// The physical memory of an image, or of a live guest.
#[derive(Debug)]
pub struct PhysicalMemory {
    bytes: ImageBytes,
    layout: Layout,
}

impl PhysicalMemory {
    /// The memory that these bytes are in a layout.
    pub(crate) const fn new(bytes: ImageBytes, layout: Layout) -> Self {
        Self { bytes, layout }
    }

    /// Where in the file, or in QEMU's process, which addresses are, if their bytes are there as they are. `None` if
    /// they are compressed, or laid out page by page.
    pub const fn extents(&self) -> Option<&Extents> {
        match &self.layout {
            Layout::Extents(extents) => Some(extents),
            _ => None,
        }
    }

    /// Number of bytes of physical memory. All of the 2^64 count as one less.
    pub fn byte_count(&self) -> u64 {
        self.layout.size().0
    }

    /// Number of ranges of physical memory.
    pub fn range_count(&self) -> u64 {
        self.layout.size().1
    }

    /// Which byte of the image has an address, if there is one: addresses with the same place share it. For
    /// memory that is in a file as it is, it is the offset there.
    #[inline]
    pub fn place(&self, at: PhysAddr) -> Option<u64> {
        self.layout.place(&self.bytes, at.get())
    }

    /// Fills a buffer with the bytes from a physical address on.
    ///
    /// # Errors
    /// If the image does not have all of them, or they cannot be read.
    #[inline]
    pub fn read(&self, at: PhysAddr, bytes: &mut [u8]) -> Result<(), ReadError> {
        let mut address = at.get();
        let mut rest = bytes;

        while !rest.is_empty() {
            let count = self.layout.read_some(&self.bytes, address, rest)?;
            rest = &mut rest[count..];

            // At the end of 64 bits there is nothing more to find.
            address = address.wrapping_add(count as u64);
            if (address == 0 || count == 0) && !rest.is_empty() {
                return Err(ReadError::outside(address));
            }
        }
        Ok(())
    }

    /// The first range of memory at or behind an address that is not in a hole of the file: its first address,
    /// and how many follow it at least.
    pub(crate) fn next_range(&self, address: u64) -> Result<Option<(u64, u64)>, ReadError> {
        let mut address = address;
        loop {
            let Some((start, len)) = self.layout.next_range(&self.bytes, address)? else {
                return Ok(None);
            };
            let Some(offset) = self.extents().and(self.place(PhysAddr::new(start))) else {
                return Ok(Some((start, len)));
            };

            let hole = self.bytes.next_data(offset)? - offset;
            if hole < len {
                // The page in which the hole ends.
                let first = ((start + hole) / PAGE * PAGE).max(start);
                return Ok(Some((first, len - (first - start))));
            }
            let Some(behind) = start.checked_add(len) else { return Ok(None) };
            address = behind;
        }
    }
}

impl TableMemory for PhysicalMemory {
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
