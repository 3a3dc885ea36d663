//! The ids of the rules of nested translation, and sets of them. They stand apart from
//! [`Rule`](crate::Rule), since no walk with one level of tables can meet them.

use crate::name::{UnknownName, by_name};
use crate::x86::rule::Rule;
use core::fmt;
use core::str::FromStr;

macro_rules! rules {
    ($($(#[doc = $doc:literal])+ $variant:ident = $id:literal,)+) => {
        /// A rule of nested translation.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum NestedRule {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl NestedRule {
            /// Every rule, in the order of the guide.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The id, such as `NEST-3`.
            pub const fn id(self) -> &'static str {
                match self { $(Self::$variant => $id,)+ }
            }

            /// The rule in a sentence or two.
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$variant => concat!($($doc),+).trim_ascii(),)+ }
            }
        }
    };
}

rules! {
    /// The second level translates every guest-physical address that a walk meets: those of the guest's
    /// tables, and the one that the walk ends at. The linear address of a guest without paging is one, too.
    Nest1 = "NEST-1",
    /// NPT: an access to a guest's table is a user access that writes. It needs R/W and U/S at every
    /// level, whatever the guest does, and sets D; XD does not restrict it.
    Nest2 = "NEST-2",
    /// EPT: a present entry that is not well-formed is a misconfiguration: W without R, X alone without
    /// the capability, a reserved bit, or a reserved memory type. It outranks a violation of rights.
    Nest3 = "NEST-3",
    /// A guest entry above the guest's MAXPHYADDR is a page fault of the guest. A MAXPHYADDR smaller than
    /// the processor's is not enforced by the processor: it is the hypervisor's own work.
    Nest4 = "NEST-4",
    /// The first failure in the order of the walk decides. A fault on a table outranks what its entry
    /// holds, and the guest's rights are judged before its page is translated.
    Nest5 = "NEST-5",
    /// The guest's A and D are set before its page is translated, and stay set if that fails.
    Nest6 = "NEST-6",
    /// NPT: the host's mode is the format, its EFER.NXE governs XD, and PDPTEs are read during the walk.
    /// Each access is a user access; the host's SMEP, SMAP, WP and protection keys do not restrict it.
    Nest7 = "NEST-7",
    /// A nested page fault reports the error code of the second level's access in EXITINFO1, with bit 33
    /// for a guest's table and bit 32 for its page, and the guest-physical address in EXITINFO2. I/D
    /// without EFER.NXE, and the offset of a table's entry, are not defined (choice).
    Nest8 = "NEST-8",
    /// EPT: while its A and D are enabled, an access to a guest's table reads and writes, and sets D.
    /// Otherwise it reads, and writes only if it changes A or D; whether it does so on the way down or at
    /// the end depends on the processor (choice).
    Nest9 = "NEST-9",
    /// The exit qualification of an EPT violation has the access in bits 2:0, what all entries allow in
    /// bits 5:3, and whether the linear address is known and was translated in bits 7 and 8. Whether a
    /// read-modify-write sets bit 0 depends on the processor (choice).
    Nest10 = "NEST-10",
    /// With mode-based execute control bit 10 of an EPT entry allows fetches from user-mode linear
    /// addresses, and bit 2 those from supervisor-mode ones. The guest's U/S decides which an address is.
    Nest11 = "NEST-11",
    /// A guest-physical address with more bits than the second level translates is not translated. What
    /// the exit reports besides is not defined.
    Nest12 = "NEST-12",
    /// A PAE guest's PDPTEs: NPT reads them during each walk, EPT has them in registers.
    Nest13 = "NEST-13",
}

impl fmt::Display for NestedRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.id())
    }
}

/// Reads the id that [`NestedRule::id`] returns.
///
/// ```
/// use mmu_core::nested::NestedRule;
/// assert_eq!("NEST-3".parse::<NestedRule>().unwrap(), NestedRule::Nest3);
/// assert!("NEST-99".parse::<NestedRule>().is_err());
/// ```
impl FromStr for NestedRule {
    type Err = UnknownName<Self>;

    fn from_str(id: &str) -> Result<Self, Self::Err> {
        by_name(Self::ALL, Self::id, id)
    }
}

/// A set of rules of nested translation.
///
/// ```
/// use mmu_core::nested::{NestedRule, NestedRuleSet};
/// let mut hit = NestedRuleSet::default();
/// hit.insert(NestedRule::Nest5);
/// assert_eq!(hit.iter().map(NestedRule::id).collect::<Vec<_>>(), ["NEST-5"]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct NestedRuleSet(u32);

impl NestedRuleSet {
    /// Adds a rule.
    pub fn insert(&mut self, rule: NestedRule) {
        self.0 |= 1 << rule as u8;
    }

    /// Adds every rule of another set.
    pub fn extend(&mut self, other: Self) {
        self.0 |= other.0;
    }

    /// Whether the rule is in the set.
    pub const fn contains(self, rule: NestedRule) -> bool {
        self.0 & (1 << rule as u8) != 0
    }

    /// The rules of the set, in the order of the guide.
    pub fn iter(self) -> impl Iterator<Item = NestedRule> {
        NestedRule::ALL.iter().copied().filter(move |rule| self.contains(*rule))
    }
}

/// A rule of paging, or of nested translation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AnyRule {
    /// About the tables of either dimension.
    Paging(Rule),
    /// About both of them together.
    Nested(NestedRule),
}

impl AnyRule {
    /// The id, such as `CODE-7` or `NEST-8`.
    pub const fn id(self) -> &'static str {
        match self {
            Self::Paging(rule) => rule.id(),
            Self::Nested(rule) => rule.id(),
        }
    }

    /// The rule in a sentence or two.
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Paging(rule) => rule.meaning(),
            Self::Nested(rule) => rule.meaning(),
        }
    }
}

impl From<Rule> for AnyRule {
    fn from(rule: Rule) -> Self {
        Self::Paging(rule)
    }
}

impl From<NestedRule> for AnyRule {
    fn from(rule: NestedRule) -> Self {
        Self::Nested(rule)
    }
}

impl fmt::Display for AnyRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.id())
    }
}
