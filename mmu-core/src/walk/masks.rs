//! The walk of the reference when nothing goes wrong and nobody wants a report: the same six steps as
//! [`Mmu::walk_from`], with all that they decide worked out beforehand as masks.
//!
//! What it cannot settle, a fault above all, it leaves to the detailed walk, which begins again and says
//! why. So it never reports, and cannot disagree about anything but a translation; properties check that
//! it does not.

use super::{Mmu, ReservedMasks, Start};
use crate::access::{Access, AccessKind};
use crate::address::{PhysAddr, VirtAddr};
use crate::memory::TableMemory;
use crate::outcome::Translation;
use crate::x86::format::{EntryBits, EntryKind, Format, Leaf, Level, MAX_LEVELS};
use crate::x86::regime::Regime;
use crate::x86::semantics::{Reference, Rights, Semantics};
use crate::x86::state::{Cr0, Cr4};

const P: u64 = EntryBits::P.bits();
const PS: u64 = EntryBits::PS.bits();
const XD: u64 = EntryBits::XD.bits();

/// What some bits of an entry must be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Check {
    mask: u64,
    want: u64,
}

impl Check {
    /// What no entry passes.
    const NEVER: Self = Self { mask: 0, want: 1 };

    /// 0 for an entry that passes.
    #[inline]
    pub(super) const fn flaws(self, entry: u64) -> u64 {
        entry & self.mask ^ self.want
    }

    #[inline]
    pub(super) const fn passes(self, entry: u64) -> bool {
        entry & self.mask == self.want
    }
}

/// What decides about the entries of a level. No entry passes both checks.
#[derive(Clone, Copy, Debug)]
pub(super) struct LevelMasks {
    /// Whether an entry points to a table, is present and has no reserved bit set.
    pub(super) table: Check,
    /// Whether an entry maps a page, is present and has no reserved bit set.
    pub(super) leaf: Check,
}

impl LevelMasks {
    const NONE: Self = Self { table: Check::NEVER, leaf: Check::NEVER };

    /// The bits of a present entry that decide what it is, and whether it is good.
    #[inline]
    pub(super) const fn deciding(&self) -> u64 {
        self.table.mask | self.leaf.mask
    }

    fn of<F: Format>(level: &Level, regime: &Regime, reserved: &ReservedMasks) -> Self {
        let (table, leaf) = (P | reserved.table, P | reserved.leaf);

        match level.leaf {
            Leaf::Always => Self { table: Check::NEVER, leaf: Check { mask: leaf, want: P } },
            Leaf::IfPageSizeBit(..) if F::is_leaf(level, PS, regime) => Self {
                table: Check { mask: table | PS, want: P },
                leaf: Check { mask: leaf | PS, want: P | PS },
            },
            Leaf::IfPageSizeBit(..) | Leaf::Never => {
                Self { table: Check { mask: table, want: P }, leaf: Check::NEVER }
            }
        }
    }
}

/// The masks of all levels.
#[derive(Clone, Copy, Debug)]
pub(super) struct Masks([LevelMasks; MAX_LEVELS]);

impl Masks {
    /// Masks that settle nothing.
    pub(super) const NONE: Self = Self([LevelMasks::NONE; MAX_LEVELS]);

    /// The masks of the reference, by the reserved bits of each level.
    pub(super) fn of<F: Format>(regime: &Regime, reserved: &[ReservedMasks; MAX_LEVELS]) -> Self {
        let mut masks = Self::NONE;
        for ((masks, level), reserved) in masks.0.iter_mut().zip(F::LEVELS).zip(reserved) {
            *masks = LevelMasks::of::<F>(level, regime, reserved);
        }
        masks
    }

    /// The masks of the level at this depth.
    #[inline]
    pub(super) const fn at(&self, depth: usize) -> &LevelMasks {
        &self.0[depth]
    }

    /// The levels, root first, each with its masks.
    #[inline]
    fn levels<F: Format>(&self) -> impl Iterator<Item = (&'static Level, &LevelMasks)> {
        F::LEVELS.iter().zip(&self.0)
    }
}

