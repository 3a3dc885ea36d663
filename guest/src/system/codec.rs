//! Structures as 64-bit words, written and read in order.

/// Writes words one after the other.
#[derive(Debug)]
pub struct Writer<const N: usize> {
    words: [u64; N],
    len: usize,
}

impl<const N: usize> Default for Writer<N> {
    fn default() -> Self {
        Self { words: [0; N], len: 0 }
    }
}

impl<const N: usize> Writer<N> {
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
pub struct Reader<'w>(core::slice::Iter<'w, u64>);

impl<'w> Reader<'w> {
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

    /// What [`Writer::option`] wrote.
    pub fn option(&mut self) -> Option<Option<u64>> {
        let (some, word) = (self.word()?, self.word()?);
        match some {
            0 => Some(None),
            1 => Some(Some(word)),
            _ => None,
        }
    }
}
