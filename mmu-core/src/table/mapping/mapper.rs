//! Maps pages in tables of any format.

use super::FrameAllocator;
use super::entry::{MapTarget, check_reserved, rights_below};
use super::error::MapError;
use crate::address::{PageSize, PhysAddr, VirtAddr};
use crate::memory::TableMemoryMut;
use crate::table::{Cursor, limits};
use crate::x86::format::{EntryBits, EntryKind, Format, Level};
use crate::x86::profile::Profile;
use crate::x86::regime::Regime;
use crate::x86::semantics::Rights;
use crate::x86::state::ControlState;
use core::marker::PhantomData;

/// The translation of this address may be cached and must be invalidated, by INVLPG or more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a processor may still use the old translation until it is invalidated"]
pub struct Flush(pub VirtAddr);

/// Edits the tables that a control state points to.
///
/// ```
/// use mmu_core::table::mapping::{FrameRange, Mapper};
/// use mmu_core::x86::format::{EntryBits, FourLevel};
/// use mmu_core::memory::Bytes;
/// use mmu_core::{Access, ControlState, Mmu, PageSize, PhysAddr, Profile, Ring, VirtAddr};
///
/// let mut memory = Bytes::new(PhysAddr::new(0), [0; 0x10000]);
/// let state = ControlState::four_level(0x1000);
/// let frames = FrameRange::new(PhysAddr::new(0x2000), 16);
/// let mut mapper =
///     Mapper::<FourLevel, _, _>::new(state, Profile::default(), &mut memory, frames);
/// let page = VirtAddr::new(0x40_0000);
/// mapper.map(page, PhysAddr::new(0x8000), PageSize::Size4KiB, EntryBits::RW)?;
///
/// let mmu = Mmu::<FourLevel>::new(state, Profile::default());
/// let read = Access::read(VirtAddr::new(0x40_0123), 1, Ring::Zero);
/// let outcome = &mmu.predict(&memory, &read).unwrap().alternatives[0].outcome;
/// assert_eq!(outcome.physical_address(), Some(PhysAddr::new(0x8123)));
/// # Ok::<(), mmu_core::table::mapping::MapError>(())
/// ```
#[derive(Debug)]
pub struct Mapper<'m, F: Format, M: TableMemoryMut, A: FrameAllocator> {
    pub(super) regime: Regime,
    pub(super) root: PhysAddr,
    pub(super) memory: &'m mut M,
    frames: A,
    format: PhantomData<F>,
}

impl<'m, F: Format, M: TableMemoryMut, A: FrameAllocator> Mapper<'m, F, M, A> {
    /// A mapper for the tables at the state's CR3. The root table must exist; if it is new, filled
    /// with zeros.
    pub fn new(state: ControlState, profile: Profile, memory: &'m mut M, frames: A) -> Self {
        let regime = Regime::new(state, profile);
        Self { regime, root: F::root(&regime), memory, frames, format: PhantomData }
    }

    /// Maps one page. `flags` are the leaf's; P and, for a large page, PS are added. New tables on
    /// the way allow everything, so that the leaf alone decides. Where tables are there already and
    /// forbid a right that `flags` ask for, the page is refused: XD=0 asks for execution.
    ///
    /// No invalidation is needed, since an entry with P=0 is never cached (TLB-1). But the processor
    /// does not see a new PDPTE of PAE paging until it loads its registers again (PDPTE-1).
    ///
    /// A page of another size in the same place is an overlap: the size of a live mapping must not
    /// change without an invalidation in between, which some processors do not survive (TLB-5).
    ///
    /// # Errors
    /// When the page cannot be mapped; see [`MapError`].
    pub fn map(
        &mut self,
        page: VirtAddr,
        frame: PhysAddr,
        size: PageSize,
        flags: EntryBits,
    ) -> Result<(), MapError<M::Error>> {
        let leaf_level = self.check_page(page, size)?;
        if !frame.is_aligned(size) {
            return Err(MapError::Misaligned(frame.get(), size));
        }
        self.check_fits(leaf_level, EntryKind::Leaf, frame)?;
        self.check_flags(leaf_level, size, flags)?;

        let mut above = Rights::all();
        let mut next = Cursor::<F>::at_root(self.root);
        while let Some(cursor) = next {
            let level = cursor.level();
            let at = cursor.entry_for(page);
            let entry = cursor.read(&*self.memory, at)?;
            let target = MapTarget::of::<F>(level, entry, &self.regime);

            if level.number == leaf_level.number {
                return match target {
                    MapTarget::Nothing => self.write_leaf(level, at, frame, flags),
                    _ => Err(MapError::Overlap(page)),
                };
            }

            let table = match target {
                MapTarget::Table(table) => {
                    check_reserved::<F, _>(level, EntryKind::Table, entry, &self.regime)?;
                    above = rights_below(level, above, entry);
                    check_allowed(page, leaf_level, above, flags)?;
                    table
                }
                MapTarget::Nothing => self.add_table(level, at)?,
                MapTarget::Page => return Err(MapError::Overlap(page)),
            };
            next = cursor.below(table);
        }

        Err(MapError::NoSuchPageSize(size))
    }

