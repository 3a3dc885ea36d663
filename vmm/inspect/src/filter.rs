//! Which pages to show, in letters: `w,x` are those that are writable and executable.

use mmu_core::walk::PresentEntry;
use mmu_core::x86::format::EntryBits;
use mmu_core::x86::semantics::Rights;
use std::fmt;
use std::str::FromStr;

/// What a page must have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Quality {
    Right(Rights),
    Flag(EntryBits),
    /// Larger than 4 KiB.
    Huge,
}

/// The words of a filter.
const WORDS: [(&str, Quality); 7] = [
    ("w", Quality::Right(Rights::WRITE)),
    ("x", Quality::Right(Rights::EXECUTE)),
    ("u", Quality::Right(Rights::USER)),
    ("a", Quality::Flag(EntryBits::A)),
    ("d", Quality::Flag(EntryBits::D)),
    ("g", Quality::Flag(EntryBits::G)),
    ("huge", Quality::Huge),
];

/// The words that say that a page lacks something.
const OPPOSITES: [(&str, &str); 2] = [("s", "u"), ("nx", "x")];

/// A filter of pages. All of its words must be true.
///
/// ```
/// use crosswalk_inspect::PageFilter;
/// assert!("w,!nx,s".parse::<PageFilter>().is_ok());
/// let error = "w,q".parse::<PageFilter>().unwrap_err();
/// assert_eq!(error.to_string(), "q: expected w, x, u, a, d, g, huge, s or nx, or one of them after !");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PageFilter(Vec<(Quality, bool)>);

impl PageFilter {
    /// Whether a page passes. Rights are those of its path, flags those of its leaf.
    #[inline]
    pub fn passes(&self, page: &PresentEntry) -> bool {
        let has = |quality| match quality {
            Quality::Right(right) => page.rights.contains(right),
            Quality::Flag(flag) => page.entry & flag.bits() != 0,
            Quality::Huge => page.level.number > 1,
        };
        self.0.iter().all(|(quality, wanted)| has(*quality) == *wanted)
    }
}

/// The error for a word that no filter has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageFilterError(String);

impl fmt::Display for PageFilterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<_> = WORDS.iter().map(|(word, _)| *word).collect();
        let word = if self.0.is_empty() { "a word is missing" } else { &self.0 };
        write!(f, "{word}: expected {}, s or nx, or one of them after !", words.join(", "))
    }
}

impl std::error::Error for PageFilterError {}

impl FromStr for PageFilter {
    type Err = PageFilterError;

    fn from_str(text: &str) -> Result<Self, PageFilterError> {
        let words = text.split(',').map(|word| {
            let (bare, is_wanted) = match word.strip_prefix('!') {
                Some(bare) => (bare, false),
                None => (word, true),
            };
            let opposite = OPPOSITES.iter().find(|(name, _)| *name == bare);
            let (name, is_wanted) = opposite.map_or((bare, is_wanted), |(_, of)| (*of, !is_wanted));
            let found = WORDS.iter().find(|(known, _)| *known == name);
            found
                .map(|(_, quality)| (*quality, is_wanted))
                .ok_or_else(|| PageFilterError(word.to_owned()))
        });
        words.collect::<Result<_, _>>().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mmu_core::walk::EntryMeaning;
    use mmu_core::x86::format::levels;
    use mmu_core::{PagingMode, PhysAddr, VirtAddr};

    #[test]
    fn an_empty_word_is_said_to_be_missing() {
        for text in ["", ",", "w,"] {
            let error = text.parse::<PageFilter>().unwrap_err().to_string();
            assert!(error.starts_with("a word is missing: expected w, x"), "{error}");
        }
    }

    #[test]
    fn every_word_must_be_true() {
        // A user page of 2 MiB that is writable, not executable, and accessed.
        let page = PresentEntry {
            first: VirtAddr::new(0),
            last: VirtAddr::new(0x1f_ffff),
            level: &levels(PagingMode::FourLevel)[2],
            at: PhysAddr::new(0x1000),
            entry: 0x8000_0000_0020_00a7,
            rights: Rights::WRITE | Rights::USER,
            meaning: EntryMeaning::Page(PhysAddr::new(0x20_0000)),
        };
        let passes = |text: &str| text.parse::<PageFilter>().unwrap().passes(&page);

        for yes in ["w", "u", "!s", "nx", "!x", "a", "!d", "!g", "huge", "w,u,nx,huge"] {
            assert!(passes(yes), "{yes}");
        }
        for no in ["!w", "s", "x", "!nx", "d", "g", "!huge", "w,x"] {
            assert!(!passes(no), "{no}");
        }
    }
}
