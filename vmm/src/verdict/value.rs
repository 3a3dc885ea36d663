//! The data side of an access: what it reads and leaves in its register, once a prediction says which
//! physical addresses it reaches.
//!
//! Data memory is filled so that every value names the place it was read from
//! ([`crosswalk_guest::contents`]). `before` has the bytes that earlier accesses of a sequence stored
//! there.

use crate::walker::Walker;
use arrayvec::ArrayVec;
use crosswalk_case::Case;
use crosswalk_guest::contents;
use crosswalk_guest::stub::{Code, Form};
use mmu_core::outcome::Span;
use mmu_core::{AccessKind, Alternative, Outcome, Reference};
use smallvec::SmallVec;
use std::ops::Deref;

/// Bytes of data memory that were stored, each with its address, in the order of addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stores(SmallVec<[(u64, u8); 8]>);

impl Stores {
    /// Memory in which nothing was stored.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Stores a byte.
    pub(crate) fn store(&mut self, at: u64, byte: u8) {
        match self.place_of(at) {
            Ok(place) => self.0[place].1 = byte,
            Err(place) => self.0.insert(place, (at, byte)),
        }
    }

    /// Leaves out the bytes that memory has anyway.
    pub(crate) fn without_unchanged(mut self) -> Self {
        self.0.retain(|(at, byte)| contents::byte(*at) != *byte);
        self
    }

    /// Reads memory from `at`, with what was stored there.
    fn read(&self, at: u64, bytes: &mut [u8]) {
        contents::fill(at, bytes);
        if self.0.is_empty() {
            return;
        }
        for (at, byte) in (at..).zip(bytes) {
            if let Ok(place) = self.place_of(at) {
                *byte = self.0[place].1;
            }
        }
    }

    fn place_of(&self, at: u64) -> Result<usize, usize> {
        self.0.binary_search_by_key(&at, |(stored, _)| *stored)
    }
}

impl Deref for Stores {
    type Target = [(u64, u8)];

    fn deref(&self) -> &[(u64, u8)] {
        &self.0
    }
}

/// The value that the instruction leaves in its register; `None` if that does not depend on where it
/// read.
pub(crate) fn expected_value(case: &Case, spans: &[Span], before: &Stores) -> Option<u64> {
    let place = |span: &Span| backing_address(case, span.address.get());

    match case.access.kind {
        AccessKind::Read if case.form == Form::ShadowLoad => None,
        AccessKind::Read if case.form == Form::SegmentLimit => {
            contents::segment_limit(place(&spans[0]))
        }
        AccessKind::Read if case.form == Form::CompareStrings => {
            let (first, second) = loaded_and_stored(case, spans);
            let [first, second] = [first, second].map(|at| word(&bytes_at(case, at, before)));
            Some(u64::from(first == second) | u64::from(first < second) << 8)
        }
        AccessKind::Read => Some(word(&bytes_at(case, spans, before))),
        AccessKind::ReadModifyWrite => {
            Some(word(&bytes_at(case, loaded_and_stored(case, spans).0, before)))
        }
        AccessKind::Fetch => {
            let second = spans.get(1).map(place);
            contents::fetched(place(&spans[0]), second, Code::of(case.table_use()))
        }
        AccessKind::Write | AccessKind::Clflush => None,
    }
}

/// The spans that an instruction loads from, and those that it stores to or, if it has a source, reads next.
/// A read-modify-write stores where it loads, unless a quirk parts them: then the ones follow the others.
pub(crate) fn loaded_and_stored<'s>(case: &Case, spans: &'s [Span]) -> (&'s [Span], &'s [Span]) {
    let mut left = case.access.size;
    let loaded = spans.iter().take_while(|span| {
        let is_loaded = left > 0;
        left = left.saturating_sub(span.len);
        is_loaded
    });
    match spans.split_at(loaded.count()) {
        (all, []) => (all, all),
        parted => parted,
    }
}

/// Bytes of the register that the instruction writes.
pub(crate) const fn result_width(case: &Case) -> u16 {
    match case.form {
        Form::Jump | Form::SegmentLimit | Form::CompareStrings => 8,
        _ => case.access.size,
    }
}

/// Whether the case compares memory with the very value it has there: the comparison is meant to fail
/// and would succeed.
pub(crate) fn comparison_succeeds(case: &Case) -> bool {
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
pub(crate) fn bytes_at(case: &Case, spans: &[Span], before: &Stores) -> ArrayVec<u8, 16> {
    let mut bytes = ArrayVec::new();

    for span in spans {
        let mut part = [0; 16];
        let part = &mut part[..usize::from(span.len).min(bytes.remaining_capacity())];
        before.read(backing_address(case, span.address.get()), part);
        bytes.extend(part.iter().copied());
    }
    bytes
}

/// The address of the data memory that appears at a physical address, or the address itself if none
/// does.
pub(crate) fn backing_address(case: &Case, address: u64) -> u64 {
    case.data_behind(address).unwrap_or(address)
}

/// The first eight bytes as a number, low byte first.
pub(crate) fn word(bytes: &[u8]) -> u64 {
    bytes.iter().take(8).rev().fold(0, |word, byte| word << 8 | u64::from(*byte))
}

/// A mask of the low `bytes` bytes of a word.
pub(crate) const fn low_bytes(bytes: u16) -> u64 {
    if bytes >= 8 { u64::MAX } else { (1 << (8 * bytes)) - 1 }
}
