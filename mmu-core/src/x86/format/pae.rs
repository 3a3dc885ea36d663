//! PAE paging: 32-bit linear addresses and entries of 8 bytes. The four entries of the first level
//! are held in registers (SDM "PAE Paging").

use super::{
    EntryBits, EntryKind, Format, Leaf, Level, NONE, ReservedBits, address_of_64_bits, when,
};
use crate::address::PhysAddr;
use crate::x86::profile::Features;
use crate::x86::regime::Regime;
use crate::x86::rule::Rule;
use crate::x86::state::{Cr4, Efer, PagingMode};

/// The format of PAE paging.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pae;

/// Bits 31:5 of CR3: the address of the PDPTEs.
const ROOT: u64 = 0xffff_ffe0;
/// Bits 8:5 and 2:1 of a PDPTE, which are reserved (PDPTE-2).
const PDPTE_LOW_RESERVED: u64 = 0x1e6;
/// Bits 20:13 of a PDE that maps a page, which are reserved (CODE-6).
const LARGE_LEAF_RESERVED: u64 = 0x001f_e000;

impl Format for Pae {
    const MODE: PagingMode = PagingMode::Pae;
    const ADDRESS_BITS: u8 = 32;
    const ENTRY_BYTES: u8 = 8;
    const LEVELS: &'static [Level] = &[
        Level {
            number: 3,
            entry_name: "PDPTE",
            shift: 30,
            index_bits: 2,
            leaf: Leaf::Never,
            has_flags: false,
        },
        Level {
            number: 2,
            entry_name: "PDE",
            shift: 21,
            index_bits: 9,
            leaf: Leaf::IfPageSizeBit(Features::empty(), Cr4::empty()),
            has_flags: true,
        },
        Level {
            number: 1,
            entry_name: "PTE",
            shift: 12,
            index_bits: 9,
            leaf: Leaf::Always,
            has_flags: true,
        },
    ];

    /// MODE-8: bits 31:5 of CR3.
    fn root(regime: &Regime) -> PhysAddr {
        PhysAddr::new(regime.state.cr3 & ROOT)
    }

    #[inline]
    fn reserved_bits(level: &Level, kind: EntryKind, regime: &Regime) -> ReservedBits {
        // Bits 62:MAXPHYADDR: unlike in long mode, none of them is ignored (CODE-4).
        let above = !EntryBits::XD.bits() & !regime.profile.physical_address_mask();
        if level.number == 3 {
            let bits = PDPTE_LOW_RESERVED | above | EntryBits::XD.bits();
            return [(bits, Rule::Pdpte2), NONE, NONE, NONE, NONE];
        }

        let is_leaf = kind == EntryKind::Leaf;
        let large_leaf = is_leaf && level.number == 2;

        // MODE-7: without PAT, its bits are reserved, whatever CR4.PSE is.
        let pat = if large_leaf { EntryBits::LARGE_PAT } else { EntryBits::PS };
        let pat_reserved = is_leaf && !regime.profile.features.contains(Features::PAT);

        [
            (when(!regime.state.efer.contains(Efer::NXE), EntryBits::XD.bits()), Rule::Code3),
            (above, Rule::Code4),
            (when(large_leaf, LARGE_LEAF_RESERVED), Rule::Code6),
            (when(pat_reserved, pat.bits()), Rule::Mode7),
            NONE,
        ]
    }

    fn address(level: &Level, kind: EntryKind, entry: u64) -> PhysAddr {
        address_of_64_bits(level, kind, entry)
    }

    fn rule_at_work(level: &Level, kind: EntryKind, _: u64, _: &Regime) -> Option<Rule> {
        match (level.number, kind) {
            (3, _) => Some(Rule::Pdpte3),
            (2, EntryKind::Leaf) => Some(Rule::Mode3),
            _ => None,
        }
    }

    /// PDPTE-1, and PDPTE-4 for processors that read PDPTEs during the walk.
    fn register(level: &Level, index: u64, regime: &Regime) -> Option<u64> {
        let in_register = level.number == 3 && !regime.choices.pdptes_are_walked;
        in_register.then(|| regime.state.pdptes[index as usize & 3])
    }
}
