//! The mutants that are wrong when an entry is written back, or would have to be.

use super::{Mutant, Need};
use crate::walker::Walker;
use crosswalk_case::Case;
use crosswalk_guest::layout::Arena;
use mmu_core::walk::{Path, Translation, WalkError};
use mmu_core::{EntryUpdate, PagingMode, Prediction, Reference, Rule, VirtAddr};

pub(super) const MUTANTS: &[Mutant] = &[
    Mutant {
        id: "M29",
        rule: Some(Rule::Ad4),
        mistake: "tables in read-only memory fault though A and D are already set",
        origin: "KVM ba6a35415455",
        needs: &[Need::ReadOnlyTables],
        rules: None,
        walker: &M29,
    },
    Mutant {
        id: "M35",
        rule: Some(Rule::Ad4),
        mistake: "a 32-bit entry written back as 64 bits: the neighbour destroyed",
        origin: "gem5 4489e37344",
        needs: &[Need::Mode(PagingMode::Bits32)],
        rules: None,
        walker: &M35,
    },
];

struct M29;

impl M29 {
    /// The case as it sees it: what it cannot write it does not find.
    fn seen(case: &Case) -> Case {
        let mut seen = case.clone();
        let is_read_only = |at: u64| Arena::ALL.iter().any(|arena| arena.is_read_only(at));
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

struct M35;

impl Walker for M35 {
    fn predict(&self, case: &Case) -> Prediction {
        let right = Reference.predict(case);
        let destroyed = destroyed(case, &right);
        if destroyed.is_empty() {
            return right;
        }
        // The second page of an access may be mapped by what is no more.
        let mut left = case.clone();
        left.entries.retain(|entry| destroyed.iter().all(|update| update.at.get() != entry.at));
        let mut wrong = Reference.predict(&left);
        for way in &mut wrong.alternatives {
            for update in &destroyed {
                if !way.updates.is_full() {
                    way.updates.push(*update);
                }
            }
        }
        wrong
    }

    fn walk(&self, case: &Case, address: VirtAddr) -> (Path, Result<Translation, WalkError>) {
        Reference.walk(case, address)
    }
}

/// The entries that become 0 as the entries before them are written, each as an update to 0.
fn destroyed(case: &Case, right: &Prediction) -> Vec<EntryUpdate> {
    if case.mode() != PagingMode::Bits32 {
        return Vec::new();
    }
    let updates = right.alternatives.iter().flat_map(|way| &way.updates);
    let written = updates.filter(|update| update.must_set & !update.before != 0);
    let mut destroyed: Vec<EntryUpdate> = Vec::new();
    for update in written {
        let at = update.at + 4;
        let is_listed = case.entries.iter().any(|entry| entry.at == at.get() && entry.value != 0);
        if is_listed && destroyed.iter().all(|known| known.at != at) {
            let open_by = Rule::Ad1;
            destroyed.push(EntryUpdate {
                at,
                before: 0,
                must_set: 0,
                may_set: 0,
                open_by,
                ..*update
            });
        }
    }
    destroyed
}
