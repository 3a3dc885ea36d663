//! Quirks in sequences: those of single accesses, and those of what is cached.

use super::{
    Quirks, Quirky, QuirkySemantics, add_early_accessed, completes_without_a_trace,
    may_set_accessed_in_pdptes,
};
use crate::Walker;
use crate::instruction::both_updates;
use crate::sequence::{Drops, FaultEffect, Moment, predict_by};
use crosswalk_case::{Action, Case};
use mmu_core::outcome::Span;
use mmu_core::{
    Access, AccessKind, Alternative, Fault, Outcome, PagingMode, Prediction, Rule, VirtAddr,
};

impl Quirky {
    /// Predicts the accesses of a sequence.
    pub(super) fn predict_sequence(self, case: &Case) -> Vec<Prediction> {
        let by_fault = if self.has(Quirks::FAULT_DROPS_NOTHING) {
            FaultEffect::Keeps
        } else if self.has(Quirks::BAD_ENTRY_DROPS_NOTHING) {
            FaultEffect::DropsIfDenied
        } else {
            FaultEffect::Drops
        };
        let drops = Drops { by_fault, by_pke: !self.has(Quirks::PKE_DROPS_NOTHING) };

        let mut predictions =
            predict_by(&self.with_movs_as_seen(case), drops, &|moment, access| {
                let mut predicted = self.predict_step(moment, access);
                if self.has(Quirks::CODE_OUTLIVES_INVLPG) && access.kind == AccessKind::Fetch {
                    self.add_older_code(case, moment.accesses, access, &mut predicted);
                    moment.part_instructions(access, &mut predicted);
                }
                predicted
            });
        if self.has(Quirks::LOOSE_PDPTES)
            && case.mode() == PagingMode::Pae
            && let Some(last) = predictions.last_mut()
        {
            may_set_accessed_in_pdptes(case, last);
        }
        predictions
    }

    /// Predicts an instruction of a sequence.
    fn predict_step(self, moment: &Moment<'_>, access: &Access) -> Prediction {
        match access.kind {
            AccessKind::Clflush if self.has(Quirks::CLFLUSH_IS_NOTHING) => {
                completes_without_a_trace()
            }
            AccessKind::ReadModifyWrite if self.has(Quirks::RMW_LOADS_FIRST) => {
                let load = Access { kind: AccessKind::Read, ..*access };
                let loaded = self.predict_one(moment, &load);
                load_then_store(&loaded, self.predict_one(moment, access))
            }
            _ => self.predict_one(moment, access),
        }
    }

    /// Predicts one access. None of a sequence straddles a canonical edge.
    fn predict_one(self, moment: &Moment<'_>, access: &Access) -> Prediction {
        let semantics = QuirkySemantics(self.0);
        let mut walked = moment.predict(semantics, access);
        if self.has(Quirks::A_BEFORE_1_GIB) {
            add_early_accessed(semantics, &moment.case(access), access, &mut walked);
        }
        walked
    }

    /// Adds what a fetch finds if INVLPG of other 4 KiB has dropped nothing.
    fn add_older_code(self, case: &Case, number: usize, access: &Access, found: &mut Prediction) {
        let is_elsewhere = |action: &Action| {
            let page = |address: VirtAddr| address.get() >> 12;
            matches!(action, Action::Invlpg(dropped) if page(*dropped) != page(access.address))
        };
        let mut seen = case.clone();
        seen.before.retain(|action| !is_elsewhere(action));
        if seen.before.len() == case.before.len() {
            return;
        }

        let without = Self(self.0 - Quirks::CODE_OUTLIVES_INVLPG);
        let mut older = without.predict_accesses(&seen).swap_remove(number);
        older.alternatives.retain(|way| way.choice.is_some_and(|(rule, _)| rule == Rule::Tlb2));
        if access.crosses_page() {
            add_instruction_behind(access, found, &mut older);
        }
        add_new_ways(found, &older);
    }
}

/// Adds the ways of a prediction that are not known yet.
fn add_new_ways(all: &mut Prediction, found: &Prediction) {
    for way in &found.alternatives {
        let is_same =
            |known: &Alternative| known.outcome == way.outcome && known.updates == way.updates;
        if !all.alternatives.iter().any(is_same) {
            all.alternatives.push(way.clone());
        }
    }
}

/// Adds what the instruction behind a fetch may do: code that crosses into the next page is one translated
/// instruction, and the one behind it, in the second page, may be fetched by the tables of now.
fn add_instruction_behind(access: &Access, now: &Prediction, older: &mut Prediction) {
    let behind = access.address.wrapping_add(access.size.into());
    let mut ways = Vec::new();

    for first in &older.alternatives {
        for second in &now.alternatives {
            let outcome = match &second.outcome {
                Outcome::Translated(_) => first.outcome.clone(),
                Outcome::Fault(fault) => Outcome::Fault(Fault { cr2: Some(behind), ..*fault }),
            };
            let updates = both_updates(&first.updates, &second.updates);
            ways.push(Alternative { outcome, updates, choice: first.choice });
        }
    }
    older.alternatives.extend(ways);
}

