//! Memory of the tape and of batches, by its linear address. Only parts of the payload, of its buffers, and of the
//! arenas and data frames are passed here; the guest's own tables map them, and nothing else refers to them.

use core::arch::asm;
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

/// Whether two parts are the same. One instruction does it, which emulators do quickly.
pub(super) fn are_equal(one: u64, other: u64, bytes: u64) -> bool {
    let equal: u8;
    // SAFETY: see above; the instruction only reads.
    unsafe {
        asm!(
            "repe cmpsq",
            "sete {0}",
            out(reg_byte) equal,
            inout("rcx") bytes / 8 => _,
            inout("rsi") one => _,
            inout("rdi") other => _,
            options(nostack, readonly)
        );
    }
    equal != 0
}
