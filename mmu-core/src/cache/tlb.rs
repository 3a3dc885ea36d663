//! The translation lookaside buffer: a cache of whole translations (SDM "Translation Lookaside
//! Buffers").

use super::entry::TlbEntry;
use super::invalidation::Invalidation;
use crate::address::VirtAddr;

/// A set-associative TLB of `SETS` sets (a power of two) of `WAYS` entries (0 to 255; 0 switches it
/// off), for pages of every size. It takes about 40 bytes per entry and needs no allocator.
///
/// The low bits of the page number select the set. A new entry replaces one for the same page, or
/// takes a free place, or replaces the entries of its set in turn.
#[derive(Clone, Debug)]
pub struct Tlb<const SETS: usize, const WAYS: usize> {
    entries: [[Option<TlbEntry>; WAYS]; SETS],
    /// The way of each set that is replaced next.
    next: [u8; SETS],
    /// Bit n is set if there may be an entry with shift n. Page sizes not in use cost nothing.
    shifts: u64,
}

impl<const SETS: usize, const WAYS: usize> Tlb<SETS, WAYS> {
    /// An empty TLB.
    pub const fn new() -> Self {
        const { assert!(SETS.is_power_of_two() && WAYS <= u8::MAX as usize) };
        Self { entries: [[None; WAYS]; SETS], next: [0; SETS], shifts: 0 }
    }

    /// The entry that translates an address for a PCID. If there are several, for pages of different
    /// sizes (TLB-5), the smallest page wins.
    #[inline]
    pub fn lookup(&self, address: VirtAddr, pcid: u16) -> Option<&TlbEntry> {
        for shift in bits(self.shifts) {
            let set = &self.entries[Self::set(address.get() >> shift)];
            let hits = |entry: &&TlbEntry| entry.shift == shift && entry.translates(address, pcid);
            if let Some(entry) = set.iter().flatten().find(hits) {
                return Some(entry);
            }
        }
        None
    }

    /// Adds an entry. A PCID has at most one for each page. A page larger than the address space is
    /// not kept.
    pub fn insert(&mut self, entry: TlbEntry) {
        if WAYS == 0 || entry.shift >= 64 {
            return;
        }

        let number = Self::set(entry.page);
        let set = &mut self.entries[number];
        let is_same_page = |known: &TlbEntry| {
            (known.page, known.shift) == (entry.page, entry.shift)
                && (known.global || known.pcid == entry.pcid)
        };
        let same = set.iter().position(|known| known.as_ref().is_some_and(is_same_page));
        let free = || set.iter().position(Option::is_none);
        let way = same.or_else(free).unwrap_or_else(|| {
            let next = &mut self.next[number];
            let way = usize::from(*next);
            *next = if way + 1 == WAYS { 0 } else { *next + 1 };
            way
        });

        set[way] = Some(entry);
        self.shifts |= 1 << entry.shift;
    }

    /// Drops what an invalidation covers. For a single address it looks at a few entries only.
    pub fn invalidate(&mut self, invalidation: Invalidation) {
        let drop_from = |set: &mut [Option<TlbEntry>; WAYS]| {
            for place in set {
                if place.as_ref().is_some_and(|entry| invalidation.drops(entry)) {
                    *place = None;
                }
            }
        };

        if let Some(address) = invalidation.address() {
            for shift in bits(self.shifts) {
                drop_from(&mut self.entries[Self::set(address.get() >> shift)]);
            }
        } else if invalidation != Invalidation::Nothing {
            self.entries.iter_mut().for_each(drop_from);
            self.shifts = self.iter().fold(0, |shifts, entry| shifts | 1 << entry.shift);
        }
    }

    /// All entries, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = &TlbEntry> {
        self.entries.iter().flatten().flatten()
    }

    const fn set(page: u64) -> usize {
        page as usize & (SETS - 1)
    }
}

impl<const SETS: usize, const WAYS: usize> Default for Tlb<SETS, WAYS> {
    fn default() -> Self {
        Self::new()
    }
}

/// The numbers of the bits that are set, lowest first.
#[inline]
fn bits(mut mask: u64) -> impl Iterator<Item = u8> {
    core::iter::from_fn(move || {
        let lowest = (mask != 0).then(|| mask.trailing_zeros() as u8);
        mask &= mask.wrapping_sub(1);
        lowest
    })
}
