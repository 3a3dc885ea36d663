//! Crash dumps of 64-bit Windows: a header of 8 KiB, then all memory, range by range, or the pages of a bitmap.

use super::Contents;
use crate::bytes::{ImageBytes, half, is_inside, word};
use crate::error::{AboutFile, MemoryImageError};
use crate::extents::{Extent, Extents};
use crate::layout::{Layout, MAX_PAGES, PAGE_BYTES, PageBitmap};

pub(super) const SIGNATURE: &[u8] = b"PAGEDU64";

const HEADER_BYTES: usize = 0x2000;
const PAGE: u64 = PAGE_BYTES as u64;

// Offsets in the header (DUMP_HEADER64).
const CR3: usize = 0x10;
const MACHINE: usize = 0x30;
/// The number of ranges; ranges of a first page and a number of pages follow 16 bytes later.
const RANGES: usize = 0x88;
const MAX_RANGES: usize = (700 - 16) / 16;
const DUMP_TYPE: usize = 0xf98;

const MACHINE_AMD64: u32 = 0x8664;

/// The header of the bitmap, behind that of the dump, and what it begins with.
const BITMAP_HEADER_BYTES: u64 = 0x38;
const BITMAP_SIGNATURES: [&[u8]; 2] = [b"SDMPDUMP", b"FDMPDUMP"];

pub(super) fn read(bytes: &ImageBytes, about: &AboutFile) -> Result<Contents, MemoryImageError> {
    let mut header = vec![0; HEADER_BYTES];
    let read = bytes.read(0, &mut header);
    read.map_err(|error| about.unreadable("the header", error))?;
    if !header.starts_with(SIGNATURE) {
        return Err(about.malformed("the header", "expected a crash dump of 64-bit Windows"));
    }
    let machine = half(&header, MACHINE);
    if machine != MACHINE_AMD64 {
        let problem = format!("expected a processor of type {MACHINE_AMD64:#x}, not {machine:#x}");
        return Err(about.malformed("the header", problem));
    }

    let layout = match half(&header, DUMP_TYPE) {
        1 => Layout::Extents(ranges(&header, bytes.len(), about)?),
        5 | 6 => pages(bytes, about)?,
        kind => {
            return Err(about.unsupported(format!(
                "it is a Windows crash dump of type {kind}, which is not read here: take a complete dump \
                 (type 1), or an active memory dump (type 5), or convert it to raw memory"
            )));
        }
    };
    let cr3 = Some(word(&header, CR3));
    Ok(Contents { layout, cr3, is_64_bit: Some(true), ..Contents::default() })
}

/// The ranges of a complete dump, whose memory follows the header.
fn ranges(header: &[u8], len: u64, about: &AboutFile) -> Result<Extents, MemoryImageError> {
    let count = half(header, RANGES) as usize;
    if count > MAX_RANGES {
        let problem = format!("expected at most {MAX_RANGES} ranges of memory, not {count}");
        return Err(about.malformed("the header", problem));
    }

    let mut extents = Vec::new();
    let mut offset = HEADER_BYTES as u64;
    for number in 0..count {
        let at = RANGES.saturating_add(16).saturating_add(number.saturating_mul(16));
        let place = format!("range {number} at {at:#x}");
        let (first, pages) = (word(header, at), word(header, at.saturating_add(8)));
        let extent = first.checked_mul(PAGE).zip(pages.checked_mul(PAGE));
        let extent = extent.and_then(|(start, size)| Extent::new(start, size, offset));
        let extent = extent.ok_or_else(|| {
            let problem =
                format!("{pages:#x} pages from page {first:#x} on do not fit into 64 bits");
            about.malformed(&place, problem)
        })?;
        if !is_inside(offset, extent.len, len) {
            let problem = format!("the file ends before its {pages:#x} pages do");
            return Err(about.malformed(place, problem));
        }
        offset = offset.saturating_add(extent.len);
        extents.push(extent);
    }
    Ok(Extents::new(&extents))
}

/// The pages of a dump with a bitmap.
fn pages(bytes: &ImageBytes, about: &AboutFile) -> Result<Layout, MemoryImageError> {
    let place = "the header of the bitmap at 0x2000";
    let at = HEADER_BYTES as u64;
    let header: [u8; BITMAP_HEADER_BYTES as usize] =
        bytes.array(at).map_err(|error| about.unreadable(place, error))?;
    if !BITMAP_SIGNATURES.iter().any(|signature| header.starts_with(signature)) {
        return Err(about.malformed(place, "expected SDMPDUMP or FDMPDUMP"));
    }

    let (offset, count) = (word(&header, 0x20), word(&header, 0x30));
    if count > MAX_PAGES {
        let problem = format!("expected at most {MAX_PAGES:#x} pages, not {count:#x}");
        return Err(about.malformed(place, problem));
    }
    let bits = at.saturating_add(BITMAP_HEADER_BYTES);
    if !bytes.has(bits, count.div_ceil(8)) {
        return Err(about.malformed(place, "the file ends before the bitmap does"));
    }
    let bitmap = PageBitmap::new(bytes, bits, count);
    let bitmap = bitmap.map_err(|error| about.unreadable("the bitmap at 0x2038", error))?;
    if !bytes.has(offset, bitmap.present().saturating_mul(PAGE)) {
        let present = bitmap.present();
        let problem = format!("the file ends before its {present:#x} pages from {offset:#x} on do");
        return Err(about.malformed(place, problem));
    }
    Ok(Layout::Bitmap { bitmap, offset })
}
