//! The mutants that write table entries wrongly, or write them when nothing has changed.

use super::{Mutant, Need};
use crate::Walker;
use crosswalk_case::Case;
use crosswalk_guest::layout::Arena;
use mmu_core::walk::{Path, WalkError};
use mmu_core::{EntryUpdate, PagingMode, Prediction, Reference, Rule, Translation, VirtAddr};

pub(super) const MUTANTS: &[Mutant] = &[
    Mutant {
        id: "M29",
        rule: Some(Rule::Ad4),
        mistake: "tables in read-only memory fault though A and D are already set",
        origin: "KVM ba6a35415455",
        needs: &[Need::ReadOnlyTables],
        semantics: None,
        walker: &M29,
    },
    Mutant {
        id: "M35",
        rule: Some(Rule::Ad4),
        mistake: "a 32-bit entry written back as 64 bits: the neighbour destroyed",
        origin: "gem5 4489e37344",
        needs: &[Need::Mode(PagingMode::Bits32)],
        semantics: None,
        walker: &M35,
    },
];

/// Does not find entries that it cannot write.
struct M29;

impl M29 {
    /// The case as it sees it, without the entries in read-only memory.
    fn seen(case: &Case) -> Case {
        let is_read_only = |at: u64| Arena::ALL.iter().any(|arena| arena.is_read_only(at));
        let mut seen = case.clone();
        seen.entries.retain(|entry| !is_read_only(entry.at));
        seen
    }
}

impl Walker for M29 {
    fn predict(&self, case: &Case) -> Prediction {
        Reference.predict(&Self::seen(case))
    }

    fn predict_earlier(&self, case: &Case) -> Vec<Prediction> {
        Reference.predict_earlier(&Self::seen(case))
    }

    fn walk(&self, case: &Case, address: VirtAddr) -> (Path, Result<Translation, WalkError>) {
        Reference.walk(&Self::seen(case), address)
    }
}

/// Writes 0 to the entry after each one that it updates.
struct M35;

impl Walker for M35 {
    fn predict(&self, case: &Case) -> Prediction {
        let correct = Reference.predict(case);
        let destroyed = destroyed(case, &correct);
        if destroyed.is_empty() {
            return correct;
        }

        // The second page of an access may be mapped by a destroyed entry.
        let mut remaining = case.clone();
        remaining
            .entries
            .retain(|entry| destroyed.iter().all(|update| update.at.get() != entry.at));
        let mut wrong = Reference.predict(&remaining);
        for way in &mut wrong.alternatives {
            way.updates.extend(destroyed.iter().copied());
        }
        wrong
    }

    fn walk(&self, case: &Case, address: VirtAddr) -> (Path, Result<Translation, WalkError>) {
        Reference.walk(case, address)
    }
}

/// The entries that become 0 when the entries before them are written, each as an update to 0.
fn destroyed(case: &Case, correct: &Prediction) -> Vec<EntryUpdate> {
    if case.mode() != PagingMode::Bits32 {
        return Vec::new();
    }

    let updates = correct.alternatives.iter().flat_map(|way| &way.updates);
    let written = updates.filter(|update| update.must_set & !update.before != 0);
    let mut destroyed: Vec<EntryUpdate> = Vec::new();
    for update in written {
        let at = update.at + 4;
        let is_listed = case.entries.iter().any(|entry| entry.at == at.get() && entry.value != 0);
        if is_listed && destroyed.iter().all(|known| known.at != at) {
            destroyed.push(EntryUpdate {
                at,
                before: 0,
                must_set: 0,
                may_set: 0,
                open_by: Rule::Ad1,
                ..*update
            });
        }
    }
    destroyed
}
