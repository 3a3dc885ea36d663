//! The formats by paging mode, where it is known only at run time.

use super::{Bits32, EntryBits, EntryKind, FiveLevel, Format, FourLevel, Level, Pae, Unpaged};
use crate::address::PhysAddr;
use crate::x86::regime::Regime;
use crate::x86::state::PagingMode;

/// The levels of a mode's format, root first. Empty for the flat table, whose level depends on its
/// parameters.
pub const fn levels(mode: PagingMode) -> &'static [Level] {
    match mode {
        PagingMode::Unpaged | PagingMode::Linear => &[],
        PagingMode::Bits32 => Bits32::LEVELS,
        PagingMode::Pae => Pae::LEVELS,
        PagingMode::FourLevel => FourLevel::LEVELS,
        PagingMode::FiveLevel => FiveLevel::LEVELS,
    }
}

/// The root table's address, in the mode of the regime: [`Format::root`].
pub fn root(regime: &Regime) -> PhysAddr {
    match regime.state.mode() {
        PagingMode::Unpaged | PagingMode::Linear => Unpaged::root(regime),
        PagingMode::Bits32 => Bits32::root(regime),
        PagingMode::Pae => Pae::root(regime),
        PagingMode::FourLevel => FourLevel::root(regime),
        PagingMode::FiveLevel => FiveLevel::root(regime),
    }
}

/// What an entry of a level is for, and the physical address in it, in the mode of the regime:
/// [`Format::is_leaf`] and [`Format::address`].
pub fn decode(regime: &Regime, level: &Level, entry: u64) -> (EntryKind, PhysAddr) {
    fn decode<F: Format>(regime: &Regime, level: &Level, entry: u64) -> (EntryKind, PhysAddr) {
        let is_leaf = F::is_leaf(level, entry, regime);
        let kind = if is_leaf { EntryKind::Leaf } else { EntryKind::Table };

        (kind, F::address(level, kind, entry))
    }

    match regime.state.mode() {
        PagingMode::Unpaged | PagingMode::Linear => decode::<Unpaged>(regime, level, entry),
        PagingMode::Bits32 => decode::<Bits32>(regime, level, entry),
        PagingMode::Pae => decode::<Pae>(regime, level, entry),
        PagingMode::FourLevel => decode::<FourLevel>(regime, level, entry),
        PagingMode::FiveLevel => decode::<FiveLevel>(regime, level, entry),
    }
}

/// The entry of a level that holds an address, in a mode: [`Format::entry`]; 0 in a mode without
/// tables.
pub fn entry(
    mode: PagingMode,
    level: &Level,
    kind: EntryKind,
    address: PhysAddr,
    flags: EntryBits,
) -> u64 {
    match mode {
        PagingMode::Unpaged | PagingMode::Linear => 0,
        PagingMode::Bits32 => Bits32::entry(level, kind, address, flags),
        PagingMode::Pae => Pae::entry(level, kind, address, flags),
        PagingMode::FourLevel => FourLevel::entry(level, kind, address, flags),
        PagingMode::FiveLevel => FiveLevel::entry(level, kind, address, flags),
    }
}
