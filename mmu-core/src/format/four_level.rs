//! 4-level paging: 48-bit linear addresses, four levels of 512 entries of 8 bytes
//! (SDM "4-Level Paging and 5-Level Paging").

use super::{EntryBits, EntryKind, Format, Leaf, Level};
use crate::address::PhysAddr;
use crate::profile::Features;
use crate::regime::Regime;
use crate::rule::Rule;
use crate::state::{Efer, PagingMode};

/// The format of 4-level paging.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FourLevel;

const fn level(number: u8, entry_name: &'static str, leaf: Leaf) -> Level {
    Level { number, entry_name, shift: 12 + 9 * (number - 1), index_bits: 9, leaf }
}

impl Format for FourLevel {
    const MODE: PagingMode = PagingMode::FourLevel;
    const ADDRESS_BITS: u8 = 48;
    const LEVELS: &'static [Level] = &[
        level(4, "PML4E", Leaf::Never),
        level(3, "PDPTE", Leaf::IfPageSizeBit(Features::PAGE_1GB)),
        level(2, "PDE", Leaf::IfPageSizeBit(Features::empty())),
        level(1, "PTE", Leaf::Always),
    ];
    const ADDRESS_FIELD: u64 = 0x000f_ffff_ffff_f000;

    /// MODE-8: bits MAXPHYADDR-1:12 of CR3.
    fn root(regime: &Regime) -> PhysAddr {
        let above = regime.profile.bits_above_physical();
        PhysAddr::new(regime.state.cr3 & Self::ADDRESS_FIELD & !above)
    }

    fn reserved_bits(level: &Level, kind: EntryKind, regime: &Regime) -> [(u64, Rule); 5] {
        let when = |condition: bool, bits: u64| if condition { bits } else { 0 };
        let is_table = kind == EntryKind::Table;
        let large_leaf = !is_table && level.number > 1;
        [
            // XD means nothing until EFER.NXE says so.
            (when(!regime.state.efer.contains(Efer::NXE), EntryBits::XD.bits()), Rule::Code3),
            (regime.profile.bits_above_physical(), Rule::Code4),
            // A level that can map no page here: PML4E, or a PDPTE without 1 GiB pages.
            match level.leaf {
                Leaf::Never => (EntryBits::PS.bits(), Rule::Code5),
                Leaf::IfPageSizeBit(_) => (when(is_table, EntryBits::PS.bits()), Rule::Mode10),
                Leaf::Always => (0, Rule::Code5),
            },
            // Bits 20:13 of a 2 MiB leaf, 29:13 of a 1 GiB leaf; bit 12 is PAT.
            (when(large_leaf, ((1 << level.shift) - 1) & !0x1fff), Rule::Code6),
            (
                when(
                    level.number == 4 && regime.choices.global_in_pml4e_is_reserved,
                    EntryBits::G.bits(),
                ),
                Rule::Code7,
            ),
        ]
    }
}
