//! Sequences: each access is predicted from the tables and registers as those before it left them,
//! and from what the processor may have kept of earlier tables (TLB-2).

use arrayvec::ArrayVec;
use crosswalk_case::{AccessStep, Action, Case};
use crosswalk_guest::tables;
use mmu_core::cache::{History, TableMemoryUpdate};
use mmu_core::memory::TableMemory;
use mmu_core::outcome::MAX_ALTERNATIVES;
use mmu_core::walk::{Path, predict_in_mode, walk_in_mode};
use mmu_core::x86::format::{FiveLevel, FourLevel, levels};
use mmu_core::{
    Access, ControlState, Cr4, EntryUpdate, Mmu, PagingMode, PhysAddr, Prediction, Profile,
    Reference, Rule, RuleSet, Semantics,
};
use std::collections::BTreeMap;

/// What happened before an access.
#[derive(Clone, Debug)]
pub(super) enum SequenceEvent {
    /// Another access.
    Access {
        /// The access.
        access: Access,
        /// The walk for its first byte.
        path: Box<Path>,
        /// Whether it completed.
        completed: bool,
    },
    /// Anything else.
    Action(Action),
}

/// The predictions of every access of a case, the last with all that the sequence does to entries.
/// `rules` are those for an access in a state, after these events.
pub(super) fn predict<R: Semantics>(
    case: &Case,
    rules: impl Fn(&[SequenceEvent], &Access, &ControlState) -> R,
) -> Vec<Prediction> {
    follow(case, rules).1
}

/// All that happens in a case by the reference, the access last.
pub(super) fn events(case: &Case) -> Vec<SequenceEvent> {
    follow(case, |_, _, _| Reference).0
}

fn follow<R: Semantics>(
    case: &Case,
    rules: impl Fn(&[SequenceEvent], &Access, &ControlState) -> R,
) -> (Vec<SequenceEvent>, Vec<Prediction>) {
    let is_access = |action: &Action| matches!(action, Action::Access(_));
    let accesses = case.script().filter(is_access).count();
    let mut state = case.state;
    let mut tables = CachedTables::new(case);
    let (mut events, mut predictions) = (Vec::new(), Vec::new());
    for action in case.script() {
        action.change(&mut state);
        let Action::Access(AccessStep { access, .. }) = action else {
            tables.act(action, &state);
            events.push(SequenceEvent::Action(action));
            continue;
        };
        let chosen = rules(&events, &access, &state);
        let prediction = predict_access(chosen, state, case.profile, &tables.history, &access);
        let mut path = Path::default();
        let at = (access.address, &access);
        let memory = tables.history.memory();
        let walked = walk_in_mode(Reference, state, case.profile, memory, at, &mut path);
        let completed = walked.is_ok();
        events.push(SequenceEvent::Access { access, path: Box::new(path), completed });
        predictions.push(prediction);
        if predictions.len() < accesses {
            tables.set_flags(&predictions[predictions.len() - 1]);
        }
    }
    if let Some(last) = predictions.last_mut() {
        tables.add_to(last, case);
    }
    (events, predictions)
}

/// So many edits without an invalidation are remembered.
const EDITS: usize = 16;

type EditHistory = History<Case, EDITS>;

/// The tables as they are, with what may be cached of them.
struct CachedTables {
    history: EditHistory,
    /// Flags that earlier accesses may have set, by entry.
    open: BTreeMap<u64, u64>,
}

impl CachedTables {
    fn new(case: &Case) -> Self {
        let tables = Case { before: Vec::new(), ..case.clone() };
        Self { history: History::new(tables), open: BTreeMap::new() }
    }

    fn act(&mut self, action: Action, state: &ControlState) {
        match action {
            Action::Write(entry) => {
                self.open.remove(&entry.at);
                let at = PhysAddr::new(entry.at);
                if self.history.edit(at, 8, entry.value).is_err() {
                    // Nothing is allowed any more that was: a sequence is never that long.
                    self.history.forget_all();
                    let _ = self.history.edit(at, 8, entry.value);
                }
            }
            Action::Invlpg(address) => self.history.forget(address),
            // Global ones stay (TLB-4).
            Action::ReloadCr3 if !state.cr4.contains(Cr4::PGE) => self.history.forget_all(),
            _ => {}
        }
    }

