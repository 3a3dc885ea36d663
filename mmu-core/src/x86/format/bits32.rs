//! 32-bit paging: two levels of 1024 entries of 4 bytes, pages of 4 KiB and, with CR4.PSE, of 4 MiB
//! (SDM "32-Bit Paging").

use super::{EntryBits, EntryKind, Format, Leaf, Level, NONE, ReservedBits, when};
use crate::address::PhysAddr;
use crate::x86::profile::Features;
use crate::x86::regime::Regime;
use crate::x86::rule::Rule;
use crate::x86::state::{Cr4, PagingMode};

/// The format of 32-bit paging.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bits32;

impl Format for Bits32 {
    const MODE: PagingMode = PagingMode::Bits32;
    const ADDRESS_BITS: u8 = 32;
    const ENTRY_BYTES: u8 = 4;
    const LEVELS: &'static [Level] = &[
        Level {
            number: 2,
            entry_name: "PDE",
            shift: 22,
            index_bits: 10,
            // MODE-4: with CR4.PSE=0 PS is ignored and the entry points to a table.
            leaf: Leaf::IfPageSizeBit(Features::empty(), Cr4::PSE),
            has_flags: true,
        },
        Level {
            number: 1,
            entry_name: "PTE",
            shift: 12,
            index_bits: 10,
            leaf: Leaf::Always,
            has_flags: true,
        },
    ];

    /// MODE-8: bits 31:12 of CR3.
    fn root(regime: &Regime) -> PhysAddr {
        PhysAddr::new(regime.state.cr3 & 0xffff_f000)
    }

    fn reserved_bits(level: &Level, kind: EntryKind, regime: &Regime) -> ReservedBits {
        let features = regime.profile.features;
        let large_leaf = kind == EntryKind::Leaf && level.number == 2;
        let small_leaf = level.number == 1;
        // MODE-7: without PAT its bits are reserved, while CR4.PSE=1.
        let pat_reserved = !features.contains(Features::PAT) && regime.state.cr4.contains(Cr4::PSE);
        let wide = features.contains(Features::PSE36);
        // MODE-5: with PSE-36 bits 20:13 are address bits 39:32, as far as MAXPHYADDR goes.
        let extra = u32::from(regime.profile.physical_address_bits).clamp(32, 40) - 32;
        let beyond = 0x001f_e000 & !(((1 << extra) - 1) << 13);
        [
            (when(large_leaf && wide, beyond | 1 << 21), Rule::Mode5),
            (when(large_leaf && !wide, 0x003f_e000), Rule::Mode6),
            (when(pat_reserved && small_leaf, EntryBits::PS.bits()), Rule::Mode7),
            (when(pat_reserved && large_leaf, EntryBits::LARGE_PAT.bits()), Rule::Mode7),
            NONE,
        ]
    }

    fn entry(level: &Level, kind: EntryKind, address: PhysAddr, flags: EntryBits) -> u64 {
        if kind == EntryKind::Leaf && level.number == 2 {
            // MODE-5: address bits 39:32 go to bits 20:13.
            let high = address.get() >> 32 & 0xff;
            return address.get() & 0xffc0_0000 | high << 13 | (flags | EntryBits::PS).bits();
        }
        address.get() | flags.bits()
    }

    fn rule_at_work(level: &Level, kind: EntryKind, entry: u64, _: &Regime) -> Option<Rule> {
        let page_size = entry & EntryBits::PS.bits() != 0;
        match (level.number, kind) {
            (2, EntryKind::Table) if page_size => Some(Rule::Mode4),
            (2, EntryKind::Leaf) if entry & 0x001f_e000 != 0 => Some(Rule::Mode5),
            _ => None,
        }
    }

    fn address(level: &Level, kind: EntryKind, entry: u64) -> PhysAddr {
        PhysAddr::new(match kind {
            EntryKind::Leaf if level.number == 2 => {
                (entry & 0xffc0_0000) | (entry >> 13 & 0xff) << 32
            }
            _ => entry & 0xffff_f000,
        })
    }
}
