//! The end of an access, in six classes.

use mmu_core::name::{UnknownName, by_name};
use mmu_core::{Outcome, PageFaultCode, Vector};
use std::str::FromStr;

/// How an access ended: completed, or the class of its fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum End {
    /// It completed.
    Completed,
    /// An entry was not present.
    NotPresent,
    /// A reserved bit was set.
    Reserved,
    /// The rights denied it.
    Denied,
    /// The address was not canonical, or violated LASS.
    BadAddress,
    /// It was misaligned.
    Misaligned,
}

impl End {
    /// Every end.
    pub const ALL: [Self; 6] = [
        Self::Completed,
        Self::NotPresent,
        Self::Reserved,
        Self::Denied,
        Self::BadAddress,
        Self::Misaligned,
    ];

    /// The end of an outcome.
    pub fn of(outcome: &Outcome) -> Self {
        let Some(fault) = outcome.fault() else { return Self::Completed };
        match fault.vector {
            Vector::PageFault => {}
            Vector::AlignmentCheck => return Self::Misaligned,
            Vector::StackFault | Vector::GeneralProtection => return Self::BadAddress,
        }

        let code = PageFaultCode::from_bits_retain(fault.error_code);
        if code.contains(PageFaultCode::RSVD) {
            Self::Reserved
        } else if code.contains(PageFaultCode::P) {
            Self::Denied
        } else {
            Self::NotPresent
        }
    }

    /// The name used in reports and in files of known findings.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::NotPresent => "not present",
            Self::Reserved => "reserved bit",
            Self::Denied => "denied",
            Self::BadAddress => "bad address",
            Self::Misaligned => "misaligned",
        }
    }
}

/// Reads the name of an end: see [`End::name`].
impl FromStr for End {
    type Err = UnknownName<Self>;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        by_name(&Self::ALL, Self::name, name)
    }
}
