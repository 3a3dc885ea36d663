//! Ranges, and changes to pages that are already mapped.

use super::FrameAllocator;
use super::entry::{MapTarget, Mapping, check_reserved, flags_of, rights_below};
use super::error::MapError;
use super::mapper::{Flush, Mapper, check_allowed};
use super::pages::MappedPages;
use crate::address::{PageSize, PhysAddr, VirtAddr};
use crate::memory::TableMemoryMut;
use crate::table::Cursor;
use crate::x86::format::{EntryBits, EntryKind, Format, Level};
use crate::x86::semantics::Rights;

/// The page sizes of x86, largest first.
const LARGEST_FIRST: [PageSize; 4] =
    [PageSize::Size1GiB, PageSize::Size4MiB, PageSize::Size2MiB, PageSize::Size4KiB];

/// A leaf, and where it is.
struct FoundLeaf {
    level: &'static Level,
    at: PhysAddr,
    /// What the tables above it allow.
    above: Rights,
    entry: u64,
}

impl<F: Format, M: TableMemoryMut, A: FrameAllocator> Mapper<'_, F, M, A> {
    /// Maps `bytes` bytes from `start` to the physical addresses from `frame`, with the largest pages
    /// that fit at each place. Pages mapped before an error stay mapped.
    ///
    /// # Errors
    /// As [`Mapper::map`], and when start, frame or length is not a multiple of 4 KiB.
    pub fn map_range(
        &mut self,
        start: VirtAddr,
        frame: PhysAddr,
        bytes: u64,
        flags: EntryBits,
    ) -> Result<(), MapError<M::Error>> {
        for number in [start.get(), frame.get(), bytes] {
            if number % PageSize::Size4KiB.bytes() != 0 {
                return Err(MapError::Misaligned(number, PageSize::Size4KiB));
            }
        }

        let mut done = 0;
        while done < bytes {
            let page = start.wrapping_add(done);
            let target = frame + done;
            let fits = |size: &PageSize| {
                target.is_aligned(*size)
                    && bytes - done >= size.bytes()
                    && self.check_page(page, *size).is_ok()
            };

            let size = LARGEST_FIRST.into_iter().find(fits).unwrap_or(PageSize::Size4KiB);
            self.map(page, target, size, flags)?;
            done += size.bytes();
        }

        Ok(())
    }

    /// Unmaps the page of this size that starts here, and returns its frame. The tables stay. A leaf
    /// with reserved bits can be removed, too.
    ///
    /// # Errors
    /// When no page of this size is mapped there; see [`MapError`].
    pub fn unmap(
        &mut self,
        page: VirtAddr,
        size: PageSize,
    ) -> Result<(PhysAddr, Flush), MapError<M::Error>> {
        let FoundLeaf { level, at, entry, .. } = self.find_page(page, size)?;

        self.memory.write_entry(at, F::ENTRY_BYTES, 0)?;
        Ok((F::address(level, EntryKind::Leaf, entry), Flush(page)))
    }

    /// Gives the page of this size that starts here other flags; its frame stays. A and D become what
    /// the new flags say.
    ///
    /// # Errors
    /// When no page of this size is mapped there, or the flags do not fit or ask for more than the
    /// tables above allow; see [`MapError`].
    pub fn protect(
        &mut self,
        page: VirtAddr,
        size: PageSize,
        flags: EntryBits,
    ) -> Result<Flush, MapError<M::Error>> {
        let FoundLeaf { level, at, above, entry } = self.find_page(page, size)?;
        self.check_flags(level, size, flags)?;
        check_allowed(page, level, above, flags)?;

        let frame = F::address(level, EntryKind::Leaf, entry);
        self.write_leaf(level, at, frame, flags)?;
        Ok(Flush(page))
    }

    /// Moves the page of this size that starts here to another frame and returns the old one; its
    /// flags stay.
    ///
    /// # Errors
    /// When no page of this size is mapped there, the frame does not fit, or a flag is reserved; see
    /// [`MapError`].
    pub fn remap(
        &mut self,
        page: VirtAddr,
        frame: PhysAddr,
        size: PageSize,
    ) -> Result<(PhysAddr, Flush), MapError<M::Error>> {
        if !frame.is_aligned(size) {
            return Err(MapError::Misaligned(frame.get(), size));
        }
        let FoundLeaf { level, at, entry, .. } = self.find_page(page, size)?;
        self.check_fits(level, EntryKind::Leaf, frame)?;
        check_reserved::<F, _>(level, EntryKind::Leaf, entry, &self.regime)?;

        self.write_leaf(level, at, frame, flags_of::<F>(level, entry))?;
        Ok((F::address(level, EntryKind::Leaf, entry), Flush(page)))
    }

    /// The mapped page that holds an address.
    ///
    /// # Errors
    /// [`MapError::NotMapped`], that an entry on the way has reserved bits set, or the error of the
    /// memory.
    pub fn translate(&self, address: VirtAddr) -> Result<Mapping, MapError<M::Error>> {
        let FoundLeaf { level, above, entry, .. } = self.find(address)?;
        check_reserved::<F, _>(level, EntryKind::Leaf, entry, &self.regime)?;
        Mapping::of_leaf::<F>(level, address, above, entry).ok_or(MapError::NotMapped(address))
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
    /// let mut state = ControlState::four_level(0x1000);
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

    /// The leaf of the page that starts here, which must be of this size.
    fn find_page(&self, page: VirtAddr, size: PageSize) -> Result<FoundLeaf, MapError<M::Error>> {
        self.check_page(page, size)?;

        let found = self.find(page)?;
        let is_same_size = found.level.page_size() == Some(size);
        if is_same_size { Ok(found) } else { Err(MapError::NotMapped(page)) }
    }

    /// The leaf for an address, of any page size. The leaf itself may have reserved bits.
    fn find(&self, address: VirtAddr) -> Result<FoundLeaf, MapError<M::Error>> {
        let mut above = Rights::all();
        let mut next = Cursor::<F>::at_root(self.root);
        while let Some(cursor) = next {
            let level = cursor.level();
            let at = cursor.entry_for(address);
            let entry = cursor.read(&*self.memory, at)?;

            match MapTarget::of::<F>(level, entry, &self.regime) {
                MapTarget::Nothing => break,
                MapTarget::Page => return Ok(FoundLeaf { level, at, above, entry }),
                MapTarget::Table(table) => {
                    check_reserved::<F, _>(level, EntryKind::Table, entry, &self.regime)?;
                    above = rights_below(level, above, entry);
                    next = cursor.below(table);
                }
            }
        }

        Err(MapError::NotMapped(address))
    }
}
