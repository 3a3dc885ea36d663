//! Processors with one mistake each, to see that the catalogue would find it.

use crate::catalogue;
use crate::test::Litmus;
use mmu_core::PageFaultCode;
use mmu_core::cache::Invalidation;
use mmu_core::litmus::{CachedEnd, CachedPath, LitmusError, LitmusSemantics};

/// A processor with one mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LitmusMutant {
    /// Its id.
    pub id: &'static str,
    /// The rule that it breaks.
    pub rule: &'static str,
    /// The mistake.
    pub mistake: &'static str,
    does: Mistake,
}

/// The mistakes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mistake {
    InvlpgIdle,
    InvlpgForgetsStructures,
    InvlpgSparesGlobal,
    Cr3Idle,
    Cr3ForgetsStructures,
    PgeSparesGlobal,
    FaultDropsNothing,
    CachesAbsent,
    CachesBeforeAccessed,
    FlagsUnlocked,
    DirtyLost,
    SerializingPassesStores,
    StoresReordered,
    WalkPassesStores,
}

/// Every mutant.
pub const MUTANTS: &[LitmusMutant] = &[
    mutant("LM1", "TLB-4", "INVLPG drops nothing", Mistake::InvlpgIdle),
    mutant(
        "LM2",
        "TLB-4",
        "INVLPG forgets the paging-structure caches",
        Mistake::InvlpgForgetsStructures,
    ),
    mutant("LM3", "TLB-4", "a global translation survives INVLPG", Mistake::InvlpgSparesGlobal),
    mutant("LM4", "TLB-4", "MOV to CR3 drops nothing", Mistake::Cr3Idle),
    mutant(
        "LM5",
        "TLB-4",
        "MOV to CR3 forgets the paging-structure caches",
        Mistake::Cr3ForgetsStructures,
    ),
    mutant(
        "LM6",
        "TLB-4",
        "a global translation survives a change of CR4.PGE",
        Mistake::PgeSparesGlobal,
    ),
    mutant(
        "LM7",
        "TLB-3",
        "a page fault drops nothing, so that a spurious one comes again",
        Mistake::FaultDropsNothing,
    ),
    mutant("LM8", "TLB-1", "an entry that is not present is cached", Mistake::CachesAbsent),
    mutant("LM9", "TLB-1", "an entry is cached before its A is set", Mistake::CachesBeforeAccessed),
    mutant("LM10", "AD-4", "A and D are set by a load and a store", Mistake::FlagsUnlocked),
    mutant(
        "LM11",
        "AD-1",
        "a write through a cached translation does not set D",
        Mistake::DirtyLost,
    ),
    mutant(
        "LM12",
        "TLB-4",
        "INVLPG does not wait for earlier stores",
        Mistake::SerializingPassesStores,
    ),
    mutant("LM13", "TLB-2", "stores reach memory in any order", Mistake::StoresReordered),
    mutant(
        "LM14",
        "TLB-2",
        "a walk does not see earlier stores of its own processor",
        Mistake::WalkPassesStores,
    ),
];

const fn mutant(
    id: &'static str,
    rule: &'static str,
    mistake: &'static str,
    does: Mistake,
) -> LitmusMutant {
    LitmusMutant { id, rule, mistake, does }
}

impl LitmusMutant {
    /// The first test of the catalogue in which it shows what is forbidden, and the outcome.
    ///
    /// # Errors
    /// If a test cannot be judged.
    pub fn caught(&self) -> Result<Option<(String, String)>, LitmusError> {
        for test in catalogue::all() {
            if let Some(outcome) = self.shows_forbidden(&test)? {
                return Ok(Some((test.name, outcome)));
            }
        }
        Ok(None)
    }

    /// An outcome of a test that it shows and that is forbidden.
    fn shows_forbidden(&self, test: &Litmus) -> Result<Option<String>, LitmusError> {
        let allowed = test.judge()?;
        let shown = test.judge_as(self.does)?;
        let mut outcomes = shown.outcomes.into_keys();
        Ok(outcomes.find(|outcome| !allowed.outcomes.contains_key(outcome)))
    }
}

impl LitmusSemantics for Mistake {
    fn invlpg(&self, by_manual: Invalidation) -> Invalidation {
        if *self == Self::InvlpgIdle { Invalidation::Nothing } else { by_manual }
    }

    fn register_write(&self, by_manual: Invalidation) -> Invalidation {
        let is_context = matches!(by_manual, Invalidation::Context { .. });
        if *self == Self::Cr3Idle && is_context { Invalidation::Nothing } else { by_manual }
    }

    fn page_fault(&self, _code: PageFaultCode, by_manual: Invalidation) -> Invalidation {
        if *self == Self::FaultDropsNothing { Invalidation::Nothing } else { by_manual }
    }

    fn drops(&self, path: &CachedPath, what: Invalidation, by_manual: bool) -> bool {
        let is_structure = path.end == CachedEnd::Table;
        let spares = match what {
            Invalidation::Page { .. } => {
                *self == Self::InvlpgForgetsStructures && is_structure
                    || *self == Self::InvlpgSparesGlobal && path.global
            }
            Invalidation::Context { .. } => *self == Self::Cr3ForgetsStructures && is_structure,
            Invalidation::Everything => *self == Self::PgeSparesGlobal && path.global,
            _ => false,
        };
        by_manual && !spares
    }

    fn caches_absent_entries(&self) -> bool {
        *self == Self::CachesAbsent
    }

    fn caches_before_accessed(&self) -> bool {
        *self == Self::CachesBeforeAccessed
    }

    fn updates_flags_atomically(&self) -> bool {
        *self != Self::FlagsUnlocked
    }

    fn sets_dirty_on_hit(&self) -> bool {
        *self != Self::DirtyLost
    }

    fn serializing_waits_for_stores(&self) -> bool {
        *self != Self::SerializingPassesStores
    }

    fn stores_in_order(&self) -> bool {
        *self != Self::StoresReordered
    }

    fn walk_sees_own_stores(&self) -> bool {
        *self != Self::WalkPassesStores
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mutant_is_caught_by_a_test_of_the_catalogue() {
        for mutant in MUTANTS {
            let caught = mutant.caught().expect("the catalogue is judged");
            assert!(caught.is_some(), "{}: {}", mutant.id, mutant.mistake);
        }
    }
}
