//! The words of the guest protocol. A guest can write any words: decoding them on the host does not
//! panic, nor does printing what they mean, and what is decoded encodes to words that mean the same.
//!
//! Input: little-endian 64-bit words. Every structure is decoded from the first of them.

use crosswalk_case::observation::name_of_fault;
use crosswalk_guest::mailbox::AccessRecord;
use crosswalk_guest::system::layout::{MAX_FRAMES, MAX_SLOTS};
use crosswalk_guest::system::{Ending, Request, history};
use mmu_core::space::Event;

/// Decodes words of the guest.
///
/// # Panics
/// When they are not decoded as they must be.
pub fn guest_words(bytes: &[u8]) {
    let words: Vec<u64> = bytes.as_chunks().0.iter().copied().map(u64::from_le_bytes).collect();

    request(&words);
    event(&words);
    response(&words);
    record(&words);
}

/// The first words, padded with zeros.
fn first<const N: usize>(words: &[u64]) -> [u64; N] {
    std::array::from_fn(|index| words.get(index).copied().unwrap_or(0))
}

fn request(words: &[u64]) {
    let Some(request) = Request::from_words(&first(words)) else { return };
    assert_eq!(Request::from_words(&request.to_words()), Some(request));

    if let Some(settings) = request.settings() {
        assert!(settings.frames <= MAX_FRAMES, "{settings:?}");
        assert!(settings.slots as usize <= MAX_SLOTS, "{settings:?}");
    }
}

fn event(words: &[u64]) {
    let Some(event) = history::from_words(&first(words)) else { return };
    assert_eq!(history::from_words(&history::to_words(&event)), Some(event));

    if let Event::Fault { fault, decision, .. } = event {
        let _ = format!("{fault}: {decision}");
    }
}

fn response(words: &[u64]) {
    let _ = Ending::describe(first(words));
}

fn record(words: &[u64]) {
    let [stub, address, value] = first(words);
    if let Some((vector, error_code)) = (AccessRecord { stub, address, value }).fault() {
        let _ = name_of_fault(vector, error_code);
    }
}
