//! Table formats, as data: which address bits index which level, where a leaf may sit, and which
//! bits of an entry are reserved. The walk is written once, over the trait [`Format`].

mod entry;
mod four_level;

pub use entry::EntryBits;
pub use four_level::FourLevel;

use crate::address::{PageSize, PhysAddr};
use crate::profile::Features;
use crate::regime::Regime;
use crate::rule::Rule;
use crate::state::PagingMode;

/// Whether an entry of a level can map a page rather than point to a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leaf {
    /// Never: PS is reserved (CODE-5).
    Never,
    /// When PS is set and the processor has these features (MODE-10).
    IfPageSizeBit(Features),
    /// Always: the last level.
    Always,
}

/// One level of tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level {
    /// The level's number, 1 for the last.
    pub number: u8,
    /// What the manuals call its entries.
    pub entry_name: &'static str,
    /// The lowest linear-address bit of its index; also the size, in bits, of a page it maps.
    pub shift: u8,
    /// Bits of its index.
    pub index_bits: u8,
    /// Whether it can map a page.
    pub leaf: Leaf,
}

impl Level {
    /// The size of a page mapped at this level, where the level can map one.
    pub const fn page_size(&self) -> Option<PageSize> {
        match self.shift {
            12 => Some(PageSize::Size4KiB),
            21 => Some(PageSize::Size2MiB),
            30 => Some(PageSize::Size1GiB),
            _ => None,
        }
    }
}

/// What an entry is for: the reserved bits differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// Points to the table of the next level.
    Table,
    /// Maps a page.
    Leaf,
}

/// A format of page tables.
pub trait Format: Copy + 'static {
    /// The paging mode that uses it.
    const MODE: PagingMode;
    /// Bits of a linear address that are translated; the bits above repeat the highest of them.
    const ADDRESS_BITS: u8;
    /// The levels, root first.
    const LEVELS: &'static [Level];
    /// The bits of an entry that hold an address, before a large leaf's alignment is taken off.
    const ADDRESS_FIELD: u64;

    /// The physical address of the root table.
    fn root(regime: &Regime) -> PhysAddr;

    /// Whether a present entry maps a page.
    fn is_leaf(level: &Level, entry: u64, regime: &Regime) -> bool {
        match level.leaf {
            Leaf::Never => false,
            Leaf::Always => true,
            Leaf::IfPageSizeBit(needed) => {
                entry & EntryBits::PS.bits() != 0 && regime.profile.features.contains(needed)
            }
        }
    }

    /// Every reserved bit of an entry, each group with the rule that reserves it. The groups do
    /// not overlap.
    fn reserved_bits(level: &Level, kind: EntryKind, regime: &Regime) -> [(u64, Rule); 5];

    /// The physical address in an entry: of the next table, or of the first byte of the page.
    fn address(level: &Level, kind: EntryKind, entry: u64) -> PhysAddr {
        let low = match kind {
            EntryKind::Table => 12,
            EntryKind::Leaf => level.shift,
        };
        PhysAddr::new(entry & Self::ADDRESS_FIELD & !((1 << low) - 1))
    }
}
