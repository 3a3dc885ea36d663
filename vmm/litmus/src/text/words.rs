//! The words of a line.

use crate::places::{Flag, Frame, Page, Table};
use mmu_core::VirtAddr;

/// What is left of a line.
pub(super) struct Words<'a> {
    rest: std::iter::Peekable<std::str::SplitWhitespace<'a>>,
}

impl<'a> Words<'a> {
    pub(super) fn new(line: &'a str) -> Self {
        Self { rest: line.split_whitespace().peekable() }
    }

    /// The next word, if there is one.
    pub(super) fn optional(&mut self) -> Option<&'a str> {
        self.rest.next()
    }

    /// The next word.
    pub(super) fn next(&mut self) -> Result<&'a str, String> {
        self.rest.next().ok_or_else(|| "the line ends too early".into())
    }

    /// The next word, left where it is.
    pub(super) fn peek(&mut self) -> Option<&'a str> {
        self.rest.peek().copied()
    }

    /// Takes this word, if it is the next one.
    pub(super) fn skip(&mut self, word: &str) -> bool {
        self.rest.next_if(|next| *next == word).is_some()
    }

    /// Takes this word, which must come next.
    pub(super) fn expect(&mut self, word: &str) -> Result<(), String> {
        match self.rest.next() {
            Some(next) if next == word => Ok(()),
            Some(next) => Err(format!("expected {word:?}; found {next:?}")),
            None => Err(format!("expected {word:?} at the end")),
        }
    }

    /// Nothing must be left.
    pub(super) fn end(&mut self) -> Result<(), String> {
        self.rest.next().map_or(Ok(()), |word| Err(format!("unexpected {word:?}")))
    }

    pub(super) fn page(&mut self) -> Result<Page, String> {
        let word = self.next()?;
        let expected = super::page_names();
        Page::named(word).ok_or_else(|| format!("expected a page ({expected}); found {word:?}"))
    }

    /// The linear address of a page, or the other one of x.
    pub(super) fn address(&mut self) -> Result<VirtAddr, String> {
        let word = self.next()?;
        let expected = super::page_names();
        let address = Page::address_named(word);
        address.ok_or_else(|| format!("expected a page ({expected}, or v); found {word:?}"))
    }

    pub(super) fn table(&mut self) -> Result<Table, String> {
        let word = self.next()?;
        Table::named(word).ok_or_else(|| format!("expected a table (T, U); found {word:?}"))
    }

    pub(super) fn frame(&mut self) -> Result<Frame, String> {
        let word = self.next()?;
        Frame::named(word).ok_or_else(|| format!("expected a frame (A to H); found {word:?}"))
    }

    pub(super) fn flag(&mut self) -> Result<Flag, String> {
        let word = self.next()?;
        Flag::named(word).ok_or_else(|| format!("expected a flag (f, g, h, k); found {word:?}"))
    }

    /// A number, decimal or hexadecimal.
    pub(super) fn number(&mut self) -> Result<u64, String> {
        number(self.next()?)
    }

    /// A processor, `P1`, of as many as there are.
    pub(super) fn processor(&mut self, count: usize) -> Result<usize, String> {
        let word = self.next()?;
        let number = word.strip_prefix('P').and_then(|number| number.parse().ok());
        let number = number.filter(|number| *number < count);
        number.ok_or_else(|| format!("expected a processor of the test; found {word:?}"))
    }
}

/// A number, decimal or hexadecimal.
pub(super) fn number(word: &str) -> Result<u64, String> {
    let parsed =
        word.strip_prefix("0x").map_or_else(|| word.parse(), |hex| u64::from_str_radix(hex, 16));
    parsed.map_err(|_| format!("expected a number; found {word:?}"))
}
