//! One access of a test: every way in which it may go.

use super::cached_path::{CachedEnd, CachedPath};
use super::choices::LitmusChoices;
use super::decisions::LitmusSemantics;
use super::event::{EventKind, EventWalk, WalkedEntry};
use super::machine::{Machine, MachineState, Successor};
use super::memory::{PendingStore, Sight};
use super::test::Action;
use super::walked::Walked;
use super::{ActionResult, LitmusError};
use crate::access::{Access, AccessKind};
use crate::address::PhysAddr;
use crate::cache::{Invalidation, pcid};
use crate::walk::Step;
use crate::x86::fault::PageFaultCode;
use crate::x86::format::EntryBits;
use crate::x86::profile::Features;
use alloc::vec::Vec;
use arrayvec::ArrayVec;

/// An access that one processor is about to make.
pub(super) struct AccessInTest<'a, 't, S> {
    machine: &'a Machine<'t, S>,
    state: &'a MachineState,
    processor: usize,
    access: Access,
}

/// The flags that a walk sets: entries with their new values.
type Updates = Vec<PendingStore>;

/// The ways in which an access goes by one walk: at most one, or two where old code is kept.
type Ways = ArrayVec<Successor, 2>;

impl<'a, 't, S: LitmusSemantics> AccessInTest<'a, 't, S> {
    pub(super) const fn new(
        machine: &'a Machine<'t, S>,
        state: &'a MachineState,
        processor: usize,
        access: Access,
    ) -> Self {
        Self { machine, state, processor, access }
    }

    /// Adds every way in which the access may go.
    pub(super) fn ways(
        &self,
        action: &Action,
        found: &mut Vec<Successor>,
    ) -> Result<(), LitmusError> {
        let processor = &self.state.processors[self.processor];
        let own = self.machine.sight(self.state, self.processor);
        let mut sights = Vec::from([(own, LitmusChoices::empty())]);
        if !processor.stores.is_empty() {
            if self.access.kind == AccessKind::Fetch {
                sights.push((own.without_stores(), LitmusChoices::FETCH_PASSES_STORES));
            } else if !self.machine.semantics.walk_sees_own_stores() {
                sights.push((own.without_stores(), LitmusChoices::empty()));
            }
        }

        for (sight, choices) in sights {
            self.ways_by(sight, choices, action, found)?;
        }
        if processor.dirtied.is_none() && self.access.kind.writes() {
            found.extend(self.dirtied_early(own)?);
        }
        Ok(())
    }

    /// The ways with one view of memory: walks from the root, and from everything that may be cached.
    fn ways_by(
        &self,
        sight: Sight<'_>,
        choices: LitmusChoices,
        action: &Action,
        found: &mut Vec<Successor>,
    ) -> Result<(), LitmusError> {
        let processor = &self.state.processors[self.processor];
        let in_memory = self.walk(sight, None)?;
        found.extend(self.way(&in_memory, None, choices, action)?);

        for (path, needed) in processor.cache.serving(self.access.address, &processor.state) {
            let choices = choices | needed;
            if path.end == CachedEnd::Absent {
                let code = PageFaultCode::empty() | self.code_of_absent();
                found.push(self.faults(code, EventWalk::default(), choices, action));
                continue;
            }

            let walked = self.walk(sight, Some(path))?;
            if let Some(code) = self.code(&walked) {
                let is_stale = self.code(&in_memory) != Some(code);
                if is_stale && !self.machine.test.profile.faults_may_be_stale() {
                    continue;
                }
                let spurious =
                    if is_stale { LitmusChoices::SPURIOUS_FAULT } else { LitmusChoices::empty() };
                found.push(self.faults(
                    code,
                    event_walk(&walked, Some(path)),
                    choices | spurious,
                    action,
                ));
            } else if path.end == CachedEnd::Page {
                found.extend(self.hit(&walked, path, choices, action)?);
            } else {
                found.extend(self.way(&walked, Some(path), choices, action)?);
            }
        }
        Ok(())
    }

    /// The access by a walk that reads its leaf from memory.
    fn way(
        &self,
        walked: &Walked,
        start: Option<&CachedPath>,
        mut choices: LitmusChoices,
        action: &Action,
    ) -> Result<Ways, LitmusError> {
        let walk = event_walk(walked, start);
        let Ok(address) = walked.end else {
            let code = self.code(walked).unwrap_or(PageFaultCode::empty());
            return Ok(Ways::from_iter([self.faults(code, walk, choices, action)]));
        };
        let Some(updates) = self.updates(walked, self.access.kind.writes())? else {
            return Ok(Ways::new());
        };

        // D was set early, but not in this entry, or it was lost since.
        let leaf = walked.leaf().filter(|leaf| leaf.has(EntryBits::D));
        let leaf = leaf.map(|leaf| self.machine.addresses.number(leaf.at)).transpose()?;
        let dirtied = self.state.processors[self.processor].dirtied;
        if dirtied.is_some() && dirtied != leaf {
            choices |= LitmusChoices::DIRTY_THEN_FAULT;
        }
        self.completes(address, updates, walk, choices, action)
    }

