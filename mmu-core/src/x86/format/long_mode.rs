//! 4-level and 5-level paging: 48-bit or 57-bit linear addresses, levels of 512 entries of 8 bytes
//! (SDM "4-Level Paging and 5-Level Paging"). 5-level paging has one more level on top.

use super::{EntryBits, EntryKind, Format, Leaf, Level, ReservedBits, address_of_64_bits, when};
use crate::address::{PhysAddr, low_bits};
use crate::x86::profile::Features;
use crate::x86::regime::Regime;
use crate::x86::rule::Rule;
use crate::x86::state::{Cr4, Efer, PagingMode};

/// The format of 4-level paging.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FourLevel;

/// The format of 5-level paging.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FiveLevel;

const fn level(number: u8, entry_name: &'static str, leaf: Leaf) -> Level {
    let shift = 12 + 9 * (number - 1);
    Level { number, entry_name, shift, index_bits: 9, leaf, has_flags: true }
}

const LEVELS: [Level; 5] = [
    level(5, "PML5E", Leaf::Never),
    level(4, "PML4E", Leaf::Never),
    level(3, "PDPTE", Leaf::IfPageSizeBit(Features::PAGE_1GB, Cr4::empty())),
    level(2, "PDE", Leaf::IfPageSizeBit(Features::empty(), Cr4::empty())),
    level(1, "PTE", Leaf::Always),
];

/// MODE-8: bits MAXPHYADDR-1:12 of CR3. The PCID and LAM bits are not part of it.
fn root(regime: &Regime) -> PhysAddr {
    let above = regime.profile.bits_above_physical();
    PhysAddr::new(regime.state.cr3 & EntryBits::ADDRESS & !above)
}

#[inline]
fn reserved_bits(level: &Level, kind: EntryKind, regime: &Regime) -> ReservedBits {
    let is_table = kind == EntryKind::Table;
    let large_leaf = !is_table && level.number > 1;
    let global_reserved = level.number >= 4 && regime.choices.global_in_pml4e_is_reserved;

    [
        // Without EFER.NXE there is no XD bit.
        (when(!regime.state.efer.contains(Efer::NXE), EntryBits::XD.bits()), Rule::Code3),
        (regime.profile.bits_above_physical(), Rule::Code4),
        // Levels that cannot map a page: PML5E, PML4E, and PDPTE without 1 GiB pages.
        match level.leaf {
            Leaf::Never => (EntryBits::PS.bits(), Rule::Code5),
            Leaf::IfPageSizeBit(..) => (when(is_table, EntryBits::PS.bits()), Rule::Mode10),
            Leaf::Always => (0, Rule::Code5),
        },
        // Bits 20:13 of a 2 MiB leaf, 29:13 of a 1 GiB leaf; bit 12 is PAT.
        (when(large_leaf, low_bits(level.shift) & !0x1fff), Rule::Code6),
        (when(global_reserved, EntryBits::G.bits()), Rule::Code7),
    ]
}

macro_rules! long_mode_format {
    ($name:ident, $mode:ident, $bits:literal, $levels:expr) => {
        impl Format for $name {
            const MODE: PagingMode = PagingMode::$mode;
            const ADDRESS_BITS: u8 = $bits;
            const IS_LONG_MODE: bool = true;
            const ENTRY_BYTES: u8 = 8;
            const LEVELS: &'static [Level] = $levels;

            fn root(regime: &Regime) -> PhysAddr {
                root(regime)
            }

            #[inline]
            fn reserved_bits(level: &Level, kind: EntryKind, regime: &Regime) -> ReservedBits {
                reserved_bits(level, kind, regime)
            }

            fn address(level: &Level, kind: EntryKind, entry: u64) -> PhysAddr {
                address_of_64_bits(level, kind, entry)
            }

            fn rule_at_work(level: &Level, kind: EntryKind, _: u64, _: &Regime) -> Option<Rule> {
                (level.number == 2 && kind == EntryKind::Leaf).then_some(Rule::Mode3)
            }
        }
    };
}

long_mode_format!(FourLevel, FourLevel, 48, LEVELS.split_at(1).1);
long_mode_format!(FiveLevel, FiveLevel, 57, &LEVELS);
