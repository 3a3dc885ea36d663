//! A bitmap of pages in a file: which pages an image has. What an image keeps for its pages follows in their
//! order, so that the number of pages before one leads to it. For each 32,768 pages, whose bits are a block of
//! 4 KiB, this number is kept; the rest is counted when it is asked for. Of 64 TiB these are 4 MiB.

use crate::bytes::ImageBytes;
use crate::error::ReadError;

const BLOCK_BYTES: usize = 0x1000;
const BLOCK_PAGES: u64 = 8 * BLOCK_BYTES as u64;

/// The most pages: 64 TiB of memory.
pub(crate) const MAX_PAGES: u64 = 1 << 34;

type Block = [u8; BLOCK_BYTES];

/// A bitmap of pages.
#[derive(Debug)]
pub(crate) struct PageBitmap {
    /// The offset of its first byte in the file.
    offset: u64,
    /// Number of bits, at most [`MAX_PAGES`].
    pages: u64,
    /// For each block the number of pages before it.
    before: Vec<u64>,
    /// Number of pages that are in the image.
    present: u64,
    /// Number of ranges of them.
    ranges: u64,
}

impl PageBitmap {
    /// Counts the pages of a bitmap.
    pub(crate) fn new(bytes: &ImageBytes, offset: u64, pages: u64) -> Result<Self, ReadError> {
        let pages = pages.min(MAX_PAGES);
        let mut bitmap = Self { offset, pages, before: Vec::new(), present: 0, ranges: 0 };
        let mut was_set = false;
        // A hole of the file has no bits.
        let mut hole_end = 0;
        for number in 0..pages.div_ceil(BLOCK_PAGES) {
            bitmap.before.push(bitmap.present);
            let end = bitmap.offset_of(number.saturating_add(1));
            if end <= hole_end {
                was_set = false;
                continue;
            }
            let block = bitmap.block(bytes, number)?;
            if block == [0; BLOCK_BYTES] {
                hole_end = bytes.next_data(end)?;
            }
            for word in words(&block) {
                let begins = word & !(word << 1 | u64::from(was_set));
                bitmap.present = bitmap.present.saturating_add(word.count_ones().into());
                bitmap.ranges = bitmap.ranges.saturating_add(begins.count_ones().into());
                was_set = word >> 63 != 0;
            }
        }
        Ok(bitmap)
    }

    /// Number of pages that are in the image.
    pub(crate) const fn present(&self) -> u64 {
        self.present
    }

    /// Number of ranges of pages next to each other.
    pub(crate) const fn ranges(&self) -> u64 {
        self.ranges
    }

    /// The number of pages in the image before one that is in it, too.
    pub(crate) fn rank(&self, bytes: &ImageBytes, page: u64) -> Result<Option<u64>, ReadError> {
        if page >= self.pages {
            return Ok(None);
        }
        let block = self.block(bytes, page / BLOCK_PAGES)?;
        let (index, bit) = (page % BLOCK_PAGES / 64, page % 64);

        let last = words(&block).nth(index as usize).unwrap_or(0);
        if last >> bit & 1 == 0 {
            return Ok(None);
        }
        let counted = words(&block).take(index as usize).chain([last & !(u64::MAX << bit)]);
        let in_block: u64 = counted.map(|word| u64::from(word.count_ones())).sum();
        let before = self.before.get((page / BLOCK_PAGES) as usize).copied().unwrap_or(0);
        Ok(Some(before.saturating_add(in_block)))
    }

    /// The first pages in the image at or behind one: their first, and their number, up to the end of a block.
    pub(crate) fn next(
        &self,
        bytes: &ImageBytes,
        page: u64,
    ) -> Result<Option<(u64, u64)>, ReadError> {
        let mut page = page;
        while page < self.pages {
            let number = page / BLOCK_PAGES;
            let end = (number.saturating_add(1)).saturating_mul(BLOCK_PAGES);
            let pages_from = |number: u64| {
                let before = usize::try_from(number).ok().and_then(|at| self.before.get(at));
                before.copied().unwrap_or(self.present)
            };
            if pages_from(number) != pages_from(number.saturating_add(1)) {
                let block = self.block(bytes, number)?;
                let is_set = |page: &u64| {
                    let byte = block.get((page % BLOCK_PAGES / 8) as usize);
                    byte.is_some_and(|byte| byte >> (page % 8) & 1 != 0)
                };
                if let Some(first) = (page..end).find(is_set) {
                    return Ok(Some((first, (first..end).take_while(is_set).count() as u64)));
                }
            }
            page = end;
        }
        Ok(None)
    }

    /// The offset of a block in the file.
    const fn offset_of(&self, number: u64) -> u64 {
        self.offset.saturating_add(number.saturating_mul(BLOCK_BYTES as u64))
    }

    /// The bits of some pages. Behind the last page there are none.
    fn block(&self, bytes: &ImageBytes, number: u64) -> Result<Block, ReadError> {
        let first = number.saturating_mul(BLOCK_PAGES);
        let left = self.pages.saturating_sub(first).min(BLOCK_PAGES);
        let mut block = [0; BLOCK_BYTES];
        if let Some(used) = block.get_mut(..left.div_ceil(8) as usize) {
            bytes.read(self.offset_of(number), used)?;
            if let (Some(last), 1..) = (used.last_mut(), left % 8) {
                *last &= 0xff_u8 >> (8_u64.saturating_sub(left % 8));
            }
        }
        Ok(block)
    }
}

fn words(block: &Block) -> impl Iterator<Item = u64> {
    block.as_chunks::<8>().0.iter().map(|bytes| u64::from_le_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Write;

    proptest! {
        /// Bits that are set by hand are found, and counted, as a list of them has them.
        #[test]
        fn pages_are_found_in_their_order(
            set in prop::collection::btree_set(0..100_000_u64, 0..60),
            pages in 1..100_000_u64,
        ) {
            let mut bits = vec![0_u8; 12_500];
            for page in &set {
                bits[(page / 8) as usize] |= 1 << (page % 8);
            }
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(&[&[0xff; 7][..], &bits].concat()).unwrap();
            let bytes = ImageBytes::new(file, 12_507);

            let bitmap = PageBitmap::new(&bytes, 7, pages).unwrap();
            let expected: Vec<_> = set.into_iter().filter(|page| *page < pages).collect();
            prop_assert_eq!(bitmap.present(), expected.len() as u64);
            for (rank, page) in expected.iter().enumerate() {
                prop_assert_eq!(bitmap.rank(&bytes, *page).unwrap(), Some(rank as u64));
            }
            let is_first = |page: &&u64| **page == 0 || !expected.contains(&(**page - 1));
            prop_assert_eq!(bitmap.ranges(), expected.iter().filter(is_first).count() as u64);

            let mut found = Vec::new();
            let mut page = 0;
            while let Some((first, count)) = bitmap.next(&bytes, page).unwrap() {
                found.extend(first..first + count);
                page = first + count;
            }
            prop_assert_eq!(found, expected);
        }
    }
}