    /// The access by a translation that is cached as a whole.
    fn hit(
        &self,
        walked: &Walked,
        path: &CachedPath,
        mut choices: LitmusChoices,
        action: &Action,
    ) -> Result<Ways, LitmusError> {
        let (Ok(address), Some(leaf)) = (walked.end, walked.leaf()) else {
            return Ok(Ways::new());
        };
        let must_dirty = self.access.kind.writes() && !leaf.has(EntryBits::D);
        let mut updates = Updates::new();
        if must_dirty && self.machine.semantics.sets_dirty_on_hit() {
            // D is set in memory, where the leaf is read again: that is a walk from above it. Without
            // another look at R/W it is this.
            match self.dirty_alone(leaf)? {
                Some(update) => updates.push(update),
                None => return Ok(Ways::new()),
            }
            choices |= LitmusChoices::DIRTY_ALONE;
        }
        if self.state.processors[self.processor].dirtied.is_some() {
            choices |= LitmusChoices::DIRTY_THEN_FAULT;
        }
        self.completes(address, updates, event_walk(walked, Some(path)), choices, action)
    }

    /// The leaf that memory has now, with D, if it lost R/W and nothing else since the leaf was cached.
    fn dirty_alone(&self, cached: &Step) -> Result<Option<PendingStore>, LitmusError> {
        let has_cet = self.machine.test.profile.features.contains(Features::CET_SS);
        let processor = &self.state.processors[self.processor];
        let word = self.machine.addresses.number(cached.at)?;
        let is_pending = processor.stores.iter().any(|(pending, _)| *pending == word);
        let now = self.state.words[usize::from(word)];

        let changed = (now ^ cached.entry) & !EntryBits::D.bits();
        let lost_write = changed == EntryBits::RW.bits() && now & EntryBits::RW.bits() == 0;
        let is_possible = lost_write && !has_cet && !is_pending;
        Ok(is_possible.then_some((word, now | EntryBits::D.bits())))
    }

    /// A and D are set for a write that has not been made yet.
    fn dirtied_early(&self, sight: Sight<'_>) -> Result<Option<Successor>, LitmusError> {
        let walked = self.walk(sight, None)?;
        let leaf = walked.leaf().filter(|leaf| walked.end.is_ok() && !leaf.has(EntryBits::D));
        let Some(leaf) = leaf else { return Ok(None) };
        let Some(updates) = self.updates(&walked, true)? else { return Ok(None) };

        let mut after = self.state.clone();
        for (word, value) in updates {
            after.words[usize::from(word)] = value;
        }
        after.processors[self.processor].dirtied = Some(self.machine.addresses.number(leaf.at)?);
        let kind = EventKind::SetsDirtyEarly { walk: event_walk(&walked, None) };
        Ok(Some(Successor::new(self.processor, kind, after)))
    }

    /// The walk for no access, if it sets A anywhere.
    pub(super) fn speculative(&self) -> Result<Option<Successor>, LitmusError> {
        let sight = self.machine.sight(self.state, self.processor).without_stores();
        let walked = self.walk(sight, None)?;
        let Some(updates) = self.updates(&walked, false)? else { return Ok(None) };
        if updates.is_empty() {
            return Ok(None);
        }

        let mut after = self.state.clone();
        for (word, value) in updates {
            after.words[usize::from(word)] = value;
        }
        let walk = event_walk(&walked, None);
        let kind = EventKind::Speculates { address: self.access.address, walk };
        let mut successor = Successor::new(self.processor, kind, after);
        successor.choices |= LitmusChoices::SPECULATIVE_ACCESS;
        Ok(Some(successor))
    }

    /// The access completes at a physical address.
    fn completes(
        &self,
        address: PhysAddr,
        updates: Updates,
        walk: EventWalk,
        choices: LitmusChoices,
        action: &Action,
    ) -> Result<Ways, LitmusError> {
        let sight = self.machine.sight(self.state, self.processor);
        let mut after = self.state.clone();
        let processor = &mut after.processors[self.processor];
        let result = if let Action::Write(_, value) = action {
            processor.stores.push((self.machine.addresses.number(address)?, *value));
            ActionResult::Wrote
        } else {
            ActionResult::Value(sight.read(address)?)
        };

        if self.machine.semantics.updates_flags_atomically() {
            for (word, value) in updates {
                after.words[usize::from(word)] = value;
            }
        } else {
            processor.write_back = updates;
        }

        let mut ways = Ways::new();
        if let Some(code) = self.old_code(address).filter(|code| *code != result) {
            ways.push(self.done(after.clone(), code, walk.clone(), choices, action));
        }
        ways.push(self.done(after, result, walk, choices, action));
        Ok(ways)
    }

