//! Crash dumps of 64-bit Windows, after `DUMP_HEADER64` of its headers.

const HEADER: usize = 0x2000;
const PAGE: usize = 0x1000;

/// A complete dump with these ranges of whole pages.
pub fn windows(cr3: u64, memory: &[(u64, &[u8])]) -> Vec<u8> {
    let mut file = header(cr3, 1);
    let mut put = |at: usize, word: u64| file[at..at + 8].copy_from_slice(&word.to_le_bytes());
    put(0x88, memory.len() as u64);
    for (number, (start, bytes)) in memory.iter().enumerate() {
        put(0x98 + 16 * number, start / PAGE as u64);
        put(0xa0 + 16 * number, (bytes.len() / PAGE) as u64);
    }
    for (_, bytes) in memory {
        file.extend(*bytes);
    }
    file
}

/// An active memory dump: a bitmap of the pages, whose bytes begin a page behind it.
pub fn windows_with_bitmap(cr3: u64, memory: &[(u64, &[u8])]) -> Vec<u8> {
    let pages = memory.iter().flat_map(|(start, bytes)| {
        let first = *start as usize / PAGE;
        first..first + bytes.len() / PAGE
    });
    let pages: Vec<_> = pages.collect();
    let count = pages.iter().max().map_or(1, |last| last + 1);
    let mut bitmap = vec![0_u8; count.div_ceil(8)];
    for page in &pages {
        bitmap[page / 8] |= 1 << (page % 8);
    }

    let mut file = header(cr3, 5);
    let first_page = (HEADER + 0x38 + bitmap.len()).next_multiple_of(PAGE) + PAGE;
    file.extend(b"SDMPDUMP");
    file.extend([0; 24]);
    for word in [first_page, pages.len(), count] {
        file.extend((word as u64).to_le_bytes());
    }
    file.extend(bitmap);
    file.resize(first_page, 0);
    for (_, bytes) in memory {
        file.extend(*bytes);
    }
    file
}

/// The header of a dump of a type.
fn header(cr3: u64, kind: u32) -> Vec<u8> {
    let mut file = b"PAGE".repeat(HEADER / 4);
    file[..8].copy_from_slice(b"PAGEDU64");
    file[0x10..0x18].copy_from_slice(&cr3.to_le_bytes());
    file[0x30..0x34].copy_from_slice(&0x8664_u32.to_le_bytes());
    file[0xf98..0xf9c].copy_from_slice(&kind.to_le_bytes());
    file
}
