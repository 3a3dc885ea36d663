//! Predicting a sequence: each access from the tables and registers as those before it left them, and
//! from what the processor may have cached of earlier tables (TLB-2).

mod events;

pub(super) use events::{SequenceEvent, is_same_page, is_written_without_wp};

use super::privileged::{deciding_rules, invalidation};
use super::saved_rip::FIRST_OF_CROSSING;
use super::{CHECKED_SIZE, instruction};
use crosswalk_case::{Action, Case};
use crosswalk_guest::layout::Arena;
use crosswalk_guest::stub::Code;
use crosswalk_guest::table_windows::TablePlace;
use crosswalk_guest::tables::{self, TableUse};
use events::{event_of, mov_events, walked};
use mmu_core::cache::{CACHED_TRANSLATION, History, RegisterWrite};
use mmu_core::x86::control::Mov;
use mmu_core::x86::format::{Bits32, FourLevel, levels};
use mmu_core::{
    Access, AccessKind, Alternative, AnyMmu, ControlState, Cr4, EntryUpdate, Fault, Outcome,
    PageFaultCode, PagingMode, PhysAddr, Prediction, Profile, Reference, Rule, RuleSet, Semantics,
    VirtAddr,
};
use std::collections::BTreeMap;

/// What predicts an access at a moment of a sequence. It is not generic: compiled once for each mutant, a
/// sequence would take as long to compile as all else.
pub(super) type PredictAccess<'p> = dyn Fn(&Moment<'_>, &Access) -> Prediction + 'p;

/// The prediction for every access of a case. The last includes all that the sequence does to table
/// entries. `predict_access` predicts one access, by the semantics that it chooses.
pub(super) fn predict(case: &Case, predict_access: &PredictAccess<'_>) -> Vec<Prediction> {
    predict_by(case, Drops::BY_THE_RULES, predict_access)
}

/// What drops what is cached.
#[derive(Clone, Copy, Debug)]
pub(super) struct Drops {
    /// What a page fault does.
    pub(super) by_fault: FaultEffect,
    /// Whether setting CR4.PKE drops everything where the manual says so.
    pub(super) by_pke: bool,
}

impl Drops {
    /// By the manuals.
    const BY_THE_RULES: Self = Self { by_fault: FaultEffect::Drops, by_pke: true };
}

/// What a page fault does to what is cached for its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FaultEffect {
    /// It drops it (TLB-3).
    Drops,
    /// The same, unless an entry is not present or has a reserved bit set.
    DropsIfDenied,
    /// Nothing.
    Keeps,
}

impl FaultEffect {
    /// Whether the faults that are predicted for an access drop what is cached.
    fn drops(self, predicted: &Prediction) -> bool {
        let is_by_entry = |way: &Alternative| {
            let codes = way.outcome.fault().map(|fault| fault.error_code);
            codes.map(PageFaultCode::from_bits_retain).is_some_and(|code| {
                !code.contains(PageFaultCode::P) || code.contains(PageFaultCode::RSVD)
            })
        };
        match self {
            Self::Drops => true,
            Self::DropsIfDenied => !predicted.alternatives.iter().any(is_by_entry),
            Self::Keeps => false,
        }
    }
}

/// The prediction for every access of a case, where `predict` makes those of one.
pub(super) fn predict_by(
    case: &Case,
    drops: Drops,
    predict_access: &PredictAccess<'_>,
) -> Vec<Prediction> {
    follow(case, drops, predict_access).1
}

/// All that happens in a case by the reference, the access last.
pub(super) fn events(case: &Case) -> Vec<SequenceEvent> {
    follow(case, Drops::BY_THE_RULES, &|moment, access| moment.predict(Reference, access)).0
}

/// A point of a sequence at which it makes an access.
pub(super) struct Moment<'h> {
    /// What came before.
    pub(super) events: &'h [SequenceEvent],
    /// The number of accesses among it.
    pub(super) accesses: usize,
    /// The control registers.
    pub(super) state: ControlState,
    profile: Profile,
    history: &'h EditHistory,
}