    /// The code that was there when the test began, where another processor may have decoded it, on a machine that
    /// keeps it.
    fn old_code(&self, address: PhysAddr) -> Option<ActionResult> {
        if self.access.kind != AccessKind::Fetch || !self.machine.semantics.keeps_old_code() {
            return None;
        }
        let fetches = |action: &Action| matches!(action, Action::Fetch(_));
        let programs = self.machine.test.programs.iter().enumerate();
        let mut others = programs.filter(|(number, _)| *number != self.processor);
        if !others.any(|(_, program)| program.actions.iter().any(fetches)) {
            return None;
        }

        let words = self.machine.test.memory.iter();
        let code = words.rev().find(|(at, _)| *at == address);
        code.map(|(_, value)| ActionResult::Value(*value))
    }

    /// The access faults.
    fn faults(
        &self,
        code: PageFaultCode,
        walk: EventWalk,
        mut choices: LitmusChoices,
        action: &Action,
    ) -> Successor {
        let mut after = self.state.clone();
        let processor = &mut after.processors[self.processor];
        if processor.dirtied.is_some() {
            choices |= LitmusChoices::DIRTY_THEN_FAULT;
        }
        let address = self.access.address;
        let by_manual = Invalidation::Path { address, pcid: pcid(&processor.state) };
        let dropped = self.machine.semantics.page_fault(code, by_manual);
        processor.cache.invalidate(self.machine.semantics, [dropped; 2], LitmusChoices::empty());
        let reported = self.machine.semantics.fault_code(code);
        self.done(after, ActionResult::Fault(reported.bits()), walk, choices, action)
    }

    fn done(
        &self,
        mut after: MachineState,
        result: ActionResult,
        walk: EventWalk,
        choices: LitmusChoices,
        action: &Action,
    ) -> Successor {
        let result = Some(result);
        let program = &self.machine.test.programs[self.processor];
        after.processors[self.processor].finish(program, action, result);
        let kind = EventKind::Performs { action: *action, walk: Some(walk), result };
        Successor { choices, ..Successor::new(self.processor, kind, after) }
    }

    fn walk(&self, sight: Sight<'_>, start: Option<&CachedPath>) -> Result<Walked, LitmusError> {
        let processor = &self.state.processors[self.processor];
        let profile = self.machine.test.profile;
        Ok(Walked::new(&processor.state, profile, sight, start, &self.access)?)
    }

    fn code(&self, walked: &Walked) -> Option<PageFaultCode> {
        let processor = &self.state.processors[self.processor];
        walked.code(&processor.state, self.machine.test.profile, &self.access)
    }

    /// The error code of a fault by an absent entry.
    fn code_of_absent(&self) -> PageFaultCode {
        let processor = &self.state.processors[self.processor];
        super::walked::code_of_absent(&processor.state, self.machine.test.profile, &self.access)
    }

    /// The flags that the walk sets, in the entries that it read and found good. `None` if one of them is still
    /// on its way to memory.
    fn updates(&self, walked: &Walked, dirties: bool) -> Result<Option<Updates>, LitmusError> {
        let processor = &self.state.processors[self.processor];
        let mut updates = Updates::new();
        for step in walked.read() {
            if step.error.is_some() || !step.level.has_flags {
                continue;
            }
            let is_leaf = walked.leaf().is_some_and(|leaf| leaf.at == step.at);
            let mut flags = EntryBits::A;
            flags.set(EntryBits::D, dirties && is_leaf);
            if step.has(flags) {
                continue;
            }

            let word = self.machine.addresses.number(step.at)?;
            if processor.stores.iter().any(|(pending, _)| *pending == word) {
                return Ok(None);
            }
            updates.push((word, step.entry | flags.bits()));
        }
        Ok(Some(updates))
    }
}

/// A walk as a report shows it.
fn event_walk(walked: &Walked, start: Option<&CachedPath>) -> EventWalk {
    let entries = walked.steps().map(|(step, is_read)| WalkedEntry {
        name: step.level.entry_name,
        at: step.at,
        value: step.entry,
        is_cached: !is_read,
    });
    let is_hit = start.is_some_and(|start| start.end == CachedEnd::Page);
    EventWalk { entries: entries.collect(), is_hit }
}
