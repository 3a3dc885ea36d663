//! The small formats of textbooks: bit 0 of an entry says that it is valid, the bits above are the number of a frame. They have
//! no rights and no other flags.

use mmu_core::x86::format::{EntryBits, EntryKind, Format, Leaf, Level, ReservedBits};
use mmu_core::{PagingMode, PhysAddr, Regime, Rule};

/// A level of a toy.
const fn level(number: u8, shift: u8, index_bits: u8) -> Level {
    let leaf = if number == 1 { Leaf::Always } else { Leaf::Never };
    let entry_name = match number {
        1 => "page entry",
        2 => "directory entry",
        _ => "root entry",
    };
    Level { number, entry_name, shift, index_bits, leaf, has_flags: false }
}

macro_rules! toy {
    ($(#[$about:meta])* $name:ident: $bits:literal bits, $page:literal of offset, [$($level:expr),*]) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug)]
        pub(crate) struct $name;

        impl Format for $name {
            const MODE: PagingMode = PagingMode::Linear;
            const ADDRESS_BITS: u8 = $bits;
            const ENTRY_BYTES: u8 = 2;
            const LEVELS: &'static [Level] = &[$($level),*];

            fn root(regime: &Regime) -> PhysAddr {
                PhysAddr::new(regime.state.cr3)
            }

            fn reserved_bits(_: &Level, _: EntryKind, _: &Regime) -> ReservedBits {
                [(0, Rule::Code1); 5]
            }

            fn address(_: &Level, _: EntryKind, entry: u64) -> PhysAddr {
                PhysAddr::new((entry >> 1) << $page)
            }

            fn entry(_: &Level, _: EntryKind, address: PhysAddr, _: EntryBits) -> u64 {
                address.get() >> $page << 1 | 1
            }
        }
    };
}

toy! {
    /// 16 pages of 256 bytes.
    Flat12: 12 bits, 8 of offset, [level(1, 8, 4)]
}
toy! {
    /// 256 pages of 256 bytes.
    Flat16: 16 bits, 8 of offset, [level(1, 8, 8)]
}
toy! {
    /// 64 pages of 1 KiB.
    FlatKilobytes: 16 bits, 10 of offset, [level(1, 10, 6)]
}
toy! {
    /// 4 + 4 bits of index, pages of 256 bytes.
    Two16: 16 bits, 8 of offset, [level(2, 12, 4), level(1, 8, 4)]
}
toy! {
    /// 3 + 5 bits of index, pages of 64 bytes.
    Two14: 14 bits, 6 of offset, [level(2, 11, 3), level(1, 6, 5)]
}
toy! {
    /// 4 + 4 bits of index, pages of 4 KiB.
    Two20: 20 bits, 12 of offset, [level(2, 16, 4), level(1, 12, 4)]
}
toy! {
    /// 4 + 4 + 4 bits of index, pages of 256 bytes.
    Three20: 20 bits, 8 of offset, [level(3, 16, 4), level(2, 12, 4), level(1, 8, 4)]
}
