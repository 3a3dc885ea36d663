//! Maps and unmaps pages in tables of any format.

use super::FrameAllocator;
use crate::address::{PageSize, PhysAddr, VirtAddr};
use crate::memory::{OutsideMemory, TableMemoryMut};
use crate::x86::format::{EntryBits, EntryKind, Format, Level};
use crate::x86::regime::Regime;
use core::fmt;

/// The translation of this address may be cached and must be forgotten, by INVLPG or more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a processor may still use the old translation until it is invalidated"]
pub struct Flush(pub VirtAddr);

/// Why an edit was not made. Nothing visible has changed then, though tables may have been added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MapError {
    /// The frame allocator has no frame for a new table.
    OutOfFrames,
    /// The address is not a multiple of the page size.
    Misaligned(u64, PageSize),
    /// The linear address is not canonical.
    NotCanonical(VirtAddr),
    /// The format has no pages of this size, or the processor lacks them.
    NoSuchPageSize(PageSize),
    /// The physical address is above MAXPHYADDR, or above what an entry of this level can hold.
    AboveMaxPhysical(PhysAddr),
    /// These flags would change the address of a page of this size: [`EntryBits::LARGE_PAT`] is an
    /// address bit of a 4 KiB page, whose PAT bit is [`EntryBits::PS`] (MODE-11).
    FlagsInAddress(EntryBits, PageSize),
    /// Something is mapped there already, possibly by a page of another size.
    Overlap(VirtAddr),
    /// Nothing is mapped there.
    NotMapped(VirtAddr),
    /// A table lies outside memory.
    Outside(OutsideMemory),
}

impl fmt::Display for MapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OutOfFrames => f.write_str("no frame is left for a new table"),
            Self::Misaligned(address, size) => {
                write!(f, "{address:#x} is not a multiple of the page size {:#x}", size.bytes())
            }
            Self::NotCanonical(address) => write!(f, "{address} is not canonical"),
            Self::NoSuchPageSize(size) => {
                write!(f, "pages of {:#x} bytes do not exist here", size.bytes())
            }
            Self::AboveMaxPhysical(address) => {
                write!(f, "{address} is above the physical addresses that an entry can hold")
            }
            Self::FlagsInAddress(flags, size) => {
                let (flags, size) = (flags.bits(), size.bytes());
                write!(f, "the flags {flags:#x} are address bits of a page of {size:#x} bytes")
            }
            Self::Overlap(address) => write!(f, "{address} is mapped already"),
            Self::NotMapped(address) => write!(f, "{address} is not mapped"),
            Self::Outside(outside) => outside.fmt(f),
        }
    }
}

impl core::error::Error for MapError {}

impl From<OutsideMemory> for MapError {
    fn from(outside: OutsideMemory) -> Self {
        Self::Outside(outside)
    }
}

/// Edits the tables that a control state points to.
///
/// ```
/// use mmu_core::table::mapping::{FrameRange, Mapper};
/// use mmu_core::x86::format::{EntryBits, FourLevel};
/// use mmu_core::memory::Bytes;
/// use mmu_core::{Access, ControlState, Mmu, PageSize, PhysAddr, Profile, Ring, VirtAddr};
///
/// let mut memory = Bytes::new(PhysAddr::new(0), [0; 0x10000]);
/// let state = ControlState::long_mode(0x1000);
/// let frames = FrameRange::new(PhysAddr::new(0x2000), 16);
/// let mut mapper =
///     Mapper::<FourLevel, _, _>::new(state, Profile::default(), &mut memory, frames);
/// let page = VirtAddr::new(0x40_0000);
/// mapper.map(page, PhysAddr::new(0x8000), PageSize::Size4KiB, EntryBits::RW)?;
///
/// let mmu = Mmu::<FourLevel>::new(state, Profile::default());
/// let read = Access::read(VirtAddr::new(0x40_0123), 1, Ring::Zero);
/// let outcome = &mmu.predict(&memory, &read).alternatives[0].outcome;
/// assert_eq!(outcome.physical_address(), Some(PhysAddr::new(0x8123)));
/// # Ok::<(), mmu_core::table::mapping::MapError>(())
/// ```
#[derive(Debug)]
pub struct Mapper<'m, F: Format, M: TableMemoryMut, A: FrameAllocator> {
    pub(super) regime: Regime,
    pub(super) root: PhysAddr,
    pub(super) memory: &'m mut M,
    frames: A,
    format: core::marker::PhantomData<F>,
}

impl<'m, F: Format, M: TableMemoryMut, A: FrameAllocator> Mapper<'m, F, M, A> {
    /// A mapper for the tables at the state's CR3. The root table must exist (zeroed, if new).
    pub fn new(
        state: crate::ControlState,
        profile: crate::Profile,
        memory: &'m mut M,
        frames: A,
    ) -> Self {
        let regime = Regime::new(state, profile);
        Self { regime, root: F::root(&regime), memory, frames, format: core::marker::PhantomData }
    }

