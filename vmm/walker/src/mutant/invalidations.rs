//! The mutants that keep a translation which an invalidation drops. They take a sequence to show.

use super::in_sequences::{InSequences, SequenceMistake};
use super::{Mutant, Need};
use crate::Walker;
use crate::sequence::is_same_page;
use crosswalk_case::{Action, Case};
use mmu_core::cache::CACHED_TRANSLATION;
use mmu_core::{Alternative, Cr4, Features, Prediction, Reference, Rule};

pub(super) const MUTANTS: &[Mutant] = &[
    Mutant {
        id: "B18",
        rule: Some(Rule::Tlb4),
        mistake: "INVLPG drops only the named 4 KiB of a large page",
        origin: "Bochs e40206249, QEMU d4c430a80f",
        needs: &[],
        semantics: None,
        walker: &InSequences(Keeping(without_invlpg_elsewhere)),
    },
    Mutant {
        id: "B20",
        rule: Some(Rule::Tlb4),
        mistake: "MOV to CR3 keeps G=1 translations while CR4.PGE=0",
        origin: "Bochs e2fa98b62, halfix 1079480",
        needs: &[],
        semantics: None,
        walker: &InSequences(Keeping(with_global_pages)),
    },
    Mutant {
        id: "B21",
        rule: Some(Rule::Tlb4),
        mistake: "MOV to CR3 keeps G=0 translations while CR4.PGE=1",
        origin: "the opposite of Bochs e2fa98b62",
        needs: &[Need::Feature(Features::PGE)],
        semantics: None,
        walker: &InSequences(Keeping(without_reload_cr3)),
    },
    Mutant {
        id: "B22",
        rule: Some(Rule::Tlb4),
        mistake: "INVLPG spares global translations",
        origin: "the class of Xen 70973953ab (sh_invlpg)",
        needs: &[Need::Feature(Features::PGE)],
        semantics: None,
        walker: &InSequences(Keeping(with_invlpg_of_local_pages)),
    },
];

/// A walker that sees a sequence without some of its invalidations, if it misses any, and that uses a
/// cached translation wherever one may be left then.
struct Keeping(fn(&Case) -> Option<Case>);

/// The sequence without INVLPG of other 4 KiB pages than that of its last access.
fn without_invlpg_elsewhere(case: &Case) -> Option<Case> {
    without(case, |action| match action {
        Action::Invlpg(address) => !is_same_page(*address, case.access.address),
        _ => false,
    })
}

/// The sequence with global pages, if they are off.
fn with_global_pages(case: &Case) -> Option<Case> {
    let mut seen = case.clone();
    seen.state.cr4 |= Cr4::PGE;
    (seen != *case).then_some(seen)
}

/// The sequence without MOV to CR3, if global pages are on.
fn without_reload_cr3(case: &Case) -> Option<Case> {
    let has_global_pages = case.state.cr4.contains(Cr4::PGE);
    without(case, |action| has_global_pages && *action == Action::ReloadCr3)
}

/// The sequence with an invalidation of all but global translations in place of each INVLPG.
fn with_invlpg_of_local_pages(case: &Case) -> Option<Case> {
    let mut seen = case.clone();
    let invlpgs = seen.before.iter_mut().filter(|action| matches!(action, Action::Invlpg(_)));
    invlpgs.for_each(|action| *action = Action::ReloadCr3);
    (seen != *case && case.state.cr4.contains(Cr4::PGE)).then_some(seen)
}

/// The sequence without some actions; `None` if it has none of them.
pub(super) fn without(case: &Case, is_missed: impl Fn(&Action) -> bool) -> Option<Case> {
    let mut seen = case.clone();
    seen.before.retain(|action| !is_missed(action));
    (seen.before.len() < case.before.len()).then_some(seen)
}

impl SequenceMistake for Keeping {
    fn predict_all(&self, case: &Case) -> Vec<Prediction> {
        let correct = Reference.predict_accesses(case);
        match (self.0)(case) {
            Some(seen) => {
                correct.into_iter().zip(Reference.predict_accesses(&seen)).map(kept).collect()
            }
            None => correct,
        }
    }
}

/// The ways of an access by a cached translation that may be left in the sequence as it is seen. If
/// none is left, or one may be left in the real sequence as well, the correct prediction.
pub(super) fn kept((correct, seen): (Prediction, Prediction)) -> Prediction {
    if correct.alternatives.iter().any(is_cached) {
        return correct;
    }

    let mut kept = seen;
    kept.alternatives.retain(is_cached);
    if kept.alternatives.is_empty() { correct } else { kept }
}

