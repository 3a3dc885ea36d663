//! What the data frames contain: at every place something that names the place.
//!
//! Data words are a one-to-one scramble of their own address, so that even a single byte tells
//! places apart and a whole word tells which place was really read. Code is found at three places
//! of a frame: in the middle, stubs that load a constant naming them and jump back; at the end,
//! the first six bytes of an instruction whose last four bytes start the next page.

/// Where the code for fetches lies in a frame: aligned stubs of 8 bytes.
pub const CODE_OFFSETS: core::ops::Range<u64> = 0x800..0xa00;
/// Bytes of a stub.
pub const CODE_SIZE: u16 = 8;
/// Where the instruction that crosses into the next page starts.
pub const CROSSING_CODE_OFFSET: u64 = 0xffa;
/// Its size: `movabs rcx, imm64`.
pub const CROSSING_CODE_SIZE: u16 = 10;

/// `jmp r13`: back to the list of records.
const JMP_R13: [u8; 3] = [0x41, 0xff, 0xe5];
/// `mov ecx, imm32`
const MOV_ECX: u8 = 0xb9;
/// `movabs rcx, imm64`
const MOVABS_RCX: [u8; 2] = [0x48, 0xb9];
const NOP: u8 = 0x90;

/// A one-to-one scramble of 64 bits (the finalizer of `SplitMix64`).
const fn scramble(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// The 8 bytes at an 8-byte aligned physical address, in memory order.
const fn word(at: u64) -> [u8; 8] {
    let [a, b, c, d, ..] = scramble(at).to_le_bytes();
    let [j0, j1, j2] = JMP_R13;
    let [m0, m1] = MOVABS_RCX;
    match at & 0xfff {
        0 => [a, b, c, d, j0, j1, j2, NOP],
        0xff8 => [NOP, NOP, m0, m1, a, b, c, d],
        offset if offset >= CODE_OFFSETS.start && offset < CODE_OFFSETS.end => {
            [MOV_ECX, a, b, c, d, j0, j1, j2]
        }
        _ => scramble(at).to_le_bytes(),
    }
}

/// The byte at a physical address of data memory.
pub const fn byte(at: u64) -> u8 {
    word(at & !7)[(at & 7) as usize]
}

/// Fills a buffer with what memory holds from `at`, 8-byte aligned, on.
pub fn fill(at: u64, buffer: &mut [u8]) {
    for (place, chunk) in (at..).step_by(8).zip(buffer.chunks_mut(8)) {
        chunk.copy_from_slice(&word(place)[..chunk.len()]);
    }
}

/// The constant that a fetch loads: from the stub at `first`; or, when the fetch crosses a page,
/// its low half from `first`'s frame and its high half from the frame that starts at `second`.
///
/// ```
/// use guest::contents::fetched;
/// let place = 0x4000_0808;
/// assert_ne!(fetched(place, None), fetched(place + 8, None));
/// assert!(fetched(place, None).unwrap() < 1 << 32);
/// assert_eq!(fetched(0x4000_0123, None), None); // there is no code at that place
/// ```
pub const fn fetched(first: u64, second: Option<u64>) -> Option<u64> {
    let offset = first & 0xfff;
    match second {
        None if offset >= CODE_OFFSETS.start
            && offset < CODE_OFFSETS.end
            && offset.is_multiple_of(8) =>
        {
            Some(scramble(first) & 0xffff_ffff)
        }
        Some(second) if offset == CROSSING_CODE_OFFSET && second.is_multiple_of(0x1000) => {
            let low = scramble(first & !7) & 0xffff_ffff;
            let high = scramble(second) & 0xffff_ffff;
            Some(low | high << 32)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crossing_instruction_spans_two_frames() {
        let mut end = [0; 8];
        let mut start = [0; 8];
        fill(0x4000_0ff8, &mut end);
        fill(0x4000_3000, &mut start);
        assert_eq!(end[2..4], [0x48, 0xb9]);
        assert_eq!(start[4..7], [0x41, 0xff, 0xe5]);
        let mut constant = [0; 8];
        constant[..4].copy_from_slice(&end[4..]);
        constant[4..].copy_from_slice(&start[..4]);
        let expected = fetched(0x4000_0ffa, Some(0x4000_3000));
        assert_eq!(expected, Some(u64::from_le_bytes(constant)));
    }

    #[test]
    fn bytes_and_fill_agree() {
        let mut frame = [0; 4096];
        fill(0x4020_0000, &mut frame);
        for (offset, value) in frame.iter().enumerate() {
            assert_eq!(byte(0x4020_0000 + offset as u64), *value);
        }
    }
}
