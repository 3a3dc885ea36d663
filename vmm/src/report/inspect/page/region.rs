//! Regions: blocks with little between them. Most of an address space is empty, and would hide the rest.

use super::block::Block;
use std::ops::Range;

/// The least gap between two regions.
const LEAST_GAP: u128 = 1 << 30;

/// The most regions of a picture.
pub(super) const MAX_REGIONS: usize = 48;

/// Divides blocks into regions, at the gaps that are large enough. Returns the places of each region's blocks,
/// and the least gap between them.
pub(super) fn regions(blocks: &[Block]) -> (Vec<Range<usize>>, u128) {
    let mut least = LEAST_GAP;
    loop {
        let regions = divide(blocks, least);
        if regions.len() <= MAX_REGIONS {
            return (regions, least);
        }
        least <<= 1;
    }
}

fn divide(blocks: &[Block], least: u128) -> Vec<Range<usize>> {
    let mut regions = Vec::new();
    let mut start = 0;
    for (index, pair) in blocks.windows(2).enumerate() {
        let [before, next] = pair else { continue };
        if gap(before, next) >= least {
            regions.push(start..index + 1);
            start = index + 1;
        }
    }
    if start < blocks.len() {
        regions.push(start..blocks.len());
    }
    regions
}

/// Number of bytes between two blocks.
pub(super) fn gap(before: &Block, next: &Block) -> u128 {
    (u128::from(next.first)).saturating_sub(u128::from(before.last) + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blocks(addresses: &[u64]) -> Vec<Block> {
        let block = |first: &u64| Block {
            first: *first,
            last: *first + 0xfff,
            bytes: [0x1000, 0, 0, 0, 0, 0, 0, 0],
            range: None,
            problem: None,
            is_repeated: false,
            count: 1,
            at: 0,
        };
        addresses.iter().map(block).collect()
    }

    #[test]
    fn regions_end_at_large_gaps() {
        let found = regions(&blocks(&[0x1000, 0x4000_0000, 0x8000_1000, 0xffff_8000_0000_0000]));
        assert_eq!(found, (vec![0..2, 2..3, 3..4], 1 << 30));
        assert!(regions(&[]).0.is_empty());
    }

    /// 1000 blocks with 2 GiB between them, which would be 1000 regions.
    #[test]
    fn there_are_not_many_regions() {
        let scattered: Vec<u64> = (0..1000).map(|number| number << 31).collect();
        let (found, least) = regions(&blocks(&scattered));
        assert_eq!((found.len(), least), (1, 1 << 31));
    }
}
