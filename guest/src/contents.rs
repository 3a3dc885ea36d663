//! The contents of the data frames: every location holds a value that identifies it.
//!
//! A data word is a one-to-one scramble of its own address, so that even a single byte
//! distinguishes locations, and a whole word identifies the location that was really read. At fixed
//! offsets a frame holds what other kinds of access need, again identifying its own location: stubs
//! to fetch, segment descriptors to look up, and code that crosses from the end of one frame into
//! the start of the next. All addresses here are addresses of the data memory itself, not of the
//! places where it appears a second time ([`high`](crate::high)).

use crate::layout::{AREA_SIZE, DATA_BASE};
use crate::stub::Code;

/// The offsets of fetchable code in a frame: aligned stubs of [`CODE_SIZE`] bytes, valid as 64-bit
/// and as 32-bit code.
pub const CODE_OFFSETS: core::ops::Range<u64> = 0x800..0xa00;
/// Size of one such stub in bytes.
pub const CODE_SIZE: u16 = 8;

/// The offset in a frame at which the code that crosses into the next page starts, and its length
/// in bytes up to the end of the immediate in the next page.
pub const fn crossing_code(code: Code) -> (u64, u16) {
    match code {
        Code::Bits64 => (CROSSING, 10),
        Code::Bits32 => (CROSSING + 2, 8),
    }
}

/// The offset of the last word of a frame, in which the crossing code begins.
const CROSSING: u64 = 0xff8;

/// The offsets of segment descriptors in a frame, aligned to 8 bytes.
pub const DESCRIPTOR_OFFSETS: core::ops::Range<u64> = 0xa00..0xc00;

/// `jmp r13` in 64-bit code; `inc ecx` and `jmp ebp` in 32-bit code. It returns to the list of
/// records.
const BACK: [u8; 3] = [0x41, 0xff, 0xe5];
/// `mov ecx, imm32`
const MOV_ECX: u8 = 0xb9;
/// The start of `movabs rcx, imm64`, whose last two bytes lie in the next page. As 32-bit code, the
/// six bytes of the immediate before the page boundary are `mov cx, imm16` and the start of
/// `mov ax, imm16`.
const MOVABS_RCX: [u8; 2] = [0x48, 0xb9];
const MOV_CX: [u8; 2] = [0x66, 0xb9];
const MOV_AX: [u8; 2] = [0x66, 0xb8];
/// Type and attributes of a descriptor: data, writable, accessed, present, DPL 3, limit in bytes.
const DESCRIPTOR: u64 = 0xf3 << 40;

/// A one-to-one scramble of 64 bits (the finalizer of `SplitMix64`).
const fn scramble(value: u64) -> u64 {
    let mixed = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed_twice = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);

    mixed_twice ^ (mixed_twice >> 31)
}

/// An 11-bit name for the frame of an address. No two frames in use share a name.
const fn short_name(at: u64) -> u64 {
    let lane = (at.wrapping_sub(DATA_BASE) / AREA_SIZE) & 0x1ff;
    (lane << 2) | ((at >> 12) & 3)
}

/// The same name, spread one-to-one over 16 bits.
const fn name_of_16_bits(at: u64) -> [u8; 2] {
    (short_name(at) as u16).wrapping_mul(0x9e35).to_le_bytes()
}

/// The limit of the descriptor at an address: 20 bits that identify the address.
const fn limit_at(at: u64) -> u64 {
    (short_name(at) << 9) | ((at & 0xfff) / 8)
}

/// A data segment descriptor whose limit identifies its address.
const fn descriptor(at: u64) -> u64 {
    let limit = limit_at(at);
    let base = scramble(at) & 0xff_ffff;
    limit & 0xffff | base << 16 | DESCRIPTOR | (limit >> 16) << 48
}

/// The 8 bytes at an 8-byte aligned physical address, in memory order.
const fn word(at: u64) -> [u8; 8] {
    let word = scramble(at).to_le_bytes();
    let name = name_of_16_bits(at);
    let [back, jump, to] = BACK;
    let offset = at & 0xfff;

    if offset == 0 {
        [name[0], name[1], back, jump, to, word[5], word[6], word[7]]
    } else if offset == CROSSING {
        [MOVABS_RCX[0], MOVABS_RCX[1], MOV_CX[0], MOV_CX[1], name[0], name[1], MOV_AX[0], MOV_AX[1]]
    } else if offset >= CODE_OFFSETS.start && offset < CODE_OFFSETS.end {
        [MOV_ECX, word[0], word[1], word[2], word[3], back, jump, to]
    } else if offset >= DESCRIPTOR_OFFSETS.start && offset < DESCRIPTOR_OFFSETS.end {
        descriptor(at).to_le_bytes()
    } else {
        word
    }
}

