//! What a log says about the memory of a batch: its words in one order. First the header and the records of the
//! arena, then its tables, then the data frames of all lanes, then the further frames of the block, or the rest of a
//! nested batch ([`nested`]), which has no such frames.

use super::nested;
use crate::layout::{Arena, FRAMES_PER_LANE, MAX_LANES};

/// Number of words of the header and the records.
pub const ARENA_WORDS: u32 = 0x2_0000 / 4;
/// Number of words of a page.
pub const PAGE_WORDS: u32 = 0x1000 / 4;
/// Number of words of all tables.
pub const TABLE_WORDS: u32 = Arena::TABLES as u32 * PAGE_WORDS;
/// Number of words of a lane's data frames.
pub const LANE_WORDS: u32 = FRAMES_PER_LANE as u32 * PAGE_WORDS;
/// Number of words of the data frames of all lanes.
pub const DATA_WORDS: u32 = MAX_LANES as u32 * LANE_WORDS;

/// The physical address of a word of a batch, which is a nested one or has these further frames; `None` if
/// there is no such word.
///
/// ```
/// use crosswalk_guest::layout::Arena;
/// use crosswalk_guest::tape::changes::address_of;
/// let [arena, _] = Arena::ALL;
/// assert_eq!(address_of(0x400, arena, &[], false), Some(arena.record(0)));
/// assert_eq!(address_of(0x8000 + 0x400, arena, &[], false), Some(arena.table(1)));
/// assert_eq!(address_of(0x8000 + 0x2800 + 0x801, arena, &[], false), Some(arena.data_frames(1) + 4));
/// let frames = [0x4000_5000];
/// assert_eq!(address_of(0x8000 + 0x2800 + 480 * 0x800 + 2, arena, &frames, false), Some(0x4000_5008));
/// assert_eq!(address_of(0x8000 + 0x2800 + 480 * 0x800 + 0x400, arena, &frames, false), None);
/// ```
pub fn address_of(word: u32, arena: Arena, frames: &[u32], is_nested: bool) -> Option<u64> {
    let bytes = |words: u32| u64::from(words) * 4;
    if word < ARENA_WORDS {
        return Some(arena.base() + bytes(word));
    }

    let word = word - ARENA_WORDS;
    if word < TABLE_WORDS {
        return Some(arena.table(0) + bytes(word));
    }

    let word = word - TABLE_WORDS;
    if word < DATA_WORDS {
        let first = arena.data_frames((word / LANE_WORDS) as usize);
        return Some(first + bytes(word % LANE_WORDS));
    }

    let word = word - DATA_WORDS;
    if is_nested {
        return nested::address_of(word, arena);
    }
    let frame = frames.get((word / PAGE_WORDS) as usize)?;
    Some(u64::from(*frame) + bytes(word % PAGE_WORDS))
}
