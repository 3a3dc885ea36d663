//! A memory access, as an instruction makes it.

use crate::address::{PAGE_SHIFT, VirtAddr};
use crate::name::{UnknownName, by_name};
use core::fmt;
use core::iter;
use core::str::FromStr;

/// Maximum number of pages that one access touches. The instructions that access most are XSAVE and
/// XRSTOR: their area has some 12,000 bytes with every state component defined so far, 8,192 of them
/// for AMX's tiles (SDM volume 1, "Managing State Using the XSAVE Feature Set"). Its address is a
/// multiple of 64, so it touches four pages at most.
pub const MAX_PAGES: usize = 4;

/// Maximum number of pages that one fetch touches: an instruction has at most 15 bytes.
pub const MAX_FETCH_PAGES: usize = 2;

/// What the access does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AccessKind {
    /// A load.
    Read,
    /// A store.
    Write,
    /// A load and a store in one instruction, locked or not. The walk treats it as a write
    /// (CODE-10).
    ReadModifyWrite,
    /// An instruction fetch.
    Fetch,
    /// CLFLUSH. The walk treats it as a load (RIGHT-8).
    Clflush,
}

impl AccessKind {
    /// Every kind.
    pub const ALL: [Self; 5] =
        [Self::Read, Self::Write, Self::ReadModifyWrite, Self::Fetch, Self::Clflush];

    /// Whether it needs the right to write.
    pub const fn writes(self) -> bool {
        matches!(self, Self::Write | Self::ReadModifyWrite)
    }

    /// The name used in reports and cases.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::ReadModifyWrite => "rmw",
            Self::Fetch => "fetch",
            Self::Clflush => "clflush",
        }
    }
}

/// Reads the name that [`AccessKind::name`] returns.
impl FromStr for AccessKind {
    type Err = UnknownName<Self>;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        by_name(&Self::ALL, Self::name, name)
    }
}

/// The privilege level of the code that makes the access (CPL).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Ring {
    /// Supervisor. Rings 1 and 2 count as supervisor too (SDM "Access Rights").
    Zero,
    /// User.
    Three,
}

impl Ring {
    /// Both rings, the supervisor first.
    pub const ALL: [Self; 2] = [Self::Zero, Self::Three];

    /// The current privilege level, as CS holds it: 0 or 3.
    ///
    /// ```
    /// use mmu_core::Ring;
    /// assert_eq!(Ring::ALL.map(Ring::cpl), [0, 3]);
    /// assert_eq!(Ring::from_cpl(3), Some(Ring::Three));
    /// ```
    pub const fn cpl(self) -> u8 {
        match self {
            Self::Zero => 0,
            Self::Three => 3,
        }
    }

    /// The ring of a current privilege level. `None` for 1 and 2, which are not modelled, and for
    /// numbers that are not privilege levels.
    pub const fn from_cpl(cpl: u8) -> Option<Self> {
        match cpl {
            0 => Some(Self::Zero),
            3 => Some(Self::Three),
            _ => None,
        }
    }
}

/// The segment that a data access goes through. It decides the vector of the fault when the address
/// is not canonical (CANON-1), and whether AMD's UAI applies (CANON-4).
///
/// CS is not listed: a fetch goes through it, whatever its segment says here, and in 64-bit mode no
/// data access does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Segment {
    /// DS, the default, or ES.
    Data,
    /// SS, the default when the base register is RSP or RBP.
    Stack,
    /// FS. The address of the access includes its base.
    Fs,
    /// GS. The address of the access includes its base.
    Gs,
}

impl Segment {
    /// Every segment.
    pub const ALL: [Self; 4] = [Self::Data, Self::Stack, Self::Fs, Self::Gs];

    /// The name used in cases.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Data => "data",
            Self::Stack => "stack",
            Self::Fs => "fs",
            Self::Gs => "gs",
        }
    }
}

