//! Quirks in sequences: those of single accesses, and those of what is cached.

use super::{
    Quirks, Quirky, QuirkySemantics, add_early_accessed, completes_without_a_trace,
    may_set_accessed_in_pdptes,
};
use crate::Walker;
use crate::instruction::both_updates;
use crate::sequence::{
    Drops, FaultEffect, Moment, SequenceEvent, is_written_without_wp, predict_by,
};
use crosswalk_case::{Action, Case};
use mmu_core::outcome::Span;
use mmu_core::{
    Access, AccessKind, Alternative, Cr4, Fault, Outcome, PagingMode, Prediction, Rule, VirtAddr,
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
                let is_fetch = access.kind == AccessKind::Fetch;
                if self.has(Quirks::INVLPG_DROPS_4_KIB) && access.crosses_page() {
                    self.add_older_pages(case, moment.accesses, access, &mut predicted);
                } else if self.has(Quirks::INVLPG_DROPS_4_KIB)
                    || self.has(Quirks::CODE_OUTLIVES_INVLPG) && is_fetch
                {
                    self.add_older(case, moment.accesses, access, &mut predicted);
                }
                moment.part_instructions(access, &mut predicted);
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
        let semantics = QuirkySemantics::of(self.0);
        let mut walked = moment.predict(semantics, access);
        if self.has(Quirks::A_BEFORE_1_GIB) {
            add_early_accessed(semantics, &moment.case(access), access, &mut walked);
        }
        // Of a global page, MOV to CR3 drops nothing.
        let spares_global = moment.state.cr4.contains(Cr4::PGE);
        let drops = |event: &SequenceEvent| match event {
            SequenceEvent::Action(Action::ReloadCr3) => !spares_global,
            _ => event.invalidates(access.address),
        };
        if self.has(Quirks::OPEN_AFTER_WRITE)
            && is_written_without_wp(moment.events, access, &moment.state, drops)
        {
            let opened = moment.predict(QuirkySemantics::of_open_page(self.0), access);
            add_new_ways(&mut walked, opened.alternatives.iter().cloned());
        }
        walked
    }

    /// Adds what an access finds if INVLPG of other 4 KiB has dropped nothing.
    fn add_older(self, case: &Case, number: usize, access: &Access, found: &mut Prediction) {
        let Some(mut older) = self.without_invlpg_elsewhere(case, access.address, number) else {
            return;
        };
        older.alternatives.retain(is_stale);
        if access.kind == AccessKind::Fetch && access.crosses_page() {
            add_instruction_behind(access, found, &mut older);
        }
        add_new_ways(found, older.alternatives.iter().cloned());
    }

    /// Adds what an access across pages finds if, for each of its two pages, INVLPG of other 4 KiB has dropped nothing.
    fn add_older_pages(self, case: &Case, number: usize, access: &Access, found: &mut Prediction) {
        let [firsts, seconds] = [access.address, access.last_byte()].map(|page| {
            let older = self.without_invlpg_elsewhere(case, page, number);
            let older = older.map(|older| older.alternatives).unwrap_or_default();
            let stale = older.iter().filter(|way| is_stale(way));
            found.alternatives.iter().chain(stale).cloned().collect::<Vec<_>>()
        });

        let is_at_first = |way: &&Alternative| {
            way.outcome.fault().is_some_and(|fault| fault.cr2 == Some(access.address))
        };
        let faults = firsts.iter().filter(is_at_first).cloned();
        let of_both = firsts.iter().flat_map(|first| {
            seconds.iter().filter_map(|second| of_both_pages(access, first, second))
        });
        add_new_ways(found, faults.chain(of_both));
    }

    /// What an access finds without the INVLPGs of other 4 KiB pages, if there are any.
    fn without_invlpg_elsewhere(
        self,
        case: &Case,
        address: VirtAddr,
        number: usize,
    ) -> Option<Prediction> {
        let is_elsewhere = |action: &Action| {
            let page = |address: VirtAddr| address.get() >> 12;
            matches!(action, Action::Invlpg(dropped) if page(*dropped) != page(address))
        };
        let mut seen = case.clone();
        seen.before.retain(|action| !is_elsewhere(action));
        if seen.before.len() == case.before.len() {
            return None;
        }

        let without = Self(self.0 - (Quirks::CODE_OUTLIVES_INVLPG | Quirks::INVLPG_DROPS_4_KIB));
        Some(without.predict_accesses(&seen).swap_remove(number))
    }
}

/// The way of an access across pages that finds its first page in one way, and the second in another. `None` if the
/// first page faults, or a fault says nothing about the other page.
fn of_both_pages(
    access: &Access,
    first: &Alternative,
    second: &Alternative,
) -> Option<Alternative> {
    let Outcome::Translated(of_first) = &first.outcome else { return None };
    let outcome = match &second.outcome {
        Outcome::Translated(of_second) => {
            let spans = [*of_first.first()?, *of_second.get(1)?];
            Outcome::Translated(spans.into_iter().collect())
        }
        Outcome::Fault(fault) if fault.cr2 == Some(access.address) => return None,
        Outcome::Fault(fault) => Outcome::Fault(*fault),
    };
    let updates = both_updates(&first.updates, &second.updates);
    Some(Alternative { outcome, updates, choice: second.choice })
}

