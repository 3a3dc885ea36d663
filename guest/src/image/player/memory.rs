//! Memory of the tape and of batches, by its linear address. Only parts of the payload, of its buffers, and of the
//! arenas and data frames are passed here; the guest's own tables map them, and nothing else refers to them.

use core::arch::x86_64::{
    __m128i, _mm_cmpeq_epi8, _mm_movemask_epi8, _mm_or_si128, _mm_setzero_si128, _mm_xor_si128,
};
use core::slice;
use crosswalk_guest::contents;
use zerocopy::FromBytes;

/// A structure of the tape.
pub(super) fn read<T: FromBytes>(at: u64) -> T {
    // SAFETY: see above; the tape is aligned to 4 bytes, and every bit pattern is valid.
    unsafe { (at as *const T).read_unaligned() }
}

/// Bytes that nothing writes to.
pub(super) fn bytes(at: u64, count: usize) -> &'static [u8] {
    // SAFETY: see above; callers ask for parts of the tape, which nothing writes to.
    unsafe { slice::from_raw_parts(at as *const u8, count) }
}

/// Words that nothing writes to as long as the caller has them.
pub(super) fn words(at: u64, count: usize) -> &'static [u32] {
    // SAFETY: see above; all parts are aligned to 4 bytes, and no batch runs meanwhile.
    unsafe { slice::from_raw_parts(at as *const u32, count) }
}

/// Words to write to.
pub(super) fn words_mut(at: u64, count: usize) -> &'static mut [u32] {
    // SAFETY: as for `words`; the caller has no other reference to them.
    unsafe { slice::from_raw_parts_mut(at as *mut u32, count) }
}

/// Bytes to write to.
pub(super) fn bytes_mut(at: u64, count: usize) -> &'static mut [u8] {
    // SAFETY: see above; the caller has no other reference to them.
    unsafe { slice::from_raw_parts_mut(at as *mut u8, count) }
}

/// Fills memory with zeros.
pub(super) fn clear(at: u64, bytes: u64) {
    words_mut(at, bytes as usize / 4).fill(0);
}

/// Copies memory to where it does not overlap.
pub(super) fn copy(from: u64, to: u64, bytes: u64) {
    words_mut(to, bytes as usize / 4).copy_from_slice(words(from, bytes as usize / 4));
}

/// Puts the contents of the data frames at a physical address somewhere.
pub(super) fn fill(physical: u64, to: u64, bytes: u64) {
    contents::fill(physical, bytes_mut(to, bytes as usize));
}

/// 16 bytes each that nothing writes to as long as the caller has them.
fn vectors(at: u64, bytes: u64) -> &'static [__m128i] {
    // SAFETY: as for `words`; callers pass parts of pages, which are aligned to 16 bytes.
    unsafe { slice::from_raw_parts(at as *const __m128i, bytes as usize / 16) }
}

/// Whether two parts of whole pages are the same. Most of the time of a batch goes here on an emulator, which takes
/// as long for an instruction of 16 bytes as for one of 8, and an order of magnitude longer for those of strings.
pub(super) fn are_equal(one: u64, other: u64, bytes: u64) -> bool {
    // SAFETY: every processor with long mode has SSE2, and the guest runs with CR4.OSFXSR.
    unsafe { are_same(vectors(one, bytes), vectors(other, bytes)) }
}

#[target_feature(enable = "sse2")]
fn are_same(one: &[__m128i], other: &[__m128i]) -> bool {
    const ALL: i32 = 0xffff;

    let none = _mm_setzero_si128();
    let parts = one.as_chunks::<8>().0.iter().zip(other.as_chunks::<8>().0);
    for ([a, b, c, d, e, f, g, h], [i, j, k, l, m, n, o, p]) in parts {
        let low = _mm_or_si128(
            _mm_or_si128(_mm_xor_si128(*a, *i), _mm_xor_si128(*b, *j)),
            _mm_or_si128(_mm_xor_si128(*c, *k), _mm_xor_si128(*d, *l)),
        );
        let high = _mm_or_si128(
            _mm_or_si128(_mm_xor_si128(*e, *m), _mm_xor_si128(*f, *n)),
            _mm_or_si128(_mm_xor_si128(*g, *o), _mm_xor_si128(*h, *p)),
        );
        if _mm_movemask_epi8(_mm_cmpeq_epi8(_mm_or_si128(low, high), none)) != ALL {
            return false;
        }
    }
    true
}
