//! Words of an alphabet of actions, each with a number.

use mmu_core::x86::format::EntryBits;
use mmu_core::{AccessKind, Ring};

/// An action, relative to what the pages and the registers are then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Letter {
    /// An access to a page.
    Access { kind: AccessKind, ring: Ring, page: Page },
    /// A store into an entry of the page's own path.
    Store(Place, Change),
    /// INVLPG of the address that loads and stores use.
    Invlpg(Page),
    /// INVLPG of another offset in the page.
    InvlpgOtherOffset,
    /// INVLPG of an address that is not canonical.
    InvlpgNonCanonical,
    /// MOV to CR3 of the same value.
    ReloadCr3,
    /// CR0.WP becomes the other value.
    ToggleWp,
    /// PKRU denies data accesses to the pages, or no longer does.
    ToggleKey,
}

/// One of the two pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Page {
    Own,
    Neighbour,
}

/// An entry on the path of the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Leaf,
    Parent,
    Root,
}

/// What software changes in an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// These flags.
    Flip(EntryBits),
    /// Nothing but A and D, which become clear.
    Again,
    /// Where it leads.
    Move,
}

/// The words of each length whose last letter is an access.
#[derive(Clone, Debug)]
pub(super) struct Words {
    /// The alphabet, the accesses first.
    letters: Vec<Letter>,
    /// Number of accesses.
    accesses: usize,
}

impl Words {
    /// Words of the letters that a machine has.
    pub(super) fn new(has_xd: bool, has_keys: bool) -> Self {
        let mut letters = Vec::new();
        for ring in [Ring::Three, Ring::Zero] {
            for page in [Page::Own, Page::Neighbour] {
                for kind in [AccessKind::Read, AccessKind::Write, AccessKind::Fetch] {
                    letters.push(Letter::Access { kind, ring, page });
                }
            }
        }

        let accesses = letters.len();
        let [p, rw, us, xd] =
            [EntryBits::P, EntryBits::RW, EntryBits::US, EntryBits::XD].map(Change::Flip);
        for (place, changes) in [
            (Place::Leaf, &[p, rw, us, xd, Change::Again, Change::Move][..]),
            (Place::Parent, &[p, rw, us, xd, Change::Again]),
            (Place::Root, &[p, rw, us]),
        ] {
            let possible = changes.iter().filter(|change| has_xd || **change != xd);
            letters.extend(possible.map(|change| Letter::Store(place, *change)));
        }

        letters.extend([
            Letter::Invlpg(Page::Own),
            Letter::Invlpg(Page::Neighbour),
            Letter::InvlpgOtherOffset,
            Letter::InvlpgNonCanonical,
            Letter::ReloadCr3,
            Letter::ToggleWp,
        ]);
        if has_keys {
            letters.push(Letter::ToggleKey);
        }
        Self { letters, accesses }
    }

    /// The number of words of a length, which is at least 1.
    pub(super) fn count(&self, length: usize) -> u64 {
        let before = (1..length).map(|_| self.letters.len() as u64);
        before.product::<u64>() * self.accesses as u64
    }

    /// The word of a length with this number, which is less than their count: its digits, the last of them
    /// an access.
    pub(super) fn word(&self, length: usize, number: u64) -> Vec<Letter> {
        let mut left = number;
        let mut digit = |base: usize| {
            let index = left % base as u64;
            left /= base as u64;
            self.letters[index as usize]
        };

        let mut word = vec![digit(self.accesses)];
        word.extend((1..length).map(|_| digit(self.letters.len())));
        word.reverse();
        word
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By hand: 12 accesses, and 20 other letters.
    #[test]
    fn the_words_of_two_letters_are_counted_by_hand() {
        let words = Words::new(true, false);
        assert_eq!(words.letters.len(), 12 + 6 + 5 + 3 + 6);
        assert_eq!(words.count(1), 12);
        assert_eq!(words.count(2), 32 * 12);
        assert_eq!(words.count(3), 32 * 32 * 12);
    }

    /// The numbers of a length go through its words in the order of the alphabet: each comes once.
    #[test]
    fn every_number_is_another_word() {
        for has_keys in [false, true] {
            let words = Words::new(has_keys, has_keys);
            for length in 1..=3 {
                let place = |letter: &Letter| words.letters.iter().position(|one| one == letter);
                let spelled = |number| {
                    let word = words.word(length, number);
                    assert_eq!(word.len(), length, "{number}");
                    assert!(matches!(word.last(), Some(Letter::Access { .. })));
                    word.iter().map(place).collect::<Vec<_>>()
                };
                let all: Vec<_> = (0..words.count(length)).map(spelled).collect();
                assert!(all.is_sorted_by(|one, next| one < next), "{length}");
            }
        }
    }
}
