//! Regions: the parts of an address space, and what is allowed in them.

use super::ids::{ObjectId, PAGE_BYTES, SlotNumber};
use crate::address::{PhysAddr, VirtAddr};
use crate::x86::format::EntryBits;
use bitflags::bitflags;

bitflags! {
    /// What is allowed in a region.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct Protection: u8 {
        /// Loads. On x86 every mapped page can be read.
        const READ = 1 << 0;
        /// Stores.
        const WRITE = 1 << 1;
        /// Fetches. Entries of 32-bit paging have no XD, so there every page can be executed.
        const EXECUTE = 1 << 2;
        /// All of this for the user; without it, for the supervisor only.
        const USER = 1 << 3;
    }
}

impl Protection {
    /// User code: read and execute.
    pub const CODE: Self = Self::READ.union(Self::EXECUTE).union(Self::USER);
    /// User data: read and write.
    pub const DATA: Self = Self::READ.union(Self::WRITE).union(Self::USER);
    /// User constants: read.
    pub const CONSTANTS: Self = Self::READ.union(Self::USER);

    /// The bits of a leaf for this protection. `has_execute_disable` says whether entries have XD.
    pub(super) fn entry_bits(self, has_execute_disable: bool) -> EntryBits {
        let mut bits = EntryBits::P;
        bits.set(EntryBits::RW, self.contains(Self::WRITE));
        bits.set(EntryBits::US, self.contains(Self::USER));
        bits.set(EntryBits::XD, has_execute_disable && !self.contains(Self::EXECUTE));
        bits
    }
}

/// What a region is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RegionKind {
    /// A program's code.
    Code,
    /// A program's data.
    Data,
    /// Grows upwards when the program asks.
    Heap,
    /// Grows downwards when the program touches a page below.
    Stack,
    /// A shared object: one set of frames for all spaces that have it.
    Shared,
    /// Holds nothing and must not be touched.
    Guard,
    /// Belongs to the supervisor.
    Kernel,
}

impl RegionKind {
    /// The name used in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Code => "code",
            Self::Data => "data",
            Self::Heap => "heap",
            Self::Stack => "stack",
            Self::Shared => "shared",
            Self::Guard => "guard",
            Self::Kernel => "kernel",
        }
    }
}

/// Where the pages of a region come from when they are first touched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Backing {
    /// Zeros.
    Zero,
    /// The store: the first page from this slot, the others from the slots that follow. The slots must
    /// be images; see [`Slots`](super::Slots).
    Image(SlotNumber),
    /// A shared object, from its first page.
    Object(ObjectId),
    /// Memory outside the system's frames, from this address: the supervisor's own code. It is mapped
    /// at once, with A set, and D where it may be written, and never reclaimed.
    Fixed(PhysAddr),
}

/// A part of an address space.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Region {
    /// What it is for.
    pub kind: RegionKind,
    /// The first address, 4 KiB aligned.
    pub start: VirtAddr,
    /// The number of its pages.
    pub pages: u64,
    /// The number of pages to which it may grow: a heap upwards, a stack downwards. No other region
    /// may be there. For other kinds it equals `pages`.
    pub limit: u64,
    /// What is allowed in it.
    pub protection: Protection,
    /// Where its pages come from.
    pub backing: Backing,
}

impl Region {
    /// A region of zeros that keeps its size.
    ///
    /// ```
    /// use mmu_core::VirtAddr;
    /// use mmu_core::space::{Backing, Protection, Region, RegionKind, SlotNumber};
    ///
    /// let start = VirtAddr::new(0x40_0000);
    /// let code = Region::new(RegionKind::Code, start, 2, Protection::CODE)
    ///     .from_backing(Backing::Image(SlotNumber(0)));
    /// assert_eq!(code.limit, 2);
    ///
    /// let top = VirtAddr::new(0x80_0000);
    /// let stack = Region::stack(top, 1, 16);
    /// assert_eq!((stack.start.get(), stack.limit), (0x7f_f000, 16));
    /// ```
    pub const fn new(
        kind: RegionKind,
        start: VirtAddr,
        pages: u64,
        protection: Protection,
    ) -> Self {
        Self { kind, start, pages, limit: pages, protection, backing: Backing::Zero }
    }

    /// A stack whose last byte is just below `top`.
    pub const fn stack(top: VirtAddr, pages: u64, limit: u64) -> Self {
        let start = VirtAddr::new(top.get().wrapping_sub(pages.wrapping_mul(PAGE_BYTES)));
        Self { limit, ..Self::new(RegionKind::Stack, start, pages, Protection::DATA) }
    }

    /// A heap.
    pub const fn heap(start: VirtAddr, pages: u64, limit: u64) -> Self {
        Self { limit, ..Self::new(RegionKind::Heap, start, pages, Protection::DATA) }
    }

    /// The same with another backing.
    #[must_use]
    pub const fn from_backing(self, backing: Backing) -> Self {
        Self { backing, ..self }
    }

    /// The range of addresses that it may grow to hold: the first, and the one behind the last.
    pub(super) const fn reserved(&self) -> (u64, u64) {
        let start = self.start.get();
        let end = self.end().get();
        let more = (self.limit - self.pages) * PAGE_BYTES;

        match self.kind {
            RegionKind::Stack => (start.wrapping_sub(more), end),
            _ => (start, end.wrapping_add(more)),
        }
    }

    /// The address behind its last byte.
    pub const fn end(&self) -> VirtAddr {
        self.start.wrapping_add(self.pages.wrapping_mul(PAGE_BYTES))
    }

    /// Whether it holds an address.
    pub const fn holds(&self, address: VirtAddr) -> bool {
        address.get().wrapping_sub(self.start.get()) < self.pages.wrapping_mul(PAGE_BYTES)
    }

    /// The number of the page that holds an address.
    pub(super) const fn page_number(&self, address: VirtAddr) -> u64 {
        address.get().wrapping_sub(self.start.get()) / PAGE_BYTES
    }
}
