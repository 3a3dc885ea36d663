//! Mutants: walkers with one mistake that a real walker once had.

mod decisions;
mod fetches;
mod in_sequences;
mod invalidations;
mod movs;
mod operands;
mod pair;
mod pdptes;
mod rings;
mod saved_rip;
mod spurious;
mod stateful;
mod straddle;
mod submode;
mod write_back;

pub use pair::{PAIRS, Pair};

#[cfg(doc)]
use super::Combined;
use super::{DynSemantics, Walker};
use mmu_core::{Features, PagingMode, Rule};
use std::sync::LazyLock;

/// A walker with one mistake.
#[derive(Clone, Copy)]
pub struct Mutant {
    /// The id in the list of historical bugs.
    pub id: &'static str,
    /// The rule that it breaks; `None` if it breaks no rule but walks to another place.
    pub rule: Option<Rule>,
    /// The mistake.
    pub mistake: &'static str,
    /// Where the mistake happened: a project, with the commit or report.
    pub origin: &'static str,
    /// What a machine must have for the mistake to show; all of these.
    pub needs: &'static [Need],
    /// The semantics with the mistake, if it is in one access. Such mistakes can be combined
    /// ([`Combined`]).
    pub semantics: Option<&'static dyn DynSemantics>,
    /// The walker.
    pub walker: &'static dyn Walker,
}

/// Every mutant, by id.
pub static MUTANTS: LazyLock<Vec<Mutant>> = LazyLock::new(|| {
    let mut all = [
        decisions::MUTANTS,
        stateful::MUTANTS,
        invalidations::MUTANTS,
        movs::MUTANTS,
        operands::MUTANTS,
        rings::MUTANTS,
        fetches::MUTANTS,
        pdptes::MUTANTS,
        spurious::MUTANTS,
        straddle::MUTANTS,
        submode::MUTANTS,
        saved_rip::MUTANTS,
        write_back::MUTANTS,
    ]
    .concat();
    all.sort_unstable_by_key(|mutant| mutant.id);
    all
});

/// A mistake that no case can show, because the guest cannot do what it takes.
#[derive(Clone, Copy, Debug)]
pub struct Unreachable {
    /// The id in the list of historical bugs.
    pub id: &'static str,
    /// The mistake.
    pub mistake: &'static str,
    /// Where the mistake happened.
    pub origin: &'static str,
    /// What a machine must have.
    pub needs: &'static [Need],
    /// What the guest would have to do on such a machine.
    pub guest: &'static str,
}

/// The historical bugs for which there is no mutant.
pub const UNREACHABLE: &[Unreachable] = &[
    Unreachable {
        id: "M20",
        mistake: "the canonical check skipped outside a 64-bit code segment",
        origin: "Bochs 975c11fe0",
        needs: &[Need::Implicit],
        guest: "read a descriptor at an address that is not canonical from 32-bit code in long mode: \
                other addresses have 32 bits there",
    },
    Unreachable {
        id: "M22",
        mistake: "EPT misconfiguration and violation in the wrong order",
        origin: "Bochs 4d0a5c1b0",
        needs: &[Need::Vmx],
        guest: "run a guest of its own under EPT",
    },
    Unreachable {
        id: "M23",
        mistake: "the shadow-stack rule applied without CR0.WP",
        origin: "Bochs #555",
        needs: &[Need::Feature(Features::CET_SS)],
        guest: "make shadow-stack accesses",
    },
    Unreachable {
        id: "M28",
        mistake: "EPT exit-qualification bits in the wrong order",
        origin: "KVM 0780516a18f8",
        needs: &[Need::Vmx],
        guest: "run a guest of its own under EPT",
    },
];

/// What a machine must have for a mistake to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// The paging mode.
    Mode(PagingMode),
    /// The feature: in CPUID, or obeyed without being there.
    Feature(Features),
    /// The feature in CPUID, so that the guest itself can turn it on.
    Reported(Features),
    /// No support for the feature.
    Lacks(Features),
    /// A vendor whose processors reserve G in a PML4E (CODE-7).
    Amd,
    /// A MAXPHYADDR above this number of bits.
    BitsAbove(u8),
    /// A MAXPHYADDR below this number of bits.
    BitsBelow(u8),
    /// Memory at high physical addresses.
    HighMemory,
    /// Descriptor reads that use the guest's own table.
    Implicit,
    /// Code in compatibility mode.
    Compatibility,
    /// An LLDT that takes a base that is not canonical.
    AnyLocalTable,
    /// Tables in memory that is read-only to the guest.
    ReadOnlyTables,
    /// A guest that survives a MOV to CR3 or CR4 of a reserved bit.
    ReservedMovs,
    /// Virtual machines with extended page tables.
    Vmx,
    /// WRPKRU in ring 0.
    LoadsPkru,
    /// A vendor whose processors repeat a walk before they report a page fault (TLB-2).
    RepeatsWalks,
    /// PDPTEs of PAE paging in registers, and not read during the walk (PDPTE-4).
    PdptesInRegisters,
    /// Any of these.
    OneOf(&'static [Self]),
}
