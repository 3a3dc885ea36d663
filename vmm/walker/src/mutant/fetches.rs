//! The mutant that runs a cached instruction whose second page is gone. It takes a sequence to show.

use super::Mutant;
use super::in_sequences::{InSequences, SequenceMistake};
use super::invalidations::{kept, without};
use crate::Walker;
use crate::sequence::is_same_page;
use crosswalk_case::{Action, Case};
use mmu_core::{Access, AccessKind, Prediction, Reference, Rule};

pub(super) const MUTANTS: &[Mutant] = &[Mutant {
    id: "B65",
    rule: Some(Rule::Tlb4),
    mistake: "a cached instruction that crosses pages runs after INVLPG of its second page",
    origin: "Bochs #567 (67d284e9c)",
    needs: &[],
    semantics: None,
    walker: &InSequences(B65),
}];

/// Keeps the code of an earlier fetch that crosses pages until its first page is invalidated.
struct B65;

impl SequenceMistake for B65 {
    fn predict_all(&self, case: &Case) -> Vec<Prediction> {
        let mut predictions = Reference.predict_accesses(case);
        let mut fetched: Vec<Access> = Vec::new();

        let accesses = case.script().filter_map(|action| match action {
            Action::Access(step) => Some(step.access),
            _ => None,
        });
        for (number, access) in accesses.enumerate() {
            if access.kind != AccessKind::Fetch || !access.crosses_page() {
                continue;
            }
            if fetched.contains(&access)
                && let Some(seen) = without_invlpg_of_second_page(case, &access)
                && let Some(seen) = Reference.predict_accesses(&seen).into_iter().nth(number)
            {
                predictions[number] = kept((predictions[number].clone(), seen));
            }
            fetched.push(access);
        }
        predictions
    }
}

/// The sequence without INVLPG of the page on which a fetch ends.
fn without_invlpg_of_second_page(case: &Case, fetch: &Access) -> Option<Case> {
    let last_byte = fetch.last_byte();
    without(case, |action| match action {
        Action::Invlpg(address) => is_same_page(*address, last_byte),
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crosswalk_case::{AccessStep, TableEntry};
    use crosswalk_guest::layout::Arena;
    use mmu_core::{Profile, Ring, VirtAddr};

    /// A fetch that ends on the next page, which then loses P; an invalidation; and the same fetch.
    fn across(kind: AccessKind, invalidation: impl Fn(u64) -> Action) -> Case {
        let mut case = Case::plain(Arena::ALL[0], 7, Ring::Three, Profile::default());
        let page = case.access.address.get() & !0xfff;
        case.access =
            Access { kind, address: VirtAddr::new(page + 0xff8), size: 10, ..case.access };
        case.form = Case::default_form(kind);

        let leaf = case.entries[3];
        let next = TableEntry { at: leaf.at + 8, value: leaf.value + 0x1000 };
        case.entries.push(next);
        case.before = vec![
            Action::Access(AccessStep { form: case.form, access: case.access, value: 0 }),
            Action::Write(TableEntry { value: next.value & !1, ..next }),
            invalidation(page),
        ];
        case
    }

    /// The error codes of all ways, by the reference and by the mutant.
    fn both(case: &Case) -> [Vec<Option<u32>>; 2] {
        [&Reference as &dyn Walker, &InSequences(B65)].map(|walker| {
            let ways = walker.predict(case).alternatives;
            ways.iter().map(|way| way.outcome.fault().map(|fault| fault.error_code)).collect()
        })
    }

    /// SDM "Operations that Invalidate TLBs and Paging-Structure Caches": INVLPG. U and I/D.
    #[test]
    fn b65_the_second_page_is_not_looked_at_again() {
        let second = across(AccessKind::Fetch, |page| Action::Invlpg(VirtAddr::new(page + 0x1000)));
        assert_eq!(both(&second), [vec![Some(0x14)], vec![None]]);

        // INVLPG of the first page drops only that page of the TLB: the reference allows the second.
        let first = across(AccessKind::Fetch, |page| Action::Invlpg(VirtAddr::new(page)));
        assert_eq!(both(&first), [vec![Some(0x14), None], vec![Some(0x14), None]]);

        let all = across(AccessKind::Fetch, |_| Action::ReloadCr3);
        assert_eq!(both(&all), [vec![Some(0x14)], vec![Some(0x14)]]);
    }

    #[test]
    fn b65_data_and_other_code_are_right() {
        let invlpg = |page| Action::Invlpg(VirtAddr::new(page + 0x1000));
        let data = across(AccessKind::Read, invlpg);
        assert_eq!(both(&data), [vec![Some(4)], vec![Some(4)]]);

        let mut other = across(AccessKind::Fetch, invlpg);
        other.access.address = other.access.address.wrapping_add(1);
        assert_eq!(both(&other), [vec![Some(0x14)], vec![Some(0x14)]]);
    }
}
