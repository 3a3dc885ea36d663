//! The mutants whose mistake takes a sequence of accesses to show: a later access is judged by what
//! they remember of an earlier one, or fail to notice since.

use super::in_sequences::{InSequences, SequenceMistake};
use super::{Mutant, Need};
use crate::sequence::{self, SequenceEvent, events, is_same_page, is_written_without_wp};
use crate::{Erased, Walker};
use crosswalk_case::{Action, Case};
use mmu_core::walk::{Path, WalkError};
use mmu_core::x86::format::{EntryBits, EntryKind};
use mmu_core::x86::semantics::{Denial, Rights};
use mmu_core::{
    Access, AccessKind, ControlState, Cr0, Features, PhysAddr, Prediction, Reference, Regime, Rule,
    Semantics, Translation, VirtAddr,
};

pub(super) const MUTANTS: &[Mutant] = &[
    Mutant {
        id: "B23",
        rule: Some(Rule::Ad1),
        mistake: "D lost when the page was first reached by a read",
        origin: "v86 86fc5423, IBMulator #34 f9bdcd4, blitz/vmmu #3",
        needs: &[],
        semantics: None,
        walker: &InSequences(Stateful(B23::after)),
    },
    Mutant {
        id: "B25",
        rule: Some(Rule::Right2),
        mistake: "the right to write that WP=0 gave is kept when CR0.WP is set",
        origin: "v86 a8e64dc2, 86Box bdc430430, halfix 1079480",
        needs: &[],
        semantics: None,
        walker: &InSequences(Stateful(B25::after)),
    },
    Mutant {
        id: "M17",
        rule: Some(Rule::Right5),
        mistake: "WRPKRU without effect on a cached verdict",
        origin: "Bochs a3c77b4b0",
        needs: &[Need::Feature(Features::PKU)],
        semantics: None,
        walker: &InSequences(Stateful(M17::after)),
    },
    Mutant {
        id: "M24",
        rule: Some(Rule::Right2),
        mistake: "D lost under WP=0 when the page was first reached by a read",
        origin: "KVM c22885050e65",
        needs: &[],
        semantics: None,
        walker: &InSequences(Stateful(M24::after)),
    },
    Mutant {
        id: "M25",
        rule: Some(Rule::Right1),
        mistake: "two large entries for one frame share one set of rights",
        origin: "KVM 5fd5387c89ec, d28c6cfbbc5e",
        needs: &[],
        semantics: None,
        walker: &InSequences(Stateful(M25::after)),
    },
    Mutant {
        id: "M26",
        rule: Some(Rule::Right1),
        mistake: "a table reached from two parents remembered with the first parent's rights",
        origin: "kvm-unit-tests 47fd6bc5",
        needs: &[],
        semantics: None,
        walker: &InSequences(Stateful(M26::after)),
    },
    Mutant {
        id: "M27",
        rule: Some(Rule::Right2),
        mistake: "CR0.WP sampled when something else last changed",
        origin: "kvm-unit-tests 858d3794",
        needs: &[],
        semantics: None,
        walker: &InSequences(Stateful(M27::after)),
    },
    Mutant {
        id: "M40",
        rule: Some(Rule::Ad4),
        mistake: "A and D set after P was cleared by another processor",
        origin: "KNL erratum 4",
        needs: &[],
        semantics: None,
        walker: &M40,
    },
];

/// A walker whose semantics for an access depend on what came before it.
pub(super) struct Stateful<R>(pub(super) fn(&[SequenceEvent], &Access, &ControlState) -> R);

impl<R: Semantics + Send + Sync> SequenceMistake for Stateful<R> {
    fn predict_all(&self, case: &Case) -> Vec<Prediction> {
        sequence::predict(case, &|moment, access| {
            let semantics = (self.0)(moment.events, access, &moment.state);
            // Erased: a walk compiled for each mutant would take as long to compile as all others.
            moment.predict(Erased(&semantics), access)
        })
    }
}