/// Adds those ways that are not known yet.
fn add_new_ways(all: &mut Prediction, ways: impl IntoIterator<Item = Alternative>) {
    for way in ways {
        let is_same =
            |known: &Alternative| known.outcome == way.outcome && known.updates == way.updates;
        if !all.alternatives.iter().any(is_same) {
            all.alternatives.push(way);
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
    use mmu_core::{Cr0, Profile, Ring};

    /// Where the bytes of the last access may be, each way as the addresses of its spans; empty for a fault.
    fn ways(quirk: Quirks, case: &Case) -> Vec<Vec<u64>> {
        let spans = |way: &Alternative| match &way.outcome {
            Outcome::Translated(spans) => spans.iter().map(|span| span.address.get()).collect(),
            Outcome::Fault(_) => Vec::new(),
        };
        Quirky(quirk).predict(case).alternatives.iter().map(spans).collect()
    }

    /// A read of 4 bytes from 0xffe in a 2 MiB page at `0x52c0_0000`, which moves to `0x7280_0000`, and INVLPG.
    fn moved_large_page(invalidated: u64) -> Case {
        let arena = Arena::ALL[0];
        let mut case = Case::plain_in(PagingMode::Pae, arena, 3, Ring::Three, Profile::default());
        case.entries.truncate(2);
        let pde = TableEntry { value: 0x52c0_00e7, ..case.entries[1] };
        case.entries[1] = pde;
        let start = case.access.address.get() & !0x1f_ffff;
        case.access = Access::read(VirtAddr::new(start + 0xffe), 4, Ring::Three);
        case.before = vec![
            Action::Access(case.access_step()),
            Action::Write(TableEntry { value: 0x7280_00e7, ..pde }),
            Action::Invlpg(VirtAddr::new(start + invalidated)),
        ];
        case
    }

    /// TLB-4: by the manuals INVLPG of any address in the page drops all of it.
    #[test]
    fn of_a_large_page_invlpg_drops_4_kib() {
        let new = [0x7280_0ffe, 0x7280_1000];
        let old = [0x52c0_0ffe, 0x52c0_1000];
        let quirk = Quirks::INVLPG_DROPS_4_KIB;
        for (invalidated, allowed) in [
            (0x5000, vec![new, old, [new[0], old[1]], [old[0], new[1]]]),
            // The first page is dropped, and the second is not; then the other way round.
            (0, vec![new, [new[0], old[1]]]),
            (0x1000, vec![new, [old[0], new[1]]]),
        ] {
            let case = moved_large_page(invalidated);
            assert_eq!(ways(Quirks::empty(), &case), [new], "{invalidated:#x}");
            let seen = ways(quirk, &case);
            assert!(seen.iter().all(|way| allowed.iter().any(|a| way == a)), "{seen:x?}");
            assert!(seen.len() > 1, "{seen:x?}");
        }
    }

    /// RIGHT-2: R/W binds ring 3 whatever ring 0 has written under WP=0.
    #[test]
    fn a_write_of_ring_0_opens_the_page_until_it_is_dropped() {
        const G: u64 = 1 << 8;
        const RW: u64 = 1 << 1;

        let arena = Arena::ALL[0];
        let mut case = Case::plain(arena, 3, Ring::Three, Profile::default());
        case.state.cr0 -= Cr0::WP;
        case.entries[3].value = case.entries[3].value & !RW | G;
        case.access.kind = AccessKind::Write;
        case.form = Case::default_form(AccessKind::Write);
        let by_ring_3 = case.access_step();
        case.access.ring = Ring::Zero;
        let by_ring_0 = Action::Access(case.access_step());
        case.access = by_ring_3.access;

        let may_complete = |case: &Case, before: &[Action], pge: bool| {
            let mut case = case.clone();
            case.before = before.to_vec();
            case.state.cr4.set(Cr4::PGE, pge);
            ways(Quirks::OPEN_AFTER_WRITE, &case).iter().any(|way| !way.is_empty())
        };
        let invlpg = Action::Invlpg(case.access.address);
        assert!(may_complete(&case, &[by_ring_0], false));
        assert!(!may_complete(&case, &[Action::Access(by_ring_3)], false));
        assert!(!may_complete(&case, &[by_ring_0, invlpg], true));
        assert!(!may_complete(&case, &[by_ring_0, Action::ReloadCr3], false));
        assert!(may_complete(&case, &[by_ring_0, Action::ReloadCr3], true), "it is global");
    }

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
