//! Why a read or a write of virtual memory does not complete.

use mmu_core::access::SizeError;
use mmu_core::memory::OutsideMemory;
use mmu_core::{AccessError, Fault, PhysAddr};
use std::fmt;

/// A read or a write that did not complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{cause}, {done} bytes after the start")]
pub struct VirtualMemoryError {
    /// What ended it.
    pub cause: FailureCause,
    /// The number of bytes moved before the access that failed, which moved none (AD-7): a multiple
    /// of 4096.
    pub done: usize,
}

/// What ended a read or a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureCause {
    /// The exception that the guest's own access would have caused.
    Fault(Fault),
    /// A table, or the page itself, is at a physical address without memory.
    Outside(OutsideMemory),
    /// The entry at this physical address kept changing while A or D was to be set.
    Contended(PhysAddr),
    /// No instruction makes an access of this size.
    Size(SizeError),
}

impl From<AccessError> for FailureCause {
    fn from(error: AccessError) -> Self {
        match error {
            AccessError::Fault(fault) => Self::Fault(fault),
            AccessError::Memory(outside) => Self::Outside(outside),
            AccessError::Contended(at) => Self::Contended(at),
            AccessError::Size(error) => Self::Size(error),
        }
    }
}

impl fmt::Display for FailureCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fault(fault) => fault.fmt(f),
            Self::Outside(outside) => outside.fmt(f),
            Self::Contended(at) => AccessError::<OutsideMemory>::Contended(*at).fmt(f),
            Self::Size(error) => error.fmt(f),
        }
    }
}
