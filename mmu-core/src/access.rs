//! A memory access, as an instruction makes it.

use crate::address::{PAGE_SHIFT, VirtAddr};
use crate::name::{UnknownName, by_name};
use core::str::FromStr;

/// Number of bytes in the smallest page.
const PAGE_BYTES: u16 = 1 << PAGE_SHIFT;

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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Access {
    /// What it does.
    pub kind: AccessKind,
    /// The linear address of its first byte.
    pub address: VirtAddr,
    /// Number of bytes, 1 to 4096: an access touches two pages at most.
    pub size: u16,
    /// The CPL of the code that makes it.
    pub ring: Ring,
    /// The segment it goes through.
    pub segment: Segment,
    /// Whether the processor makes it for its own purposes, to a descriptor table for instance. It
    /// is then a supervisor access whatever the CPL (CODE-9), and EFLAGS.AC does not excuse it
    /// (RIGHT-4).
    pub implicit: bool,
    /// Whether it is a shadow-stack access, as CALL and RET make under CET (RIGHT-7).
    pub shadow_stack: bool,
}

impl Access {
    /// An explicit access through a data segment.
    pub const fn new(kind: AccessKind, address: VirtAddr, size: u16, ring: Ring) -> Self {
        Self {
            kind,
            address,
            size,
            ring,
            segment: Segment::Data,
            implicit: false,
            shadow_stack: false,
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

    /// The linear address of its last byte.
    pub const fn last_byte(&self) -> VirtAddr {
        self.address.wrapping_add(self.size as u64 - 1)
    }

    /// Number of its bytes in the 4 KiB page of the first.
    pub const fn bytes_in_first_page(&self) -> u16 {
        let room = PAGE_BYTES - self.address.offset(PAGE_SHIFT) as u16;
        if self.size < room { self.size } else { room }
    }

    /// Whether it touches two 4 KiB pages.
    ///
    /// ```
    /// use mmu_core::{Access, Ring, VirtAddr};
    /// assert!(Access::read(VirtAddr::new(0x1ffd), 4, Ring::Three).crosses_page());
    /// assert!(!Access::read(VirtAddr::new(0x1ffc), 4, Ring::Three).crosses_page());
    /// ```
    pub const fn crosses_page(&self) -> bool {
        self.bytes_in_first_page() < self.size
    }
}
