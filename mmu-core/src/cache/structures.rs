//! The paging-structure caches: caches of the entries above the leaf (SDM "Paging-Structure Caches").

use super::entry::StructureEntry;
use super::invalidation::Invalidation;
use crate::address::VirtAddr;
use crate::table::Cursor;
use crate::walk::Start;
use crate::x86::format::{Format, Level};

/// The lowest level whose entries can point to a table: that of the PDEs.
const LOWEST: u8 = 2;

/// The number of levels whose entries can point to a table: PDE, PDPTE, PML4E and PML5E.
const CACHES: usize = 4;

/// Caches of PDEs, PDPTEs, PML4Es and PML5Es, each of `N` entries (a power of two; 0 switches
/// them off).
///
/// Each is direct-mapped: an entry has one place, selected by the low bits of its prefix XOR its
/// PCID, and replaces the entry there. PAE's PDPTEs are not cached, as they are in registers
/// (PDPTE-1).
#[derive(Clone, Debug)]
pub struct StructureCaches<const N: usize> {
    /// By the number of the level, from [`LOWEST`] up.
    caches: [[Option<StructureEntry>; N]; CACHES],
}

impl<const N: usize> StructureCaches<N> {
    /// Empty caches.
    pub const fn new() -> Self {
        const { assert!(N == 0 || N.is_power_of_two()) };
        Self { caches: [[None; N]; CACHES] }
    }

    /// The entry of a level on the path of an address, if it is cached.
    #[inline]
    pub fn lookup(&self, level: &Level, address: VirtAddr, pcid: u16) -> Option<&StructureEntry> {
        if N == 0 {
            return None;
        }

        let cache = self.caches.get(usize::from(level.number.checked_sub(LOWEST)?))?;
        let prefix = address.index(level.shift, 64);
        let entry = cache[Self::place(prefix, pcid)].as_ref();
        entry.filter(|entry| entry.prefix == prefix && entry.pcid == pcid)
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

        if let Some(cache) = level.number.checked_sub(LOWEST) {
            let place = Self::place(entry.prefix, entry.pcid);
            self.caches[usize::from(cache)][place] = Some(entry);
        }
    }

    /// Drops what an invalidation covers.
    pub fn invalidate(&mut self, invalidation: Invalidation) {
        if invalidation == Invalidation::Nothing {
            return;
        }

        for place in self.caches.as_flattened_mut() {
            if place.as_ref().is_some_and(|entry| invalidation.drops_structure(entry)) {
                *place = None;
            }
        }
    }

    /// The place of an entry. Address spaces use the same addresses, so the PCID spreads them.
    const fn place(prefix: u64, pcid: u16) -> usize {
        (prefix as usize ^ pcid as usize) & (N - 1)
    }

    /// All entries, the PDEs first.
    pub fn iter(&self) -> impl Iterator<Item = &StructureEntry> {
        self.caches.as_flattened().iter().flatten()
    }
}

impl<const N: usize> Default for StructureCaches<N> {
    fn default() -> Self {
        Self::new()
    }
}
