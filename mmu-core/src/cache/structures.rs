//! The paging-structure caches: what is remembered of the entries above the leaf (SDM
//! "Paging-Structure Caches").

use super::Invalidation;
use crate::address::{PhysAddr, VirtAddr};
use crate::walk::Start;
use crate::x86::format::{Format, Level};
use crate::x86::semantics::Rights;

/// One cached entry that points to a table, together with those above it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StructureEntry {
    /// The linear-address bits that lead to it: the address shifted right by `shift`.
    pub prefix: u64,
    /// The lowest linear-address bit of its level's index.
    pub shift: u8,
    /// The PCID that was current when it was made. There is no global flag above the leaf.
    pub pcid: u16,
    /// The table that it points to.
    pub table: PhysAddr,
    /// What it and the entries above it allow together.
    pub rights: Rights,
}

impl StructureEntry {
    /// Whether it lies on the path of this address for this PCID.
    pub const fn serves(&self, address: VirtAddr, pcid: u16) -> bool {
        self.prefix == address.get() >> self.shift && self.pcid == pcid
    }
}

/// Levels whose entries can point to a table: PDE, PDPTE, PML4E and PML5E.
const CACHES: usize = 4;

/// Caches of PDEs, PDPTEs, PML4Es and PML5Es, each of `N` entries (a power of two; 0 switches
/// them off).
///
/// Each is direct-mapped: an entry has one place, named by the low bits of its prefix XOR its PCID,
/// and a new entry takes it. PAE's PDPTEs are not cached: they are in registers (PDPTE-1).
#[derive(Clone, Debug)]
pub struct StructureCaches<const N: usize> {
    /// By the number of the level, from 2 up.
    caches: [[Option<StructureEntry>; N]; CACHES],
}

impl<const N: usize> StructureCaches<N> {
    /// Empty caches.
    pub const fn new() -> Self {
        const { assert!(N == 0 || N.is_power_of_two()) };
        Self { caches: [[None; N]; CACHES] }
    }

    /// The entry of a level on the path of an address, if it is cached.
    pub fn lookup(&self, level: &Level, address: VirtAddr, pcid: u16) -> Option<&StructureEntry> {
        if N == 0 || level.number < 2 {
            return None;
        }
        let place = Self::place(address.get() >> level.shift, pcid);
        let entry = self.caches[usize::from(level.number) - 2][place].as_ref();
        entry.filter(|entry| entry.serves(address, pcid))
    }

    /// Where a walk for an address can begin: below the lowest entry that is cached.
    pub(super) fn start<F: Format>(&self, address: VirtAddr, pcid: u16) -> Option<Start> {
        (1..=F::LEVELS.len()).rev().find_map(|depth| {
            let StructureEntry { table, rights, .. } =
                *self.lookup(&F::LEVELS[depth - 1], address, pcid)?;
            Some(Start { depth, table, rights })
        })
    }

    /// Adds the entry of a level that lies on the path of an address.
    pub(super) fn insert(&mut self, level: &Level, entry: StructureEntry) {
        if N != 0 && level.number >= 2 {
            let place = Self::place(entry.prefix, entry.pcid);
            self.caches[usize::from(level.number) - 2][place] = Some(entry);
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

    /// Address spaces use the same addresses: their PCIDs keep them from each other's places.
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
