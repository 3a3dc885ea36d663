//! The mutants whose mistake takes a sequence of accesses to show: a later access is judged by what
//! they remember of an earlier one, or fail to notice since.

use super::{Mutant, Need};
use crate::walker::Walker;
use crate::walker::sequence::{SequenceEvent, events, is_same_page, predict};
use crosswalk_case::{Action, Case};
use mmu_core::walk::{Path, WalkError};
use mmu_core::x86::format::{EntryBits, EntryKind};
use mmu_core::x86::semantics::{Denial, Rights};
use mmu_core::{
    Access, AccessKind, ControlState, Cr0, Features, PhysAddr, Prediction, Reference, Regime, Rule,
    Semantics, Translation, VirtAddr,
};

/// A mutant of this file.
const fn mutant(
    id: &'static str,
    rule: Option<Rule>,
    origin: &'static str,
    mistake: &'static str,
    needs: &'static [Need],
    walker: &'static dyn Walker,
) -> Mutant {
    Mutant { id, rule, mistake, origin, needs, semantics: None, walker }
}

pub(super) const MUTANTS: &[Mutant] = &[
    mutant(
        "M17",
        Some(Rule::Right5),
        "Bochs a3c77b4b0",
        "WRPKRU without effect on a cached verdict",
        &[Need::Feature(Features::PKU)],
        &Stateful(M17::after),
    ),
    mutant(
        "M24",
        Some(Rule::Right2),
        "KVM c22885050e65",
        "D lost under WP=0 when the page was first reached by a read",
        &[],
        &Stateful(M24::after),
    ),
    mutant(
        "M25",
        Some(Rule::Right1),
        "KVM 5fd5387c89ec, d28c6cfbbc5e",
        "two large entries for one frame share one set of rights",
        &[],
        &Stateful(M25::after),
    ),
    mutant(
        "M26",
        Some(Rule::Right1),
        "kvm-unit-tests 47fd6bc5",
        "a table reached from two parents remembered with the first parent's rights",
        &[],
        &Stateful(M26::after),
    ),
    mutant(
        "M27",
        Some(Rule::Right2),
        "kvm-unit-tests 858d3794",
        "CR0.WP sampled when something else last changed",
        &[],
        &Stateful(M27::after),
    ),
    mutant(
        "M40",
        Some(Rule::Ad4),
        "KNL erratum 4",
        "A and D set after P was cleared by another processor",
        &[],
        &M40,
    ),
];

/// A walker whose semantics for an access depend on what came before it.
struct Stateful<R>(fn(&[SequenceEvent], &Access, &ControlState) -> R);

impl<R: Semantics + Send + Sync> Walker for Stateful<R> {
    fn predict(&self, case: &Case) -> Prediction {
        if !case.is_sequence() {
            return Reference.predict(case);
        }
        predict(case, self.0).pop().expect("a case has an access")
    }

    fn predict_earlier(&self, case: &Case) -> Vec<Prediction> {
        let mut predictions = predict(case, self.0);
        predictions.pop();
        predictions
    }

    fn walk(&self, case: &Case, address: VirtAddr) -> (Path, Result<Translation, WalkError>) {
        Reference.walk(case, address)
    }
}

