//! What an access reads, stores and leaves in its register, by a prediction and the contents of data
//! frames.

use super::Walker;
use arrayvec::ArrayVec;
use crosswalk_case::Case;
use crosswalk_guest::contents;
use crosswalk_guest::stub::{Code, Form};
use mmu_core::outcome::Span;
use mmu_core::{AccessKind, Alternative, Outcome, Reference};
use std::collections::BTreeMap;

/// Bytes of data memory that were stored, with their values.
pub(crate) type Stores = BTreeMap<u64, u8>;

/// What the instruction leaves in its register, when that depends on where it read.
pub(crate) fn expected_value(case: &Case, spans: &[Span], before: &Stores) -> Option<u64> {
    match case.access.kind {
        AccessKind::Read if case.form == Form::SegmentLimit => {
            contents::segment_limit(behind(case, spans[0].address.get()))
        }
        AccessKind::Read | AccessKind::ReadModifyWrite => {
            Some(word(&bytes_at(case, spans, before)))
        }
        AccessKind::Fetch => {
            let place = |span: &Span| behind(case, span.address.get());
            let second = spans.get(1).map(place);
            contents::fetched(place(&spans[0]), second, Code::of(case.mode()))
        }
        AccessKind::Write | AccessKind::Clflush => None,
    }
}

/// Bytes of the register that the instruction leaves its result in.
pub(crate) const fn result_width(case: &Case) -> u16 {
    match case.form {
        Form::Jump | Form::SegmentLimit => 8,
        _ => case.access.size,
    }
}

/// The address of data memory behind a physical address, or the address itself where there is none.
pub(crate) fn behind(case: &Case, address: u64) -> u64 {
    case.data_behind(address).unwrap_or(address)
}

/// Whether a comparison that must fail would succeed: memory has the very value that it looks for.
pub fn comparison_succeeds(case: &Case) -> bool {
    let has_the_value = |way: &Alternative| match &way.outcome {
        Outcome::Translated(spans) => {
            word(&bytes_at(case, spans, &Stores::new())) == case.value & mask(case.access.size)
        }
        Outcome::Fault(_) => false,
    };
    case.form == Form::FailingCompare
        && Reference.predict(case).alternatives.iter().any(has_the_value)
}

/// The bytes that memory holds at the spans after these stores, first byte first; at most 16.
pub(crate) fn bytes_at(case: &Case, spans: &[Span], before: &Stores) -> ArrayVec<u8, 16> {
    let first = |span: &Span| behind(case, span.address.get());
    let places = spans.iter().flat_map(|span| (first(span)..).take(span.len.into()));
    let byte = |at| before.get(&at).copied().unwrap_or_else(|| contents::byte(at));
    places.map(byte).take(16).collect()
}

/// The first eight bytes as a number, low byte first.
pub(crate) fn word(bytes: &[u8]) -> u64 {
    bytes.iter().take(8).rev().fold(0, |word, byte| word << 8 | u64::from(*byte))
}

pub(crate) const fn mask(bytes: u16) -> u64 {
    if bytes >= 8 { u64::MAX } else { (1 << (8 * bytes)) - 1 }
}
