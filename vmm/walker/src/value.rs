//! The data side of an access: what it reads and leaves in its register, once a prediction says which
//! physical addresses it reaches.
//!
//! Data memory is filled so that every value names the place it was read from
//! ([`crosswalk_guest::contents`]). `before` has the bytes that earlier accesses of a sequence stored
//! there.

use super::Walker;
use arrayvec::ArrayVec;
use crosswalk_case::Case;
use crosswalk_guest::contents;
use crosswalk_guest::stub::{Code, Form};
use mmu_core::outcome::Span;
use mmu_core::{AccessKind, Alternative, Outcome, Reference};
use std::collections::BTreeMap;

/// Bytes of data memory that were stored, by address.
pub type Stores = BTreeMap<u64, u8>;

/// The value that the instruction leaves in its register; `None` if that does not depend on where it
/// read.
pub fn expected_value(case: &Case, spans: &[Span], before: &Stores) -> Option<u64> {
    let place = |span: &Span| backing_address(case, span.address.get());

    match case.access.kind {
        AccessKind::Read if case.form == Form::SegmentLimit => {
            contents::segment_limit(place(&spans[0]))
        }
        AccessKind::Read | AccessKind::ReadModifyWrite => {
            Some(word(&bytes_at(case, spans, before)))
        }
        AccessKind::Fetch => {
            let second = spans.get(1).map(place);
            contents::fetched(place(&spans[0]), second, Code::of(case.table_use()))
        }
        AccessKind::Write | AccessKind::Clflush => None,
    }
}

/// Bytes of the register that the instruction writes.
pub const fn result_width(case: &Case) -> u16 {
    match case.form {
        Form::Jump | Form::SegmentLimit => 8,
        _ => case.access.size,
    }
}

/// Whether the case compares memory with the very value it has there: the comparison is meant to fail
/// and would succeed.
pub fn comparison_succeeds(case: &Case) -> bool {
    let has_the_value = |way: &Alternative| match &way.outcome {
        Outcome::Translated(spans) => {
            let value = case.value & low_bytes(case.access.size);
            word(&bytes_at(case, spans, &Stores::new())) == value
        }
        Outcome::Fault(_) => false,
    };

    case.form == Form::FailingCompare
        && Reference.predict(case).alternatives.iter().any(has_the_value)
}

/// The bytes that memory has at the spans, in order; 16 at most.
pub fn bytes_at(case: &Case, spans: &[Span], before: &Stores) -> ArrayVec<u8, 16> {
    let addresses = spans.iter().flat_map(|span| {
        let first = backing_address(case, span.address.get());
        (first..).take(span.len.into())
    });
    let byte = |address| before.get(&address).copied().unwrap_or_else(|| contents::byte(address));
    addresses.map(byte).take(16).collect()
}

/// The address of the data memory that appears at a physical address, or the address itself if none
/// does.
pub fn backing_address(case: &Case, address: u64) -> u64 {
    case.data_behind(address).unwrap_or(address)
}

/// The first eight bytes as a number, low byte first.
pub fn word(bytes: &[u8]) -> u64 {
    bytes.iter().take(8).rev().fold(0, |word, byte| word << 8 | u64::from(*byte))
}

/// A mask of the low `bytes` bytes of a word.
pub const fn low_bytes(bytes: u16) -> u64 {
    if bytes >= 8 { u64::MAX } else { (1 << (8 * bytes)) - 1 }
}
