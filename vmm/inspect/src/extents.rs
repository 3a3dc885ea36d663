//! Which physical addresses a file has, and where in the file they are.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Physical addresses next to each other whose bytes are next to each other in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// The first physical address.
    pub start: u64,
    /// Number of bytes, at least one. The last address is at most 2^64 - 1.
    pub len: u64,
    /// The offset of the first byte in the file.
    pub offset: u64,
}

impl Extent {
    /// An extent, unless it is empty or does not end within 64 bits.
    pub fn new(start: u64, len: u64, offset: u64) -> Option<Self> {
        let last = len.checked_sub(1)?;
        start.checked_add(last)?;
        offset.checked_add(last)?;
        Some(Self { start, len, offset })
    }

    /// The last physical address.
    pub const fn last(&self) -> u64 {
        self.start + (self.len - 1)
    }

    /// The offset in the file of a physical address, and how many bytes are there.
    const fn at(&self, address: u64) -> Option<(u64, u64)> {
        if address < self.start || address > self.last() {
            return None;
        }
        let before = address - self.start;
        Some((self.offset + before, self.len - before))
    }
}

/// Extents that do not overlap, in the order of addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extents(Vec<Extent>);

impl Extents {
    /// The extents that a file lists. Where several have the same address, the first one listed counts.
    ///
    /// ```
    /// use crosswalk_inspect::{Extent, Extents};
    ///
    /// let listed = [Extent::new(0x2000, 0x1000, 0), Extent::new(0x1000, 0x3000, 0x8000)];
    /// let extents = Extents::new(&listed.map(Option::unwrap));
    /// assert_eq!(extents.find(0x1fff), Some((0x8fff, 1)));
    /// assert_eq!(extents.find(0x2004), Some((4, 0xffc)));
    /// assert_eq!(extents.find(0x3000), Some((0xa000, 0x1000)));
    /// assert_eq!(extents.find(0x4000), None);
    /// ```
    pub fn new(listed: &[Extent]) -> Self {
        let mut by_start: Vec<_> = listed.iter().copied().enumerate().collect();
        by_start.sort_by_key(|(_, extent)| extent.start);
        let mut waiting = by_start.into_iter().peekable();

        let mut found = Self::default();
        // Those that begin at or before the address up to which all is found, first listed on top.
        let mut open: BinaryHeap<Reverse<(usize, u64, u64, u64)>> = BinaryHeap::new();
        let mut next = 0;
        loop {
            while let Some((order, extent)) = waiting.next_if(|(_, extent)| extent.start <= next) {
                open.push(Reverse((order, extent.start, extent.len, extent.offset)));
            }

            let Some(Reverse((_, start, len, offset))) = open.peek().copied() else {
                let Some((_, extent)) = waiting.peek() else { return found };
                next = extent.start;
                continue;
            };
            let extent = Extent { start, len, offset };
            if extent.last() < next {
                open.pop();
                continue;
            }

            let before_waiting = waiting.peek().map_or(u64::MAX, |(_, other)| other.start - 1);
            let last = extent.last().min(before_waiting);
            found.push(Extent {
                start: next,
                len: last - next + 1,
                offset: offset + (next - start),
            });
            let Some(behind) = last.checked_add(1) else { return found };
            next = behind;
        }
    }

    /// Adds what follows. An extent that goes on in the file as well becomes longer.
    fn push(&mut self, extent: Extent) {
        if let Some(before) = self.0.last_mut()
            && before.start.checked_add(before.len) == Some(extent.start)
            && before.offset.checked_add(before.len) == Some(extent.offset)
        {
            before.len += extent.len;
        } else {
            self.0.push(extent);
        }
    }

    /// The offset in the file of a physical address, and how many bytes follow it there.
    #[inline]
    pub fn find(&self, address: u64) -> Option<(u64, u64)> {
        let behind = self.0.partition_point(|extent| extent.start <= address);
        self.0.get(behind.checked_sub(1)?)?.at(address)
    }

    /// The first address behind this one at which an extent begins.
    pub(crate) fn next_start(&self, address: u64) -> Option<u64> {
        let behind = self.0.partition_point(|extent| extent.start <= address);
        self.0.get(behind).map(|extent| extent.start)
    }

    /// All of them.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Extent> {
        self.0.iter().copied()
    }

    /// Number of bytes of physical memory. All of the 2^64 count as one less.
    pub fn bytes(&self) -> u64 {
        self.0.iter().fold(0, |sum, extent| sum.saturating_add(extent.len))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn neighbours_in_memory_and_in_the_file_become_one() {
        let listed = [(0, 0x1000, 0x100), (0x1000, 0x1000, 0x1100), (0x2000, 0x1000, 0x5000)];
        let listed = listed.map(|(start, len, offset)| Extent { start, len, offset });
        let extents: Vec<_> = Extents::new(&listed).iter().collect();
        assert_eq!(extents, [Extent { start: 0, len: 0x2000, offset: 0x100 }, listed[2]]);
    }

    #[test]
    fn an_extent_ends_within_64_bits() {
        assert_eq!(Extent::new(1, 0, 0), None);
        assert_eq!(Extent::new(u64::MAX, 2, 0), None);
        assert_eq!(Extent::new(0, 2, u64::MAX), None);
        let whole = Extent::new(0, u64::MAX, 0).unwrap();
        let last = Extent::new(u64::MAX, 1, 7).unwrap();
        let extents = Extents::new(&[whole, last]);
        assert_eq!(extents.find(u64::MAX), Some((7, 1)));
        assert_eq!(extents.find(u64::MAX - 1), Some((u64::MAX - 1, 1)));
        assert_eq!(extents.bytes(), u64::MAX);
    }

    proptest! {
        /// Each address is where the first extent that has it says.
        #[test]
        fn the_first_listed_counts(
            listed in prop::collection::vec((0..40_u64, 1..30_u64, 0..1000_u64), 0..12),
        ) {
            let listed: Vec<_> = listed
                .into_iter()
                .map(|(start, len, offset)| Extent { start, len, offset })
                .collect();
            let extents = Extents::new(&listed);

            for address in 0..80 {
                let expected = listed.iter().find_map(|extent| extent.at(address));
                let found = extents.find(address);
                prop_assert_eq!(found.map(|found| found.0), expected.map(|expected| expected.0));
            }
            let all: Vec<_> = extents.iter().collect();
            prop_assert!(all.windows(2).all(|pair| pair[0].last() < pair[1].start));
        }
    }
}