/// Whether a way uses a whole cached translation (TLB-2).
fn is_cached(way: &Alternative) -> bool {
    way.choice == Some((Rule::Tlb2, CACHED_TRANSLATION))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MUTANTS;
    use crosswalk_case::TableEntry;
    use crosswalk_guest::layout::Arena;
    use mmu_core::{PhysAddr, Profile, Ring, VirtAddr};

    const G: u64 = 1 << 8;
    const PS: u64 = 1 << 7;

    /// The physical addresses of the ways that the reference allows, and a mutant.
    fn both(id: &str, case: &Case) -> [Vec<u64>; 2] {
        let mutant = MUTANTS.iter().find(|mutant| mutant.id == id).expect("it is listed");
        [&Reference as &dyn Walker, mutant.walker].map(|walker| {
            let ways = walker.predict(case).alternatives;
            ways.iter()
                .filter_map(|way| way.outcome.physical_address())
                .map(PhysAddr::get)
                .collect()
        })
    }

    /// A read, the move of its page from 0x40000000 to 0x40200000, an invalidation, and the same read.
    /// The page is mapped by entry `leaf`.
    fn moved(leaf: usize, flags: u64, invalidation: Action) -> Case {
        let mut case = Case::plain(Arena::ALL[0], 7, Ring::Three, Profile::default());
        case.entries.truncate(leaf + 1);
        let entry = TableEntry { value: 0x4000_0007 | flags, ..case.entries[leaf] };
        case.entries[leaf] = entry;

        case.access.address = VirtAddr::new(case.access.address.get() & !0x1f_ffff | 0x7010);
        if leaf == 3 {
            let slot = case.entries[2].value & !0xfff | (7 * 8);
            case.entries[3].at = slot;
        }
        let entry = case.entries[leaf];
        case.before = vec![
            Action::Access(case.access_step()),
            Action::Write(TableEntry { value: entry.value + 0x20_0000, ..entry }),
            invalidation,
        ];
        case
    }

    /// SDM "Details of TLB Use": INVLPG drops all TLB entries of a large page.
    #[test]
    fn b18_the_rest_of_a_large_page_is_kept() {
        let page = Case::plain(Arena::ALL[0], 7, Ring::Three, Profile::default()).access.address;
        let beside = VirtAddr::new(page.get() & !0x1f_ffff | 0x1000);
        let case = moved(2, PS, Action::Invlpg(beside));
        assert_eq!(both("B18", &case), [[0x4020_7010], [0x4000_7010]]);

        // Its own 4 KiB are dropped.
        let own = moved(2, PS, Action::Invlpg(case.access.address));
        assert_eq!(both("B18", &own), [[0x4020_7010], [0x4020_7010]]);
    }

    /// SDM "Global Pages": G is ignored while CR4.PGE=0.
    #[test]
    fn b20_global_translations_are_kept_without_global_pages() {
        let case = moved(3, G, Action::ReloadCr3);
        assert_eq!(both("B20", &case), [[0x4020_0010], [0x4000_0010]]);

        let local = moved(3, 0, Action::ReloadCr3);
        assert_eq!(both("B20", &local), [[0x4020_0010], [0x4020_0010]]);
    }

    /// SDM "Operations that Invalidate TLBs and Paging-Structure Caches": INVLPG drops "any global TLB
    /// entries with that page number".
    #[test]
    fn b22_invlpg_spares_global_translations() {
        let page = Case::plain(Arena::ALL[0], 7, Ring::Three, Profile::default()).access.address;
        let own = VirtAddr::new(page.get() & !0x1f_ffff | 0x7010);
        let mut case = moved(3, G, Action::Invlpg(own));
        assert_eq!(both("B22", &case), [[0x4020_0010], [0x4020_0010]], "without global pages");
        case.state.cr4 |= Cr4::PGE;
        assert_eq!(both("B22", &case), [[0x4020_0010], [0x4000_0010]]);

        let mut local = moved(3, 0, Action::Invlpg(own));
        local.state.cr4 |= Cr4::PGE;
        assert_eq!(both("B22", &local), [[0x4020_0010], [0x4020_0010]]);

        // INVLPG of another page drops nothing of this one.
        let mut other = moved(3, G, Action::Invlpg(VirtAddr::new(own.get() + 0x1000)));
        other.state.cr4 |= Cr4::PGE;
        assert_eq!(both("B22", &other), [[0x4020_0010, 0x4000_0010], [0x4020_0010, 0x4000_0010]]);
    }

    /// SDM "Operations that Invalidate TLBs and Paging-Structure Caches": all except global ones.
    #[test]
    fn b21_local_translations_are_kept_with_global_pages() {
        let mut case = moved(3, 0, Action::ReloadCr3);
        assert_eq!(both("B21", &case), [[0x4020_0010], [0x4020_0010]]);
        case.state.cr4 |= Cr4::PGE;
        assert_eq!(both("B21", &case), [[0x4020_0010], [0x4000_0010]]);

        // A global one may be kept.
        let mut global = moved(3, G, Action::ReloadCr3);
        global.state.cr4 |= Cr4::PGE;
        assert_eq!(both("B21", &global), [[0x4020_0010, 0x4000_0010], [0x4020_0010, 0x4000_0010]]);
    }
}
