//! Reading the entries of well-formed tables: where they lead, and what a leaf maps.

use crate::address::{PageSize, PhysAddr, VirtAddr};
use crate::x86::format::{EntryBits, EntryKind, Format, Level};
use crate::x86::regime::Regime;

/// Where an entry leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MapTarget {
    /// P is 0.
    Nothing,
    /// A page.
    Page,
    /// The table of the next level, at this address.
    Table(PhysAddr),
}

impl MapTarget {
    pub(super) fn of<F: Format>(level: &Level, entry: u64, regime: &Regime) -> Self {
        if entry & EntryBits::P.bits() == 0 {
            Self::Nothing
        } else if F::is_leaf(level, entry, regime) {
            Self::Page
        } else {
            Self::Table(F::address(level, EntryKind::Table, entry))
        }
    }
}

/// One mapped page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// The first linear address of the page.
    pub page: VirtAddr,
    /// Its physical address.
    pub frame: PhysAddr,
    /// Its size.
    pub size: PageSize,
    /// The flags of its leaf: every bit outside the address, including the PAT bit of a large page.
    pub flags: EntryBits,
}

impl Mapping {
    /// The mapping by a leaf of the page that holds `address`. `None` at a level whose page size is
    /// not one of x86.
    pub(super) fn of_leaf<F: Format>(level: &Level, address: VirtAddr, leaf: u64) -> Option<Self> {
        let size = level.page_size()?;

        Some(Self {
            page: VirtAddr::new(address.get() & !(size.bytes() - 1)),
            frame: F::address(level, EntryKind::Leaf, leaf),
            size,
            flags: flags_of::<F>(level, leaf),
        })
    }
}

/// The flags of a leaf, without its address.
pub(super) fn flags_of<F: Format>(level: &Level, leaf: u64) -> EntryBits {
    let address = F::address(level, EntryKind::Leaf, leaf);
    let address_bits = F::entry(level, EntryKind::Leaf, address, EntryBits::empty());
    let page_size = leaf & EntryBits::PS.bits();

    EntryBits::from_bits_retain((leaf & !address_bits) | page_size)
}
