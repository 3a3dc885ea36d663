//! The page table of textbooks: one flat table, `frame = table[page]`. No processor has it. Address
//! width, page size and entry size can be chosen.

use super::{EntryBits, EntryKind, Format, Leaf, Level, NONE, ReservedBits};
use crate::address::PhysAddr;
use crate::x86::regime::Regime;
use crate::x86::state::PagingMode;

/// A flat table for linear addresses of `BITS` bits, with pages of 2^`PAGE_SHIFT` bytes and entries
/// of `ENTRY` bytes (1, 2, 4 or 8). CR3 is the address of the table.
///
/// Bit 0 of an entry is set if the page is present; the bits above are the frame number. There are
/// no rights and no accessed or dirty bits: an access completes or faults. Pages smaller than 4 KiB
/// count as pages, of which an access touches at most [`MAX_PAGES`](crate::access::MAX_PAGES).
///
/// ```
/// use mmu_core::x86::format::Linear;
/// use mmu_core::memory::SparseTables;
/// use mmu_core::{Access, ControlState, Mmu, Profile, Ring, VirtAddr};
///
/// // 16-bit addresses, pages of 256 bytes, entries of 2 bytes: page 3 is in frame 5.
/// type Tiny = Linear<16, 8, 2>;
/// let table = [(0x1000 + 2 * 3, 5 << 1 | 1)];
/// let mmu = Mmu::<Tiny>::new(ControlState::four_level(0x1000), Profile::default());
/// let read = Access::read(VirtAddr::new(0x0342), 1, Ring::Three);
/// let prediction = mmu.predict(&SparseTables::new(&table), &read).unwrap();
/// assert_eq!(prediction.alternatives[0].outcome.physical_address().unwrap().get(), 0x542);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Linear<const BITS: u8, const PAGE_SHIFT: u8, const ENTRY: u8>;

impl<const BITS: u8, const PAGE_SHIFT: u8, const ENTRY: u8> Linear<BITS, PAGE_SHIFT, ENTRY> {
    /// The lowest linear-address bit of the index. Parameters that make no table do not compile.
    const SHIFT: u8 = {
        assert!(PAGE_SHIFT < BITS && BITS <= 64, "pages divide the address space");
        assert!(BITS - PAGE_SHIFT < 64, "a table has fewer than 2^64 entries");
        assert!(matches!(ENTRY, 1 | 2 | 4 | 8), "entries have 1, 2, 4 or 8 bytes");
        PAGE_SHIFT
    };
}

impl<const BITS: u8, const PAGE_SHIFT: u8, const ENTRY: u8> Format
    for Linear<BITS, PAGE_SHIFT, ENTRY>
{
    const MODE: PagingMode = PagingMode::Linear;
    const ADDRESS_BITS: u8 = BITS;
    const ENTRY_BYTES: u8 = ENTRY;
    const LEVELS: &'static [Level] = &[Level {
        number: 1,
        entry_name: "entry",
        shift: Self::SHIFT,
        index_bits: BITS - Self::SHIFT,
        leaf: Leaf::Always,
        has_flags: false,
    }];

    fn root(regime: &Regime) -> PhysAddr {
        PhysAddr::new(regime.state.cr3)
    }

    fn reserved_bits(_level: &Level, _kind: EntryKind, _regime: &Regime) -> ReservedBits {
        [NONE; 5]
    }

    fn address(_level: &Level, _kind: EntryKind, entry: u64) -> PhysAddr {
        PhysAddr::new((entry >> 1) << Self::SHIFT)
    }

    fn entry(_: &Level, _: EntryKind, address: PhysAddr, _: EntryBits) -> u64 {
        (address.get() >> Self::SHIFT) << 1 | 1
    }
}