impl Moment<'_> {
    /// Everything that is allowed for an access, by the tables or by what may be cached of earlier ones.
    pub(super) fn predict<R: Semantics>(&self, semantics: R, access: &Access) -> Prediction {
        let mmu = AnyMmu::with_semantics(semantics, self.state, self.profile);
        let mut predicted = mmu.predict_after_edits(self.history, access).expect(CHECKED_SIZE);
        self.part_instructions(access, &mut predicted);
        predicted
    }

    /// What crosses into the next page in 32-bit code is two instructions, and the second starts in the first
    /// page. If a cached translation may be used there or not (TLB-2), the one may use it, and the other
    /// page-fault.
    pub(super) fn part_instructions(&self, access: &Access, predicted: &mut Prediction) {
        let table_use = TableUse { mode: self.state.mode(), compatibility: access.compatibility };
        let is_two = access.kind == AccessKind::Fetch && access.crosses_page();
        if !is_two || Code::of(table_use) != Code::Bits32 {
            return;
        }

        let cr2 = |way: &Alternative| way.outcome.fault().map(|fault| fault.cr2);
        let faults_at_first = |way: &&Alternative| cr2(way) == Some(Some(access.address));
        let is_open = |way: &Alternative| way.choice.is_some_and(|(rule, _)| rule == Rule::Tlb2);
        let ways = &predicted.alternatives;
        if !ways.iter().any(is_open) || ways.iter().all(|way| faults_at_first(&way)) {
            return;
        }

        let second = access.address.wrapping_add(FIRST_OF_CROSSING);
        let at_second = |way: &Alternative| {
            let fault = way.outcome.fault().copied()?;
            let outcome = Outcome::Fault(Fault { cr2: Some(second), ..fault });
            let choice = Some((Rule::Tlb2, CACHED_TRANSLATION));
            Some(Alternative { outcome, choice, updates: way.updates.clone() })
        };
        let parted: Vec<_> = ways.iter().filter(faults_at_first).filter_map(at_second).collect();
        predicted.alternatives.extend(parted);
    }

    /// The tables in memory, and an access to them, as a case of its own.
    pub(super) fn case(&self, access: &Access) -> Case {
        let now = self.history.memory().clone();
        Case { state: self.state, access: *access, ..now }
    }
}

fn follow(
    case: &Case,
    drops: Drops,
    predict_access: &PredictAccess<'_>,
) -> (Vec<SequenceEvent>, Vec<Prediction>) {
    let accesses = case.script().filter(|action| matches!(action, Action::Access(_))).count();
    let mut state = case.state;
    let mut tables = CachedTables::new(case);
    let mut events = Vec::new();
    let mut predictions = Vec::new();

    let mut rules_of_movs = RuleSet::default();

    for action in case.script() {
        let before = state;
        action.change(&mut state, case.profile, tables.history.memory());
        let Action::Access(step) = action else {
            if let Some(mov) = action.mov(&before) {
                let faults = tables.follow_mov(mov, (&before, &state), drops);
                rules_of_movs.extend(deciding_rules(mov, &before, faults));
                events.extend(mov_events(mov, (&before, &state), case.profile));
            } else {
                tables.act(action, &state);
                events.push(event_of(action, &state, &case.profile));
            }
            continue;
        };

        let moment = Moment {
            events: &events,
            accesses: predictions.len(),
            state,
            profile: case.profile,
            history: &tables.history,
        };
        let mut prediction = instruction::predict(&step, &|access| predict_access(&moment, access));
        prediction.rules.extend(std::mem::take(&mut rules_of_movs));
        for access in step.parts() {
            let event = walked(case, &state, tables.history.memory(), access);
            let is_last = event.completed().is_none();
            events.push(event);
            if is_last {
                break;
            }
        }
        if predictions.len() + 1 < accesses {
            tables.set_flags(&prediction);
            if drops.by_fault.drops(&prediction) {
                tables.drop_faulting(&prediction, &state);
            }
        }
        predictions.push(prediction);
    }

    if let Some(last) = predictions.last_mut() {
        tables.add_to(last, case);
    }
    (events, predictions)
}

