//! The pages of a kdump: each has a descriptor, which says where its bytes are and how they are compressed.

use super::bitmap::PageBitmap;
use super::page_codec::{self, MAX_COMPRESSED, Page};
use crate::bytes::{ImageBytes, half, word};
use crate::error::ReadError;

/// Number of bytes of a page descriptor: offset, size, and flags of the page's bytes, and flags of the kernel.
pub(crate) const DESCRIPTOR_BYTES: u64 = 24;

/// The pages of a kdump.
#[derive(Debug)]
pub(crate) struct KdumpPages {
    /// Which pages have descriptors.
    pub(crate) bitmap: PageBitmap,
    /// The offset of the first descriptor.
    pub(crate) descriptors: u64,
}

/// Where the bytes of a page are.
pub(crate) struct PageDescriptor {
    pub(crate) at: u64,
    pub(crate) offset: u64,
    pub(crate) size: u32,
    flags: u32,
}

impl KdumpPages {
    /// The descriptor with a number, counted from 0.
    pub(crate) fn descriptor(
        &self,
        bytes: &ImageBytes,
        number: u64,
    ) -> Result<PageDescriptor, ReadError> {
        let at = self.descriptors.saturating_add(number.saturating_mul(DESCRIPTOR_BYTES));
        let fields: [u8; DESCRIPTOR_BYTES as usize] = bytes.array(at)?;
        let (size, flags) = (half(&fields, 8), half(&fields, 12));
        Ok(PageDescriptor { at, offset: word(&fields, 0), size, flags })
    }

    /// Makes the page with a number, if the image has it.
    pub(super) fn read(
        &self,
        bytes: &ImageBytes,
        number: u64,
        page: &mut Page,
    ) -> Result<Option<()>, ReadError> {
        let Some(rank) = self.bitmap.rank(bytes, number)? else { return Ok(None) };
        let PageDescriptor { at, offset, size, flags } = self.descriptor(bytes, rank)?;

        let mut compressed = [0; MAX_COMPRESSED];
        let used = compressed.get_mut(..size as usize).filter(|used| !used.is_empty());
        let problem = "expected a page descriptor of 1 to 8192 bytes";
        let used = used.ok_or_else(|| ReadError::damaged(at, problem))?;
        if !bytes.has(offset, size.into()) {
            return Err(ReadError::damaged(
                at,
                "the bytes of a page are beyond the end of the file",
            ));
        }
        bytes.read(offset, used)?;
        page_codec::decompress(flags, used, page)
            .map_err(|problem| ReadError::damaged(offset, problem))?;
        Ok(Some(()))
    }
}
