//! Structures as 64-bit words, written and read in order.

use mmu_core::PagingMode;
use mmu_core::space::{Backing, ObjectId, RegionKind, SlotNumber};

/// Writes words one after the other.
#[derive(Debug)]
pub struct WordWriter<const N: usize> {
    words: [u64; N],
    len: usize,
}

impl<const N: usize> Default for WordWriter<N> {
    fn default() -> Self {
        Self { words: [0; N], len: 0 }
    }
}

impl<const N: usize> WordWriter<N> {
    /// The same with another word.
    ///
    /// # Panics
    /// When there are more than `N`.
    #[must_use]
    pub const fn word(mut self, word: u64) -> Self {
        self.words[self.len] = word;
        self.len += 1;
        self
    }

    /// The same with a word for whether there is something, and one for it.
    #[must_use]
    pub const fn option(self, word: Option<u64>) -> Self {
        match word {
            Some(word) => self.word(1).word(word),
            None => self.word(0).word(0),
        }
    }

    /// The words, the rest 0.
    pub const fn end(self) -> [u64; N] {
        self.words
    }
}

/// Reads words one after the other.
#[derive(Debug)]
pub struct WordReader<'w>(core::slice::Iter<'w, u64>);

impl<'w> WordReader<'w> {
    /// Reads these.
    pub fn new(words: &'w [u64]) -> Self {
        Self(words.iter())
    }

    /// The next word.
    pub fn word(&mut self) -> Option<u64> {
        self.0.next().copied()
    }

    /// The next word, if it is as small as it must be.
    pub fn small<T: TryFrom<u64>>(&mut self) -> Option<T> {
        self.word()?.try_into().ok()
    }

    /// What [`WordWriter::option`] wrote.
    pub fn option(&mut self) -> Option<Option<u64>> {
        let (some, word) = (self.word()?, self.word()?);
        match some {
            0 => Some(None),
            1 => Some(Some(word)),
            _ => None,
        }
    }
}

pub(super) const MODES: [PagingMode; 4] =
    [PagingMode::Bits32, PagingMode::Pae, PagingMode::FourLevel, PagingMode::FiveLevel];

pub(super) const KINDS: [RegionKind; 7] = [
    RegionKind::Code,
    RegionKind::Data,
    RegionKind::Heap,
    RegionKind::Stack,
    RegionKind::Shared,
    RegionKind::Guard,
    RegionKind::Kernel,
];

pub(super) fn place_in<T: PartialEq>(list: &[T], wanted: &T) -> u64 {
    list.iter().position(|known| known == wanted).map_or(u64::MAX, |place| place as u64)
}

pub(super) fn backing_words(backing: Backing) -> (u64, u64) {
    match backing {
        Backing::Zero => (0, 0),
        Backing::Image(slot) => (1, slot.0.into()),
        Backing::Object(object) => (2, object.0.into()),
        Backing::Fixed(frame) => (3, frame.get()),
    }
}

/// Fixed memory is the supervisor's: no order asks for it.
pub(super) fn read_backing(reader: &mut WordReader<'_>) -> Option<Backing> {
    Some(match (reader.word()?, reader.word()?) {
        (0, _) => Backing::Zero,
        (1, slot) => Backing::Image(SlotNumber(slot.try_into().ok()?)),
        (2, object) => Backing::Object(ObjectId(object.try_into().ok()?)),
        _ => return None,
    })
}
