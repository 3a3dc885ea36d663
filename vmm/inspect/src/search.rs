//! Looking for the VMCOREINFO of a kernel in its memory. The kernel keeps the text at the beginning of a
//! page, and a copy behind the header of a note.

use crate::error::ReadError;
use crate::physical_memory::PhysicalMemory;
use crate::registers::{VMCOREINFO_BEGINNING, VMCOREINFO_BYTES, VmcoreInfo};
use mmu_core::PhysAddr;

const PAGE: u64 = 0x1000;
/// Number of bytes that are read at once.
const BLOCK: u64 = 256 * PAGE;

/// Where in a page the text begins: in the kernel's own page, and behind the header of a note with its name.
const PLACES: [usize; 2] = [0, 24];

/// The most texts that are returned. A kernel has two, and what it replaced may have left others.
const MAX_TEXTS: usize = 64;

/// The most pages that may be damaged.
const MAX_DAMAGED: u64 = 1 << 14;

/// The texts in memory that begin as VMCOREINFO does. Holes of the file are not read.
pub(crate) fn vmcoreinfo(memory: &PhysicalMemory) -> Result<Vec<VmcoreInfo>, ReadError> {
    let mut found = Vec::new();
    let mut block = vec![0; BLOCK as usize];
    let mut address = 0;
    let mut damaged = 0;
    while let Some((start, len)) = memory.next_range(address)? {
        let last = start + (len - 1);
        // The first page boundary.
        let at = start.checked_next_multiple_of(PAGE).filter(|at| *at <= last);
        let count = at.map_or(0, |at| (last - at).saturating_add(1).min(BLOCK));
        if let Some(at) = at {
            let bytes = &mut block[..count as usize];
            damaged += read_block(memory, at, bytes, MAX_DAMAGED - damaged)?;
            found.extend(bytes.chunks(PAGE as usize).flat_map(texts));
            if found.len() >= MAX_TEXTS {
                break;
            }
        }

        let done = at.map_or(last, |at| at + (count - 1));
        let Some(behind) = done.checked_add(1) else { break };
        address = behind;
    }
    Ok(found)
}

/// Reads pages. Those that are damaged are zero. Returns how many they were, up to a limit.
fn read_block(
    memory: &PhysicalMemory,
    at: u64,
    bytes: &mut [u8],
    limit: u64,
) -> Result<u64, ReadError> {
    let is_damaged = |read: &Result<(), ReadError>| matches!(read, Err(ReadError::Damaged { .. }));
    let whole = memory.read(PhysAddr::new(at), bytes);
    if !is_damaged(&whole) {
        return whole.map(|()| 0);
    }

    let mut damaged = 0;
    for (number, page) in bytes.chunks_mut(PAGE as usize).enumerate() {
        let read = memory.read(PhysAddr::new(at + number as u64 * PAGE), page);
        if is_damaged(&read) && damaged < limit {
            page.fill(0);
            damaged += 1;
        } else {
            read?;
        }
    }
    Ok(damaged)
}

/// The texts of a page.
fn texts(page: &[u8]) -> impl Iterator<Item = VmcoreInfo> {
    let texts = PLACES.iter().filter_map(|place| page.get(*place..));
    let texts = texts.filter(|text| text.starts_with(VMCOREINFO_BEGINNING));
    texts.filter_map(|text| VmcoreInfo::parse(&text[..text.len().min(VMCOREINFO_BYTES)]))
}
