//! Edits of what is mapped already, ranges, and the mapping of one address.

use super::FrameAllocator;
use super::mapper::{Flush, MapError, Mapper};
use super::pages::MappedPages;
use crate::address::{PageSize, PhysAddr, VirtAddr};
use crate::memory::TableMemoryMut;
use crate::x86::format::{EntryBits, EntryKind, Format, Level};

/// One mapped page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// The first linear address of the page.
    pub page: VirtAddr,
    /// Its physical address.
    pub frame: PhysAddr,
    /// Its size.
    pub size: PageSize,
    /// The flags of its leaf: without the address, the PAT bit of a large page included.
    pub flags: EntryBits,
}

/// A leaf, and where it is.
struct FoundEntry {
    level: &'static Level,
    at: PhysAddr,
    entry: u64,
}

impl<F: Format, M: TableMemoryMut, A: FrameAllocator> Mapper<'_, F, M, A> {
    /// Maps `bytes` from `start` to the physical addresses from `frame` on, with the largest pages
    /// that fit at each place. Pages mapped before an error stay mapped.
    ///
    /// # Errors
    /// As [`Mapper::map`], and when start, frame or length is no multiple of 4 KiB.
    pub fn map_range(
        &mut self,
        start: VirtAddr,
        frame: PhysAddr,
        bytes: u64,
        flags: EntryBits,
    ) -> Result<(), MapError> {
        for number in [start.get(), frame.get(), bytes] {
            if number % PageSize::Size4KiB.bytes() != 0 {
                return Err(MapError::Misaligned(number, PageSize::Size4KiB));
            }
        }
        let mut done = 0;
        while done < bytes {
            let (page, target) = (start.wrapping_add(done), frame + done);
            let fits = |size: &PageSize| {
                page.offset(size.shift()) == 0
                    && target.is_aligned(*size)
                    && bytes - done >= size.bytes()
                    && self.check(page, *size).is_ok()
            };
            let sizes =
                [PageSize::Size1GiB, PageSize::Size4MiB, PageSize::Size2MiB, PageSize::Size4KiB];
            let size = sizes.into_iter().find(fits).unwrap_or(PageSize::Size4KiB);
            self.map(page, target, size, flags)?;
            done += size.bytes();
        }
        Ok(())
    }

    /// Gives the page of this size that starts here other flags; its frame stays. A and D are as
    /// the new flags have them.
    ///
    /// # Errors
    /// When no page of this size is mapped there, or the flags do not fit; see [`MapError`].
    pub fn protect(
        &mut self,
        page: VirtAddr,
        size: PageSize,
        flags: EntryBits,
    ) -> Result<Flush, MapError> {
        let FoundEntry { level, at, entry } = self.find_page(page, size)?;
        Self::check_flags(level, size, flags)?;
        let frame = F::address(level, EntryKind::Leaf, entry);
        self.write_leaf(level, at, frame, flags)?;
        Ok(Flush(page))
    }

    /// Moves the page of this size that starts here to another frame and returns the old one; its
    /// flags stay.
    ///
    /// # Errors
    /// When no page of this size is mapped there, or the frame does not fit; see [`MapError`].
    pub fn remap(
        &mut self,
        page: VirtAddr,
        frame: PhysAddr,
        size: PageSize,
    ) -> Result<(PhysAddr, Flush), MapError> {
        if !frame.is_aligned(size) {
            return Err(MapError::Misaligned(frame.get(), size));
        }
        let FoundEntry { level, at, entry } = self.find_page(page, size)?;
        self.check_fits(level, EntryKind::Leaf, frame)?;
        self.write_leaf(level, at, frame, flags_of::<F>(level, entry))?;
        Ok((F::address(level, EntryKind::Leaf, entry), Flush(page)))
    }

    /// The page that an address lies in.
    ///
    /// # Errors
    /// [`MapError::NotMapped`], or that a table lies outside memory.
    pub fn translate(&self, address: VirtAddr) -> Result<Mapping, MapError> {
        let FoundEntry { level, entry, .. } = self.find(address)?;
        mapping::<F>(level, address, entry).ok_or(MapError::NotMapped(address))
    }

    /// Every mapped page, lowest address first.
    ///
    /// ```
    /// use mmu_core::table::mapping::{FrameRange, Mapper};
    /// use mmu_core::x86::format::{Bits32, EntryBits};
    /// use mmu_core::memory::Bytes;
    /// use mmu_core::{ControlState, PhysAddr, Profile, VirtAddr};
    ///
    /// let mut memory = Bytes::new(PhysAddr::new(0), [0; 0x8000]);
    /// let mut state = ControlState::long_mode(0x1000);
    /// state.cr4 = mmu_core::Cr4::PSE;
    /// let frames = FrameRange::new(PhysAddr::new(0x2000), 4);
    /// let mut mapper =
    ///     Mapper::<Bits32, _, _>::new(state, Profile::default(), &mut memory, frames);
    /// // 4 MiB and one page: a large page where it fits, a small one behind it.
    /// let start = VirtAddr::new(0x40_0000);
    /// mapper.map_range(start, PhysAddr::new(0x80_0000), 0x40_1000, EntryBits::RW)?;
    /// let pages: Vec<_> = mapper.pages().collect::<Result<_, _>>()?;
    /// assert_eq!(pages.len(), 2);
    /// assert_eq!((pages[1].page.get(), pages[1].frame.get()), (0x80_0000, 0xc0_0000));
    /// # Ok::<(), mmu_core::table::mapping::MapError>(())
    /// ```
    pub fn pages(&self) -> MappedPages<'_, F, M> {
        MappedPages::new(self.regime, self.root, &*self.memory)
    }

    fn write_leaf(
        &mut self,
        level: &Level,
        at: PhysAddr,
        frame: PhysAddr,
        flags: EntryBits,
    ) -> Result<(), MapError> {
        let leaf = F::entry(level, EntryKind::Leaf, frame, flags | EntryBits::P);
        Ok(self.memory.write_entry(at, F::ENTRY_BYTES, leaf)?)
    }

    /// The leaf of a page of this very size.
    fn find_page(&self, page: VirtAddr, size: PageSize) -> Result<FoundEntry, MapError> {
        self.check(page, size)?;
        let found = self.find(page)?;
        let same = found.level.shift == size.shift();
        if same { Ok(found) } else { Err(MapError::NotMapped(page)) }
    }

    /// The leaf for an address, of any size.
    fn find(&self, address: VirtAddr) -> Result<FoundEntry, MapError> {
        let mut table = self.root;
        for level in F::LEVELS {
            let index = address.index(level.shift, level.index_bits);
            let at = table + index * u64::from(F::ENTRY_BYTES);
            let entry = self.memory.read_entry(at, F::ENTRY_BYTES)?;
            if entry & EntryBits::P.bits() == 0 {
                return Err(MapError::NotMapped(address));
            }
            if F::is_leaf(level, entry, &self.regime) {
                return Ok(FoundEntry { level, at, entry });
            }
            table = F::address(level, EntryKind::Table, entry);
        }
        Err(MapError::NotMapped(address))
    }
}

/// The flags of a leaf, without its address.
pub(super) fn flags_of<F: Format>(level: &Level, entry: u64) -> EntryBits {
    let address = F::address(level, EntryKind::Leaf, entry);
    let place = F::entry(level, EntryKind::Leaf, address, EntryBits::empty());
    EntryBits::from_bits_retain((entry & !place) | (entry & EntryBits::PS.bits()))
}

/// What a leaf maps for an address; `None` where its level has no page size of its own.
pub(super) fn mapping<F: Format>(level: &Level, address: VirtAddr, entry: u64) -> Option<Mapping> {
    let size = level.page_size()?;
    Some(Mapping {
        page: VirtAddr::new(address.get() & !(size.bytes() - 1)),
        frame: F::address(level, EntryKind::Leaf, entry),
        size,
        flags: flags_of::<F>(level, entry),
    })
}