/// The ways of a read-modify-write that begins with a load of its own: where the load may fault, that
/// fault; where it may complete, the ways of the whole, and those in which it used a translation that
/// the store did not find any more, as its leaf was clean. Where a PDPTE register and what is cached lead to the
/// same page, the load may have used the one or the other, and the store may walk by memory (PDPTE-4).
fn load_then_store(load: &Prediction, mut whole: Prediction) -> Prediction {
    let is_fault = |way: &&Alternative| way.outcome.fault().is_some();
    let (faults, completed): (Vec<_>, Vec<_>) = load.alternatives.iter().partition(is_fault);

    let mut parted = Vec::new();
    for loaded in completed.iter().filter(|way| is_stale(way)) {
        for stored in whole.alternatives.iter().filter(|way| !is_fault(way)) {
            parted.extend(part(loaded, stored));
        }
    }
    if completed.is_empty() {
        whole.alternatives.clear();
    } else if !completed.iter().any(|way| is_stale(way)) {
        let is_walked =
            |way: &Alternative| way.choice.is_some_and(|(rule, _)| rule == Rule::Pdpte4);
        let faults_too = |way: &Alternative| {
            !is_walked(way) && faults.iter().any(|load| load.choice == way.choice)
        };
        whole.alternatives.retain(|way| !faults_too(way));
    }
    whole.alternatives.extend(faults.into_iter().cloned().chain(parted));
    whole
}

/// Whether a way uses something cached that memory no longer has.
fn is_stale(way: &Alternative) -> bool {
    way.choice.is_some_and(|(rule, _)| rule == Rule::Tlb2)
}

/// A load and a store in different places, as one way: the spans of the one, and then of the other.
fn part(loaded: &Alternative, stored: &Alternative) -> Option<Alternative> {
    let (Outcome::Translated(from), Outcome::Translated(to)) = (&loaded.outcome, &stored.outcome)
    else {
        return None;
    };
    if from == to || from.len() + to.len() > from.capacity() {
        return None;
    }

    let spans: Vec<Span> = from.iter().chain(to).copied().collect();
    Some(Alternative {
        outcome: Outcome::Translated(spans.into_iter().collect()),
        updates: both_updates(&loaded.updates, &stored.updates),
        choice: loaded.choice,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crosswalk_case::TableEntry;
    use crosswalk_guest::layout::Arena;
    use mmu_core::{Profile, Ring};

    /// A fetch caches the page; P of the PDPTE is cleared in memory; a read-modify-write, MOV to CR3 and the same
    /// again. By T2, and PDPTEs that are walked, the first load uses what is cached and the store faults as a
    /// write (W and U: 6); after the MOV the load faults as a read (U: 4).
    #[test]
    fn a_load_by_a_cached_translation_leaves_the_fault_to_the_store() {
        let arena = Arena::ALL[0];
        let mut case = Case::plain_in(PagingMode::Pae, arena, 3, Ring::Three, Profile::default());
        let pdpte = case.entries[0];
        let with = |kind| {
            let mut case = case.clone();
            case.access.kind = kind;
            case.form = Case::default_form(kind);
            case
        };
        let fetch = Action::Access(with(AccessKind::Fetch).access_step());
        case = with(AccessKind::ReadModifyWrite);
        let rmw = Action::Access(case.access_step());
        let cleared = Action::Write(TableEntry { value: pdpte.value & !1, ..pdpte });
        case.before = vec![fetch, cleared, rmw, Action::ReloadCr3];

        let predicted = Quirky(Quirks::RMW_LOADS_FIRST).predict_accesses(&case);
        let codes = |number: usize| -> Vec<Option<u32>> {
            let ways = predicted[number].alternatives.iter();
            ways.map(|way| way.outcome.fault().map(|fault| fault.error_code)).collect()
        };
        assert_eq!(codes(0), [None]);
        let mut first = codes(1);
        first.sort_unstable();
        assert_eq!(first, [None, Some(4), Some(6)]);
        assert_eq!(codes(2), [Some(4)]);
    }

    /// By T11: A (bit 5) may be set in a PDPTE as it is at first, and in one that was stored.
    #[test]
    fn loose_pdptes_may_get_a_in_sequences() {
        let arena = Arena::ALL[0];
        let mut case = Case::plain_in(PagingMode::Pae, arena, 3, Ring::Three, Profile::default());
        let pdpte = case.entries[0];
        let read = Action::Access(case.access_step());
        for (stored, before) in [
            (pdpte.value, vec![read]),
            (0, vec![read, Action::Write(TableEntry { value: 0, ..pdpte })]),
        ] {
            case.before = before;
            for way in &Quirky(Quirks::LOOSE_PDPTES).predict(&case).alternatives {
                let mut updates = way.updates.iter();
                let update =
                    updates.find(|update| update.at.get() == pdpte.at).expect("it is open");
                assert!(update.allows(stored) && update.allows(stored | 1 << 5), "{update:?}");
            }
        }
    }
}