/// Reads the name that [`Segment::name`] returns.
impl FromStr for Segment {
    type Err = UnknownName<Self>;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        by_name(&Self::ALL, Self::name, name)
    }
}

/// An access: what it does, where, to how many bytes, and with which privilege.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Access {
    /// What it does.
    pub kind: AccessKind,
    /// The linear address of its first byte.
    pub address: VirtAddr,
    /// Number of bytes: at least one, in at most [`MAX_PAGES`] pages. Accesses of any other size are
    /// refused with a [`SizeError`]. What touches more pages is several accesses ([`Self::pages`]).
    pub size: u16,
    /// The CPL of the code that makes it.
    pub ring: Ring,
    /// The segment it goes through.
    pub segment: Segment,
    /// Whether the processor makes it for its own purposes, to a descriptor table for instance. It
    /// is then a supervisor access whatever the CPL (CODE-9), and [`ac`](Self::ac) does not count
    /// (RIGHT-4).
    pub implicit: bool,
    /// Whether it is a shadow-stack access, as CALL and RET make under CET (RIGHT-7).
    pub shadow_stack: bool,
    /// EFLAGS.AC when the instruction runs. It exempts explicit supervisor accesses from SMAP
    /// (RIGHT-4). It is a flag of the running code and not part of the control state, so STAC, CLAC
    /// and POPF need not tell the MMU.
    pub ac: bool,
    /// Whether the code that makes it runs in compatibility mode: in long mode with CS.L=0. The
    /// linear address then has 32 bits, unless the access is implicit (MODE-1). It has no meaning
    /// outside long mode.
    pub compatibility: bool,
}

impl Access {
    /// An explicit access through a data segment, with EFLAGS.AC=0.
    pub const fn new(kind: AccessKind, address: VirtAddr, size: u16, ring: Ring) -> Self {
        Self {
            kind,
            address,
            size,
            ring,
            segment: Segment::Data,
            implicit: false,
            shadow_stack: false,
            ac: false,
            compatibility: false,
        }
    }

    /// A load of `size` bytes.
    pub const fn read(address: VirtAddr, size: u16, ring: Ring) -> Self {
        Self::new(AccessKind::Read, address, size, ring)
    }

    /// A store of `size` bytes.
    pub const fn write(address: VirtAddr, size: u16, ring: Ring) -> Self {
        Self::new(AccessKind::Write, address, size, ring)
    }

    /// A fetch of `size` bytes of code.
    pub const fn fetch(address: VirtAddr, size: u16, ring: Ring) -> Self {
        Self::new(AccessKind::Fetch, address, size, ring)
    }

    /// Whether it is a user-mode access (CODE-9).
    pub const fn is_user(&self) -> bool {
        matches!(self.ring, Ring::Three) && !self.implicit
    }

    /// Whether its linear address has 64 bits if it is made in long mode. In compatibility mode it has
    /// 32; but the bases of descriptor tables have 64 bits in either submode (MODE-1; SDM "Descriptor
    /// Tables in IA-32e Mode").
    ///
    /// ```
    /// use mmu_core::{Access, Ring, VirtAddr};
    /// let read = Access::read(VirtAddr::new(0x1000), 8, Ring::Three);
    /// let in_compatibility_mode = Access { compatibility: true, ..read };
    /// let descriptor = Access { implicit: true, ..in_compatibility_mode };
    /// let all = [read, in_compatibility_mode, descriptor];
    /// assert_eq!(all.map(|access| access.has_64_bit_address()), [true, false, true]);
    /// ```
    pub const fn has_64_bit_address(&self) -> bool {
        !self.compatibility || self.implicit
    }

    /// The linear address of its last byte; without bytes, its own.
    pub const fn last_byte(&self) -> VirtAddr {
        self.address.wrapping_add((self.size as u64).saturating_sub(1))
    }

    /// Number of its bytes in the 4 KiB page of the first.
    pub const fn bytes_in_first_page(&self) -> u16 {
        self.bytes_before(PAGE_SHIFT)
    }