    /// What an access did, or may have done, to entries, and what its fault drops (TLB-3).
    fn set_flags(&mut self, made: &Prediction) {
        let ways = &made.alternatives;
        let mut touched: BTreeMap<u64, (u64, u64)> = BTreeMap::new();
        for update in ways.iter().flat_map(|way| &way.updates) {
            let (all, any) = touched.entry(update.at.get()).or_insert((u64::MAX, 0));
            *all &= update.must_set;
            *any |= update.must_set | update.may_set;
        }
        for (at, (mut all, any)) in touched {
            let in_each = ways.iter().all(|way| way.updates.iter().any(|one| one.at.get() == at));
            all = if in_each { all } else { 0 };
            let old = self.history.read_entry(PhysAddr::new(at), 8).unwrap_or(0);
            let _ = self.history.update_entry(PhysAddr::new(at), 8, old, old | all);
            *self.open.entry(at).or_insert(0) |= any & !all;
        }
        let faults: Vec<_> = ways.iter().map(|way| way.outcome.fault()?.cr2).collect();
        if let [Some(first), rest @ ..] = faults.as_slice()
            && rest.iter().all(|cr2| *cr2 == Some(*first))
        {
            self.history.forget(*first);
        }
    }

    /// Adds to the last prediction what came of entries before.
    fn add_to(&self, last: &mut Prediction, case: &Case) {
        let now = self.history.memory();
        for way in &mut last.alternatives {
            for entry in &now.entries {
                let may_set = self.open.get(&entry.at).copied().unwrap_or(0);
                let first = case.entries.iter().find(|first| first.at == entry.at);
                let known = way.updates.iter_mut().find(|update| update.at.get() == entry.at);
                if let Some(update) = known {
                    update.may_set |= may_set;
                } else if (may_set != 0 || first != Some(entry)) && !way.updates.is_full() {
                    let level = level_of(case.mode(), entry.at);
                    way.updates.push(EntryUpdate {
                        at: PhysAddr::new(entry.at),
                        level: &levels(case.mode())[level],
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

/// The depth of the level that an arena's table serves first.
fn level_of(mode: PagingMode, at: u64) -> usize {
    let table = crosswalk_guest::layout::Arena::ALL.iter().find_map(|arena| arena.table_at(at));
    let holds = |range: &std::ops::Range<usize>| table.is_some_and(|table| range.contains(&table));
    tables::of_levels(mode).iter().position(holds).unwrap_or(0)
}

/// Everything that is allowed for one access, by the tables or by what may be cached of earlier ones.
fn predict_access<R: Semantics>(
    rules: R,
    state: ControlState,
    profile: Profile,
    memory: &EditHistory,
    access: &Access,
) -> Prediction {
    let mut all = Prediction { alternatives: ArrayVec::new(), rules: RuleSet::default() };
    let visit = |found: &Prediction| {
        all.rules.extend(found.rules);
        for way in &found.alternatives {
            let is_known = all
                .alternatives
                .iter()
                .any(|known| known.outcome == way.outcome && known.updates == way.updates);
            if !is_known && all.alternatives.len() < MAX_ALTERNATIVES {
                all.alternatives.push(way.clone());
            }
        }
    };
    match state.mode() {
        PagingMode::FourLevel => {
            Mmu::<FourLevel, R>::with_semantics(rules, state, profile)
                .predict_stale(memory, access, visit);
        }
        PagingMode::FiveLevel => {
            Mmu::<FiveLevel, R>::with_semantics(rules, state, profile)
                .predict_stale(memory, access, visit);
        }
        // The guest runs no sequence there.
        _ => return predict_in_mode(rules, state, profile, memory.memory(), access),
    }
    all
}

impl SequenceEvent {
    /// The walk of an access that completed.
    pub(super) fn completed(&self) -> Option<(&Access, &Path)> {
        match self {
            Self::Access { access, path, completed: true } => Some((access, path)),
            _ => None,
        }
    }

    /// Whether it drops what is cached of an address.
    pub(super) fn invalidates(&self, address: u64) -> bool {
        match self {
            Self::Action(Action::ReloadCr3) => true,
            Self::Action(Action::Invlpg(dropped)) => dropped.get() >> 12 == address >> 12,
            _ => false,
        }
    }
}

/// The bits of an entry that are the address of a table.
pub(super) const TABLE: u64 = mmu_core::x86::format::EntryBits::ADDRESS;
