//! The walk of the reference when nothing goes wrong and nobody wants a report: the same six steps as
//! [`Mmu::walk_from`], with all that they decide worked out beforehand as masks.
//!
//! What it cannot settle, a fault above all, it leaves to the detailed walk, which begins again and says
//! why. So it never reports, and cannot disagree about anything but a translation; properties check that
//! it does not.

use super::Mmu;
use crate::access::{Access, AccessKind};
use crate::address::{PhysAddr, VirtAddr};
use crate::memory::TableMemory;
use crate::outcome::Translation;
use crate::x86::format::{EntryBits, EntryKind, Format, Leaf, Level, MAX_LEVELS};
use crate::x86::regime::Regime;
use crate::x86::semantics::{Reference, Rights, Semantics};
use crate::x86::state::{Cr0, Cr4};

const P: u64 = EntryBits::P.bits();

/// What decides about the entries of each level.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct LevelMasks {
    /// PS where it makes an entry map a page; otherwise nothing.
    pub(super) page_size: u64,
    /// P and the reserved bits of an entry that points to a table: of all these, P alone must be set.
    pub(super) table: u64,
    /// The same for an entry that maps a page.
    pub(super) leaf: u64,
}

impl LevelMasks {
    fn of<F: Format>(level: &Level, regime: &Regime) -> Self {
        let reserved = |kind| Reference.reserved_bits::<F>(level, kind, regime);
        let page_size = matches!(level.leaf, Leaf::IfPageSizeBit(..))
            && F::is_leaf(level, EntryBits::PS.bits(), regime);

        Self {
            page_size: if page_size { EntryBits::PS.bits() } else { 0 },
            table: P | reserved(EntryKind::Table),
            leaf: P | reserved(EntryKind::Leaf),
        }
    }
}

/// The masks of all levels.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Masks([LevelMasks; MAX_LEVELS]);

impl Masks {
    pub(super) fn of<F: Format>(regime: &Regime) -> Self {
        let mut masks = Self::default();
        for (masks, level) in masks.0.iter_mut().zip(F::LEVELS) {
            *masks = LevelMasks::of::<F>(level, regime);
        }
        masks
    }
}

/// What a path must grant, as bits of the AND of its entries, in which XD is inverted.
#[derive(Clone, Copy, Debug)]
struct Demand {
    set: u64,
    clear: u64,
}

impl Demand {
    /// What an access demands (RIGHT-1 to RIGHT-4).
    #[inline]
    fn of(access: &Access, regime: &Regime) -> Self {
        let when = |condition: bool, flag: EntryBits| if condition { flag.bits() } else { 0 };
        let (cr0, cr4) = (regime.state.cr0, regime.state.cr4);
        let is_user = access.is_user();
        let is_fetch = access.kind == AccessKind::Fetch;

        let needs_write = access.kind.writes() && (is_user || cr0.contains(Cr0::WP));
        let set = when(is_user, EntryBits::US)
            | when(needs_write, EntryBits::RW)
            | when(is_fetch, EntryBits::XD);

        let bars_user_pages = if is_fetch {
            cr4.contains(Cr4::SMEP)
        } else {
            cr4.contains(Cr4::SMAP) && (access.implicit || !access.ac)
        };
        Self { set, clear: when(!is_user && bars_user_pages, EntryBits::US) }
    }

    const fn is_met_by(self, path: u64) -> bool {
        path & (self.set | self.clear) == self.set
    }
}

/// The rights in the AND of a path's entries.
const fn rights(path: u64) -> Rights {
    let write = path >> 1 & 1;
    let user = path >> 2 & 1;
    let execute = path >> 63;
    Rights::from_bits_truncate((write | user << 1 | execute << 2) as u8)
}

impl<F: Format, R: Semantics> Mmu<F, R> {
    /// The translation of an address, if the access is an ordinary one and completes. `seen` gets
    /// every entry on the way, root first.
    #[inline]
    pub(super) fn walk_by_masks<M: TableMemory + ?Sized>(
        &self,
        memory: &M,
        address: VirtAddr,
        access: &Access,
        mut seen: impl FnMut(PhysAddr, u64),
    ) -> Option<Translation> {
        // Shadow stacks demand other things.
        if access.shadow_stack {
            return None;
        }

        let demand = Demand::of(access, &self.regime);
        let mut table = self.root;
        let mut path = u64::MAX;
        for (level, masks) in F::LEVELS.iter().zip(&self.masks.0) {
            let index = address.table_index(level.shift, level.index_bits);
            let at = table + index.wrapping_mul(F::ENTRY_BYTES.into());
            let entry = match F::register(level, index, &self.regime) {
                Some(entry) => entry,
                None => memory.read_entry(at, F::ENTRY_BYTES).ok()?,
            };
            seen(at, entry);

            if level.has_flags {
                path &= entry ^ EntryBits::XD.bits();
            }
            let is_leaf = match level.leaf {
                Leaf::Never => false,
                Leaf::IfPageSizeBit(..) => entry & masks.page_size != 0,
                Leaf::Always => true,
            };
            if !is_leaf {
                if entry & masks.table != P {
                    return None;
                }
                table = F::address(level, EntryKind::Table, entry);
                continue;
            }

            let is_good = entry & masks.leaf == P;
            let rights = rights(path);
            if !is_good || (level.has_flags && !self.grants(path, rights, entry, demand, access)) {
                return None;
            }
            let address = F::address(level, EntryKind::Leaf, entry) + address.offset(level.shift);
            return Some(Translation { address, rights, leaf: entry, level: Some(level) });
        }
        None
    }

    /// Whether a path meets a demand, and its key allows the access (RIGHT-5).
    #[inline]
    fn grants(
        &self,
        path: u64,
        rights: Rights,
        leaf: u64,
        demand: Demand,
        access: &Access,
    ) -> bool {
        let has_keys = self.regime.state.cr4.intersects(Cr4::PKE.union(Cr4::PKS));

        demand.is_met_by(path)
            && !(has_keys && Reference.key_denied(rights, leaf, access, &self.regime))
    }
}
