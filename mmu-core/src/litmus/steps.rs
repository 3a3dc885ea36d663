//! What can happen next on the machine, and what it changes.

use super::access::AccessInTest;
use super::choices::LitmusChoices;
use super::decisions::LitmusSemantics;
use super::event::EventKind;
use super::machine::{Machine, MachineState, Processor, Successor};
use super::memory::Sight;
use super::test::Action;
use super::{ActionResult, LitmusError};
use crate::access::Access;
use crate::cache::{Invalidation, RegisterWrite, must_be_invalidated_by};
use crate::x86::format::{FiveLevel, FourLevel, Pae};
use crate::x86::state::{ControlState, Efer, PagingMode};
use alloc::vec::Vec;

impl<S: LitmusSemantics> Machine<'_, S> {
    /// Everything that may happen next.
    pub(super) fn successors(&self, state: &MachineState) -> Result<Vec<Successor>, LitmusError> {
        let mut found = Vec::new();
        for processor in 0..state.processors.len() {
            self.drain(state, processor, &mut found);
            if !state.processors[processor].write_back.is_empty() {
                found.push(write_back(state, processor));
                continue;
            }
            self.take_interrupt(state, processor, &mut found);
            self.speculate(state, processor, &mut found)?;
            if let Some(action) = self.next_action(state, processor) {
                self.perform(state, processor, &action, &mut found)?;
            }
        }

        for successor in &mut found {
            self.fill_caches(&mut successor.state);
        }
        Ok(found)
    }

    /// The oldest store of a processor reaches memory.
    fn drain(&self, state: &MachineState, processor: usize, found: &mut Vec<Successor>) {
        let stores = &state.processors[processor].stores;
        let ready = if self.semantics.stores_in_order() { 1 } else { stores.len() };
        for (number, (word, value)) in stores.iter().enumerate().take(ready) {
            // Stores to one word stay in order in any case.
            if stores[..number].iter().any(|(earlier, _)| earlier == word) {
                continue;
            }
            let mut state = state.clone();
            state.processors[processor].stores.remove(number);
            state.words[usize::from(*word)] = *value;
            let kind =
                EventKind::StoreReachesMemory { at: self.addresses.of(*word), value: *value };
            found.push(Successor::new(processor, kind, state));
        }
    }

    /// A processor that has been interrupted goes to its handler.
    fn take_interrupt(&self, state: &MachineState, processor: usize, found: &mut Vec<Successor>) {
        let before = &state.processors[processor];
        if !before.is_interrupted || before.in_handler.is_some() || before.dirtied.is_some() {
            return;
        }

        let mut state = state.clone();
        let after = &mut state.processors[processor];
        after.is_interrupted = false;
        after.in_handler = Some(0).filter(|_| !self.test.programs[processor].handler.is_empty());
        found.push(Successor::new(processor, EventKind::TakesInterrupt, state));
    }

    /// A walk for no access sets A.
    fn speculate(
        &self,
        state: &MachineState,
        processor: usize,
        found: &mut Vec<Successor>,
    ) -> Result<(), LitmusError> {
        for address in &self.pages {
            let access = Access::read(*address, 8, self.test.ring);
            let walk = AccessInTest::new(self, state, processor, access);
            if let Some(successor) = walk.speculative()? {
                found.push(successor);
            }
        }
        Ok(())
    }

    /// The next action of a processor happens, in each way in which it may.
    fn perform(
        &self,
        state: &MachineState,
        number: usize,
        action: &Action,
        found: &mut Vec<Successor>,
    ) -> Result<(), LitmusError> {
        let waits = action.waits_for_stores() && self.semantics.serializing_waits_for_stores();
        if waits && !state.processors[number].stores.is_empty() {
            return Ok(());
        }
        if let Some(address) = action.translates() {
            let access = match action {
                Action::Write(..) => Access::write(address, 8, self.test.ring),
                Action::Fetch(_) => Access::fetch(address, 8, self.test.ring),
                _ => Access::read(address, 8, self.test.ring),
            };
            return AccessInTest::new(self, state, number, access).ways(action, found);
        }

        let sight = self.sight(state, number);
        let mut after = state.clone();
        let mut result = None;
        match *action {
            Action::Load(at) => result = Some(ActionResult::Value(sight.read(at)?)),
            Action::Store(at, value) => {
                after.processors[number].stores.push((self.addresses.number(at)?, value));
            }
            Action::Locked(at, operation) => {
                let old = sight.read(at)?;
                after.words[usize::from(self.addresses.number(at)?)] = operation.apply(old);
                result = Some(ActionResult::Value(old));
            }
            Action::WaitFor(at, value) if sight.read(at)? != value => return Ok(()),
            Action::Interrupt(other) => {
                let target = after.processors.get_mut(other);
                target.ok_or(LitmusError::NoProcessor(other))?.is_interrupted = true;
            }
            Action::Invlpg(_) | Action::Invpcid(..) => {
                self.invalidate(&mut after.processors[number], action)?;
            }
            Action::WriteCr0(_)
            | Action::WriteCr3(_)
            | Action::WriteCr4(_)
            | Action::WriteEfer(_)
            | Action::WritePkru(_) => {
                let new = self.written(&state.processors[number].state, action, sight)?;
                let write = match action {
                    Action::WriteCr3(value) => RegisterWrite::Cr3(*value),
                    _ => RegisterWrite::Other,
                };
                let processor = &mut after.processors[number];
                self.write_register(processor, write, new);
            }
            _ => {}
        }
        after.processors[number].finish(&self.test.programs[number], action, result);
        let kind = EventKind::Performs { action: *action, walk: None, result };
        found.push(Successor::new(number, kind, after));
        Ok(())
    }

    /// INVLPG and INVPCID.
    fn invalidate(&self, processor: &mut Processor, action: &Action) -> Result<(), LitmusError> {
        let (state, profile) = (processor.state, self.test.profile);
        let [most, least] = match *action {
            Action::Invlpg(address) => {
                let allowed = match state.mode() {
                    PagingMode::Pae => Invalidation::invlpg::<Pae>(&state, &profile, address),
                    PagingMode::FiveLevel => {
                        Invalidation::invlpg::<FiveLevel>(&state, &profile, address)
                    }
                    _ => Invalidation::invlpg::<FourLevel>(&state, &profile, address),
                };
                let by_manual = |what: Option<&Invalidation>| {
                    what.map_or(Invalidation::Nothing, |what| self.semantics.invlpg(*what))
                };
                [by_manual(allowed.last()), by_manual(allowed.first())]
            }
            Action::Invpcid(kind, descriptor) => {
                let what = Invalidation::invpcid::<FourLevel>(&state, &profile, kind, descriptor);
                [what.map_err(|_| LitmusError::Refused(*action))?; 2]
            }
            _ => [Invalidation::Nothing; 2],
        };

        processor.cache.invalidate(self.semantics, [most, least], LitmusChoices::NARROW_INVLPG);
        Ok(())
    }

    /// The control state after a register was written.
    fn written(
        &self,
        old: &ControlState,
        action: &Action,
        sight: Sight<'_>,
    ) -> Result<ControlState, LitmusError> {
        let profile = self.test.profile;
        let refused = LitmusError::Refused(*action);
        match *action {
            Action::WriteCr0(value) => old.load_cr0(value, profile, &sight).map_err(|_| refused),
            Action::WriteCr3(value) => old.load_cr3(value, profile, &sight).map_err(|_| refused),
            Action::WriteCr4(value) => old.load_cr4(value, profile, &sight).map_err(|_| refused),
            Action::WriteEfer(value) => {
                let value = (value - Efer::LMA) | (old.efer & Efer::LMA);
                old.load_efer(value, profile).map_err(|_| refused)
            }
            Action::WritePkru(pkru) => Ok(ControlState { pkru, ..*old }),
            _ => Ok(*old),
        }
    }

    fn write_register(&self, processor: &mut Processor, write: RegisterWrite, new: ControlState) {
        let vendor = self.test.profile.vendor;
        let by_manual = must_be_invalidated_by(write, &processor.state, &new, vendor);
        let dropped = self.semantics.register_write(by_manual);
        processor.cache.invalidate(self.semantics, [dropped; 2], LitmusChoices::empty());
        processor.state = new;
    }
}

/// Entries with new flags are stored over whatever is there now.
fn write_back(state: &MachineState, processor: usize) -> Successor {
    let mut state = state.clone();
    let entries = core::mem::take(&mut state.processors[processor].write_back);
    for (word, value) in entries {
        state.words[usize::from(word)] = value;
    }
    Successor::new(processor, EventKind::WritesEntriesBack, state)
}