/// The entries of a path together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PathBits {
    /// Flags that all of them have.
    pub(crate) all: u64,
    /// Flags that any of them has.
    pub(super) any: u64,
}

impl PathBits {
    /// The path of no entries, which allows everything.
    pub(super) const EMPTY: Self = Self { all: u64::MAX, any: 0 };

    /// A path that grants these rights, with every other flag set.
    #[inline]
    pub(crate) const fn of_rights(rights: Rights) -> Self {
        let rights = rights.bits() as u64;
        // R/W and U/S are bits 0 and 1 of the rights, and bits 1 and 2 of an entry.
        let missing = (!rights & 3) << 1;
        let any = (!rights >> 2 & 1) << 63;
        Self { all: !missing, any }
    }

    /// The path that is longer by this entry.
    #[inline]
    #[must_use]
    pub(super) const fn and(self, level: &Level, entry: u64) -> Self {
        if level.has_flags { Self { all: self.all & entry, any: self.any | entry } } else { self }
    }

    /// R/W and U/S of the path, and XD where it allows fetches.
    #[inline]
    const fn flags(self) -> u64 {
        self.all & !XD | !self.any & XD
    }

    /// The rights that it grants.
    #[inline]
    pub(crate) const fn rights(self) -> Rights {
        rights_of(self.flags())
    }
}

/// R/W, U/S and XD, in their places in an entry, as rights. XD stands for the right to fetch.
#[inline]
const fn rights_of(flags: u64) -> Rights {
    let write_and_user = flags >> 1 & 3;
    let execute = flags >> 63;
    Rights::from_bits_truncate((write_and_user | execute << 2) as u8)
}

/// What a path must grant, as bits of its flags, and what the access sets in its leaf.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Demand {
    set: u64,
    clear: u64,
    /// A, and D for a write (AD-1).
    pub(crate) leaf_flags: EntryBits,
    /// Whether protection keys are on.
    pub(crate) has_keys: bool,
}

impl Demand {
    /// What an access demands (RIGHT-1 to RIGHT-4). `None` for shadow stacks, which demand other things.
    #[inline]
    pub(crate) fn of(access: &Access, regime: &Regime) -> Option<Self> {
        if access.shadow_stack {
            return None;
        }

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
        Some(Self {
            set,
            clear: when(!is_user && bars_user_pages, EntryBits::US),
            leaf_flags: if access.kind.writes() {
                EntryBits::A | EntryBits::D
            } else {
                EntryBits::A
            },
            has_keys: cr4.intersects(Cr4::PKE.union(Cr4::PKS)),
        })
    }

    /// The rights that a path must grant.
    #[inline]
    pub(crate) const fn granted(self) -> Rights {
        rights_of(self.set)
    }

    /// The rights that it must not grant.
    #[inline]
    pub(crate) const fn barred(self) -> Rights {
        rights_of(self.clear)
    }

    /// 0 for a path that meets it, keys apart.
    #[inline]
    pub(super) const fn flaws(self, path: PathBits) -> u64 {
        path.flags() & (self.set | self.clear) ^ self.set
    }

    /// Whether a path meets it, and the key of its leaf allows the access (RIGHT-5).
    #[inline]
    pub(crate) fn is_met(
        self,
        path: PathBits,
        leaf: u64,
        access: &Access,
        regime: &Regime,
    ) -> bool {
        self.flaws(path) == 0
            && !(self.has_keys && Reference.key_denied(path.rights(), leaf, access, regime))
    }
}

/// A good entry on the way of a walk.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GoodEntry {
    pub(crate) level: &'static Level,
    /// Its physical address, if it is in memory.
    pub(crate) at: PhysAddr,
    pub(crate) entry: u64,
    /// The path down to it, and with it.
    pub(crate) path: PathBits,
}

