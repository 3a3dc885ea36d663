//! What is cached: where an address leads, and what the entries on its path allow.

use crate::address::{PhysAddr, VirtAddr};
use crate::x86::format::{EntryKind, Format};
use crate::x86::semantics::Rights;

/// One cached translation: where a page leads and what its entries allow, not whether an access was
/// allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TlbEntry {
    /// The page number: the linear address shifted right by `shift`.
    pub page: u64,
    /// The size of the page, as the number of bits in an offset into it.
    pub shift: u8,
    /// The PCID that was current when it was cached. With `global` set any PCID may use it.
    pub pcid: u16,
    /// G of the leaf, with CR4.PGE set when it was cached (SDM "Global Pages").
    pub global: bool,
    /// The rights of the entries above the leaf, which shadow stacks need separately (RIGHT-7).
    pub above: Rights,
    /// The rights of the whole path.
    pub rights: Rights,
    /// The leaf as it was in memory, with its key and its D.
    pub leaf: u64,
    /// Whether a write may use this entry: D is set, or the format has no D.
    pub dirty: bool,
}

impl TlbEntry {
    /// Whether it translates this address for this PCID.
    pub const fn translates(&self, address: VirtAddr, pcid: u16) -> bool {
        self.page == address.index(self.shift, 64) && (self.global || self.pcid == pcid)
    }

    /// The physical address of the page, by the format of its leaf. `None` if the format has no pages
    /// of its size.
    pub fn frame<F: Format>(&self) -> Option<PhysAddr> {
        let level = F::LEVELS.iter().find(|level| level.shift == self.shift)?;
        Some(F::address(level, EntryKind::Leaf, self.leaf))
    }
}

/// One cached entry that points to a table, combined with those above it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StructureEntry {
    /// The linear-address bits that lead to it: the address shifted right by `shift`.
    pub prefix: u64,
    /// The lowest linear-address bit of its level's index.
    pub shift: u8,
    /// The PCID that was current when it was cached. Entries above the leaf are never global.
    pub pcid: u16,
    /// The table that it points to.
    pub table: PhysAddr,
    /// What this entry and those above it allow together.
    pub rights: Rights,
}

impl StructureEntry {
    /// Whether it is on the path of this address for this PCID.
    pub const fn serves(&self, address: VirtAddr, pcid: u16) -> bool {
        self.prefix == address.index(self.shift, 64) && self.pcid == pcid
    }
}
