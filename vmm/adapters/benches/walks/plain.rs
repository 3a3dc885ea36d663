//! The yardstick: a bounds-checked 4-level walk that looks at P and PS only.

use crate::measure::Run;
use crate::workload::{Memory, Workload};
use std::sync::atomic::{AtomicU64, Ordering};

/// Where an address leads. `None` if an entry is not present or outside memory.
#[inline]
pub(crate) fn walk(words: &[AtomicU64], root: u64, address: u64) -> Option<u64> {
    const ADDRESS: u64 = 0x000f_ffff_ffff_f000;

    let mut table = root;
    for shift in [39, 30, 21, 12] {
        let word = words.get((table / 8 + (address >> shift & 511)) as usize)?;
        let entry = word.load(Ordering::Relaxed);
        if entry & 1 == 0 {
            return None;
        }
        let is_page = shift == 12 || (shift < 39 && entry & 0x80 != 0);
        if is_page {
            let offset = (1 << shift) - 1;
            return Some(entry & ADDRESS & !offset | address & offset);
        }
        table = entry & ADDRESS;
    }
    None
}

/// One address after the other.
pub(crate) fn run<'w>(memory: &'w Memory, workload: &'w Workload) -> Run<'w> {
    let (words, root) = (memory.words(), workload.root);
    Box::new(move |addresses| {
        let mut sum = 0_u64;
        for address in addresses {
            sum = sum.wrapping_add(walk(words, root, *address).unwrap_or(0));
        }
        sum
    })
}
