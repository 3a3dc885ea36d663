//! What a nested walk returns.

use super::rule::{AnyRule, NestedRuleSet};
use crate::access::MAX_PAGES;
use crate::address::PhysAddr;
use crate::outcome::Span;
use crate::x86::fault::Fault;
use crate::x86::format::Level;
use crate::x86::rule::RuleSet;
use alloc::vec::Vec;
use arrayvec::ArrayVec;
use core::fmt;

/// Whose tables an entry belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Dimension {
    /// The guest's, which translate linear addresses.
    Guest,
    /// The second level's, which translate guest-physical addresses.
    Second,
}

impl Dimension {
    /// The name used in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Guest => "guest",
            Self::Second => "second",
        }
    }
}

/// The exit that ends an access which the second level refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NestedExit {
    /// `#VMEXIT(NPF)`: AMD's nested page fault (NEST-8).
    NestedPageFault {
        /// EXITINFO1: the error code, and what was translated.
        info1: u64,
        /// The bits of EXITINFO1 that are defined.
        info1_known: u64,
        /// EXITINFO2: the guest-physical address.
        info2: u64,
    },
    /// Intel's EPT violation (NEST-10).
    EptViolation {
        /// The exit qualification.
        qualification: u64,
        /// The bits of it that are defined.
        qualification_known: u64,
        /// The guest-physical address.
        guest_physical: u64,
        /// The guest's linear address; `None` where the field is not defined.
        linear: Option<u64>,
    },
    /// Intel's EPT misconfiguration (NEST-3).
    EptMisconfiguration {
        /// The guest-physical address.
        guest_physical: u64,
        /// The bits of the exit qualification that are defined, as 0: all of them.
        qualification_known: u64,
    },
}

impl NestedExit {
    /// The guest-physical address that is reported.
    pub const fn guest_physical(&self) -> u64 {
        match *self {
            Self::NestedPageFault { info2, .. } => info2,
            Self::EptViolation { guest_physical, .. }
            | Self::EptMisconfiguration { guest_physical, .. } => guest_physical,
        }
    }

    /// Whether an observed exit is this one, as far as its bits are defined.
    ///
    /// ```
    /// use mmu_core::nested::NestedExit;
    /// let predicted =
    ///     NestedExit::NestedPageFault { info1: 1 << 32 | 4, info1_known: 3 << 32 | 0x1f, info2: 0x5000 };
    /// let seen = |info1| NestedExit::NestedPageFault { info1, info1_known: !0, info2: 0x5000 };
    /// assert!(predicted.allows(&seen(1 << 32 | 4)));
    /// assert!(predicted.allows(&seen(1 << 63 | 1 << 32 | 4)));
    /// assert!(!predicted.allows(&seen(1 << 33 | 4)));
    /// ```
    pub fn allows(&self, observed: &Self) -> bool {
        match (*self, *observed) {
            (
                Self::NestedPageFault { info1, info1_known, info2 },
                Self::NestedPageFault { info1: seen, info2: at, .. },
            ) => (info1 ^ seen) & info1_known == 0 && info2 == at,
            (
                Self::EptViolation { qualification, qualification_known, guest_physical, linear },
                Self::EptViolation {
                    qualification: seen, guest_physical: at, linear: from, ..
                },
            ) => {
                (qualification ^ seen) & qualification_known == 0
                    && guest_physical == at
                    && (linear.is_none() || linear == from)
            }
            (predicted, observed) => predicted == observed,
        }
    }
}

/// `NPF 0x100000006 at GPA 0x5000`, `EPT violation 0x181 at GPA 0x5000`.
impl fmt::Display for NestedExit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::NestedPageFault { info1, .. } => write!(f, "NPF {info1:#x}")?,
            Self::EptViolation { qualification, .. } => {
                write!(f, "EPT violation {qualification:#x}")?;
            }
            Self::EptMisconfiguration { .. } => f.write_str("EPT misconfiguration")?,
        }
        write!(f, " at GPA {:#x}", self.guest_physical())
    }
}

