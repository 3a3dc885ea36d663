//! Memory of the tape and of batches, by its linear address. Only parts of the payload, of its buffers, and of the
//! arenas and data frames are passed here; the guest's own tables map them, and nothing else refers to them.

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

/// Pairs of words that nothing writes to as long as the caller has them.
fn pairs(at: u64, bytes: u64) -> &'static [u64] {
    // SAFETY: as for `words`; callers pass pages, which are aligned to 8 bytes.
    unsafe { slice::from_raw_parts(at as *const u64, bytes as usize / 8) }
}

/// Whether two parts of whole pages are the same. Most of the time of a batch goes here on an emulator, whose string
/// instructions take an order of magnitude longer than these.
pub(super) fn are_equal(one: u64, other: u64, bytes: u64) -> bool {
    let [one, other] = [one, other].map(|at| pairs(at, bytes).as_chunks::<8>().0);
    one.iter().zip(other).all(|(one, other)| {
        let [a0, a1, a2, a3, a4, a5, a6, a7] = *one;
        let [b0, b1, b2, b3, b4, b5, b6, b7] = *other;
        let low = (a0 ^ b0) | (a1 ^ b1) | (a2 ^ b2) | (a3 ^ b3);
        let high = (a4 ^ b4) | (a5 ^ b5) | (a6 ^ b6) | (a7 ^ b7);
        low | high == 0
    })
}