    /// The level whose leaves map pages of this size.
    ///
    /// # Errors
    /// When the page is not aligned, not canonical, or of a size that this processor does not have.
    pub(super) fn check_page(
        &self,
        page: VirtAddr,
        size: PageSize,
    ) -> Result<&'static Level, MapError<M::Error>> {
        if page.offset(size.shift()) != 0 {
            return Err(MapError::Misaligned(page.get(), size));
        }
        if !limits::exists::<F>(page) {
            return Err(MapError::NotCanonical(page));
        }

        let level = F::LEVELS.iter().find(|level| level.page_size() == Some(size));
        let has_leaves = |level: &&Level| F::is_leaf(level, EntryBits::PS.bits(), &self.regime);
        level.filter(has_leaves).ok_or(MapError::NoSuchPageSize(size))
    }

    /// Checks that an entry can hold this address without setting a reserved bit: 32-bit entries
    /// have fewer address bits than MAXPHYADDR may allow (MODE-5).
    pub(super) fn check_fits(
        &self,
        level: &Level,
        kind: EntryKind,
        address: PhysAddr,
    ) -> Result<(), MapError<M::Error>> {
        let exists = address.get() & !self.regime.profile.physical_address_mask() == 0;
        let sets_no_reserved_bit =
            |entry| check_reserved::<F, M::Error>(level, kind, entry, &self.regime).is_ok();

        let entry = limits::entry_for::<F>(level, kind, address);
        if exists && entry.is_some_and(sets_no_reserved_bit) {
            Ok(())
        } else {
            Err(MapError::AboveMaxPhysical(address))
        }
    }

    /// Checks the flags of a leaf: the entry has these bits, they leave its address alone, and none
    /// of them is reserved in this mode on this processor.
    pub(super) fn check_flags(
        &self,
        level: &Level,
        size: PageSize,
        flags: EntryBits,
    ) -> Result<(), MapError<M::Error>> {
        let held = if level.has_flags {
            EntryBits::from_bits_retain(limits::all_ones(F::ENTRY_BYTES))
        } else {
            EntryBits::P | EntryBits::RW | EntryBits::US
        };
        let missing = flags.difference(held);
        if !missing.is_empty() {
            return Err(MapError::NoSuchFlags(missing));
        }

        let zero = PhysAddr::new(0);
        let entry = F::entry(level, EntryKind::Leaf, zero, flags);
        if F::address(level, EntryKind::Leaf, entry) != zero {
            return Err(MapError::FlagsInAddress(flags, size));
        }
        check_reserved::<F, _>(level, EntryKind::Leaf, entry, &self.regime)
    }

    pub(super) fn write_leaf(
        &mut self,
        level: &Level,
        at: PhysAddr,
        frame: PhysAddr,
        flags: EntryBits,
    ) -> Result<(), MapError<M::Error>> {
        let leaf = F::entry(level, EntryKind::Leaf, frame, flags | EntryBits::P);
        Ok(self.memory.write_entry(at, F::ENTRY_BYTES, leaf)?)
    }

    /// Adds an empty table, and the entry at `at` that points to it.
    fn add_table(&mut self, level: &Level, at: PhysAddr) -> Result<PhysAddr, MapError<M::Error>> {
        let table = self.frames.allocate().ok_or(MapError::OutOfFrames)?;
        self.check_fits(level, EntryKind::Table, table)?;

        for offset in (0..PageSize::Size4KiB.bytes()).step_by(8) {
            self.memory.write_entry(table + offset, 8, 0)?;
        }

        let flags = EntryBits::P | EntryBits::RW | EntryBits::US;
        let entry = F::entry(level, EntryKind::Table, table, flags);
        self.memory.write_entry(at, F::ENTRY_BYTES, entry)?;
        Ok(table)
    }
}

/// Checks that the tables above a page allow what the flags of its leaf ask for (RIGHT-1).
pub(super) fn check_allowed<E>(
    page: VirtAddr,
    leaf_level: &Level,
    above: Rights,
    flags: EntryBits,
) -> Result<(), MapError<E>> {
    let forbidden = rights_below(leaf_level, Rights::all(), flags.bits()).difference(above);
    if forbidden.is_empty() { Ok(()) } else { Err(MapError::Forbidden(page, forbidden)) }
}