/// A MOV as what decides about the caches.
const fn register_write(mov: Mov) -> RegisterWrite {
    match mov {
        Mov::Cr3(value) => RegisterWrite::Cr3(value),
        Mov::Cr0(_) | Mov::Cr4(_) | Mov::Efer(_) => RegisterWrite::Other,
    }
}

/// Maximum number of edits that are remembered without an invalidation, and of entries with flags that
/// accesses may have set.
const MAX_EDITS: usize = 16;

type EditHistory = History<Case, MAX_EDITS>;

/// The tables of a case, with what may be cached of them.
struct CachedTables {
    history: EditHistory,
    /// The size of an entry.
    entry_bytes: u8,
}

impl CachedTables {
    fn new(case: &Case) -> Self {
        let tables = Case { before: Vec::new(), ..case.clone() };
        let entry_bytes = tables::entry_bytes(case.mode()) as u8;
        Self { history: History::new(tables), entry_bytes }
    }

    /// Follows an action other than an access, with the registers before and after it.
    fn act(&mut self, action: Action, state: &ControlState) {
        match action {
            Action::Write(entry) => {
                let at = PhysAddr::new(entry.at);
                if self.history.edit(at, self.entry_bytes, entry.value).is_err() {
                    // Stale translations are no longer allowed from here on. No sequence is so long.
                    self.history.forget_all();
                    let _ = self.history.edit(at, self.entry_bytes, entry.value);
                }
            }
            Action::Invpcid(invpcid) => {
                let Case { profile, .. } = *self.history.memory();
                if let Ok(dropped) = invalidation(invpcid, state, &profile) {
                    self.history.invalidate(dropped);
                }
            }
            Action::Invlpg(address) => {
                let profile = self.history.memory().profile;
                if state.mode().is_long_mode() {
                    self.history.invlpg::<FourLevel>(state, &profile, address);
                } else {
                    self.history.invlpg::<Bits32>(state, &profile, address);
                }
            }
            // MOVs are followed by their values.
            Action::Access(_)
            | Action::Mov(_)
            | Action::ReloadCr3
            | Action::WriteProtect(_)
            | Action::Pkru(_) => {}
        }
    }

    /// Follows a MOV to a control register: what it drops, and that entries cached before were reached by
    /// other registers. Returns whether it faults, and does nothing.
    fn follow_mov(
        &mut self,
        mov: Mov,
        (before, after): (&ControlState, &ControlState),
        drops: Drops,
    ) -> bool {
        let Case { profile, .. } = *self.history.memory();
        let loads = before.loads(mov, profile, self.history.memory());
        if loads.first().is_none_or(|load| load.result.is_err()) {
            return true;
        }

        let mut after = *after;
        if !drops.by_pke {
            // Nothing else about PKE concerns what is cached.
            after.cr4.set(Cr4::PKE, before.cr4.contains(Cr4::PKE));
        }
        let write = register_write(mov);
        if self.history.write_register(write, before, &after, profile.vendor).is_err() {
            // Stale translations are no longer allowed from here on. No sequence has so many MOVs.
            self.history.forget_all();
        }
        false
    }

    /// Follows an access: the flags that it sets, or may set.
    fn set_flags(&mut self, predicted: &Prediction) {
        for (at, FlagsSet { all, any }) in flags_set(predicted) {
            let at = PhysAddr::new(at);
            let _ = self.history.set_flags(at, self.entry_bytes, all);
            // There is room: the guest runs no sequence with so many entries.
            let _ = self.history.may_set(at, any & !all);
        }
    }

    /// Drops what is cached for an access that faults (TLB-3).
    fn drop_faulting(&mut self, predicted: &Prediction, state: &ControlState) {
        if let Some(address) = common_cr2(predicted) {
            self.history.page_fault(state, address);
        }
    }

