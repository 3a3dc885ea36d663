//! How the memory of an image is laid out in its file: as it is, in extents; its pages one after the other,
//! with a bitmap of which; or compressed.
//!
//! Nothing here grows with the image but compact indexes, each with a bound, and whatever is compressed is
//! decompressed where it is asked for.
#![cfg_attr(
    not(test),
    warn(
        clippy::arithmetic_side_effects,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::string_slice,
        clippy::unwrap_used
    )
)]

mod avml;
mod bitmap;
mod cache;
mod kdump;
mod page_codec;

pub(crate) use avml::AvmlBlocks;
pub(crate) use bitmap::{MAX_PAGES, PageBitmap};
pub(crate) use kdump::{DESCRIPTOR_BYTES, KdumpPages};
pub(crate) use page_codec::PAGE_BYTES;

use crate::bytes::ImageBytes;
use crate::error::ReadError;
use crate::extents::Extents;
use cache::Cache;

const PAGE: u64 = PAGE_BYTES as u64;

/// Where the memory of an image is.
#[derive(Debug)]
pub(crate) enum Layout {
    /// As it is.
    Extents(Extents),
    /// Page by page from an offset on, without those that are not in a bitmap.
    Bitmap {
        bitmap: PageBitmap,
        offset: u64,
    },
    Kdump {
        pages: KdumpPages,
        cache: Cache,
    },
    Avml {
        blocks: AvmlBlocks,
        cache: Cache,
    },
}

impl Default for Layout {
    fn default() -> Self {
        Self::Extents(Extents::default())
    }
}

impl Layout {
    pub(crate) fn kdump(pages: KdumpPages) -> Self {
        Self::Kdump { pages, cache: Cache::new(PAGE) }
    }

    pub(crate) fn avml(blocks: AvmlBlocks) -> Self {
        Self::Avml { blocks, cache: Cache::new(avml::MAX_CHUNK as u64) }
    }

    /// Number of bytes of memory, and of ranges of them.
    pub(crate) fn size(&self) -> (u64, u64) {
        match self {
            Self::Extents(extents)
            | Self::Avml { blocks: AvmlBlocks { ranges: extents, .. }, .. } => {
                (extents.bytes(), extents.iter().len() as u64)
            }
            Self::Bitmap { bitmap, .. } | Self::Kdump { pages: KdumpPages { bitmap, .. }, .. } => {
                (bitmap.present().saturating_mul(PAGE), bitmap.ranges())
            }
        }
    }

    /// Which byte of memory has an address: its place in the file, or another number that no other byte has.
    #[inline]
    pub(crate) fn place(&self, bytes: &ImageBytes, address: u64) -> Option<u64> {
        match self {
            Self::Extents(extents)
            | Self::Avml { blocks: AvmlBlocks { ranges: extents, .. }, .. } => {
                extents.find(address).map(|(place, _)| place)
            }
            Self::Bitmap { bitmap, .. } | Self::Kdump { pages: KdumpPages { bitmap, .. }, .. } => {
                bitmap.rank(bytes, address / PAGE).ok()?.map(|_| address)
            }
        }
    }

    /// Reads some of what an address and those behind it have: at least one byte. Returns how many.
    #[inline]
    pub(crate) fn read_some(
        &self,
        bytes: &ImageBytes,
        address: u64,
        to: &mut [u8],
    ) -> Result<usize, ReadError> {
        let outside = ReadError::outside(address);
        let (offset, len) = match self {
            Self::Extents(extents) => extents.find(address).ok_or(outside)?,
            Self::Bitmap { bitmap, offset } => {
                let rank = bitmap.rank(bytes, address / PAGE)?.ok_or(outside)?;
                let before = rank.saturating_mul(PAGE).saturating_add(address % PAGE);
                (offset.saturating_add(before), PAGE.saturating_sub(address % PAGE))
            }
            Self::Kdump { pages, cache } => {
                return cache.read(address, to, |page| {
                    let mut made = [0; PAGE_BYTES];
                    pages.read(bytes, address / PAGE, &mut made)?.ok_or(outside)?;
                    page.extend(made);
                    Ok(address & !(PAGE - 1))
                });
            }
            Self::Avml { blocks, cache } => {
                let (position, len) = blocks.ranges.find(address).ok_or(outside)?;
                let count = usize::try_from(len).unwrap_or(usize::MAX).min(to.len());
                let to = to.get_mut(..count).unwrap_or_default();
                return cache.read(position, to, |memory| blocks.read(bytes, position, memory));
            }
        };

        let count = usize::try_from(len).unwrap_or(usize::MAX).min(to.len());
        bytes.read(offset, to.get_mut(..count).unwrap_or_default())?;
        Ok(count)
    }

    /// The first range of memory at or behind an address: its first address, and how many follow it at least.
    pub(crate) fn next_range(
        &self,
        bytes: &ImageBytes,
        address: u64,
    ) -> Result<Option<(u64, u64)>, ReadError> {
        match self {
            Self::Extents(extents)
            | Self::Avml { blocks: AvmlBlocks { ranges: extents, .. }, .. } => {
                let found = extents.find(address).map(|(_, len)| (address, len));
                Ok(found.or_else(|| {
                    let start = extents.next_start(address)?;
                    extents.find(start).map(|(_, len)| (start, len))
                }))
            }
            Self::Bitmap { bitmap, .. } | Self::Kdump { pages: KdumpPages { bitmap, .. }, .. } => {
                let found = bitmap.next(bytes, address / PAGE)?;
                Ok(found.map(|(first, count)| {
                    let start = first.saturating_mul(PAGE).max(address);
                    let end = first.saturating_add(count).saturating_mul(PAGE);
                    (start, end.saturating_sub(start))
                }))
            }
        }
    }
}
