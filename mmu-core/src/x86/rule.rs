//! The ids of the rules of paging, and sets of them.

use crate::name::{UnknownName, by_name};
use core::fmt;
use core::iter;
use core::str::FromStr;

macro_rules! rules {
    ($($(#[doc = $doc:literal])+ $variant:ident = $id:literal,)+) => {
        /// A rule of x86 paging. The code that implements a rule cites it, the walk reports which
        /// rules decided, and tests are named after them.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum Rule {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl Rule {
            /// Every rule this crate implements, in the order of the specification.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The id, such as `CODE-4`.
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
    /// EFER.LMA decides long-mode paging, not CS.L. Compatibility mode walks 4 or 5 levels, too, with
    /// linear addresses of 32 bits; those of descriptor tables have 64.
    Mode1 = "MODE-1",
    /// CR4.LA57 cannot change while paging in long mode: #GP.
    Mode2 = "MODE-2",
    /// CR4.PSE matters in 32-bit paging only.
    Mode3 = "MODE-3",
    /// With CR4.PSE=0 PDE.PS is ignored, and the entry points to a table.
    Mode4 = "MODE-4",
    /// PSE-36: PDE bits 20:13 are address bits 39:32; those above MAXPHYADDR and bit 21 are reserved.
    Mode5 = "MODE-5",
    /// 4 MiB pages without PSE-36: PDE bits 21:13 are reserved.
    Mode6 = "MODE-6",
    /// Without PAT the PAT bits of leaves are reserved: in 32-bit paging while CR4.PSE=1, in PAE
    /// paging always.
    Mode7 = "MODE-7",
    /// In long mode the base of CR3 is bits MAXPHYADDR-1:12; the flags below never enter it.
    Mode8 = "MODE-8",
    /// CR3 bit 63 with PCIDE=1 asks for no flush and is not stored.
    Mode9 = "MODE-9",
    /// 1 GiB pages need the CPUID bit; without it PS in a PDPTE is reserved.
    Mode10 = "MODE-10",
    /// PAT is bit 7 in a 4 KiB PTE and bit 12 in a large leaf; neither is part of the address.
    Mode11 = "MODE-11",
    /// With CR0.PG=0 the linear address, cut to 32 bits, is the physical address.
    Mode12 = "MODE-12",
    /// A walk uses the PDPTE registers; a later edit in memory is not seen.
    Pdpte1 = "PDPTE-1",
    /// Reserved bits of a PDPTE: #GP(0) on the load, and nothing is loaded.
    Pdpte2 = "PDPTE-2",
    /// PDPTEs have no rights and no A, and restrict nothing.
    Pdpte3 = "PDPTE-3",
    /// Some processors read PDPTEs during the walk; a bad one is then a page fault (choice).
    Pdpte4 = "PDPTE-4",
    /// An entry with P=0 ends the walk; its other bits are not checked.
    Code1 = "CODE-1",
    /// The first bad entry from the top ends the walk; rights are judged on a whole translation.
    Code2 = "CODE-2",
    /// XD is reserved at every level while EFER.NXE=0.
    Code3 = "CODE-3",
    /// Bits 51:MAXPHYADDR are reserved.
    Code4 = "CODE-4",
    /// PS is reserved in a PML4E and a PML5E.
    Code5 = "CODE-5",
    /// The alignment bits of a large leaf are reserved.
    Code6 = "CODE-6",
    /// G in a PML4E: ignored on Intel, must be zero on AMD (choice).
    Code7 = "CODE-7",
    /// I/D is set only for a fetch, and only with SMEP, or with PAE and NXE.
    Code8 = "CODE-8",
    /// U/S tells a user-mode access; an implicit supervisor access reports 0.
    Code9 = "CODE-9",
    /// W/R is 1 for the whole of a read-modify-write.
    Code10 = "CODE-10",
    /// PK is set when a key denies a data access, also when ordinary rights deny it too.
    Code11 = "CODE-11",
    /// CR2 is the first byte that lies in the faulting page; of two the lower page (choice).
    Code12 = "CODE-12",
    /// R/W and U/S count when set at every level; XD counts when set at any.
    Right1 = "RIGHT-1",
    /// CR0.WP=0 lets the supervisor write read-only pages, and D is still set.
    Right2 = "RIGHT-2",
    /// SMEP: no supervisor fetch from a page that is a user page at every level.
    Right3 = "RIGHT-3",
    /// SMAP: no supervisor data access to a user page, but EFLAGS.AC excuses an explicit one.
    Right4 = "RIGHT-4",
    /// PKRU governs user pages at any CPL, PKRS supervisor pages; data accesses only.
    Right5 = "RIGHT-5",
    /// Keys come from the leaf only; WD spares the supervisor while CR0.WP=0.
    Right6 = "RIGHT-6",
    /// A shadow-stack page is read-only and dirty in the leaf and writable above; user and supervisor
    /// must match.
    Right7 = "RIGHT-7",
    /// CLFLUSH counts as a load.
    Right8 = "RIGHT-8",
    /// A is set in every entry used by a completed translation; D in the leaf, on a write only.
    Ad1 = "AD-1",
    /// When the walk faults, entries above the fault may have A set or not (choice).
    Ad2 = "AD-2",
    /// A leaf whose rights deny the access keeps its D; A may be set (choice).
    Ad3 = "AD-3",
    /// A and D are set by locked read-modify-writes; after a lost race the entry is read again.
    Ad4 = "AD-4",
    /// Speculation may set A without an access (choice).
    Ad5 = "AD-5",
    /// One entry used at two levels gets both updates.
    Ad6 = "AD-6",
    /// A write that faults on its second page stores nothing; A and D of the first may be set.
    Ad7 = "AD-7",
    /// A non-canonical address is #SS(0) on the stack and #GP(0) elsewhere, without a walk.
    Canon1 = "CANON-1",
    /// Every byte of an access must be canonical, and is tested before the walk. Where LAM masks the
    /// first byte across 2^64, each byte is masked or all follow the first (choice). Outside 64-bit mode
    /// an access past 4 GiB wraps, or exceeds the limit of its segment (choice).
    Canon2 = "CANON-2",
    /// INVLPG of a non-canonical address does nothing; INVPCID of one raises #GP. The width that the
    /// processor has decides, whether or not CR4.LA57 uses it.
    Canon3 = "CANON-3",
    /// LAM and UAI strip bits of data addresses before the check, not of fetches. UAI does so for DS
    /// and ES only, and CR2 may hold what it strips (choice).
    Canon4 = "CANON-4",
    /// LASS: no user access to the upper half of the addresses and no supervisor access to the lower;
    /// #SS(0) on the stack and #GP(0) elsewhere, without a walk. A supervisor's data are separated with
    /// SMAP only, and EFLAGS.AC excuses an explicit access.
    Canon5 = "CANON-5",
    /// With CR0.AM=1 and EFLAGS.AC=1 a misaligned explicit data access of ring 3 is #AC(0), and A may be
    /// set on its path. Which fault comes first if there is another, and whether 16 bytes are checked,
    /// depends on the processor (choice).
    Align1 = "ALIGN-1",
    /// Nothing is cached from an entry with P=0 or a reserved bit, or before its A is set.
    Tlb1 = "TLB-1",
    /// After an edit without invalidation the old and the new translation are allowed, and mixtures of
    /// old upper with new lower entries (choice).
    Tlb2 = "TLB-2",
    /// A page fault drops what is cached for its address.
    Tlb3 = "TLB-3",
    /// Instructions and register changes that invalidate drop what the manuals say, and no more.
    Tlb4 = "TLB-4",
    /// To change the page size of a live mapping without invalidation is unsafe on some processors.
    Tlb5 = "TLB-5",
    /// A table where there is no memory is the machine's own work (choice).
    Out1 = "OUT-1",
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.id())
    }
}

/// Reads the id that [`Rule::id`] returns.
///
/// ```
/// use mmu_core::Rule;
/// assert_eq!("CODE-4".parse::<Rule>().unwrap(), Rule::Code4);
/// assert!("CODE-99".parse::<Rule>().is_err());
/// ```
impl FromStr for Rule {
    type Err = UnknownName<Self>;

    fn from_str(id: &str) -> Result<Self, Self::Err> {
        by_name(Self::ALL, Self::id, id)
    }
}

/// A set of rules.
///
/// ```
/// use mmu_core::{Rule, RuleSet};
/// let mut hit = RuleSet::default();
/// hit.insert(Rule::Code1);
/// assert!(hit.contains(Rule::Code1));
/// assert_eq!(hit.iter().map(Rule::id).collect::<Vec<_>>(), ["CODE-1"]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct RuleSet(u128);

impl RuleSet {
    /// Adds a rule.
    pub fn insert(&mut self, rule: Rule) {
        self.0 |= 1 << rule as u8;
    }

    /// Adds every rule of another set.
    pub fn extend(&mut self, other: Self) {
        self.0 |= other.0;
    }

    /// Whether the rule is in the set.
    pub fn contains(self, rule: Rule) -> bool {
        self.0 & (1 << rule as u8) != 0
    }

    /// The rules of the set, in the order of the specification.
    pub fn iter(self) -> impl Iterator<Item = Rule> {
        let mut left = self.0;

        iter::from_fn(move || {
            let rule = Rule::ALL.get(left.trailing_zeros() as usize)?;
            left &= left - 1;
            Some(*rule)
        })
    }
}