impl<F: Format, R: Semantics> Mmu<F, R> {
    /// The leaf for an address, from any level on, if all entries are good. `on_table` is given each
    /// entry on the way that points to a table.
    #[inline]
    pub(crate) fn leaf_from<M: TableMemory + ?Sized>(
        &self,
        start: Start<F>,
        memory: &M,
        address: VirtAddr,
        mut on_table: impl FnMut(GoodEntry),
    ) -> Option<GoodEntry> {
        let mut cursor = start.cursor?;
        let mut path = PathBits::of_rights(start.rights);

        loop {
            let level = cursor.level();
            let at = cursor.entry_for(address);
            let entry = self.entry_at(memory, level, at, address).ok()?;
            path = path.and(level, entry);

            let found = GoodEntry { level, at, entry, path };
            let masks = self.masks.at(cursor.depth());
            if !masks.table.passes(entry) {
                return masks.leaf.passes(entry).then_some(found);
            }
            on_table(found);
            cursor = cursor.below(F::address(level, EntryKind::Table, entry))?;
        }
    }

    /// The leaf for an address in a table of the last level, if it is good.
    #[inline]
    pub(crate) fn last_leaf<M: TableMemory + ?Sized>(
        &self,
        memory: &M,
        table: PhysAddr,
        above: Rights,
        address: VirtAddr,
    ) -> Option<GoodEntry> {
        let level = F::LEVELS.last()?;
        let at = Self::place_of(level, table, address);
        let entry = self.entry_at(memory, level, at, address).ok()?;

        let path = PathBits::of_rights(above).and(level, entry);
        let is_good = self.masks.at(F::LEVELS.len() - 1).leaf.passes(entry);
        is_good.then_some(GoodEntry { level, at, entry, path })
    }

    /// The translation of an address, if the access is an ordinary one and completes. `seen` gets
    /// every entry on the way, root first.
    #[inline]
    pub(super) fn walk_by_masks<M: TableMemory + ?Sized>(
        &self,
        memory: &M,
        address: VirtAddr,
        access: &Access,
        seen: impl FnMut(PhysAddr, u64),
    ) -> Option<Translation> {
        let demand = Demand::of(access, &self.regime)?;
        let (level, leaf, path) = self.leaf_by_masks(memory, address, seen)?;

        if level.has_flags && !demand.is_met(path, leaf, access, &self.regime) {
            return None;
        }
        Some(Self::translation(level, leaf, path, address))
    }

    /// The leaf for an address and its level, and the path down to it, if all entries are good.
    #[inline]
    pub(super) fn leaf_by_masks<M: TableMemory + ?Sized>(
        &self,
        memory: &M,
        address: VirtAddr,
        mut seen: impl FnMut(PhysAddr, u64),
    ) -> Option<(&'static Level, u64, PathBits)> {
        let mut table = self.root;
        let mut path = PathBits::EMPTY;

        for (level, masks) in self.masks.levels::<F>() {
            let place = Self::place_of(level, table, address);
            let entry = self.entry_at(memory, level, place, address).ok()?;
            seen(place, entry);
            path = path.and(level, entry);

            if level.leaf == Leaf::Always || !masks.table.passes(entry) {
                return masks.leaf.passes(entry).then_some((level, entry, path));
            }
            table = F::address(level, EntryKind::Table, entry);
        }
        None
    }

    /// The physical address of the entry of a table that an address selects.
    #[inline]
    pub(super) fn place_of(level: &Level, table: PhysAddr, address: VirtAddr) -> PhysAddr {
        let index = address.table_index(level.shift, level.index_bits);
        table + index.wrapping_mul(F::ENTRY_BYTES.into())
    }

    /// The entry that an address selects, which is at this place unless it is in a register.
    #[inline]
    pub(super) fn entry_at<M: TableMemory + ?Sized>(
        &self,
        memory: &M,
        level: &Level,
        place: PhysAddr,
        address: VirtAddr,
    ) -> Result<u64, M::Error> {
        let index = address.table_index(level.shift, level.index_bits);
        match F::register(level, index, &self.regime) {
            Some(entry) => Ok(entry),
            None => memory.read_entry(place, F::ENTRY_BYTES),
        }
    }

    /// The translation of an address by its leaf.
    #[inline]
    pub(crate) fn translation(
        level: &'static Level,
        leaf: u64,
        path: PathBits,
        address: VirtAddr,
    ) -> Translation {
        Translation {
            address: F::address(level, EntryKind::Leaf, leaf) + address.offset(level.shift),
            rights: path.rights(),
            leaf,
            level: Some(level),
        }
    }
}
