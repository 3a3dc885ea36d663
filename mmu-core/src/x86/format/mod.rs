//! Table formats as data: which address bits index each level, which levels can map a page, and
//! which bits of an entry are reserved. There is one walk, generic over the trait [`Format`].

mod any_mode;
mod bits32;
mod entry;
mod ept;
mod linear;
mod long_mode;
mod pae;
mod unpaged;

pub use any_mode::{decode, entry, levels, root};
pub use bits32::Bits32;
pub use entry::EntryBits;
pub use ept::{EptBits, EptFiveLevel, EptFourLevel};
pub use linear::Linear;
pub use long_mode::{FiveLevel, FourLevel};
pub use pae::Pae;
pub use unpaged::Unpaged;

use crate::address::{PageSize, PhysAddr, low_bits};
use crate::x86::profile::Features;
use crate::x86::regime::Regime;
use crate::x86::rule::Rule;
use crate::x86::state::{Cr4, PagingMode};

/// Whether an entry of a level maps a page rather than points to a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leaf {
    /// Never: PS is reserved (CODE-5) or has no meaning.
    Never,
    /// If PS is set, the processor has these features (MODE-10), and CR4 has these bits (MODE-4).
    IfPageSizeBit(Features, Cr4),
    /// Always: the last level.
    Always,
}

/// One level of tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level {
    /// The level's number, 1 for the last.
    pub number: u8,
    /// The manuals' name for its entries.
    pub entry_name: &'static str,
    /// The lowest linear-address bit of its index. A page that it maps has 2^`shift` bytes.
    pub shift: u8,
    /// Number of bits in its index.
    pub index_bits: u8,
    /// Whether its entries can map a page.
    pub leaf: Leaf,
    /// Whether its entries have rights, A and, in a leaf, D. The PDPTEs of PAE paging do not
    /// (PDPTE-3).
    pub has_flags: bool,
}

impl Level {
    /// The size of a page that the level maps, if x86 has pages of that size.
    pub const fn page_size(&self) -> Option<PageSize> {
        match self.shift {
            12 => Some(PageSize::Size4KiB),
            21 => Some(PageSize::Size2MiB),
            22 => Some(PageSize::Size4MiB),
            30 => Some(PageSize::Size1GiB),
            _ => None,
        }
    }

    /// Whether the PAT bit of a leaf is set: bit 7 of a PTE, bit 12 of a large page (MODE-11).
    pub(crate) const fn has_pat(&self, leaf: u64) -> bool {
        let pat = if self.number == 1 { EntryBits::PS } else { EntryBits::LARGE_PAT };
        self.has_flags && leaf & pat.bits() != 0
    }
}

/// The purpose of an entry. Its reserved bits depend on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// Points to the table of the next level.
    Table,
    /// Maps a page.
    Leaf,
}

/// The reserved bits of an entry in groups that do not overlap, each with the rule that reserves
/// it.
pub type ReservedBits = [(u64, Rule); 5];

/// A group that reserves nothing.
const NONE: (u64, Rule) = (0, Rule::Code1);

/// The bits if a condition holds, otherwise none.
const fn when(condition: bool, bits: u64) -> u64 {
    if condition { bits } else { 0 }
}

/// Number of levels of the deepest format.
pub const MAX_LEVELS: usize = 5;

/// A format of page tables.
pub trait Format: Copy + 'static {
    /// The paging mode that uses it.
    const MODE: PagingMode;

    /// Number of linear-address bits that are translated. In long mode the bits above repeat the
    /// highest of them (CANON-1); in the other modes there are none.
    const ADDRESS_BITS: u8;

    /// Whether linear addresses have 64 bits and must be canonical.
    const IS_LONG_MODE: bool = false;

    /// Number of bytes in an entry: 1, 2, 4 or 8.
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

    /// The reserved bits of an entry.
    fn reserved_bits(level: &Level, kind: EntryKind, regime: &Regime) -> ReservedBits;

    /// The physical address in an entry: that of the next table, or of the page's first byte.
    fn address(level: &Level, kind: EntryKind, entry: u64) -> PhysAddr;

    /// The entry that contains an address, the inverse of [`Self::address`]. `flags` are added, and
    /// PS if the entry maps a large page.
    fn entry(level: &Level, kind: EntryKind, address: PhysAddr, flags: EntryBits) -> u64 {
        let large = kind == EntryKind::Leaf && level.number > 1;
        let ps = if large { EntryBits::PS } else { EntryBits::empty() };
        // The PDPTEs of PAE paging have none of these flags (PDPTE-3).
        let flags = if level.has_flags { flags | ps } else { EntryBits::P };

        address.get() | flags.bits()
    }

    /// The rule of this format, if there is one, that decided how an entry without errors was used.
    fn rule_at_work(level: &Level, kind: EntryKind, entry: u64, regime: &Regime) -> Option<Rule> {
        let _ = (level, kind, entry, regime);
        None
    }

    /// The entry, if it is held in a register rather than read from memory (PDPTE-1).
    fn register(level: &Level, index: u64, regime: &Regime) -> Option<u64> {
        let _ = (level, index, regime);
        None
    }
}

/// The address in a 64-bit entry: bits 51:12, without the offset bits of a large page.
const fn address_of_64_bits(level: &Level, kind: EntryKind, entry: u64) -> PhysAddr {
    let low = match kind {
        EntryKind::Table => 12,
        EntryKind::Leaf => level.shift,
    };
    PhysAddr::new(entry & EntryBits::ADDRESS & !low_bits(low))
}
