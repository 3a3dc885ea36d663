//! Sets of frames. Most are near each other, so that a bit for each is less than a number.

use std::collections::HashMap;

/// Number of frames that have their bits in one block: 128 MiB of memory.
const BLOCK_FRAMES: u64 = 1 << 15;
const WORDS: usize = BLOCK_FRAMES as usize / 64;

/// The most blocks of a set: 32 MiB, which is 1 TiB of memory.
const MAX_BLOCKS: usize = 1 << 13;

/// The bits of neighbours.
type Block = Box<[u64; WORDS]>;

/// A set of frames, by their numbers. It has bounded size: when it is full, it takes frames near those that
/// it has, and no others.
#[derive(Clone, Debug, Default)]
pub struct FrameSet {
    /// The blocks of the first TiB, by number, as far as there are any.
    low: Vec<Option<Block>>,
    high: HashMap<u64, Block>,
    /// Number of blocks.
    count: usize,
}

impl FrameSet {
    /// Adds a frame. Returns whether it was added: it was not in the set, and the set had room for it.
    #[inline]
    pub fn insert(&mut self, frame: u64) -> bool {
        let Some(block) = self.block_mut(frame / BLOCK_FRAMES) else { return false };
        let (word, bit) = place(frame);

        let is_new = block[word] & bit == 0;
        block[word] |= bit;
        is_new
    }

    /// Adds frames next to each other. Returns whether the set had room for all of them.
    pub fn insert_range(&mut self, first: u64, count: u64) -> bool {
        let mut frame = first;
        let mut left = count;
        while left > 0 {
            let Some(block) = self.block_mut(frame / BLOCK_FRAMES) else { return false };
            let until_end = BLOCK_FRAMES - frame % BLOCK_FRAMES;
            let now = until_end.min(left);
            set_bits(block, frame % BLOCK_FRAMES, now);

            frame = frame.wrapping_add(now);
            left -= now;
        }
        true
    }

    /// Whether a frame is in the set.
    #[inline]
    pub fn contains(&self, frame: u64) -> bool {
        let (word, bit) = place(frame);
        let block = self.block(frame / BLOCK_FRAMES);
        block.is_some_and(|block| block[word] & bit != 0)
    }

    /// The first frame of some next to each other that is in the set.
    pub fn first_of_range(&self, first: u64, count: u64) -> Option<u64> {
        let last = first.checked_add(count.checked_sub(1)?)?;
        let mut frame = first;
        loop {
            let Some(block) = self.block(frame / BLOCK_FRAMES) else {
                frame = (frame / BLOCK_FRAMES + 1).checked_mul(BLOCK_FRAMES)?;
                if frame > last {
                    return None;
                }
                continue;
            };
            let (word, bit) = place(frame);
            let here = block[word] & !(bit - 1);
            if here != 0 {
                let found = frame / 64 * 64 + u64::from(here.trailing_zeros());
                return (found <= last).then_some(found);
            }
            frame = (frame / 64 + 1).checked_mul(64)?;
            if frame > last {
                return None;
            }
        }
    }

    #[inline]
    fn block(&self, number: u64) -> Option<&[u64; WORDS]> {
        if number < MAX_BLOCKS as u64 {
            self.low.get(number as usize)?.as_deref()
        } else {
            self.high.get(&number).map(|block| &**block)
        }
    }

    #[inline]
    fn block_mut(&mut self, number: u64) -> Option<&mut [u64; WORDS]> {
        if self.block(number).is_none() {
            if self.count == MAX_BLOCKS {
                return None;
            }
            self.count += 1;
            self.add_block(number);
        }

        if number < MAX_BLOCKS as u64 {
            self.low.get_mut(number as usize)?.as_deref_mut()
        } else {
            self.high.get_mut(&number).map(|block| &mut **block)
        }
    }

    #[cold]
    fn add_block(&mut self, number: u64) {
        let block = Box::new([0; WORDS]);
        if number < MAX_BLOCKS as u64 {
            let index = number as usize;
            self.low.resize_with(self.low.len().max(index + 1), || None);
            self.low[index] = Some(block);
        } else {
            self.high.insert(number, block);
        }
    }
}

/// The word of a frame in its block, and its bit there.
const fn place(frame: u64) -> (usize, u64) {
    ((frame % BLOCK_FRAMES / 64) as usize, 1 << (frame % 64))
}

/// Sets `count` bits of a block, at least one, from a bit on.
fn set_bits(block: &mut [u64; WORDS], first: u64, count: u64) {
    let last = first + count - 1;
    let (from, to) = ((first / 64) as usize, (last / 64) as usize);
    let head = u64::MAX << (first % 64);
    let tail = u64::MAX >> (63 - last % 64);

    if from == to {
        block[from] |= head & tail;
        return;
    }
    block[from] |= head;
    block[from + 1..to].fill(u64::MAX);
    block[to] |= tail;
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn a_full_set_takes_neighbours_only() {
        let mut set = FrameSet::default();
        for block in 0..MAX_BLOCKS as u64 {
            assert!(set.insert(block * BLOCK_FRAMES));
        }
        assert!(!set.insert(MAX_BLOCKS as u64 * BLOCK_FRAMES));
        assert!(set.insert(1));
        assert!(!set.insert_range(MAX_BLOCKS as u64 * BLOCK_FRAMES - 1, 2));
    }

    proptest! {
        #[test]
        fn it_is_a_set(
            ranges in prop::collection::vec((0..100_000_u64, 1..5000_u64), 1..6),
            singles in prop::collection::vec(0..100_000_u64, 0..6),
            asked in prop::collection::vec((0..110_000_u64, 1..70_000_u64), 1..20),
        ) {
            let mut set = FrameSet::default();
            let mut plain = BTreeSet::new();
            for (first, count) in ranges {
                prop_assert!(set.insert_range(first, count));
                plain.extend(first..first + count);
            }
            for frame in singles {
                prop_assert_eq!(set.insert(frame), plain.insert(frame));
            }
            for (first, count) in asked {
                prop_assert_eq!(set.contains(first), plain.contains(&first));
                let expected = plain.range(first..first + count).next().copied();
                prop_assert_eq!(set.first_of_range(first, count), expected);
            }
        }
    }
}