/// How an access of a guest ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NestedEnd {
    /// It completes, on these bytes of host-physical memory: one span for each 4 KiB page that it touches,
    /// in the order of linear addresses.
    Translated(ArrayVec<Span, MAX_PAGES>),
    /// The guest takes this exception.
    Fault(Fault),
    /// The processor leaves the guest.
    Exit(NestedExit),
}

impl NestedEnd {
    /// The host-physical address of the first byte, if the access completes.
    pub fn physical_address(&self) -> Option<PhysAddr> {
        match self {
            Self::Translated(spans) => spans.first().map(|span| span.address),
            Self::Fault(_) | Self::Exit(_) => None,
        }
    }

    /// The guest's exception, if it takes one.
    pub const fn fault(&self) -> Option<&Fault> {
        match self {
            Self::Fault(fault) => Some(fault),
            Self::Translated(_) | Self::Exit(_) => None,
        }
    }

    /// The exit, if there is one.
    pub const fn exit(&self) -> Option<&NestedExit> {
        match self {
            Self::Exit(exit) => Some(exit),
            Self::Translated(_) | Self::Fault(_) => None,
        }
    }
}

/// `0x50234`, `#PF(P|W|U) at 0x1234`, `NPF 0x100000006 at GPA 0x5000`.
impl fmt::Display for NestedEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Translated(spans) => {
                for (number, span) in spans.iter().enumerate() {
                    let separator = if number == 0 { "" } else { ", " };
                    write!(f, "{separator}{}", span.address)?;
                }
                Ok(())
            }
            Self::Fault(fault) => fault.fmt(f),
            Self::Exit(exit) => exit.fmt(f),
        }
    }
}

/// How an access changes one entry of either dimension: the A and D bits that are set, and those that
/// may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NestedUpdate {
    /// Whose entry it is.
    pub dimension: Dimension,
    /// Its host-physical address.
    pub at: PhysAddr,
    /// Number of its bytes, 4 or 8.
    pub bytes: u8,
    /// Its level.
    pub level: &'static Level,
    /// Its value before the access.
    pub before: u64,
    /// Bits that must be set afterwards.
    pub must_set: u64,
    /// Bits that may or may not be set afterwards.
    pub may_set: u64,
    /// The rule that leaves the `may_set` bits open; meaningless if there are none.
    pub open_by: AnyRule,
}

impl NestedUpdate {
    /// Whether the entry may have this value after the access.
    pub const fn allows(&self, after: u64) -> bool {
        (after ^ (self.before | self.must_set)) & !self.open_bits() == 0
    }

    /// The bits that were clear before and may be set or not.
    pub const fn open_bits(&self) -> u64 {
        self.may_set & !(self.before | self.must_set)
    }
}

/// One outcome that is allowed for an access.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NestedAlternative {
    /// How the access ends.
    pub end: NestedEnd,
    /// The updates of the entries of both dimensions. An entry that serves twice in one dimension is
    /// listed once; one that serves in both, once for each.
    pub updates: Vec<NestedUpdate>,
    /// If a rule leaves a choice: the rule, and the member of the choice that leads here.
    pub choice: Option<(AnyRule, &'static str)>,
}

/// Every outcome that is allowed for an access of a guest, and the rules that led there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NestedPrediction {
    /// The alternatives, at least one, the likeliest first.
    pub alternatives: Vec<NestedAlternative>,
    /// The rules of paging that decided in the guest's dimension.
    pub rules: RuleSet,
    /// The rules of nested translation that decided.
    pub nested_rules: NestedRuleSet,
}

impl NestedPrediction {
    /// Adds an alternative, unless an equal one is there. A choice whose members make no difference has
    /// decided nothing, so only a new alternative counts its rule.
    pub(super) fn add(&mut self, alternative: NestedAlternative) {
        let is_known = self
            .alternatives
            .iter()
            .any(|known| known.end == alternative.end && known.updates == alternative.updates);
        if is_known {
            return;
        }

        match alternative.choice {
            Some((AnyRule::Paging(rule), _)) => self.rules.insert(rule),
            Some((AnyRule::Nested(rule), _)) => self.nested_rules.insert(rule),
            None => {}
        }
        self.alternatives.push(alternative);
    }
}
