//! Why an access through the caches does not translate.

use crate::access::SizeError;
use crate::address::PhysAddr;
use crate::memory::OutsideMemory;
use crate::x86::semantics::Cause;
use core::fmt;

/// Why an access has no outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessError {
    /// A table is outside memory (OUT-1). What happens then depends on the machine.
    Outside(OutsideMemory),
    /// The entry at this address changed again and again while A or D was to be set.
    Contended(PhysAddr),
    /// No instruction makes an access of this size.
    Size(SizeError),
}

impl fmt::Display for AccessError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Outside(outside) => outside.fmt(f),
            Self::Contended(at) => write!(f, "the entry at {at} changes faster than it is read"),
            Self::Size(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for AccessError {}

impl From<OutsideMemory> for AccessError {
    fn from(outside: OutsideMemory) -> Self {
        Self::Outside(outside)
    }
}

impl From<SizeError> for AccessError {
    fn from(error: SizeError) -> Self {
        Self::Size(error)
    }
}

/// Why an address is not translated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TranslationError {
    /// A page fault, and its cause.
    Fault(Cause),
    /// There is no outcome.
    Failed(AccessError),
}

impl From<OutsideMemory> for TranslationError {
    fn from(outside: OutsideMemory) -> Self {
        Self::Failed(outside.into())
    }
}
