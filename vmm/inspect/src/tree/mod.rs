//! The tables themselves, each once: what leads from one to the next, and where rights are lost.
//!
//! A scan follows paths, and meets a shared table once for each. The tree has every table once, below the
//! first entry that leads to it; other entries refer to it, also those of a table that points to itself.

mod build;

use crate::ranges::PageFlags;
use mmu_core::x86::format::{EntryBits, Level};
use mmu_core::x86::semantics::Rights;
use mmu_core::{PhysAddr, VirtAddr};

/// How large a tree may become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TreeLimits {
    /// The most tables.
    pub tables: usize,
    /// The most runs of entries, of all tables together.
    pub runs: usize,
}

impl Default for TreeLimits {
    /// 10,000 tables with 50,000 runs: some 10 MB.
    fn default() -> Self {
        Self { tables: 10_000, runs: 50_000 }
    }
}

/// The tables below a root, and the root.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TableTree {
    /// The tables, the root first: each comes before those that its entries lead to. None without paging.
    pub tables: Vec<TreeTable>,
    /// Number of entries that lead to tables which are not in the tree, since it is full.
    pub left_out: u64,
    /// Whether it was built to the end.
    pub is_complete: bool,
}

/// A table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TreeTable {
    /// Its physical address.
    pub address: PhysAddr,
    /// The level of its entries.
    pub level: &'static Level,
    /// The first linear address that it is for, on the path to it that comes first.
    pub first: VirtAddr,
    /// What that path allows, down to it.
    pub rights: Rights,
    /// Number of entries with P=1.
    pub present: u32,
    /// Number of entries that lead to it, each counted once.
    pub led_by: u64,
    /// Its entries with P=1.
    pub runs: Vec<TreeRun>,
}

/// Entries of a table next to each other that are alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TreeRun {
    /// The index of the first of them.
    pub index: u16,
    /// How many there are.
    pub count: u16,
    /// The first linear address.
    pub first: VirtAddr,
    /// The last one.
    pub last: VirtAddr,
    /// What the path allows, these entries included.
    pub rights: Rights,
    /// What they take away: the path down to the table allows it.
    pub lost: Rights,
    /// Which flags are set: A, and in pages D and G.
    pub accessed: PageFlags,
    /// Whether D is set.
    pub dirty: PageFlags,
    /// Whether G is set.
    pub global: PageFlags,
    /// Where they lead.
    pub leads_to: TreeTarget,
}

/// Where an entry leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TreeTarget {
    /// To pages of 2^`shift` bytes.
    Pages {
        /// The physical address of the first.
        address: PhysAddr,
        /// Whether the physical addresses of all follow each other.
        is_contiguous: bool,
        /// The logarithm of the size of each.
        shift: u8,
    },
    /// To a table that comes below it: its place in [`TableTree::tables`].
    Table(usize),
    /// To a table that is elsewhere in the tree: its place there.
    Shared(usize),
    /// To a table that is not in the tree, since it is full.
    LeftOut(PhysAddr),
    /// To tables that are not in the image. The address is that of the first.
    Outside(PhysAddr),
    /// Nowhere: these reserved bits are set.
    Reserved(u64),
    /// The entries themselves cannot be read.
    Unreadable,
}

impl TreeRun {
    /// Makes one of this and the next, if they are alike and in the same table.
    fn absorb(&mut self, next: &Self) -> bool {
        let is_next = self.index.checked_add(self.count) == Some(next.index);
        let is_alike = self.rights == next.rights && self.lost == next.lost;
        if !is_next || !is_alike || !self.leads_on_to(&next.leads_to) {
            return false;
        }

        self.count = self.count.saturating_add(next.count);
        self.last = next.last;
        self.accessed = self.accessed.and(next.accessed);
        self.dirty = self.dirty.and(next.dirty);
        self.global = self.global.and(next.global);
        true
    }

    /// Whether the next entries lead to the same kind of thing.
    fn leads_on_to(&mut self, next: &TreeTarget) -> bool {
        let bytes = u64::from(self.count);
        match (&mut self.leads_to, next) {
            (
                TreeTarget::Pages { address, is_contiguous, shift },
                TreeTarget::Pages { address: next, shift: next_shift, .. },
            ) if shift == next_shift => {
                let behind = address.get().checked_add(bytes << *shift);
                *is_contiguous = *is_contiguous && behind == Some(next.get());
                true
            }
            (TreeTarget::Shared(one), TreeTarget::Shared(other)) => one == other,
            (TreeTarget::Reserved(one), TreeTarget::Reserved(other)) => one == other,
            (TreeTarget::Outside(_), TreeTarget::Outside(_))
            | (TreeTarget::LeftOut(_), TreeTarget::LeftOut(_))
            | (TreeTarget::Unreadable, TreeTarget::Unreadable) => true,
            _ => false,
        }
    }
}

/// Whether flags of an entry are set.
const fn flag(entry: u64, flag: EntryBits) -> PageFlags {
    if entry & flag.bits() == 0 { PageFlags::None } else { PageFlags::All }
}
