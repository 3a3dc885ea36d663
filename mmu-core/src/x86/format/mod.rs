//! Table formats, as data: which address bits index which level, where a leaf may sit, which bits of
//! an entry are reserved. The walk is written once, over the trait [`Format`].

mod bits32;
mod entry;
mod linear;
mod long_mode;
mod pae;
mod unpaged;

pub use bits32::Bits32;
pub use entry::EntryBits;
pub use linear::Linear;
pub use long_mode::{FiveLevel, FourLevel};
pub use pae::Pae;
pub use unpaged::Unpaged;

use crate::address::{PageSize, PhysAddr};
use crate::x86::profile::Features;
use crate::x86::regime::Regime;
use crate::x86::rule::Rule;
use crate::x86::state::{Cr4, PagingMode};

/// Whether an entry of a level can map a page rather than point to a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leaf {
    /// Never: PS is reserved (CODE-5), or means nothing.
    Never,
    /// When PS is set, and the processor has these features (MODE-10) and CR4 these bits (MODE-4).
    IfPageSizeBit(Features, Cr4),
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
    /// Whether its entries have rights, A and (in a leaf) D. PAE's PDPTEs do not (PDPTE-3).
    pub has_flags: bool,
}

impl Level {
    /// The size of a page mapped at this level, where such pages exist.
    pub const fn page_size(&self) -> Option<PageSize> {
        match self.shift {
            12 => Some(PageSize::Size4KiB),
            21 => Some(PageSize::Size2MiB),
            22 => Some(PageSize::Size4MiB),
            30 => Some(PageSize::Size1GiB),
            _ => None,
        }
    }
}

/// The levels of a mode's format, root first; for the flat table, which has parameters, none.
pub const fn levels(mode: PagingMode) -> &'static [Level] {
    match mode {
        PagingMode::Unpaged | PagingMode::Linear => &[],
        PagingMode::Bits32 => Bits32::LEVELS,
        PagingMode::Pae => Pae::LEVELS,
        PagingMode::FourLevel => FourLevel::LEVELS,
        PagingMode::FiveLevel => FiveLevel::LEVELS,
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

/// Reserved bits of an entry, in groups that do not overlap, each with the rule that reserves it.
pub type ReservedBits = [(u64, Rule); 5];

/// A group that reserves nothing.
const NONE: (u64, Rule) = (0, Rule::Code1);

/// Bits, when a condition holds.
const fn when(condition: bool, bits: u64) -> u64 {
    if condition { bits } else { 0 }
}

/// The number of levels of the deepest format.
pub const MAX_LEVELS: usize = 5;

/// A format of page tables.
pub trait Format: Copy + 'static {
    /// The paging mode that uses it.
    const MODE: PagingMode;
    /// Bits of a linear address that mean something. In long mode the bits above repeat the highest
    /// of them (CANON-1); elsewhere there are none.
    const ADDRESS_BITS: u8;
    /// Whether linear addresses have 64 bits and must be canonical.
    const IS_LONG_MODE: bool = false;
    /// Bytes of an entry: 1, 2, 4 or 8.
    const ENTRY_BYTES: u8;
    /// The levels, root first; none where linear addresses are physical (MODE-12).
    const LEVELS: &'static [Level];

    /// The physical address of the root table (MODE-8).
    fn root(regime: &Regime) -> PhysAddr;

    /// Whether a present entry maps a page.
    fn is_leaf(level: &Level, entry: u64, regime: &Regime) -> bool {
        match level.leaf {
            Leaf::Never => false,
            Leaf::Always => true,
            Leaf::IfPageSizeBit(features, cr4) => {
                entry & EntryBits::PS.bits() != 0
                    && regime.profile.features.contains(features)
                    && regime.state.cr4.contains(cr4)
            }
        }
    }

    /// Every reserved bit of an entry.
    fn reserved_bits(level: &Level, kind: EntryKind, regime: &Regime) -> ReservedBits;

    /// The physical address in an entry: of the next table, or of the first byte of the page.
    fn address(level: &Level, kind: EntryKind, entry: u64) -> PhysAddr;

    /// The entry that holds an address, the inverse of [`Self::address`]; `flags` are added, and PS
    /// where a page of this level needs it.
    fn entry(level: &Level, kind: EntryKind, address: PhysAddr, flags: EntryBits) -> u64 {
        let large = kind == EntryKind::Leaf && level.number > 1;
        let ps = if large { EntryBits::PS } else { EntryBits::empty() };
        // PDPTEs of PAE have none of the flags of other tables (PDPTE-3).
        let flags = if level.has_flags { flags | ps } else { EntryBits::P };
        address.get() | flags.bits()
    }

    /// The rule of this format that a good entry shows at work.
    fn rule_at_work(level: &Level, kind: EntryKind, entry: u64, regime: &Regime) -> Option<Rule> {
        let _ = (level, kind, entry, regime);
        None
    }

    /// The entry, when it is held in a register and not read from memory (PDPTE-1).
    fn register(level: &Level, index: u64, regime: &Regime) -> Option<u64> {
        let _ = (level, index, regime);
        None
    }
}

/// The address in a 64-bit entry: bits 51:12, less the offset bits of a large page.
const fn address_of_64_bits(level: &Level, kind: EntryKind, entry: u64) -> PhysAddr {
    let low = match kind {
        EntryKind::Table => 12,
        EntryKind::Leaf => level.shift,
    };
    PhysAddr::new(entry & EntryBits::ADDRESS & !((1 << low) - 1))
}