/// The byte at a physical address of the data memory.
pub const fn byte(at: u64) -> u8 {
    word(at & !7)[(at & 7) as usize]
}

/// Fills `buffer` with the contents of memory from `at`.
///
/// ```
/// use crosswalk_guest::contents::{byte, fill};
/// let mut bytes = [0; 12];
/// fill(0x4000_0123, &mut bytes);
/// assert_eq!((bytes[0], bytes[11]), (byte(0x4000_0123), byte(0x4000_012e)));
/// ```
pub fn fill(at: u64, buffer: &mut [u8]) {
    let before_the_next_word = (at.wrapping_neg() & 7) as usize;
    let (start, rest) = buffer.split_at_mut(before_the_next_word.min(buffer.len()));
    let (words, end) = rest.as_chunks_mut();

    let mut place = at;
    if !start.is_empty() {
        let offset = (at & 7) as usize;
        start.copy_from_slice(&word(at & !7)[offset..offset + start.len()]);
        place += start.len() as u64;
    }
    for word_there in words {
        *word_there = word(place);
        place += 8;
    }
    if !end.is_empty() {
        end.copy_from_slice(&word(place)[..end.len()]);
    }
}

/// Whether there is code for a fetch of `size` bytes at an offset of a page: a stub in the page, or
/// the code that crosses into the next page. Anywhere else the guest would run data as code.
///
/// ```
/// use crosswalk_guest::contents::is_code;
/// use crosswalk_guest::stub::Code;
/// assert!(is_code(0x808, 8, Code::Bits64) && is_code(0xff8, 10, Code::Bits64));
/// assert!(!is_code(0x804, 8, Code::Bits64), "inside a stub");
/// assert!(!is_code(0xffe, 10, Code::Bits64), "data crosses there");
/// ```
pub const fn is_code(offset: u64, size: u16, code: Code) -> bool {
    let last = offset + size.saturating_sub(1) as u64;

    match last >> 12 {
        0 => is_stub(offset),
        1 => offset == crossing_code(code).0,
        _ => false,
    }
}

/// Whether a stub to fetch starts at an offset of a page.
const fn is_stub(offset: u64) -> bool {
    offset >= CODE_OFFSETS.start && offset < CODE_OFFSETS.end && offset.is_multiple_of(8)
}

/// The value that a fetch leaves in its record: the constant of the stub at `first` or, for code
/// that crosses a page, what its instructions load from the frames of `first` and of `second`.
/// `None` where there is no code.
///
/// ```
/// use crosswalk_guest::contents::fetched;
/// use crosswalk_guest::stub::Code;
/// let place = 0x4000_0808;
/// assert_ne!(fetched(place, None, Code::Bits64), fetched(place + 8, None, Code::Bits64));
/// assert!(fetched(place, None, Code::Bits64).unwrap() < 1 << 32);
/// assert_eq!(fetched(0x4000_0123, None, Code::Bits64), None); // There is no code.
/// ```
pub const fn fetched(first: u64, second: Option<u64>, code: Code) -> Option<u64> {
    let offset = first & 0xfff;

    match second {
        None if is_stub(offset) => Some(scramble(first) & 0xffff_ffff),
        Some(second) if offset == crossing_code(code).0 && second.is_multiple_of(0x1000) => {
            let [_, _, c0, c1, x, y, a0, a1] = word(first & !7);
            let [e, f] = name_of_16_bits(second);
            Some(u64::from_le_bytes(match code {
                Code::Bits64 => [c0, c1, x, y, a0, a1, e, f],
                Code::Bits32 => [x, y, 0, 0, e, f, 0, 0],
            }))
        }
        _ => None,
    }
}

