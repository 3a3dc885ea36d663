//! The mutant that keeps a denial. It takes a sequence to show.

use super::in_sequences::{InSequences, SequenceMistake};
use super::{Mutant, Need};
use crate::Walker;
use crosswalk_case::Case;
use mmu_core::cache::SPURIOUS_FAULT;
use mmu_core::{Alternative, Prediction, Reference, Rule, Vendor};

pub(super) const MUTANTS: &[Mutant] = &[Mutant {
    id: "B29",
    rule: Some(Rule::Tlb3),
    mistake: "a cached denial outlives the page faults that it causes",
    origin: "gem5 08cec03f8e",
    needs: &[Need::RepeatsWalks],
    semantics: None,
    walker: &InSequences(B29),
}];

/// Faults by the rights that were cached, whatever memory has, on processors that walk again instead.
///
/// On others one such fault is allowed, and only a second one is wrong.
struct B29;

impl SequenceMistake for B29 {
    fn predict_all(&self, case: &Case) -> Vec<Prediction> {
        let correct = Reference.predict_accesses(case);
        if case.profile.vendor != Vendor::Amd {
            return correct;
        }

        let mut seen = case.clone();
        seen.profile.vendor = Vendor::Intel;
        correct.into_iter().zip(Reference.predict_accesses(&seen)).map(denied).collect()
    }
}

/// The spurious faults of an access, or the correct prediction if there are none.
fn denied((correct, mut seen): (Prediction, Prediction)) -> Prediction {
    let is_spurious = |way: &Alternative| way.choice == Some((Rule::Tlb2, SPURIOUS_FAULT));
    seen.alternatives.retain(is_spurious);
    if seen.alternatives.is_empty() { correct } else { seen }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crosswalk_case::{Action, TableEntry};
    use crosswalk_guest::layout::Arena;
    use crosswalk_guest::stub::Form;
    use mmu_core::{Access, AccessKind, Profile, Ring};

    const RW: u64 = 1 << 1;

    /// A read of a read-only page, which becomes writable; then what `between` does, and a write.
    fn relaxed(vendor: Vendor, between: impl Fn(&Case) -> Vec<Action>) -> Case {
        let profile = Profile { vendor, ..Profile::default() };
        let mut case = Case::plain(Arena::ALL[0], 7, Ring::Three, profile);
        let leaf = case.entries[3];
        case.entries[3].value &= !RW;
        case.before =
            vec![Action::Access(case.access_step()), Action::Write(TableEntry { ..leaf })];
        case.before.extend(between(&case));

        case.access = Access { kind: AccessKind::Write, ..case.access };
        case.form = Form::Store;
        case
    }

    /// The error codes of all ways, by the reference and by the mutant.
    fn both(case: &Case) -> [Vec<Option<u32>>; 2] {
        [&Reference as &dyn Walker, &InSequences(B29)].map(|walker| {
            let ways = walker.predict(case).alternatives;
            ways.iter().map(|way| way.outcome.fault().map(|fault| fault.error_code)).collect()
        })
    }

    /// APM "Use of Cached Entries When Reporting a Page Fault Exception": the walk is repeated. SDM
    /// "Optional Invalidation": a spurious fault. P, W and U: 7.
    #[test]
    fn b29_a_denial_is_kept_where_the_walk_is_repeated() {
        let case = relaxed(Vendor::Amd, |_| Vec::new());
        assert_eq!(both(&case), [vec![None], vec![Some(7)]]);

        let case = relaxed(Vendor::Intel, |_| Vec::new());
        assert_eq!(both(&case), [vec![None, Some(7)], vec![None, Some(7)]]);
    }

    #[test]
    fn b29_an_invalidation_ends_it() {
        let case = relaxed(Vendor::Amd, |case| vec![Action::Invlpg(case.access.address)]);
        assert_eq!(both(&case), [vec![None], vec![None]]);
    }
}
