//! Files that have an address in several places. A vmcore has the kernel's text twice, and `dump-guest-memory -p` a
//! page for each of its mappings: that is fine as long as all places say the same.

use crate::extents::{Extent, Extents};
use std::fs::File;
use std::os::unix::fs::FileExt;

/// The most bytes that are compared: more than a kernel has. What is beyond is believed.
const MAX_COMPARED: u64 = 64 << 20;
/// The most pieces that are looked at.
const MAX_PIECES: u32 = 1 << 20;
/// Number of bytes that are compared at once.
const BLOCK: u64 = 1 << 16;

/// An address about which two places of a file differ. `extents` are the places that count.
pub(super) fn find(file: &File, listed: &[Extent], extents: &Extents) -> Option<u64> {
    let mut compared: u64 = 0;
    let mut pieces: u32 = 0;
    for extent in listed {
        let mut address = extent.start;
        loop {
            let (offset, there) = extents.find(address)?;
            let before = address.saturating_sub(extent.start);
            let own = extent.offset.saturating_add(before);
            let left = extent.len.saturating_sub(before);
            let is_own = offset == own;
            let len = if is_own { left.min(there) } else { left.min(there).min(BLOCK) };

            if !is_own {
                compared = compared.saturating_add(len);
                if let Some(differs) = first_difference(file, own, offset, len) {
                    return address.checked_add(differs);
                }
            }
            pieces = pieces.saturating_add(1);
            if compared > MAX_COMPARED || pieces > MAX_PIECES {
                return None;
            }
            match address.checked_add(len) {
                Some(next) if len < left => address = next,
                _ => break,
            }
        }
    }
    None
}

/// The first of `len` bytes that is not the same at two offsets. What cannot be read differs from nothing.
fn first_difference(file: &File, one: u64, other: u64, len: u64) -> Option<u64> {
    let read = |offset| {
        let mut bytes = vec![0; usize::try_from(len).ok()?];
        file.read_exact_at(&mut bytes, offset).ok().map(|()| bytes)
    };
    let (one, other) = (read(one)?, read(other)?);
    if one == other {
        return None;
    }
    (0..).zip(one.iter().zip(&other)).find_map(|(at, (one, other))| (one != other).then_some(at))
}
