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

/// Bits 31:12 of an entry and of CR3: the address of a table or of a 4 KiB page.
const ADDRESS: u64 = 0xffff_f000;
/// Bits 31:22 of a PDE: the lower bits of the address of a 4 MiB page.
const LARGE_ADDRESS: u64 = 0xffc0_0000;
/// Bits 20:13 of a PDE: bits 39:32 of the address of a 4 MiB page (PSE-36, MODE-5).
const HIGH_ADDRESS: u64 = 0x001f_e000;
/// The lowest bit of [`HIGH_ADDRESS`].
const HIGH_ADDRESS_SHIFT: u32 = 13;
/// Bit 21 of a PDE, which is reserved in every large leaf.
const BIT_21: u64 = 1 << 21;

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
            // MODE-4: with CR4.PSE=0, PS is ignored and the entry points to a table.
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
        PhysAddr::new(regime.state.cr3 & ADDRESS)
    }

    #[inline]
    fn reserved_bits(level: &Level, kind: EntryKind, regime: &Regime) -> ReservedBits {
        let features = regime.profile.features;
        let large_leaf = kind == EntryKind::Leaf && level.number == 2;
        let small_leaf = level.number == 1;

        // MODE-7: without PAT, its bits are reserved while CR4.PSE=1.
        let pat_reserved = !features.contains(Features::PAT) && regime.state.cr4.contains(Cr4::PSE);

        // MODE-5: with PSE-36, bits 20:13 are address bits 39:32, up to MAXPHYADDR.
        let wide = features.contains(Features::PSE36);
        let extra = u32::from(regime.profile.physical_address_bits).clamp(32, 40) - 32;
        let above_physical = HIGH_ADDRESS & !(((1 << extra) - 1) << HIGH_ADDRESS_SHIFT);

        [
            (when(large_leaf && wide, above_physical | BIT_21), Rule::Mode5),
            (when(large_leaf && !wide, HIGH_ADDRESS | BIT_21), Rule::Mode6),
            (when(pat_reserved && small_leaf, EntryBits::PS.bits()), Rule::Mode7),
            (when(pat_reserved && large_leaf, EntryBits::LARGE_PAT.bits()), Rule::Mode7),
            NONE,
        ]
    }

    fn entry(level: &Level, kind: EntryKind, address: PhysAddr, flags: EntryBits) -> u64 {
        if kind == EntryKind::Leaf && level.number == 2 {
            // MODE-5: address bits 39:32 go to bits 20:13.
            let low = address.get() & LARGE_ADDRESS;
            let high = address.get() >> 32 << HIGH_ADDRESS_SHIFT & HIGH_ADDRESS;
            return low | high | (flags | EntryBits::PS).bits();
        }
        address.get() | flags.bits()
    }

    fn rule_at_work(level: &Level, kind: EntryKind, entry: u64, _: &Regime) -> Option<Rule> {
        let page_size = entry & EntryBits::PS.bits() != 0;
        match (level.number, kind) {
            (2, EntryKind::Table) if page_size => Some(Rule::Mode4),
            (2, EntryKind::Leaf) if entry & HIGH_ADDRESS != 0 => Some(Rule::Mode5),
            _ => None,
        }
    }

    fn address(level: &Level, kind: EntryKind, entry: u64) -> PhysAddr {
        PhysAddr::new(match kind {
            EntryKind::Leaf if level.number == 2 => {
                (entry & LARGE_ADDRESS) | (entry & HIGH_ADDRESS) >> HIGH_ADDRESS_SHIFT << 32
            }
            _ => entry & ADDRESS,
        })
    }
}