    /// Whether it touches several 4 KiB pages.
    ///
    /// ```
    /// use mmu_core::{Access, Ring, VirtAddr};
    /// assert!(Access::read(VirtAddr::new(0x1ffd), 4, Ring::Three).crosses_page());
    /// assert!(!Access::read(VirtAddr::new(0x1ffc), 4, Ring::Three).crosses_page());
    /// ```
    pub const fn crosses_page(&self) -> bool {
        self.bytes_in_first_page() < self.size
    }

    /// The access, cut at the boundaries of 4 KiB pages: an access for each page, in the order of
    /// addresses, whatever the size. A page larger than 4 KiB counts as several.
    ///
    /// It serves an emulator for what touches more than [`MAX_PAGES`] pages. To the manuals that is
    /// not one access: each iteration of a string instruction with REP is complete before the next
    /// begins (SDM volume 2, "REP/REPE/REPZ/REPNE/REPNZ"), and so is each row of an AMX tile.
    ///
    /// ```
    /// use mmu_core::{Access, Ring, VirtAddr};
    ///
    /// let copy = Access::read(VirtAddr::new(0x1f00), 0x2200, Ring::Three);
    /// let pages: Vec<_> = copy.pages().map(|page| (page.address.get(), page.size)).collect();
    /// assert_eq!(pages, [(0x1f00, 0x100), (0x2000, 0x1000), (0x3000, 0x1000), (0x4000, 0x100)]);
    /// ```
    pub fn pages(&self) -> impl Iterator<Item = Self> + use<> {
        let access = *self;
        self.cut_at(PAGE_SHIFT).map(move |(address, size)| Self { address, size, ..access })
    }

    /// The access, cut at the multiples of 2^`shift` bytes (4 KiB at most): the address and the number of
    /// bytes of each piece.
    #[inline]
    pub(crate) fn cut_at(&self, shift: u8) -> impl Iterator<Item = (VirtAddr, u16)> + use<> {
        let mut address = self.address;
        let mut left = self.size;
        iter::from_fn(move || {
            if left == 0 {
                return None;
            }
            let room = (1 << shift) - address.offset(shift) as u16;
            let piece = (address, left.min(room));

            address = address.wrapping_add(piece.1.into());
            left -= piece.1;
            Some(piece)
        })
    }

    /// Number of its bytes before the next multiple of 2^`shift` bytes (4 KiB at most).
    #[inline]
    pub(crate) const fn bytes_before(&self, shift: u8) -> u16 {
        let room = (1 << shift) - self.address.offset(shift) as u16;
        if self.size < room { self.size } else { room }
    }

    /// Checks the size, for pages of 2^`shift` bytes (4 KiB at most).
    #[inline]
    pub(crate) fn check_size(&self, shift: u8) -> Result<(), SizeError> {
        let in_first_page = self.bytes_before(shift);
        if in_first_page == 0 {
            return Err(SizeError::Empty);
        }
        if in_first_page == self.size {
            return Ok(());
        }

        let behind = usize::from(self.size - in_first_page);
        let pages = 1 + behind.div_ceil(1 << shift);
        let limit = match self.kind {
            AccessKind::Fetch => MAX_FETCH_PAGES,
            _ => MAX_PAGES,
        };
        if pages > limit { Err(SizeError::TooManyPages { pages, limit }) } else { Ok(()) }
    }
}

/// Why an access is refused: no instruction makes one of this size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SizeError {
    /// It has no bytes.
    Empty,
    /// It touches more pages than one access can.
    TooManyPages {
        /// The number of pages that it touches.
        pages: usize,
        /// The number that it may touch: [`MAX_PAGES`], or [`MAX_FETCH_PAGES`].
        limit: usize,
    },
}

impl fmt::Display for SizeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("the access has no bytes"),
            Self::TooManyPages { pages, limit } => {
                write!(f, "the access touches {pages} pages; one access touches at most {limit}")
            }
        }
    }
}

impl core::error::Error for SizeError {}
