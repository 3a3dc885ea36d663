//! The paging-structure caches: caches of the entries above the leaf (SDM "Paging-Structure Caches").

use super::entry::StructureEntry;
use super::invalidation::Invalidation;
use crate::address::{PhysAddr, VirtAddr};
use crate::table::Cursor;
use crate::walk::Start;
use crate::x86::format::{Format, Level};
use crate::x86::semantics::Rights;

/// The lowest level whose entries can point to a table: that of the PDEs.
const LOWEST: u8 = 2;

/// The number of levels whose entries can point to a table: PDE, PDPTE, PML4E and PML5E.
const CACHES: usize = 4;

/// Caches of PDEs, PDPTEs, PML4Es and PML5Es, each of `N` entries (a power of two; 0 switches
/// them off) of 16 bytes.
///
/// Each is direct-mapped: an entry has one place, selected by the low bits of its prefix XOR its
/// PCID, and replaces the entry there. PAE's PDPTEs are not cached, as they are in registers
/// (PDPTE-1).
#[derive(Clone, Debug)]
pub struct StructureCaches<const N: usize> {
    /// By the number of the level, from [`LOWEST`] up.
    caches: [[Place; N]; CACHES],
    /// The shift of the entries of each cache.
    shifts: [u8; CACHES],
}

/// An entry, packed.
#[derive(Clone, Copy, Debug)]
struct Place {
    key: Key,
    /// The physical address of the table, a multiple of 8, and the rights in bits 2:0. They are not in
    /// the key, which a lookup can compare before the entry has come from memory.
    target: u64,
}

/// What selects an entry:
///
/// | bits | |
/// |---|---|
/// | 11:0 | the PCID |
/// | 12 | 1; 0 for a free place |
/// | 63:13 | the prefix |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Key(u64);

impl Key {
    const FREE: Self = Self(0);
    const USED: u64 = 1 << 12;
    const PCID: u64 = 0xfff;

    #[inline]
    const fn new(prefix: u64, pcid: u16) -> Self {
        Self(prefix << 13 | Self::USED | pcid as u64 & Self::PCID)
    }
}

impl Place {
    const FREE: Self = Self { key: Key::FREE, target: 0 };

    #[inline]
    const fn new(entry: &StructureEntry) -> Self {
        let StructureEntry { prefix, pcid, table, rights, .. } = *entry;
        Self { key: Key::new(prefix, pcid), target: table.get() | rights.bits() as u64 }
    }

    /// The entry, of a level with this shift.
    #[inline]
    const fn entry(self, shift: u8) -> StructureEntry {
        let Self { key: Key(key), target } = self;
        let rights = Rights::from_bits_truncate(target as u8);

        StructureEntry {
            prefix: key >> 13,
            shift,
            pcid: (key & Key::PCID) as u16,
            table: PhysAddr::new(target & !7),
            rights,
        }
    }

    /// The entry, if the place is not free.
    fn used(self, shift: u8) -> Option<StructureEntry> {
        (self.key != Key::FREE).then(|| self.entry(shift))
    }
}

impl<const N: usize> StructureCaches<N> {
    /// Empty caches.
    pub const fn new() -> Self {
        const { assert!(N == 0 || N.is_power_of_two()) };
        Self { caches: [[Place::FREE; N]; CACHES], shifts: [0; CACHES] }
    }

    /// The entry of a level on the path of an address, if it is cached.
    #[inline]
    pub fn lookup(&self, level: &Level, address: VirtAddr, pcid: u16) -> Option<StructureEntry> {
        if N == 0 {
            return None;
        }

        let cache = self.caches.get(usize::from(level.number.checked_sub(LOWEST)?))?;
        let prefix = address.index(level.shift, 64);
        let place = cache[Self::index(prefix, pcid)];
        (place.key == Key::new(prefix, pcid)).then(|| place.entry(level.shift))
    }

    /// Where a walk for an address can begin: below the lowest cached entry on its path.
    #[inline]
    pub(super) fn start<F: Format>(&self, address: VirtAddr, pcid: u16) -> Option<Start<F>> {
        F::LEVELS.iter().enumerate().rev().find_map(|(depth, level)| {
            let entry = self.lookup(level, address, pcid)?;
            let cursor = Cursor::at_depth(depth + 1, entry.table)?;
            Some(Start { cursor: Some(cursor), rights: entry.rights })
        })
    }

    /// Adds an entry of a level.
    pub(super) fn insert(&mut self, level: &Level, entry: StructureEntry) {
        if N == 0 {
            return;
        }

        if let Some(cache) = level.number.checked_sub(LOWEST).map(usize::from) {
            self.caches[cache][Self::index(entry.prefix, entry.pcid)] = Place::new(&entry);
            self.shifts[cache] = entry.shift;
        }
    }

    /// Drops what an invalidation covers.
    pub fn invalidate(&mut self, invalidation: Invalidation) {
        if invalidation == Invalidation::Nothing {
            return;
        }

        for (cache, shift) in self.caches.iter_mut().zip(self.shifts) {
            for place in cache {
                let entry = place.used(shift);
                if entry.is_some_and(|entry| invalidation.drops_structure(&entry)) {
                    *place = Place::FREE;
                }
            }
        }
    }

    /// The index of an entry. Address spaces use the same addresses, so the PCID spreads them.
    const fn index(prefix: u64, pcid: u16) -> usize {
        (prefix as usize ^ pcid as usize) & (N - 1)
    }

    /// All entries, the PDEs first.
    pub fn iter(&self) -> impl Iterator<Item = StructureEntry> {
        let caches = self.caches.iter().zip(self.shifts);
        caches.flat_map(|(cache, shift)| cache.iter().filter_map(move |place| place.used(shift)))
    }
}

impl<const N: usize> Default for StructureCaches<N> {
    fn default() -> Self {
        Self::new()
    }
}
