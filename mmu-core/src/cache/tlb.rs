//! The translation lookaside buffer: a cache of whole translations (SDM "Translation Lookaside
//! Buffers").

use super::entry::TlbEntry;
use super::invalidation::Invalidation;
use crate::address::VirtAddr;
use crate::walk::Demand;
use crate::x86::format::EntryBits;
use crate::x86::semantics::Rights;

/// A set-associative TLB of `SETS` sets (a power of two) of `WAYS` entries (0 to 255; 0 switches it
/// off), for pages of every size. It takes 20 bytes per entry, rounded up to whole cache lines of 64
/// bytes per set, and needs no allocator. With three ways a set is one line.
///
/// The low bits of the page number select the set. A new entry replaces one for the same page, or
/// takes a free place, or replaces the entries of its set in turn.
#[derive(Clone, Debug)]
pub struct Tlb<const SETS: usize, const WAYS: usize> {
    sets: [Set<WAYS>; SETS],
    /// Bit n is set if there may be an entry with shift n. Page sizes not in use cost nothing.
    shifts: u64,
}

/// The entries of a set: first what a lookup compares, then what it returns.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
struct Set<const WAYS: usize> {
    pages: [u64; WAYS],
    tags: [Tag; WAYS],
    /// The way that is replaced next.
    next: u8,
    leaves: [u64; WAYS],
}

/// The rest of an entry, packed:
///
/// | bits | |
/// |---|---|
/// | 5:0 | the shift |
/// | 6 | 1; 0 for a free place |
/// | 7 | global |
/// | 19:8 | the PCID |
/// | 22:20 | the rights of the whole path |
/// | 25:23 | the rights of the path above the leaf |
/// | 26 | dirty |
#[derive(Clone, Copy, Debug)]
pub(super) struct Tag(u32);

impl Tag {
    const FREE: Self = Self(0);

    const SHIFT: u32 = 0x3f;
    const USED: u32 = 1 << 6;
    const GLOBAL: u32 = 1 << 7;
    const PCID: u32 = 0xfff << 8;
    const DIRTY: u32 = 1 << 26;

    #[inline]
    const fn of(entry: &TlbEntry) -> Self {
        let TlbEntry { shift, pcid, global, above, rights, dirty, .. } = *entry;
        let rights = Self::with_rights(rights).0 | (above.bits() as u32) << 23;
        let flags = (global as u32) << 7 | (dirty as u32) << 26;
        Self(Self::key(shift, pcid).0 | rights | flags)
    }

    #[inline]
    const fn with_rights(rights: Rights) -> Self {
        Self((rights.bits() as u32) << 20)
    }

    /// What the tag of an entry for a page of this size and a PCID begins with.
    #[inline]
    const fn key(shift: u8, pcid: u16) -> Self {
        Self(shift as u32 & Self::SHIFT | Self::USED | (pcid as u32) << 8 & Self::PCID)
    }

    /// Whether it has the size of a key, and its PCID unless it is global.
    #[inline]
    const fn serves(self, key: Self) -> bool {
        let pcid = if self.0 & Self::GLOBAL == 0 { Self::PCID } else { 0 };
        (self.0 ^ key.0) & (Self::SHIFT | Self::USED | pcid) == 0
    }

    #[inline]
    const fn is_used(self) -> bool {
        self.0 & Self::USED != 0
    }

    /// The rights of the whole path.
    #[inline]
    pub(super) const fn rights(self) -> Rights {
        Rights::from_bits_truncate((self.0 >> 20) as u8)
    }

    /// The rights of the path above the leaf.
    #[inline]
    pub(super) const fn above(self) -> Rights {
        Rights::from_bits_truncate((self.0 >> 23) as u8)
    }

    #[inline]
    pub(super) const fn is_dirty(self) -> bool {
        self.0 & Self::DIRTY != 0
    }

    #[inline]
    pub(super) const fn passes(self, check: TagCheck) -> bool {
        (self.0 ^ check.want) & check.mask == 0
    }
}

/// What the tag of an entry must be for an access about which only the rights of the path and D decide.
#[derive(Clone, Copy, Debug)]
pub(super) struct TagCheck {
    mask: u32,
    want: u32,
}

impl TagCheck {
    /// For an access that demands rights, and D if it writes.
    #[inline]
    pub(super) const fn new(demand: Demand) -> Self {
        let Tag(granted) = Tag::with_rights(demand.granted());
        let Tag(barred) = Tag::with_rights(demand.barred());
        let dirty = if demand.leaf_flags.contains(EntryBits::D) { Tag::DIRTY } else { 0 };

        Self { mask: granted | barred | dirty, want: granted | dirty }
    }
}

impl<const WAYS: usize> Set<WAYS> {
    const EMPTY: Self =
        Self { pages: [0; WAYS], tags: [Tag::FREE; WAYS], next: 0, leaves: [0; WAYS] };

