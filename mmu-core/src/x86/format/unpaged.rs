//! No paging: with CR0.PG=0 a linear address, truncated to 32 bits, is the physical address
//! (MODE-12).

use super::{EntryKind, Format, Level, NONE, ReservedBits};
use crate::address::PhysAddr;
use crate::x86::regime::Regime;
use crate::x86::state::PagingMode;

/// The format without paging. It has no levels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unpaged;

impl Format for Unpaged {
    const MODE: PagingMode = PagingMode::Unpaged;
    const ADDRESS_BITS: u8 = 32;
    const ENTRY_BYTES: u8 = 8;
    const LEVELS: &'static [Level] = &[];

    fn root(_regime: &Regime) -> PhysAddr {
        PhysAddr::new(0)
    }

    fn reserved_bits(_level: &Level, _kind: EntryKind, _regime: &Regime) -> ReservedBits {
        [NONE; 5]
    }

    fn address(_level: &Level, _kind: EntryKind, entry: u64) -> PhysAddr {
        PhysAddr::new(entry)
    }
}
