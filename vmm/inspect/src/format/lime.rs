//! `LiME`, version 1: ranges of memory one after the other, each with a header of 32 bytes.

use super::{Contents, contradiction};
use crate::bytes::is_inside;
use crate::error::{AboutFile, MemoryImageError};
use crate::extents::{Extent, Extents};
use crate::layout::Layout;
use std::fs::File;
use std::os::unix::fs::FileExt;

/// The first word of each header: `EMiL`.
const MAGIC: u32 = 0x4c69_4d45;
const VERSION: u32 = 1;
const HEADER_BYTES: u64 = 32;

/// The most ranges that are read. A computer has fewer than a hundred.
const MAX_RANGES: usize = 1 << 16;

/// A header: magic number, version, first and last address, and eight bytes that are reserved.
struct LimeHeader {
    start: u64,
    last: u64,
}

pub(super) fn read(file: &File, len: u64, about: &AboutFile) -> Result<Contents, MemoryImageError> {
    let mut extents = Vec::new();
    let mut offset = 0;

    while offset < len {
        let place = format!("the header of range {} at {offset:#x}", extents.len());
        if extents.len() == MAX_RANGES {
            return Err(about.malformed(place, format!("expected at most {MAX_RANGES} ranges")));
        }
        if !is_inside(offset, HEADER_BYTES, len) {
            return Err(about.malformed(place, "the file ends within it"));
        }

        let mut bytes = [0; HEADER_BYTES as usize];
        let read = file.read_exact_at(&mut bytes, offset);
        read.map_err(|error| about.host(place.clone(), error))?;
        let header =
            LimeHeader::parse(&bytes).map_err(|problem| about.malformed(&place, problem))?;

        let size = header.last.checked_sub(header.start).and_then(|size| size.checked_add(1));
        let data = offset.saturating_add(HEADER_BYTES);
        let extent = size.and_then(|size| Extent::new(header.start, size, data));
        let extent = extent.ok_or_else(|| {
            let LimeHeader { start, last } = header;
            about.malformed(&place, format!("expected a range, not {start:#x} to {last:#x}"))
        })?;
        if !is_inside(data, extent.len, len) {
            let problem = format!("the file ends before its {:#x} bytes do", extent.len);
            return Err(about.malformed(place, problem));
        }

        offset = data.saturating_add(extent.len);
        extents.push(extent);
    }
    let listed = extents;
    let extents = Extents::new(&listed);
    let contradiction = contradiction::find(file, &listed, &extents);
    Ok(Contents { layout: Layout::Extents(extents), contradiction, ..Contents::default() })
}

impl LimeHeader {
    fn parse(bytes: &[u8; HEADER_BYTES as usize]) -> Result<Self, String> {
        let (halves, _) = bytes.as_chunks::<4>();
        let (words, _) = bytes.as_chunks::<8>();
        let ([magic, version, ..], [_, start, last, _]) = (halves, words) else {
            return Err("expected 32 bytes".to_owned());
        };

        let magic = u32::from_le_bytes(*magic);
        if magic != MAGIC {
            return Err(format!("expected the number {MAGIC:#x}, not {magic:#x}"));
        }
        let version = u32::from_le_bytes(*version);
        if version != VERSION {
            return Err(format!("expected version {VERSION}, not {version}"));
        }
        Ok(Self { start: u64::from_le_bytes(*start), last: u64::from_le_bytes(*last) })
    }
}
