//! Looking for the VMCOREINFO of a kernel in its memory. The kernel keeps the text at the beginning of a
//! page, and a copy behind the header of a note.

use crate::extents::Extent;
use crate::file_memory::FileMemory;
use crate::registers::{VMCOREINFO_BEGINNING, VMCOREINFO_BYTES, VmcoreInfo};
use std::io;

const PAGE: usize = 0x1000;
/// Number of bytes that are read at once.
const BLOCK: usize = 256 * PAGE;

/// Where in a page the text begins: in the kernel's own page, and behind the header of a note with its name.
const PLACES: [usize; 2] = [0, 24];

/// The most texts that are returned. A kernel has two, and what it replaced may have left others.
const MAX_TEXTS: usize = 64;

/// The texts in memory that begin as VMCOREINFO does. Holes of the file are not read.
pub(crate) fn vmcoreinfo(memory: &FileMemory) -> io::Result<Vec<VmcoreInfo>> {
    let mut found = Vec::new();
    let mut block = vec![0; BLOCK];
    for extent in memory.extents().iter() {
        search_extent(memory, extent, &mut block, &mut found)?;
        if found.len() >= MAX_TEXTS {
            break;
        }
    }
    Ok(found)
}

fn search_extent(
    memory: &FileMemory,
    extent: Extent,
    block: &mut [u8],
    found: &mut Vec<VmcoreInfo>,
) -> io::Result<()> {
    // The first page boundary.
    let mut done = extent.start.wrapping_neg() % PAGE as u64;

    while done < extent.len && found.len() < MAX_TEXTS {
        let offset = extent.offset + done;
        let Some(data) = memory.bytes().next_data(offset)? else { return Ok(()) };
        if data >= offset + PAGE as u64 {
            done += (data - offset) / PAGE as u64 * PAGE as u64;
            continue;
        }

        let count = usize::try_from(extent.len - done).unwrap_or(BLOCK).min(BLOCK);
        let bytes = &mut block[..count];
        memory.bytes().fill(bytes, offset)?;
        for page in bytes.chunks(PAGE) {
            let texts = PLACES.iter().filter_map(|place| page.get(*place..));
            let texts = texts.filter(|text| text.starts_with(VMCOREINFO_BEGINNING));
            found.extend(
                texts.filter_map(|text| {
                    VmcoreInfo::parse(&text[..text.len().min(VMCOREINFO_BYTES)])
                }),
            );
        }
        done += count as u64;
    }
    Ok(())
}
