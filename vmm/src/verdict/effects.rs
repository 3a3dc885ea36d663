//! What a completed access does to memory, by the instruction that makes it.

use super::value::{Stores, backing_address, bytes_at, loaded_and_stored, low_bytes, word};
use crosswalk_case::Case;
use crosswalk_case::observation::OutsideAccess;
use crosswalk_guest::stub::Form;
use mmu_core::outcome::Span;
use mmu_core::{AccessKind, Outcome};

/// What a completed access does to memory; nothing for one that faults.
#[derive(Default)]
pub(super) struct Effects {
    /// The bytes of data memory that differ from their initial value afterwards, by address.
    pub(super) stored: Stores,
    /// The accesses to addresses without memory, in order.
    pub(super) outside: Vec<OutsideEffect>,
}

/// An access to an address without memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct OutsideEffect {
    /// The physical address.
    pub(super) address: u64,
    /// Bytes.
    pub(super) len: u16,
    /// The bytes that a store writes, low byte first; none for a load.
    pub(super) stored: Option<u64>,
}

impl From<&OutsideAccess> for OutsideEffect {
    fn from(access: &OutsideAccess) -> Self {
        Self {
            address: access.address,
            len: access.len.into(),
            stored: access.is_write.then_some(access.data),
        }
    }
}

impl Effects {
    /// The effects of an outcome. `before` has the bytes that earlier accesses stored.
    pub(super) fn of(case: &Case, outcome: &Outcome, before: &Stores) -> Self {
        let mut effects = Self::default();
        let mut memory = before.clone();
        if let Outcome::Translated(spans) = outcome {
            effects.add(case, spans, &mut memory);
        }

        effects.stored = memory.without_unchanged();
        effects
    }

    /// Whether memory is as it was, and no access left it.
    pub(super) fn is_empty(&self) -> bool {
        self.stored.is_empty() && self.outside.is_empty()
    }

    fn add(&mut self, case: &Case, spans: &[Span], memory: &mut Stores) {
        let (loaded, stored) = loaded_and_stored(case, spans);
        if matches!(case.access.kind, AccessKind::Read | AccessKind::ReadModifyWrite) {
            self.add_loads(case, loaded);
        }
        let old = || word(&bytes_at(case, loaded, memory));
        if let Some(new) = stored_value(case, old) {
            self.add_stores(case, stored, new, memory);
        }
    }

    fn add_loads(&mut self, case: &Case, spans: &[Span]) {
        let loads = spans.iter().filter(|span| case.is_outside(span.address.get()));
        self.outside.extend(loads.map(|span| OutsideEffect {
            address: span.address.get(),
            len: span.len,
            stored: None,
        }));
    }

    fn add_stores(&mut self, case: &Case, spans: &[Span], value: u64, memory: &mut Stores) {
        let mut shift = 0;

        for span in spans {
            let address = span.address.get();
            let part = (value >> shift) & low_bytes(span.len);
            shift += 8 * u32::from(span.len);

            if case.is_outside(address) {
                self.outside.push(OutsideEffect { address, len: span.len, stored: Some(part) });
            } else {
                let first = backing_address(case, address);
                for (at, byte) in (first..).zip(part.to_le_bytes()).take(span.len.into()) {
                    memory.store(at, byte);
                }
            }
        }
    }
}

/// The value that the instruction stores where memory has `old`, if it stores one.
fn stored_value(case: &Case, old: impl FnOnce() -> u64) -> Option<u64> {
    match case.form {
        Form::Store => Some(case.value),
        Form::Exchange | Form::LockedExchange => Some(old().wrapping_add(case.value)),
        // "The destination operand is written back if the comparison fails" (SDM, CMPXCHG; the APM
        // says the same): only a device can see that store.
        Form::FailingCompare => Some(old()),
        // The accessed bit of the descriptor.
        Form::SegmentLoad => Some(old() | 1),
        Form::Load | Form::Clflush | Form::Jump | Form::SegmentLimit => None,
    }
}
