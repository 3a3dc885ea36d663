//! Which bytes of the data frames a batch has changed.
#![cfg_attr(
    not(test),
    warn(
        clippy::arithmetic_side_effects,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::string_slice,
        clippy::unwrap_used
    )
)]

use crate::memory::{GuestMemory, LANE_BYTES};
use crosswalk_guest::contents;
use crosswalk_guest::layout::{Arena, MAX_LANES};
use std::sync::LazyLock;

/// The original contents of the data frames: for each arena, the frames of all lanes in order.
static PRISTINE: LazyLock<[Vec<u8>; 2]> = LazyLock::new(|| {
    Arena::ALL.map(|arena| {
        let mut frames = vec![0; MAX_LANES * LANE_BYTES];
        for (lane, chunk) in frames.chunks_mut(LANE_BYTES).enumerate() {
            contents::fill(arena.data_frames(lane), chunk);
        }
        frames
    })
});

/// A byte of a data frame that differs from its original contents.
pub(super) struct Change {
    pub(super) lane: usize,
    pub(super) at: u64,
    pub(super) found: u8,
}

/// Returns every changed byte of the data frames of an arena, and restores them.
pub(super) fn take_changes(arena: Arena, memory: &GuestMemory) -> Vec<Change> {
    let mut changes = Vec::new();

    let pristine = PRISTINE.get(arena.index()).map_or(&[][..], Vec::as_slice);
    for (lane, expected) in pristine.chunks(LANE_BYTES).enumerate() {
        let mut add = |at, found| changes.push(Change { lane, at, found });
        take_changes_of(arena.data_frames(lane), expected, memory, &mut add);
    }

    changes
}

/// Returns every changed byte of the data frames of an arena, by address, and restores them.
pub(crate) fn take_changed_bytes(arena: Arena, memory: &GuestMemory) -> Vec<(u64, u8)> {
    take_changes(arena, memory).into_iter().map(|Change { at, found, .. }| (at, found)).collect()
}

/// Passes every byte of a range that differs from its original contents to `add`, in order, and
/// restores it. Few ranges differ, and those in few bytes, so what differs is cut into smaller and
/// smaller parts.
fn take_changes_of(
    first: u64,
    expected: &[u8],
    memory: &GuestMemory,
    add: &mut impl FnMut(u64, u8),
) {
    const SMALLEST: usize = 16;

    if memory.holds(first, expected) {
        return;
    }
    if expected.len() > SMALLEST {
        let part = expected.len().div_ceil(8);
        for (at, expected) in (first..).step_by(part).zip(expected.chunks(part)) {
            take_changes_of(at, expected, memory, add);
        }
        return;
    }

    let mut bytes = [0; SMALLEST];
    let bytes = bytes.get_mut(..expected.len()).unwrap_or_default();
    memory.read(first, bytes);
    for ((found, expected), at) in bytes.iter().zip(expected).zip(first..) {
        if found != expected {
            add(at, *found);
        }
    }
    memory.write(first, expected);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first and the last byte of each frame, and two that are found in different parts.
    #[test]
    fn a_change_of_any_byte_is_found_and_undone() {
        const OFFSETS: [u64; 6] = [0, 0x0345, 0x0fff, 0x1000, 0x1abc, 0x1fff];
        let memory = GuestMemory::new().unwrap();

        for arena in Arena::ALL {
            let mut expected = Vec::new();
            for lane in [0, 3, MAX_LANES - 1] {
                for at in OFFSETS.map(|offset| arena.data_frames(lane) + offset) {
                    let found = !contents::byte(at);
                    memory.write(at, &[found]);
                    expected.push((lane, at, found));
                }
            }

            let changes = take_changes(arena, &memory).into_iter();
            let found: Vec<_> =
                changes.map(|Change { lane, at, found }| (lane, at, found)).collect();
            assert_eq!(found, expected);
            assert!(take_changes(arena, &memory).is_empty());
        }
    }
}
