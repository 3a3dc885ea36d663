//! The mutants that translate the second part of an access wrongly: not at all, or without the wrap at
//! 4 GiB.

use super::{Mutant, Need};
use crate::Walker;
use crosswalk_case::Case;
use mmu_core::outcome::Span;
use mmu_core::walk::{Path, WalkError};
use mmu_core::{
    Access, Outcome, PagingMode, Prediction, Reference, Rule, Translation, Vector, VirtAddr,
};

pub(super) const MUTANTS: &[Mutant] = &[
    Mutant {
        id: "B43",
        rule: Some(Rule::Code12),
        mistake: "the second page of an access taken to follow the first in physical memory",
        origin: "86Box 637e70841, cloud-hypervisor #6961",
        needs: &[],
        semantics: None,
        walker: &B43,
    },
    Mutant {
        id: "B60",
        rule: Some(Rule::Canon2),
        mistake: "32-bit linear addresses do not wrap: past 4 GiB there is no page",
        origin: "QEMU 33dfdb56f2",
        needs: &[Need::OneOf(&[Need::Mode(PagingMode::Bits32), Need::Mode(PagingMode::Pae)])],
        semantics: None,
        walker: &B60,
    },
];

/// Walks for the first page of an access, and takes the others to follow it.
struct B43;

impl Walker for B43 {
    fn predict(&self, case: &Case) -> Prediction {
        let correct = Reference.predict(case);
        let access = case.access;
        let in_first = 0x1000 - (access.address.get() & 0xfff);
        let is_walked = correct
            .alternatives
            .iter()
            .all(|way| way.outcome.fault().is_none_or(|fault| fault.vector == Vector::PageFault));
        if case.is_sequence() || u64::from(access.size) <= in_first || !is_walked {
            return correct;
        }

        let first = Access { size: in_first as u16, ..access };
        let mut wrong = Reference.predict(&Case { access: first, ..case.clone() });
        for way in &mut wrong.alternatives {
            let Outcome::Translated(spans) = &mut way.outcome else { continue };
            let Some(Span { address, len }) = spans.last().copied() else { continue };
            let _ = spans.try_push(Span {
                address: address + u64::from(len),
                len: access.size - first.size,
            });
        }
        wrong
    }

    fn predict_earlier(&self, case: &Case) -> Vec<Prediction> {
        Reference.predict_earlier(case)
    }

    fn walk(&self, case: &Case, address: VirtAddr) -> (Path, Result<Translation, WalkError>) {
        Reference.walk(case, address)
    }
}

/// Finds no page for the bytes past 4 GiB in the modes with addresses of 32 bits.
struct B60;

impl B60 {
    /// The case as it sees it: the bytes that wrap have no page.
    fn seen(case: &Case) -> Case {
        let mut seen = case.clone();
        let end = case.access.address.get().saturating_add(case.access.size.into());
        let is_legacy = matches!(case.mode(), PagingMode::Bits32 | PagingMode::Pae);
        if is_legacy && !case.is_sequence() && end > 1 << 32 {
            let (path, _) = Reference.walk(case, VirtAddr::new(0));
            let leaf = path.steps.last().map(|step| step.at.get());
            seen.entries.retain(|entry| Some(entry.at) != leaf);
        }
        seen
    }
}

impl Walker for B60 {
    fn predict(&self, case: &Case) -> Prediction {
        Reference.predict(&Self::seen(case))
    }

    fn predict_earlier(&self, case: &Case) -> Vec<Prediction> {
        Reference.predict_earlier(case)
    }

    fn walk(&self, case: &Case, address: VirtAddr) -> (Path, Result<Translation, WalkError>) {
        Reference.walk(&Self::seen(case), address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crosswalk_case::TableEntry;
    use crosswalk_guest::layout::Arena;
    use mmu_core::{Profile, Ring};

    /// A read of 8 bytes, 4 of them on a second page, which is elsewhere.
    fn across() -> Case {
        let mut case = Case::plain(Arena::ALL[0], 7, Ring::Three, Profile::default());
        let page = case.access.address.get() & !0xfff;
        case.access.address = VirtAddr::new(page + 0xffc);

        let leaf = case.entries[3];
        case.entries.push(TableEntry { at: leaf.at + 8, value: 0x4000_5007 });
        case
    }

    /// The addresses and lengths of the first way, or its error code.
    fn end(walker: &dyn Walker, case: &Case) -> Result<Vec<(u64, u16)>, u32> {
        match &walker.predict(case).alternatives[0].outcome {
            Outcome::Translated(spans) => {
                Ok(spans.iter().map(|span| (span.address.get(), span.len)).collect())
            }
            Outcome::Fault(fault) => Err(fault.error_code),
        }
    }

    #[test]
    fn b43_the_second_page_follows_the_first() {
        let mut case = across();
        let first = Arena::ALL[0].data_frames(7) + 0xffc;
        assert_eq!(end(&Reference, &case), Ok(vec![(first, 4), (0x4000_5000, 4)]));
        assert_eq!(end(&B43, &case), Ok(vec![(first, 4), (first + 4, 4)]));

        // U, for an absent page.
        case.entries[4].value = 0;
        assert_eq!(end(&Reference, &case), Err(4));
        assert_eq!(end(&B43, &case), Ok(vec![(first, 4), (first + 4, 4)]));
    }

    /// The last page is the second frame of lane 7, and page 0 the first.
    #[test]
    fn b60_an_access_does_not_wrap() {
        let arena = Arena::ALL[0];
        let frame = arena.data_frames(7);
        let profile = Profile::default();
        let mut case = Case::plain_in(PagingMode::Bits32, arena, 7, Ring::Three, profile);
        case.access.address = VirtAddr::new(0xffff_fffe);
        case.access.size = 4;
        let entry = |at, value| TableEntry { at, value: value | 7 };
        case.entries = vec![
            entry(arena.table(0) + 0xffc, arena.table(1)),
            entry(arena.table(1) + 0xffc, frame + 0x1000),
            entry(arena.table(0), arena.table(2)),
            entry(arena.table(2), frame),
        ];
        assert_eq!(end(&Reference, &case), Ok(vec![(frame + 0x1ffe, 2), (frame, 2)]));
        assert_eq!(end(&B60, &case), Err(4));

        case.access.size = 2;
        assert_eq!(end(&B60, &case), Ok(vec![(frame + 0x1ffe, 2)]));

        // In long mode nothing ends at 4 GiB, and addresses may end at 2^64.
        let mut long = across();
        long.access.address = VirtAddr::new(u64::MAX - 3);
        assert_eq!(B60.predict(&long), Reference.predict(&long));
    }

    #[test]
    fn b43_an_access_in_one_page_is_right() {
        let mut case = across();
        case.access.size = 4;
        assert_eq!(B43.predict(&case), Reference.predict(&case));
    }
}