/// The completed accesses to the page of an address since it was last invalidated: those whose
/// translation may be cached.
pub(super) fn cached(events: &[SequenceEvent], address: VirtAddr) -> impl Iterator<Item = &Access> {
    let since = events.iter().rev().take_while(move |event| !event.invalidates(address));
    let accesses = since.filter_map(|event| Some(event.completed()?.0));
    accesses.filter(move |access| is_same_page(access.address, address))
}

/// Whether a read may have cached the page of an access.
fn is_read_before(events: &[SequenceEvent], access: &Access) -> bool {
    cached(events, access.address).any(|earlier| earlier.kind == AccessKind::Read)
}

/// Whether the page was first reached by a read.
#[derive(Clone, Copy)]
struct B23(bool);

impl B23 {
    fn after(events: &[SequenceEvent], access: &Access, _: &ControlState) -> Self {
        Self(is_read_before(events, access))
    }
}

impl Semantics for B23 {
    fn sets_dirty(&self, _: Rights, access: &Access) -> bool {
        !self.0 && self.is_write(access)
    }
}

/// Whether the supervisor wrote the page while CR0.WP was 0.
#[derive(Clone, Copy)]
struct B25(bool);

impl B25 {
    fn after(events: &[SequenceEvent], access: &Access, state: &ControlState) -> Self {
        let drops = |event: &SequenceEvent| event.invalidates(access.address);
        Self(is_written_without_wp(events, access, state, drops))
    }
}

impl Semantics for B25 {
    fn write_denied(&self, rights: Rights, access: &Access, regime: &Regime) -> bool {
        let is_kept = self.0 && !access.is_user();
        !is_kept && Reference.write_denied(rights, access, regime)
    }
}

/// Whether keys allowed an access that needs the same right before, and are not checked again.
#[derive(Clone, Copy)]
struct M17(bool);

impl M17 {
    fn after(events: &[SequenceEvent], access: &Access, _: &ControlState) -> Self {
        let alike = |earlier: &Access| earlier.kind.writes() || !access.kind.writes();
        Self(cached(events, access.address).any(alike))
    }
}

impl Semantics for M17 {
    fn key_denied(&self, rights: Rights, leaf: u64, access: &Access, regime: &Regime) -> bool {
        !self.0 && Reference.key_denied(rights, leaf, access, regime)
    }
}

/// Whether the page was first reached by a read.
#[derive(Clone, Copy)]
struct M24(bool);

impl M24 {
    fn after(events: &[SequenceEvent], access: &Access, _: &ControlState) -> Self {
        Self(is_read_before(events, access))
    }
}

impl Semantics for M24 {
    fn sets_dirty(&self, rights: Rights, access: &Access) -> bool {
        let lost = self.0 && !rights.contains(Rights::WRITE);
        !lost && self.is_write(access)
    }
}

/// Frames or tables, each with the rights by which it was first reached.
#[derive(Clone, Copy, Default)]
struct FirstRights([Option<(PhysAddr, Rights)>; 8]);

impl FirstRights {
    /// The wanted targets of entries in completed walks. Entries that software has changed since do
    /// not count.
    fn of(events: &[SequenceEvent], is_wanted: impl Fn(EntryKind, u8) -> bool) -> Self {
        let mut known = Self::default();

        for (number, event) in events.iter().enumerate() {
            let Some((_, path)) = event.completed() else { continue };
            let since = &events[number..];
            let unchanged = path
                .steps
                .iter()
                .take_while(|step| !since.iter().any(|event| event.written_at(step.at).is_some()));

            for step in unchanged.filter(|step| is_wanted(step.kind, step.level.number)) {
                known.add(step.target, step.rights);
            }
        }
        known
    }

    /// Adds a target, unless it is known or there is no room.
    fn add(&mut self, target: PhysAddr, rights: Rights) {
        let place = self.0.iter_mut().find(|place| place.is_none_or(|(known, _)| known == target));
        if let Some(place) = place {
            place.get_or_insert((target, rights));
        }
    }

    fn get(&self, target: u64) -> Option<Rights> {
        let found = self.0.iter().flatten().find(|(known, _)| known.get() == target);
        found.map(|(_, rights)| *rights)
    }
}

/// Large frames, with the rights of the first entry that mapped each.
#[derive(Clone, Copy)]
struct M25(FirstRights);