    /// Adds to the last prediction what earlier actions did to entries.
    fn add_to(&self, last: &mut Prediction, case: &Case) {
        let now = self.history.memory();

        for way in &mut last.alternatives {
            for entry in &now.entries {
                let may_set = self.history.maybe_set(PhysAddr::new(entry.at));
                let initial = case.entries.iter().find(|initial| initial.at == entry.at);
                let is_changed = may_set != 0 || initial != Some(entry);

                let known = way.updates.iter_mut().find(|update| update.at.get() == entry.at);
                if let Some(update) = known {
                    update.may_set |= may_set;
                } else if is_changed {
                    // Without paging, what is stored is no entry.
                    let depth = depth_of(case.mode(), entry.at);
                    let Some(level) = levels(case.mode()).get(depth) else { continue };
                    way.updates.push(EntryUpdate {
                        at: PhysAddr::new(entry.at),
                        level,
                        before: entry.value,
                        must_set: 0,
                        may_set,
                        open_by: Rule::Ad2,
                    });
                }
            }
        }
    }
}

/// Flags of one entry that an access sets.
struct FlagsSet {
    /// In every allowed way.
    all: u64,
    /// In some allowed way.
    any: u64,
}

/// The flags that an access sets, by the address of the entry.
fn flags_set(predicted: &Prediction) -> BTreeMap<u64, FlagsSet> {
    let ways = &predicted.alternatives;
    let mut touched: BTreeMap<u64, FlagsSet> = BTreeMap::new();

    for update in ways.iter().flat_map(|way| &way.updates) {
        let unknown = FlagsSet { all: u64::MAX, any: 0 };
        let flags = touched.entry(update.at.get()).or_insert(unknown);
        flags.all &= update.must_set;
        flags.any |= update.must_set | update.may_set;
    }
    for (at, flags) in &mut touched {
        let is_in_each =
            ways.iter().all(|way| way.updates.iter().any(|update| update.at.get() == *at));
        if !is_in_each {
            flags.all = 0;
        }
    }
    touched
}

/// The address in CR2, if the access page-faults in every allowed way, always at that address.
fn common_cr2(predicted: &Prediction) -> Option<VirtAddr> {
    let cr2_of_way = |way: &Alternative| way.outcome.fault()?.cr2;
    let mut addresses = predicted.alternatives.iter().map(cr2_of_way);
    let first = addresses.next()??;
    addresses.all(|cr2| cr2 == Some(first)).then_some(first)
}

