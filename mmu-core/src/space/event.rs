//! Events and decisions: the history on which two MMUs must agree.

use super::ids::{SlotNumber, SpaceId};
use crate::address::{PhysAddr, VirtAddr};
use crate::x86::fault::Fault;
use core::fmt;

/// The decision about a page fault, in the classes of the textbooks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Decision {
    /// The fault was served without the store.
    Minor(Minor),
    /// The page came from this slot of the backing store.
    Major(SlotNumber),
    /// The access is not allowed, so the process must be ended.
    Invalid(Invalid),
}

impl Decision {
    /// `minor`, `major` or `invalid`.
    pub const fn kind(self) -> &'static str {
        match self {
            Self::Minor(_) => "minor",
            Self::Major(_) => "major",
            Self::Invalid(_) => "invalid",
        }
    }
}

/// How a fault was served without the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Minor {
    /// A frame of zeros.
    ZeroFill,
    /// A frame that is already in memory for other spaces that share it.
    MapShared,
    /// Copy-on-write: the writer gets a copy, and the others keep the frame.
    Copy,
    /// Copy-on-write when no other space has the frame any more: the writer keeps it.
    Reuse,
    /// The tables already allow the access: the translation that faulted was an old one. The same
    /// fault once more is [`Invalid::Processor`].
    Spurious,
}

/// Why an access is not allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Invalid {
    /// No region holds the address.
    NoRegion,
    /// A guard region holds the address.
    Guard,
    /// A write to a region that may not be written.
    ReadOnly,
    /// A fetch from a region that may not be executed.
    NoExecute,
    /// A user access to a region of the supervisor.
    Supervisor,
    /// The address is not canonical, or the exception is neither a page fault nor #AC.
    NotCanonical,
    /// The access is misaligned, and its alignment is checked.
    Misaligned,
    /// A reserved bit is set in an entry: the tables are damaged.
    Reserved,
    /// A protection key forbids it. The system gives no page a key, so PKRU or PKRS forbids key 0.
    ProtectionKey,
    /// A shadow-stack access: no region is a shadow stack.
    ShadowStack,
    /// The tables allow it and the processor does not: SMAP or SMEP forbids the supervisor a user
    /// page, or the error code names a cause outside the tables, such as SGX.
    Processor,
}

/// `minor: zero-fill`, `major: from slot 3`, `invalid: guard page`.
impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let why = match self {
            Self::Major(slot) => return write!(f, "major: from slot {}", slot.0),
            Self::Minor(Minor::ZeroFill) => "zero-fill",
            Self::Minor(Minor::MapShared) => "shared frame",
            Self::Minor(Minor::Copy) => "copy-on-write, copied",
            Self::Minor(Minor::Reuse) => "copy-on-write, the last one",
            Self::Minor(Minor::Spurious) => "old translation",
            Self::Invalid(Invalid::NoRegion) => "no region",
            Self::Invalid(Invalid::Guard) => "guard page",
            Self::Invalid(Invalid::ReadOnly) => "write to read-only",
            Self::Invalid(Invalid::NoExecute) => "fetch from no-execute",
            Self::Invalid(Invalid::Supervisor) => "supervisor's page",
            Self::Invalid(Invalid::NotCanonical) => "not canonical",
            Self::Invalid(Invalid::Misaligned) => "misaligned access",
            Self::Invalid(Invalid::Reserved) => "reserved bit in an entry",
            Self::Invalid(Invalid::ProtectionKey) => "protection key",
            Self::Invalid(Invalid::ShadowStack) => "shadow-stack access",
            Self::Invalid(Invalid::Processor) => "denied by the processor, not by the tables",
        };
        write!(f, "{}: {why}", self.kind())
    }
}

/// One event of the history.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// A fault was decided.
    Fault {
        /// The space of the process that faulted.
        space: SpaceId,
        /// The fault as the processor reported it.
        fault: Fault,
        /// The decision about it.
        decision: Decision,
        /// The frame in which the page is now, if it is in one.
        frame: Option<PhysAddr>,
    },
    /// A stack grew to reach an address.
    Grown {
        /// The space of the stack.
        space: SpaceId,
        /// The first address of the stack now.
        start: VirtAddr,
    },
    /// The clock's hand passed a frame whose A was set. A was cleared, and the frame stays.
    SecondChance {
        /// The frame.
        frame: PhysAddr,
    },
    /// A frame was taken from the spaces that had it.
    Evicted {
        /// The frame.
        frame: PhysAddr,
        /// The first of these spaces, and the page there.
        from: Option<(SpaceId, VirtAddr)>,
        /// The slot to which it was written, if it was dirty.
        written: Option<SlotNumber>,
    },
}

/// Counts of events since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Faults served without the store.
    pub minor: u64,
    /// Faults served from the store.
    pub major: u64,
    /// Faults that end a process.
    pub invalid: u64,
    /// Frames filled with zeros for a process.
    pub zero_fills: u64,
    /// Frames copied for copy-on-write.
    pub copies: u64,
    /// Frames taken by the clock.
    pub evicted: u64,
    /// Frames that the clock spared because A was set.
    pub second_chances: u64,
    /// Pages written to the store.
    pub written: u64,
    /// Pages read from the store.
    pub read: u64,
    /// Translations of one page shot down.
    pub pages_forgotten: u64,
    /// Translations of a whole space shot down.
    pub spaces_forgotten: u64,
}

impl Statistics {
    /// Counts a fault.
    pub(super) const fn count(&mut self, decision: Decision) {
        match decision {
            Decision::Minor(minor) => {
                self.minor += 1;
                self.zero_fills += matches!(minor, Minor::ZeroFill) as u64;
                self.copies += matches!(minor, Minor::Copy) as u64;
            }
            Decision::Major(_) => self.major += 1,
            Decision::Invalid(_) => self.invalid += 1,
        }
    }
}
