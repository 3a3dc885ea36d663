//! The extended page tables of VMX: 4 or 5 levels of 512 entries of 8 bytes, which translate
//! guest-physical addresses (SDM "The Extended Page Table Mechanism (EPT)").

use super::{
    EntryBits, EntryKind, Format, Leaf, Level, NONE, ReservedBits, address_of_64_bits, when,
};
use crate::address::{PhysAddr, low_bits};
use crate::x86::profile::Features;
use crate::x86::regime::Regime;
use crate::x86::rule::Rule;
use crate::x86::state::{Cr4, PagingMode};
use bitflags::bitflags;

bitflags! {
    /// The flags of an EPT entry. The address is a field, and so is the memory type.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct EptBits: u64 {
        /// Data reads are allowed.
        const READ = 1 << 0;
        /// Data writes are allowed.
        const WRITE = 1 << 1;
        /// Fetches are allowed; with mode-based execute control, from supervisor-mode linear addresses.
        const EXECUTE = 1 << 2;
        /// The entry maps a large page.
        const PAGE = 1 << 7;
        /// Accessed, while the EPT pointer enables accessed and dirty flags.
        const A = 1 << 8;
        /// Dirty, in a leaf only.
        const D = 1 << 9;
        /// With mode-based execute control: fetches from user-mode linear addresses are allowed.
        const EXECUTE_USER = 1 << 10;
    }
}

impl EptBits {
    /// Bits 5:3 of a leaf: the memory type.
    pub const MEMORY_TYPE: u64 = 0x38;

    /// The memory type of a leaf, 0 to 7.
    ///
    /// ```
    /// use mmu_core::x86::format::EptBits;
    /// assert_eq!(EptBits::memory_type_of(0x5037), 6); // write-back
    /// ```
    pub const fn memory_type_of(entry: u64) -> u8 {
        (entry >> 3) as u8 & 7
    }
}

/// The format of 4-level EPT. [`Format::root`] takes the EPT pointer for CR3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EptFourLevel;

/// The format of 5-level EPT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EptFiveLevel;

const fn level(number: u8, entry_name: &'static str, leaf: Leaf) -> Level {
    let shift = 12 + 9 * (number - 1);
    Level { number, entry_name, shift, index_bits: 9, leaf, has_flags: true }
}

const LEVELS: [Level; 5] = [
    level(5, "EPT PML5E", Leaf::Never),
    level(4, "EPT PML4E", Leaf::Never),
    level(3, "EPT PDPTE", Leaf::IfPageSizeBit(Features::PAGE_1GB, Cr4::empty())),
    level(2, "EPT PDE", Leaf::IfPageSizeBit(Features::empty(), Cr4::empty())),
    level(1, "EPT PTE", Leaf::Always),
];

/// Bits 7:3 of an entry that points to a table.
const TABLE_RESERVED: u64 = 0xf8;

/// The reserved bits, each group with the rule about the same bits of the processor's own tables. The
/// memory type and the combinations of rights are judged apart (NEST-3).
fn reserved_bits(level: &Level, kind: EntryKind, regime: &Regime) -> ReservedBits {
    let is_table = kind == EntryKind::Table;
    let large_leaf = !is_table && level.number > 1;
    // Unlike other tables, these have no PAT in bit 12.
    let offset = low_bits(level.shift) & !low_bits(12);

    [
        (regime.profile.bits_above_physical(), Rule::Code4),
        (when(is_table, TABLE_RESERVED), Rule::Code5),
        (when(large_leaf, offset), Rule::Code6),
        NONE,
        NONE,
    ]
}

macro_rules! ept_format {
    ($name:ident, $mode:ident, $bits:literal, $levels:expr) => {
        impl Format for $name {
            /// The mode that has as many levels.
            const MODE: PagingMode = PagingMode::$mode;
            const ADDRESS_BITS: u8 = $bits;
            const ENTRY_BYTES: u8 = 8;
            const LEVELS: &'static [Level] = $levels;

            fn root(regime: &Regime) -> PhysAddr {
                let above = regime.profile.bits_above_physical();
                PhysAddr::new(regime.state.cr3 & EntryBits::ADDRESS & !above)
            }

            fn reserved_bits(level: &Level, kind: EntryKind, regime: &Regime) -> ReservedBits {
                reserved_bits(level, kind, regime)
            }

            fn address(level: &Level, kind: EntryKind, entry: u64) -> PhysAddr {
                address_of_64_bits(level, kind, entry)
            }
        }
    };
}

ept_format!(EptFourLevel, FourLevel, 48, LEVELS.split_at(1).1);
ept_format!(EptFiveLevel, FiveLevel, 57, &LEVELS);