    /// The way of the entry for a page.
    #[inline]
    fn find(&self, page: u64, key: Tag) -> Option<usize> {
        (0..WAYS).find(|way| self.pages[*way] == page && self.tags[*way].serves(key))
    }

    /// The entry in a way.
    #[inline]
    const fn entry(&self, way: usize) -> TlbEntry {
        let tag = self.tags[way];
        TlbEntry {
            page: self.pages[way],
            shift: (tag.0 & Tag::SHIFT) as u8,
            pcid: (tag.0 >> 8 & 0xfff) as u16,
            global: tag.0 & Tag::GLOBAL != 0,
            above: tag.above(),
            rights: tag.rights(),
            leaf: self.leaves[way],
            dirty: tag.is_dirty(),
        }
    }

    fn entries(&self) -> impl Iterator<Item = TlbEntry> {
        let used = (0..WAYS).filter(|way| self.tags[*way].is_used());
        used.map(|way| self.entry(way))
    }

    /// The way for a new entry.
    #[inline]
    fn place(&mut self, page: u64, key: Tag) -> usize {
        let free = || self.tags.iter().position(|tag| !tag.is_used());
        if let Some(way) = self.find(page, key).or_else(free) {
            return way;
        }

        let way = usize::from(self.next);
        self.next = if way + 1 == WAYS { 0 } else { self.next + 1 };
        way
    }

    /// Drops what an invalidation covers.
    fn invalidate(&mut self, invalidation: Invalidation) {
        for way in 0..WAYS {
            if self.tags[way].is_used() && invalidation.drops(&self.entry(way)) {
                self.tags[way] = Tag::FREE;
            }
        }
    }
}

impl<const SETS: usize, const WAYS: usize> Tlb<SETS, WAYS> {
    /// An empty TLB.
    pub const fn new() -> Self {
        const { assert!(SETS.is_power_of_two() && WAYS <= u8::MAX as usize) };
        Self { sets: [Set::EMPTY; SETS], shifts: 0 }
    }

    /// The entry that translates an address for a PCID. If there are several, for pages of different
    /// sizes (TLB-5), the smallest page wins.
    #[inline]
    pub fn lookup(&self, address: VirtAddr, pcid: u16) -> Option<TlbEntry> {
        for shift in bits(self.shifts) {
            let page = address.get() >> shift;
            let set = &self.sets[Self::set(page)];
            if let Some(way) = set.find(page, Tag::key(shift, pcid)) {
                return Some(set.entry(way));
            }
        }
        None
    }

    /// The tag and the leaf of the entry of a page of this size, if there is one that serves an address
    /// and a PCID.
    #[inline]
    pub(super) fn find(&self, address: VirtAddr, shift: u8, pcid: u16) -> Option<(Tag, u64)> {
        if self.shifts.wrapping_shr(shift.into()) & 1 == 0 {
            return None;
        }

        let page = address.get().wrapping_shr(shift.into());
        let set = &self.sets[Self::set(page)];
        set.find(page, Tag::key(shift, pcid)).map(|way| (set.tags[way], set.leaves[way]))
    }

    /// Asks for the sets of addresses, so that lookups need not wait for one after the other.
    #[inline]
    pub(super) fn touch(&self, addresses: &[VirtAddr]) {
        for shift in bits(self.shifts) {
            let touched = addresses.iter().fold(0, |touched, address| {
                let set = &self.sets[Self::set(address.get() >> shift)];
                touched | set.pages.first().unwrap_or(&0) | set.leaves.last().unwrap_or(&0)
            });
            // Otherwise the compiler leaves the loads out.
            core::hint::black_box(touched);
        }
    }

    /// Adds an entry. A PCID, of 12 bits, has at most one for each page. A page larger than the address
    /// space is not kept.
    #[expect(clippy::inline_always, reason = "an entry handed over in memory costs as much")]
    #[inline(always)]
    pub fn insert(&mut self, entry: TlbEntry) {
        if WAYS == 0 || entry.shift >= 64 {
            return;
        }

        let set = &mut self.sets[Self::set(entry.page)];
        let way = set.place(entry.page, Tag::key(entry.shift, entry.pcid));
        set.pages[way] = entry.page;
        set.tags[way] = Tag::of(&entry);
        set.leaves[way] = entry.leaf;
        self.shifts |= 1 << entry.shift;
    }

    /// Drops what an invalidation covers. For a single address it looks at a few entries only.
    pub fn invalidate(&mut self, invalidation: Invalidation) {
        if let Some(address) = invalidation.address() {
            for shift in bits(self.shifts) {
                self.sets[Self::set(address.get() >> shift)].invalidate(invalidation);
            }
        } else if invalidation != Invalidation::Nothing {
            self.sets.iter_mut().for_each(|set| set.invalidate(invalidation));
            self.shifts = self.iter().fold(0, |shifts, entry| shifts | 1 << entry.shift);
        }
    }

    /// All entries, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = TlbEntry> {
        self.sets.iter().flat_map(Set::entries)
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