impl M25 {
    fn after(events: &[SequenceEvent], _: &Access, _: &ControlState) -> Self {
        Self(FirstRights::of(events, |kind, level| kind == EntryKind::Leaf && level > 1))
    }
}

impl Semantics for M25 {
    fn denial(
        &self,
        above: Rights,
        rights: Rights,
        leaf: u64,
        access: &Access,
        regime: &Regime,
    ) -> Denial {
        let is_large = leaf & EntryBits::PS.bits() != 0;
        let frame = leaf & EntryBits::ADDRESS & !EntryBits::LARGE_PAT.bits();
        let shared = if is_large { self.0.get(frame) } else { None };
        Reference.denial(above, shared.unwrap_or(rights), leaf, access, regime)
    }
}

/// Tables, with the rights of the first path that led to each.
#[derive(Clone, Copy)]
struct M26(FirstRights);

impl M26 {
    fn after(events: &[SequenceEvent], _: &Access, _: &ControlState) -> Self {
        Self(FirstRights::of(events, |kind, _| kind == EntryKind::Table))
    }
}

impl Semantics for M26 {
    fn combine(&self, above: Rights, entry: u64) -> Rights {
        let first = self.0.get(entry & EntryBits::ADDRESS);
        first.unwrap_or_else(|| Reference.combine(above, entry))
    }
}

/// CR0.WP as it was when CR3 was last loaded.
#[derive(Clone, Copy)]
struct M27 {
    write_protect: bool,
}

impl M27 {
    fn after(events: &[SequenceEvent], _: &Access, state: &ControlState) -> Self {
        let mut write_protect = state.cr0.contains(Cr0::WP);

        // Back to the value before the first change since the load.
        for event in events.iter().rev() {
            match event {
                SequenceEvent::Action(Action::ReloadCr3) => break,
                SequenceEvent::Action(Action::WriteProtect(on)) => write_protect = !on,
                _ => {}
            }
        }
        Self { write_protect }
    }
}

impl Semantics for M27 {
    fn denial(
        &self,
        above: Rights,
        rights: Rights,
        leaf: u64,
        access: &Access,
        regime: &Regime,
    ) -> Denial {
        let mut sampled = *regime;
        sampled.state.cr0.set(Cr0::WP, self.write_protect);
        Reference.denial(above, rights, leaf, access, &sampled)
    }
}

/// Sets the flags of a cached translation in an entry that is no longer present.
struct M40;

impl Walker for M40 {
    fn predict(&self, case: &Case) -> Prediction {
        let mut predicted = Reference.predict(case);
        if !case.is_sequence() {
            return predicted;
        }

        let Some(leaf) = lost_leaf(case) else { return predicted };
        let dirty = if case.access.kind.writes() { EntryBits::D } else { EntryBits::empty() };
        for way in &mut predicted.alternatives {
            if let Some(update) = way.updates.iter_mut().find(|update| update.at == leaf) {
                update.must_set |= (EntryBits::A | dirty).bits();
                update.open_by = Rule::Ad4;
            }
        }
        predicted
    }

    fn predict_earlier(&self, case: &Case) -> Vec<Prediction> {
        Reference.predict_earlier(case)
    }

    fn walk(&self, case: &Case, address: VirtAddr) -> (Path, Result<Translation, WalkError>) {
        Reference.walk(case, address)
    }
}

/// The leaf of the last access, if an earlier access cached it and it has lost P since.
fn lost_leaf(case: &Case) -> Option<PhysAddr> {
    let events = events(case);
    let (_, before) = events.split_last()?;
    let address = case.access.address;
    cached(before, address).next()?;

    let mut walks = before.iter().rev().filter_map(SequenceEvent::completed);
    let (_, path) = walks.find(|(access, _)| is_same_page(access.address, address))?;
    let leaf = path.steps.last()?.at;
    let is_cleared = |event: &SequenceEvent| {
        event.written_at(leaf).is_some_and(|value| value & EntryBits::P.bits() == 0)
    };
    before.iter().any(is_cleared).then_some(leaf)
}

#[cfg(test)]
mod tests;
