//! What a completed access does to memory, by the instruction that makes it.

use super::value::{Stores, backing_address, bytes_at, loaded_and_stored, low_bytes, word};
use crosswalk_case::Case;
use crosswalk_case::observation::OutsideAccess;
use crosswalk_guest::layout::call_target;
use crosswalk_guest::stub::Form;
use mmu_core::outcome::Span;
use mmu_core::{AccessKind, Outcome, PhysAddr};
use std::ops::Range;
use std::slice;

/// What a completed access does to memory; nothing for one that faults.
#[derive(Default)]
pub(super) struct Effects {
    /// The bytes of data memory that differ from their initial value afterwards, by address.
    pub(super) stored: Stores,
    /// The accesses to addresses without memory, in order.
    pub(super) outside: Vec<OutsideEffect>,
    /// Where memory may have anything afterwards.
    open: Open,
}

/// Bytes of data memory of which nothing is known.
#[derive(Clone, Default)]
enum Open {
    /// There are none.
    #[default]
    Nothing,
    /// Those of these spans.
    Spans(Vec<Span>),
    /// Those at this place in any page: no outcome says which page it was before the fault.
    InPages(Range<u64>),
}

impl Open {
    fn contains(&self, at: u64) -> bool {
        match self {
            Self::Nothing => false,
            Self::Spans(spans) => spans.iter().any(|span| {
                let first = span.address.get();
                (first..first + u64::from(span.len)).contains(&at)
            }),
            // It may go on in the next page.
            Self::InPages(place) => {
                let offset = at % PAGE;
                place.contains(&offset) || place.contains(&(offset + PAGE))
            }
        }
    }
}

/// Bytes of a page.
const PAGE: u64 = 0x1000;

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
        match outcome {
            Outcome::Translated(spans) => effects.add(case, spans, &mut memory),
            Outcome::Fault(_) if stores_in_parts(case.form) => {
                let first = case.access.address.get() % PAGE;
                effects.open = Open::InPages(first..first + u64::from(case.access.size));
            }
            Outcome::Fault(_) => {}
        }

        if !memory.is_empty() {
            effects.stored = memory.without_unchanged();
        }
        effects
    }

    /// Whether memory has these bytes that are not as at first, where something is known of it.
    pub(super) fn is_stored(&self, found: &[(u64, u8)]) -> bool {
        if matches!(self.open, Open::Nothing) {
            return *found == self.stored[..];
        }
        let is_known = |(at, _): &&(u64, u8)| !self.open.contains(*at);
        found.iter().filter(is_known).eq(self.stored.iter().filter(is_known))
    }

    /// Whether memory is as it was, and no access left it.
    pub(super) fn is_empty(&self) -> bool {
        self.stored.is_empty() && self.outside.is_empty()
    }

    fn add(&mut self, case: &Case, spans: &[Span], memory: &mut Stores) {
        let (loaded, stored) = loaded_and_stored(case, spans);
        match case.form {
            Form::RepeatedMove => return self.copy_bytes(case, loaded, stored, memory),
            // CMPXCHG16B writes 16 bytes back.
            Form::FailingCompare if case.access.size > 8 => {
                return self.copy_bytes(case, loaded, stored, memory);
            }
            Form::Enter => return self.push_frame(case, spans, memory),
            Form::Fxsave => {
                let backing = |span: &Span| {
                    let address = backing_address(case, span.address.get());
                    Span { address: PhysAddr::new(address), ..*span }
                };
                self.open = Open::Spans(spans.iter().map(backing).collect());
                return;
            }
            _ => {}
        }
        if matches!(case.access.kind, AccessKind::Read | AccessKind::ReadModifyWrite) {
            self.add_loads(case, loaded);
        }
        let old = || word(&bytes_at(case, loaded, memory));
        if let Some(new) = stored_value(case, old) {
            self.add_stores(case, stored, new, memory);
        }
    }

    /// Copies byte by byte, so that a byte may be copied on.
    fn copy_bytes(&mut self, case: &Case, from: &[Span], to: &[Span], memory: &mut Stores) {
        for (from, to) in bytes_of(from).zip(bytes_of(to)) {
            let byte = word(&bytes_at(case, &[from], memory));
            self.add_stores(case, &[to], byte, memory);
        }
    }

    /// Pushes RBP, a copy of what is below it, and the new frame pointer (SDM, APM "ENTER"). The span of the
    /// load comes first.
    fn push_frame(&mut self, case: &Case, spans: &[Span], memory: &mut Stores) {
        let [source, first, second, third] = spans else { return };
        let step = case.access_step();
        let rbp = step.operands().map_or(0, |operands| operands.rsi);
        self.add_stores(case, slice::from_ref(first), rbp, memory);
        let copied = word(&bytes_at(case, slice::from_ref(source), memory));
        self.add_stores(case, slice::from_ref(second), copied, memory);
        self.add_stores(case, slice::from_ref(third), step.frame_pointer(), memory);
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
        Form::Store | Form::ShadowStore => Some(case.value),
        Form::Exchange | Form::LockedExchange => Some(old().wrapping_add(case.value)),
        // "The destination operand is written back if the comparison fails" (SDM, CMPXCHG; the APM
        // says the same): only a device can see that store. The others store elsewhere.
        Form::FailingCompare | Form::MoveString | Form::RepeatedMove | Form::Push | Form::Pop => {
            Some(old())
        }
        // The return address.
        Form::Call => Some(call_target(case.access.ring)),
        // The accessed bit of the descriptor.
        Form::SegmentLoad => Some(old() | 1),
        Form::Load
        | Form::Clflush
        | Form::Jump
        | Form::SegmentLimit
        | Form::CompareStrings
        | Form::ShadowLoad
        // They have stored what they store.
        | Form::Enter
        | Form::Fxsave => None,
    }
}

/// Whether an instruction may have stored a part of all when it faults: the manuals promise nothing of more
/// than 8 bytes (AD-7).
const fn stores_in_parts(form: Form) -> bool {
    matches!(form, Form::Enter | Form::Fxsave)
}

/// Each byte of some spans, in order.
fn bytes_of(spans: &[Span]) -> impl Iterator<Item = Span> {
    spans.iter().flat_map(|span| {
        (0..u64::from(span.len))
            .map(|byte| Span { address: PhysAddr::new(span.address.get() + byte), len: 1 })
    })
}