    /// Maps one page. `flags` are the leaf's; P and, for a large page, PS are added. Tables on the
    /// way allow everything, so that the leaf alone decides. Nothing need be invalidated: an entry
    /// with P=0 is never cached (TLB-1). But a new PDPTE of PAE paging is not seen until the
    /// registers are loaded again (PDPTE-1).
    ///
    /// A page of another size in the same place is an overlap: a live mapping does not change its
    /// size, which some processors do not survive without an invalidation in between (TLB-5).
    ///
    /// # Errors
    /// When the page cannot be mapped; see [`MapError`].
    pub fn map(
        &mut self,
        page: VirtAddr,
        frame: PhysAddr,
        size: PageSize,
        flags: EntryBits,
    ) -> Result<(), MapError> {
        let leaf_level = self.check(page, size)?;
        if !frame.is_aligned(size) {
            return Err(MapError::Misaligned(frame.get(), size));
        }
        self.check_fits(leaf_level, EntryKind::Leaf, frame)?;
        Self::check_flags(leaf_level, size, flags)?;
        let mut table = self.root;
        for level in F::LEVELS {
            let at = table + page.index(level.shift, level.index_bits) * u64::from(F::ENTRY_BYTES);
            let entry = self.memory.read_entry(at, F::ENTRY_BYTES)?;
            let present = entry & EntryBits::P.bits() != 0;
            if level.shift == size.shift() {
                if present {
                    return Err(MapError::Overlap(page));
                }
                let leaf = F::entry(level, EntryKind::Leaf, frame, flags | EntryBits::P);
                return Ok(self.memory.write_entry(at, F::ENTRY_BYTES, leaf)?);
            }
            table = if !present {
                self.add_table(level, at)?
            } else if F::is_leaf(level, entry, &self.regime) {
                return Err(MapError::Overlap(page));
            } else {
                F::address(level, EntryKind::Table, entry)
            };
        }
        Err(MapError::NoSuchPageSize(size))
    }

    /// Unmaps the page of this size that starts here, and returns its frame. The tables stay.
    ///
    /// # Errors
    /// When no page of this size is mapped there; see [`MapError`].
    pub fn unmap(&mut self, page: VirtAddr, size: PageSize) -> Result<(PhysAddr, Flush), MapError> {
        self.check(page, size)?;
        let mut table = self.root;
        for level in F::LEVELS {
            let at = table + page.index(level.shift, level.index_bits) * u64::from(F::ENTRY_BYTES);
            let entry = self.memory.read_entry(at, F::ENTRY_BYTES)?;
            if entry & EntryBits::P.bits() == 0 {
                return Err(MapError::NotMapped(page));
            }
            if F::is_leaf(level, entry, &self.regime) {
                if level.shift != size.shift() {
                    return Err(MapError::NotMapped(page));
                }
                self.memory.write_entry(at, F::ENTRY_BYTES, 0)?;
                return Ok((F::address(level, EntryKind::Leaf, entry), Flush(page)));
            }
            table = F::address(level, EntryKind::Table, entry);
        }
        Err(MapError::NotMapped(page))
    }

    /// The page must be aligned, canonical, and of a size that this processor has; the level that
    /// maps it.
    pub(super) fn check(&self, page: VirtAddr, size: PageSize) -> Result<&'static Level, MapError> {
        if page.offset(size.shift()) != 0 {
            return Err(MapError::Misaligned(page.get(), size));
        }
        let exists = if F::IS_LONG_MODE {
            page.is_canonical(F::ADDRESS_BITS)
        } else {
            page.truncated(F::ADDRESS_BITS) == page
        };
        if !exists {
            return Err(MapError::NotCanonical(page));
        }
        let maps = |level: &&Level| level.shift == size.shift();
        let large = EntryBits::PS.bits();
        match F::LEVELS.iter().find(maps) {
            Some(level) if F::is_leaf(level, large, &self.regime) => Ok(level),
            _ => Err(MapError::NoSuchPageSize(size)),
        }
    }

    /// An entry must give this address back, and set no reserved bit for it: 32-bit entries hold
    /// less than MAXPHYADDR may allow (MODE-5).
    pub(super) fn check_fits(
        &self,
        level: &Level,
        kind: EntryKind,
        address: PhysAddr,
    ) -> Result<(), MapError> {
        let entry = F::entry(level, kind, address, EntryBits::P);
        let stored = entry & (u64::MAX >> (64 - 8 * F::ENTRY_BYTES));
        let mut reserved = F::reserved_bits(level, kind, &self.regime).into_iter();
        let fits = address.get() >> self.regime.profile.physical_address_bits == 0
            && F::address(level, kind, stored) == address
            && reserved.all(|(bits, _)| stored & bits == 0);
        if fits { Ok(()) } else { Err(MapError::AboveMaxPhysical(address)) }
    }

    /// Flags must leave the address alone.
    pub(super) fn check_flags(
        level: &Level,
        size: PageSize,
        flags: EntryBits,
    ) -> Result<(), MapError> {
        let nowhere = PhysAddr::new(0);
        let entry = F::entry(level, EntryKind::Leaf, nowhere, flags);
        let fits = F::address(level, EntryKind::Leaf, entry) == nowhere;
        if fits { Ok(()) } else { Err(MapError::FlagsInAddress(flags, size)) }
    }

    /// Adds an empty table and the entry at `at` that points to it.
    fn add_table(&mut self, level: &Level, at: PhysAddr) -> Result<PhysAddr, MapError> {
        let table = self.frames.allocate().ok_or(MapError::OutOfFrames)?;
        self.check_fits(level, EntryKind::Table, table)?;
        for slot in 0..512 {
            self.memory.write_entry(table + slot * 8, 8, 0)?;
        }
        let flags = EntryBits::P | EntryBits::RW | EntryBits::US;
        let entry = F::entry(level, EntryKind::Table, table, flags);
        self.memory.write_entry(at, F::ENTRY_BYTES, entry)?;
        Ok(table)
    }
}
