//! The names of checks, and sets of them.

use std::fmt;
use std::str::FromStr;

/// Something that an audit looks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuditCheck {
    /// Pages that are writable and executable.
    Wx,
    /// Pages that are executable and not writable, whose frames are writable through another address: by the
    /// same kind of code, or by user code where the supervisor executes. Pages that are both are of [`Self::Wx`].
    WxAlias,
    /// Supervisor pages whose frames are user pages elsewhere. A kernel that maps all memory has many.
    UserKernelAlias,
    /// Entries with reserved bits set.
    ReservedBit,
    /// Pages whose leaf grants more than the path does.
    LeafVsEffective,
    /// Tables that are not in the image.
    TableOutsideImage,
    /// Tables that the image has, and that cannot be read: the file is damaged there, or the host does not read it.
    UnreadableTable,
    /// Pages that user code can write and that are page tables.
    UserWritableTable,
}

impl AuditCheck {
    /// Every check.
    pub const ALL: [Self; 8] = [
        Self::Wx,
        Self::WxAlias,
        Self::UserKernelAlias,
        Self::ReservedBit,
        Self::LeafVsEffective,
        Self::TableOutsideImage,
        Self::UnreadableTable,
        Self::UserWritableTable,
    ];

    /// The name on the command line and in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Wx => "wx",
            Self::WxAlias => "wx-alias",
            Self::UserKernelAlias => "user-kernel-alias",
            Self::ReservedBit => "reserved-bit",
            Self::LeafVsEffective => "leaf-vs-effective",
            Self::TableOutsideImage => "table-outside-image",
            Self::UnreadableTable => "unreadable-table",
            Self::UserWritableTable => "user-writable-table",
        }
    }
}

impl fmt::Display for AuditCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A set of checks.
///
/// ```
/// use crosswalk_inspect::{AuditCheck, AuditChecks};
///
/// let checks: AuditChecks = "wx,reserved-bit".parse().unwrap();
/// assert!(checks.contains(AuditCheck::Wx) && !checks.contains(AuditCheck::WxAlias));
/// assert!(!AuditChecks::default().contains(AuditCheck::UserKernelAlias));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuditChecks([bool; AuditCheck::ALL.len()]);

impl AuditChecks {
    const ALL: Self = Self([true; AuditCheck::ALL.len()]);

    /// Whether a check is in the set.
    pub const fn contains(self, check: AuditCheck) -> bool {
        self.0[check as usize]
    }

    /// Whether any of them is about what several entries do with one frame.
    pub(super) const fn need_frames(self) -> bool {
        self.contains(AuditCheck::WxAlias)
            || self.contains(AuditCheck::UserKernelAlias)
            || self.contains(AuditCheck::UserWritableTable)
    }
}

impl Default for AuditChecks {
    /// Without those that ordinary kernels do not pass.
    fn default() -> Self {
        let mut checks = Self::ALL;
        for usual in [AuditCheck::UserKernelAlias, AuditCheck::LeafVsEffective] {
            checks.0[usual as usize] = false;
        }
        checks
    }
}

/// The error for a check that does not exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditChecksError(String);

impl fmt::Display for AuditChecksError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = AuditCheck::ALL.map(AuditCheck::name).join(", ");
        let name = if self.0.is_empty() { "a check is missing" } else { &self.0 };
        write!(f, "{name}: expected all, or some of {names}")
    }
}

impl std::error::Error for AuditChecksError {}

impl FromStr for AuditChecks {
    type Err = AuditChecksError;

    fn from_str(text: &str) -> Result<Self, AuditChecksError> {
        if text == "all" {
            return Ok(Self::ALL);
        }

        let mut checks = Self([false; AuditCheck::ALL.len()]);
        for name in text.split(',') {
            let found = AuditCheck::ALL.into_iter().find(|check| check.name() == name);
            let check = found.ok_or_else(|| AuditChecksError(name.to_owned()))?;
            checks.0[check as usize] = true;
        }
        Ok(checks)
    }
}
