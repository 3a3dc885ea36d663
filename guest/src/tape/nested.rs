//! What tapes and logs have of a nested batch beside the rest: its control blocks, its nested tables and its code
//! page.

use crate::layout::Arena;
use crate::mailbox::Header;
use crate::nested::{LANES, TABLES, Virtualizer};

/// Size of this part of a tape in bytes. It follows [`TAPED_BYTES`](super::TAPED_BYTES).
pub const NESTED_BYTES: u64 = (LANES + TABLES + 1) as u64 * PAGE;
/// Number of its words.
pub const NESTED_WORDS: u32 = NESTED_BYTES as u32 / 4;

const PAGE: u64 = 0x1000;
const PAGE_WORDS: usize = 0x400;

/// Pages that follow each other both on the tape and in the arena.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NestedPart {
    /// The offset in this part of the tape.
    pub offset: u64,
    /// The address of what the host has written.
    pub written: u64,
    /// The address of what the batch changes: the same, or the place to which the guest copies it.
    pub used: u64,
    /// The size in bytes of the pages in use.
    pub bytes: u64,
    /// The size in bytes of all pages for which there is room.
    pub room: u64,
}

/// Whether the batch with this header is a nested one.
pub const fn is_nested(header: &Header) -> bool {
    header.virtualizer != Virtualizer::None as u64
}

/// The control blocks, the nested tables and the code page of the batch with this header.
pub fn parts(arena: Arena, header: &Header) -> [NestedPart; 3] {
    let pages = |count: u64, most: usize| count.min(most as u64) * PAGE;
    let lanes = pages(LANES as u64, LANES);
    let tables = pages(TABLES as u64, TABLES);
    [
        NestedPart {
            offset: 0,
            written: arena.control_block(0),
            used: arena.control_block(0),
            bytes: pages(header.nested_lanes, LANES),
            room: lanes,
        },
        NestedPart {
            offset: lanes,
            written: arena.nested_table_image(0),
            used: arena.nested_table(0),
            bytes: pages(header.nested_tables, TABLES),
            room: tables,
        },
        NestedPart {
            offset: lanes + tables,
            written: arena.nested_code_image(),
            used: arena.nested_code(),
            bytes: PAGE,
            room: PAGE,
        },
    ]
}

/// The physical address of a word of what nested batches change; `None` if there is no such word.
pub fn address_of(word: u32, arena: Arena) -> Option<u64> {
    let all = Header { nested_lanes: u64::MAX, nested_tables: u64::MAX, ..Header::default() };
    let offset = u64::from(word) * 4;
    let part = parts(arena, &all).into_iter().rfind(|part| part.offset <= offset)?;
    let within = offset - part.offset;
    (within < part.bytes).then_some(part.used + within)
}

/// Replaces each control block but the first by its difference from the one before it, of which most words are zero.
pub fn pack(blocks: &mut [u32]) {
    let (pages, _) = blocks.as_chunks_mut::<PAGE_WORDS>();
    for last in (1..pages.len()).rev() {
        if let [.., before, page] = &mut pages[..=last] {
            combine(page, before);
        }
    }
}

/// The reverse of [`pack`].
pub fn unpack(blocks: &mut [u32]) {
    let (pages, _) = blocks.as_chunks_mut::<PAGE_WORDS>();
    for last in 1..pages.len() {
        if let [.., before, page] = &mut pages[..=last] {
            combine(page, before);
        }
    }
}

fn combine(page: &mut [u32; PAGE_WORDS], other: &[u32; PAGE_WORDS]) {
    for (word, other) in page.iter_mut().zip(other) {
        *word ^= other;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    #[test]
    fn packed_blocks_are_the_same_again() {
        let blocks: Vec<u32> =
            (0..3 * 0x400_u32).map(|word| word % 0x400 * 7 + word / 0x400).collect();
        let mut packed = blocks.clone();
        pack(&mut packed);
        assert_eq!(packed[..0x400], blocks[..0x400]);
        // 7 * 4 is 28: 28 ^ 29 is 1, and 29 ^ 30 is 3.
        assert_eq!((packed[0x404], packed[0x804]), (1, 3));

        unpack(&mut packed);
        assert_eq!(packed, blocks);
    }

    #[test]
    fn a_word_is_where_its_part_is() {
        let arena = Arena::ALL[1];
        assert_eq!(address_of(0, arena), Some(arena.control_block(0)));
        assert_eq!(address_of(0x401, arena), Some(arena.control_block(1) + 4));
        assert_eq!(address_of(48 * 0x400, arena), Some(arena.nested_table(0)));
        assert_eq!(address_of((48 + 120) * 0x400 + 3, arena), Some(arena.nested_code() + 12));
        assert_eq!(address_of(NESTED_WORDS - 1, arena), Some(arena.nested_code() + 0xffc));
        assert_eq!(address_of(NESTED_WORDS, arena), None);
    }

    #[test]
    fn parts_follow_each_other() {
        let header = Header { nested_lanes: 2, nested_tables: 1000, ..Header::default() };
        let parts = parts(Arena::ALL[0], &header);
        let mut end = 0;
        for part in parts {
            assert_eq!(part.offset, end);
            end += part.room;
        }
        assert_eq!(end, NESTED_BYTES);
        assert_eq!(parts.map(|part| part.bytes), [0x2000, 120 * 0x1000, 0x1000]);
    }
}