/// The depth of the level that an arena's table serves: the first, if it serves several.
fn depth_of(mode: PagingMode, at: u64) -> usize {
    let place = Arena::ALL.into_iter().find_map(|arena| TablePlace::at(arena, at));
    let Some(TablePlace { index: table, .. }) = place else { return 0 };
    tables::of_levels(TableUse::of(mode))
        .iter()
        .position(|tables| tables.contains(&table))
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Walker;
    use crosswalk_case::{AccessStep, Invpcid, TableEntry};
    use mmu_core::{Ring, Vendor};

    const CACHING: [Rule; 6] =
        [Rule::Tlb1, Rule::Tlb2, Rule::Tlb3, Rule::Tlb4, Rule::Ad4, Rule::Canon3];

    /// A read of a page, its move to the next frame, what `between` does, and a read again.
    fn moved(vendor: Vendor, between: impl Fn(&Case) -> Vec<Action>) -> Case {
        let profile = Profile { vendor, ..Profile::default() };
        let mut case = Case::plain(Arena::ALL[0], 7, Ring::Three, profile);
        let leaf = case.entries[3];

        case.before = vec![
            Action::Access(case.access_step()),
            Action::Write(TableEntry { value: leaf.value + 0x1000, ..leaf }),
        ];
        let between = between(&case);
        case.before.extend(between);
        case
    }

    /// The rules of caching that decide about the last access.
    fn rules(case: &Case) -> Vec<Rule> {
        let decided = Reference.predict(case).rules;
        CACHING.into_iter().filter(|rule| decided.contains(*rule)).collect()
    }

    #[test]
    fn the_rules_of_caching_that_decide_are_reported() {
        for vendor in Vendor::ALL {
            let own = |case: &Case| vec![Action::Invlpg(case.access.address)];
            let not_canonical = |_: &Case| vec![Action::Invlpg(VirtAddr::new(1 << 56))];
            let nothing = |_: &Case| Vec::new();
            let invpcid = |kind| Action::Invpcid(Invpcid { kind, descriptor: [0; 2] });

            assert_eq!(rules(&moved(vendor, nothing)), [Rule::Tlb2]);
            assert_eq!(rules(&moved(vendor, own)), [Rule::Tlb4]);
            assert_eq!(rules(&moved(vendor, |_| vec![Action::ReloadCr3])), [Rule::Tlb4]);
            assert_eq!(rules(&moved(vendor, |_| vec![invpcid(2)])), [Rule::Tlb4]);
            // There is no type 4: #GP, and nothing is dropped.
            assert_eq!(rules(&moved(vendor, |_| vec![invpcid(4)])), [Rule::Tlb2]);
            assert_eq!(rules(&moved(vendor, not_canonical)), [Rule::Tlb2, Rule::Canon3]);
        }
    }

    #[test]
    fn tlb_1_decides_where_nothing_was_read_before() {
        let mut case = moved(Vendor::Intel, |_| Vec::new());
        case.before.remove(0);
        assert_eq!(rules(&case), [Rule::Tlb1]);
    }

    /// Code that crosses in 32-bit code is two instructions. The first may run by a cached translation
    /// (TLB-2), and the second, which starts 4 bytes later in the same page, fault by the new one.
    #[test]
    fn tlb_2_each_of_two_instructions_may_use_a_cached_translation() {
        for (mode, parts) in [(PagingMode::Pae, true), (PagingMode::FourLevel, false)] {
            let profile = Profile { vendor: Vendor::Intel, ..Profile::default() };
            let mut case = Case::plain_in(mode, Arena::ALL[0], 7, Ring::Three, profile);
            let page = case.access.address.get() & !0xfff;
            let (offset, size) = if parts { (0xffa, 8) } else { (0xff8, 10) };
            case.access = Access::fetch(VirtAddr::new(page + offset), size, Ring::Three);
            let leaf = *case.entries.last().unwrap();
            case.entries.push(TableEntry { at: leaf.at + 8, value: leaf.value + 0x1000 });
            case.before = vec![
                Action::Access(case.access_step()),
                Action::Write(TableEntry { value: leaf.value & !1, ..leaf }),
            ];

            let second = Some(VirtAddr::new(page + 0xffe));
            let ends_there =
                |way: &Alternative| way.outcome.fault().is_some_and(|fault| fault.cr2 == second);
            let predicted = Reference.predict(&case);
            assert_eq!(predicted.alternatives.iter().any(ends_there), parts, "{mode}");

            // After INVLPG nothing is open.
            case.before.push(Action::Invlpg(case.access.address));
            let predicted = Reference.predict(&case);
            assert!(!predicted.alternatives.iter().any(ends_there), "{mode}");
        }
    }

    /// A write by ring 3 to a page of the supervisor faults, and drops what the supervisor cached.
    #[test]
    fn tlb_3_decides_where_an_access_faulted() {
        let mut case = moved(Vendor::Intel, |_| Vec::new());
        case.entries[3].value &= !4;
        if let Action::Write(entry) = &mut case.before[1] {
            entry.value &= !4;
        }
        let step = case.access_step();
        let by_ring_0 = AccessStep { access: Access { ring: Ring::Zero, ..step.access }, ..step };
        case.before[0] = Action::Access(by_ring_0);
        case.before.push(Action::Access(step));
        case.access.ring = Ring::Zero;

        // The leaf that replaced the first one is cached by nothing before.
        assert_eq!(rules(&case), [Rule::Tlb3]);
    }
}
