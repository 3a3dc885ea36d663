//! Structures as a fixed number of 64-bit words, written and read in order.

/// Writes the words of a structure.
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
    /// Appends a word.
    ///
    /// # Panics
    /// If `N` words have been written already.
    #[must_use]
    pub const fn word(mut self, word: u64) -> Self {
        self.words[self.len] = word;
        self.len += 1;
        self
    }

    /// Appends two words: whether there is a value, and the value or 0.
    #[must_use]
    pub const fn option(self, word: Option<u64>) -> Self {
        match word {
            Some(word) => self.word(1).word(word),
            None => self.word(0).word(0),
        }
    }

    /// Appends the index of a value in a list of all values of its type.
    ///
    /// A value that the list lacks becomes [`u64::MAX`], which [`WordReader::value_of`] rejects.
    #[must_use]
    pub fn index_of<T: PartialEq>(self, values: &[T], wanted: &T) -> Self {
        let index = values.iter().position(|value| value == wanted);
        self.word(index.map_or(u64::MAX, |index| index as u64))
    }

    /// All `N` words. Those not written are 0.
    pub const fn end(self) -> [u64; N] {
        self.words
    }
}

/// Reads the words of a structure. Every method returns `None` past the end and for invalid words.
#[derive(Debug)]
pub struct WordReader<'w>(core::slice::Iter<'w, u64>);

impl<'w> WordReader<'w> {
    /// A reader that starts at the first of these words.
    pub fn new(words: &'w [u64]) -> Self {
        Self(words.iter())
    }

    /// The next word.
    pub fn word(&mut self) -> Option<u64> {
        self.0.next().copied()
    }

    /// The next word, if it fits a smaller type.
    pub fn small<T: TryFrom<u64>>(&mut self) -> Option<T> {
        self.word()?.try_into().ok()
    }

    /// The two words that [`WordWriter::option`] wrote.
    pub fn option(&mut self) -> Option<Option<u64>> {
        let is_some = self.word()?;
        let word = self.word()?;

        match is_some {
            0 => Some(None),
            1 => Some(Some(word)),
            _ => None,
        }
    }

    /// The value whose index [`WordWriter::index_of`] wrote.
    pub fn value_of<T: Copy>(&mut self, values: &[T]) -> Option<T> {
        values.get(self.small::<usize>()?).copied()
    }
}
