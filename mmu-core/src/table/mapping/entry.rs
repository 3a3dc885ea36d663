//! Reading the entries of well-formed tables: where they lead, and what a leaf maps.

use super::error::MapError;
use crate::address::{PageSize, PhysAddr, VirtAddr};
use crate::x86::format::{EntryBits, EntryKind, Format, Level};
use crate::x86::regime::Regime;
use crate::x86::semantics::{Reference, Rights, Semantics};

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

/// Checks that no bit of an entry is reserved, as the walk does.
pub(super) fn check_reserved<F: Format, E>(
    level: &Level,
    kind: EntryKind,
    entry: u64,
    regime: &Regime,
) -> Result<(), MapError<E>> {
    let groups = F::reserved_bits(level, kind, regime);
    match groups.into_iter().find(|(bits, _)| entry & bits != 0) {
        None => Ok(()),
        Some((bits, rule)) => {
            Err(MapError::Reserved(EntryBits::from_bits_retain(entry & bits), rule))
        }
    }
}

/// What a path allows that is one entry longer (RIGHT-1). Entries without flags restrict nothing.
pub(super) fn rights_below(level: &Level, above: Rights, entry: u64) -> Rights {
    if level.has_flags { Reference.combine(above, entry) } else { above }
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
    /// What the leaf and all tables above it allow together (RIGHT-1). A right that `flags` has and
    /// that is missing here is forbidden by an upper table.
    pub rights: Rights,
}

impl Mapping {
    /// The mapping by a leaf of the page that holds `address`, below tables that allow `above`.
    /// `None` at a level whose page size is not one of x86.
    pub(super) fn of_leaf<F: Format>(
        level: &Level,
        address: VirtAddr,
        above: Rights,
        leaf: u64,
    ) -> Option<Self> {
        let size = level.page_size()?;

        Some(Self {
            page: VirtAddr::new(address.get() & !(size.bytes() - 1)),
            frame: F::address(level, EntryKind::Leaf, leaf),
            size,
            flags: flags_of::<F>(level, leaf),
            rights: rights_below(level, above, leaf),
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
