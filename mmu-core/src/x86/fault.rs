//! The exceptions that a translation can raise.

use crate::address::VirtAddr;
use bitflags::bitflags;
use core::fmt;

/// The vector of an exception that a translation can raise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Vector {
    /// #SS: a non-canonical stack reference (CANON-1).
    StackFault = 12,
    /// #GP: any other non-canonical reference (CANON-1).
    GeneralProtection = 13,
    /// #PF.
    PageFault = 14,
    /// #AC: a misaligned access while alignment is checked (ALIGN-1).
    AlignmentCheck = 17,
}

impl Vector {
    /// The vector with this number, if it is one of these.
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            12 => Some(Self::StackFault),
            13 => Some(Self::GeneralProtection),
            14 => Some(Self::PageFault),
            17 => Some(Self::AlignmentCheck),
            _ => None,
        }
    }

    /// The mnemonic of the manuals.
    pub const fn mnemonic(self) -> &'static str {
        match self {
            Self::StackFault => "#SS",
            Self::GeneralProtection => "#GP",
            Self::PageFault => "#PF",
            Self::AlignmentCheck => "#AC",
        }
    }
}

bitflags! {
    /// The error code of a page fault (SDM "Page-Fault Exceptions").
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct PageFaultCode: u32 {
        /// All entries on the path were present.
        const P = 1 << 0;
        /// The access was a write (CODE-10).
        const W = 1 << 1;
        /// The access was a user-mode access (CODE-9).
        const U = 1 << 2;
        /// A reserved bit was set in an entry.
        const RSVD = 1 << 3;
        /// The access was a fetch (CODE-8).
        const I = 1 << 4;
        /// A protection key denied it (CODE-11).
        const PK = 1 << 5;
        /// The access was a shadow-stack access (RIGHT-7).
        const SS = 1 << 6;
    }
}

/// An exception, with everything that the processor reports about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fault {
    /// Which exception.
    pub vector: Vector,
    /// The error code that is pushed: [`PageFaultCode`] for a page fault, 0 for the others.
    pub error_code: u32,
    /// The new value of CR2; `None` if it keeps its value (CANON-1, ALIGN-1).
    pub cr2: Option<VirtAddr>,
}

impl Fault {
    /// #AC(0).
    pub const ALIGNMENT_CHECK: Self =
        Self { vector: Vector::AlignmentCheck, error_code: 0, cr2: None };

    /// A page fault on a linear address.
    pub const fn page_fault(code: PageFaultCode, address: VirtAddr) -> Self {
        Self { vector: Vector::PageFault, error_code: code.bits(), cr2: Some(address) }
    }
}

/// `#PF(P|W|U) at 0x1234`, `#GP(0)`.
impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.vector.mnemonic())?;

        let code = PageFaultCode::from_bits_retain(self.error_code);
        if self.vector == Vector::PageFault && !code.is_empty() {
            f.write_str("(")?;
            write_flags(f, code)?;
            f.write_str(")")?;
        } else {
            write!(f, "({})", self.error_code)?;
        }

        match self.cr2 {
            Some(address) => write!(f, " at {address}"),
            None => Ok(()),
        }
    }
}

/// Writes the names of the flags, and as a number the bits that have none: `P|W|0x100`.
fn write_flags(f: &mut fmt::Formatter<'_>, code: PageFaultCode) -> fmt::Result {
    for (i, (name, _)) in code.iter_names().enumerate() {
        let separator = if i == 0 { "" } else { "|" };
        write!(f, "{separator}{name}")?;
    }

    let unnamed = code.difference(PageFaultCode::all()).bits();
    if unnamed != 0 {
        write!(f, "|{unnamed:#x}")?;
    }
    Ok(())
}