/// The completed accesses to the page of an address since it was last invalidated: those whose
/// translation may be cached.
fn cached(events: &[SequenceEvent], address: VirtAddr) -> impl Iterator<Item = &Access> {
    let since = events.iter().rev().take_while(move |event| !event.invalidates(address));
    let accesses = since.filter_map(|event| Some(event.completed()?.0));
    accesses.filter(move |access| is_same_page(access.address, address))
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
        Self(cached(events, access.address).any(|earlier| earlier.kind == AccessKind::Read))
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
mod tests {
    use super::*;
    use crate::walker::MUTANTS;
    use crosswalk_case::{AccessStep, TableEntry};
    use crosswalk_guest::layout::Arena;
    use crosswalk_guest::stub::Form;
    use mmu_core::{Cr4, Profile, Ring};

    const RW: u64 = 1 << 1;
    const A: u64 = 1 << 5;
    const D: u64 = 1 << 6;
    const PS: u64 = 1 << 7;

    fn plain(ring: Ring) -> Case {
        let profile = Profile { physical_address_bits: 40, ..Profile::default() };
        Case::plain(Arena::ALL[0], 7, ring, profile)
    }

    /// Adds an earlier access to the same page.
    fn access_before(case: &mut Case, kind: AccessKind) {
        let access = Access { kind, ..case.access };
        case.before.push(Action::Access(AccessStep {
            access,
            form: Case::default_form(kind),
            value: 1,
        }));
    }

    /// Makes the last access a write.
    fn write(case: &mut Case) {
        case.access.kind = AccessKind::Write;
        case.form = Form::Store;
        case.value = 2;
    }

    /// The error code of the last access, and A and D in the leaf after it.
    fn end(walker: &dyn Walker, case: &Case) -> (Option<u32>, u64) {
        let way = &walker.predict(case).alternatives[0];
        let leaf = case.entries.iter().rfind(|entry| entry.at >> 12 == leaf_table(case) >> 12);
        let at = leaf.expect("a leaf").at;
        let update = way.updates.iter().find(|update| update.at.get() == at);

        let left = update.map_or(0, |update| update.before | update.must_set);
        (way.outcome.fault().map(|fault| fault.error_code), left & (A | D))
    }

    fn leaf_table(case: &Case) -> u64 {
        case.entries.iter().map(|entry| entry.at).max().unwrap_or(0)
    }

    /// The end by the reference, and by a mutant.
    fn both(id: &str, case: &Case) -> [(Option<u32>, u64); 2] {
        let mutant = MUTANTS.iter().find(|mutant| mutant.id == id).expect("it is listed");
        [end(&Reference, case), end(mutant.walker, case)]
    }

    #[test]
    fn m17_a_key_that_allowed_an_access_is_not_checked_again() {
        let mut case = plain(Ring::Three);
        case.state.cr4 |= Cr4::PKE;
        case.entries[3].value |= 5 << 59;
        access_before(&mut case, AccessKind::Read);
        case.before.push(Action::Pkru(1 << 10));

        // P, U and PK: bits 0, 2 and 5. The first access has set A.
        assert_eq!(both("M17", &case), [(Some(0x25), A), (None, A)]);

        // After INVLPG it is checked.
        case.before.push(Action::Invlpg(case.access.address));
        assert_eq!(both("M17", &case), [(Some(0x25), A), (Some(0x25), A)]);
    }

    #[test]
    fn m24_d_is_lost_after_a_read() {
        let mut case = plain(Ring::Zero);
        case.state.cr0 -= Cr0::WP;
        case.entries[3].value &= !RW;
        access_before(&mut case, AccessKind::Read);
        write(&mut case);
        assert_eq!(both("M24", &case), [(None, A | D), (None, A)]);
    }

    #[test]
    fn m25_a_large_frame_has_the_rights_of_its_first_entry() {
        let mut case = plain(Ring::Three);
        case.entries.pop();
        let at = case.entries[2].at;
        case.entries[2].value = 0x4000_0000 | PS | 7;
        case.entries.push(TableEntry { at: at + 8, value: 0x4000_0000 | PS | 5 });
        access_before(&mut case, AccessKind::Read);
        write(&mut case);
        case.access.address = case.access.address.wrapping_add(1 << 21);

        // P, W and U.
        assert_eq!(both("M25", &case), [(Some(7), 0), (None, A | D)]);
    }

    #[test]
    fn m26_a_table_has_the_rights_of_its_first_parent() {
        let mut case = plain(Ring::Three);
        let parent = case.entries[2];
        case.entries.push(TableEntry { at: parent.at + 8, value: parent.value & !RW });
        access_before(&mut case, AccessKind::Write);
        write(&mut case);
        case.access.address = case.access.address.wrapping_add(1 << 21);
        assert_eq!(both("M26", &case), [(Some(7), A | D), (None, A | D)]);
    }

    #[test]
    fn m26_a_changed_parent_is_read_again() {
        let mut case = plain(Ring::Three);
        let parent = case.entries[2];
        access_before(&mut case, AccessKind::Write);
        case.before.push(Action::Write(TableEntry { value: parent.value & !RW, ..parent }));
        case.before.push(Action::ReloadCr3);
        write(&mut case);
        assert_eq!(both("M26", &case), [(Some(7), A | D), (Some(7), A | D)]);
    }

    #[test]
    fn m27_cr0_wp_counts_from_the_next_load_of_cr3() {
        let mut case = plain(Ring::Zero);
        case.entries[3].value &= !RW;
        case.before.push(Action::WriteProtect(false));
        write(&mut case);

        // P and W.
        assert_eq!(both("M27", &case), [(None, A | D), (Some(3), 0)]);

        case.before.push(Action::ReloadCr3);
        assert_eq!(both("M27", &case), [(None, A | D), (None, A | D)]);
    }

    #[test]
    fn m40_flags_are_set_in_an_entry_that_is_not_present() {
        let mut case = plain(Ring::Three);
        access_before(&mut case, AccessKind::Read);
        let leaf = case.entries[3];
        case.before.push(Action::Write(TableEntry { value: leaf.value & !1, ..leaf }));
        write(&mut case);

        // W and U.
        assert_eq!(both("M40", &case), [(Some(6), 0), (Some(6), A | D)]);
    }

    /// TLB-2: without INVLPG a read may use the old translation or the new one.
    #[test]
    fn tlb_2_a_read_after_an_edit_has_two_ways() {
        let mut case = plain(Ring::Three);
        access_before(&mut case, AccessKind::Read);
        let leaf = case.entries[3];
        case.before.push(Action::Write(TableEntry { value: leaf.value + 0x1000, ..leaf }));

        let frame = leaf.value & EntryBits::ADDRESS;
        let reached = |case: &Case| -> Vec<u64> {
            let ways = Reference.predict(case).alternatives;
            let addresses = ways.iter().filter_map(|way| way.outcome.physical_address());
            addresses.map(|at| at.get() - frame).collect()
        };
        assert_eq!(reached(&case), [0x1108, 0x108]);
        case.before.push(Action::Invlpg(case.access.address));
        assert_eq!(reached(&case), [0x1108]);
    }
}