/// The limit that LSL finds in the descriptor at an address; `None` if there is no descriptor.
///
/// ```
/// assert_eq!(crosswalk_guest::contents::segment_limit(0x4000_1a08), Some(1 << 9 | 0xa08 / 8));
/// assert_eq!(crosswalk_guest::contents::segment_limit(0x4000_1a04), None);
/// ```
pub const fn segment_limit(at: u64) -> Option<u64> {
    let offset = at & 0xfff;
    let is_descriptor = offset >= DESCRIPTOR_OFFSETS.start && offset < DESCRIPTOR_OFFSETS.end;
    if is_descriptor && at.is_multiple_of(8) { Some(limit_at(at)) } else { None }
}

/// The offset of the access byte in a segment descriptor.
pub const ACCESS_BYTE: u64 = 5;

/// Whether the access byte at an address is that of a descriptor that ring 3 can load and that is not
/// accessed: present, DPL 3, a data segment. Among the words of a frame there are some by chance.
///
/// ```
/// use crosswalk_guest::contents::is_loadable;
/// assert!((0x4000_0005..0x4000_1000).step_by(8).any(is_loadable));
/// assert!(!is_loadable(0x4000_0a05)); // The descriptors for LSL are accessed.
/// ```
pub const fn is_loadable(at: u64) -> bool {
    at & 7 == ACCESS_BYTE && byte(at) & 0b1111_1001 == 0b1111_0000
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::{Arena, MAX_LANES};
    use std::collections::HashSet;

    /// By hand, from the encodings in the SDM: `48 b9 imm64` is one instruction in 64-bit code, and
    /// the six bytes after `48 b9` are `66 b9 imm16` and `66 b8` of `66 b8 imm16` in 32-bit code.
    #[test]
    fn the_crossing_code_is_valid_in_both_kinds_of_code() {
        let mut end = [0; 8];
        let mut start = [0; 8];
        fill(0x4000_0ff8, &mut end);
        fill(0x4000_3000, &mut start);
        assert_eq!((end[0], end[1]), (0x48, 0xb9));
        assert_eq!((end[2], end[3], end[6], end[7]), (0x66, 0xb9, 0x66, 0xb8));
        assert_eq!(start[2..5], [0x41, 0xff, 0xe5]);

        let mut immediate = [0; 8];
        immediate[..6].copy_from_slice(&end[2..]);
        immediate[6..].copy_from_slice(&start[..2]);
        let long = fetched(0x4000_0ff8, Some(0x4000_3000), Code::Bits64);
        assert_eq!(long, Some(u64::from_le_bytes(immediate)));

        let cx = u64::from(u16::from_le_bytes([end[4], end[5]]));
        let ax = u64::from(u16::from_le_bytes([start[0], start[1]]));
        let short = fetched(0x4000_0ffa, Some(0x4000_3000), Code::Bits32);
        assert_eq!(short, Some(cx | ax << 32));
    }

    #[test]
    fn no_two_frames_in_use_share_a_short_name() {
        let mut names = HashSet::new();
        for arena in Arena::ALL {
            for lane in 0..MAX_LANES {
                for frame in [0, 0x1000] {
                    let at = arena.data_frames(lane) + frame;
                    assert!(names.insert(name_of_16_bits(at)), "{at:#x}");
                    assert!(limit_at(at + 0xa00) < 1 << 20);
                }
            }
        }
    }

    /// The fields of a segment descriptor (SDM "Segment Descriptors").
    #[test]
    fn a_descriptor_is_user_data_with_its_limit() {
        let found = descriptor(0x4020_1a10);
        let limit = found & 0xffff | (found >> 48 & 0xf) << 16;
        assert_eq!(Some(limit), segment_limit(0x4020_1a10));
        assert_eq!(found >> 40 & 0xff, 0xf3, "present, DPL 3, data, writable, accessed");
        assert_eq!(found >> 52 & 0xf, 0, "limit in bytes");
    }

    #[test]
    fn byte_agrees_with_fill() {
        let mut frame = [0; 4096];
        fill(0x4020_0000, &mut frame);
        for (offset, value) in frame.iter().enumerate() {
            assert_eq!(byte(0x4020_0000 + offset as u64), *value);
        }

        // Parts that begin and end inside words, or inside one.
        for (offset, len) in [(0, 1), (1, 3), (3, 5), (3, 13), (5, 6), (7, 1), (7, 26), (8, 0)] {
            let mut part = [0; 32];
            let part = &mut part[..len];
            fill(0x4020_0000 + offset as u64, part);
            assert_eq!(*part, frame[offset..offset + len], "{offset} {len}");
        }
    }
}
