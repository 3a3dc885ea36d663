//! A field in which an observation differs from an allowed outcome.

use mmu_core::name::{UnknownName, by_name};
use std::fmt;
use std::str::FromStr;

/// What can differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Field {
    /// Whether there was an exception, and which one.
    Vector,
    /// The error code of the exception.
    ErrorCode,
    /// CR2: the address of a page fault, or a value that should not have changed.
    Cr2,
    /// The RIP that the exception saved.
    SavedRip,
    /// CS, RFLAGS or RSP as the exception saved them.
    SavedFrame,
    /// A register that an instruction has changed although it faulted.
    Register,
    /// The value that was read; it proves where it was read.
    Value,
    /// The bytes of data memory that changed.
    Stored,
    /// The accesses that reached an address without memory.
    Outside,
    /// A table entry after the run.
    Entry,
    /// What a control register holds after a MOV of a sequence.
    ControlRegister,
    /// How far an instruction with a source has moved its operands.
    Operands,
}

impl Field {
    /// Every field.
    pub const ALL: [Self; 12] = [
        Self::Vector,
        Self::ErrorCode,
        Self::Cr2,
        Self::SavedRip,
        Self::SavedFrame,
        Self::Register,
        Self::Value,
        Self::Stored,
        Self::Outside,
        Self::Entry,
        Self::ControlRegister,
        Self::Operands,
    ];

    /// The name used in reports and in files of known findings.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Vector => "vector",
            Self::ErrorCode => "error_code",
            Self::Cr2 => "cr2",
            Self::SavedRip => "saved_rip",
            Self::SavedFrame => "saved_frame",
            Self::Register => "register",
            Self::Value => "value",
            Self::Stored => "stored",
            Self::Outside => "outside",
            Self::Entry => "entry",
            Self::ControlRegister => "control_register",
            Self::Operands => "operands",
        }
    }
}

/// Reads the name of a field: see [`Field::name`].
impl FromStr for Field {
    type Err = UnknownName<Self>;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        by_name(&Self::ALL, Self::name, name)
    }
}

/// One field that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The field.
    pub field: Field,
    /// What the prediction has.
    pub expected: String,
    /// What the machine did.
    pub observed: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { field, expected, observed } = self;
        write!(f, "{}: expected {expected}, observed {observed}", field.name())
    }
}
