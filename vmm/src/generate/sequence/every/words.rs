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

/// The words of each length whose last letter is an access, and whose accesses the guest can make: ring 3
/// comes before ring 0.
#[derive(Clone, Debug)]
pub(super) struct Words {
    letters: Vec<Letter>,
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
        Self { letters }
    }

    /// The number of words of a length.
    pub(super) fn count(&self, length: usize) -> u64 {
        self.count_after(Ring::Three, length)
    }

    /// The word of a length with this number, which is less than their count.
    pub(super) fn word(&self, length: usize, number: u64) -> Vec<Letter> {
        let mut word = Vec::with_capacity(length);
        let mut ring = Ring::Three;
        let mut left = number;

        for more in (0..length).rev() {
            for letter in &self.letters {
                let Some(next) = ring_after(ring, *letter, more) else { continue };
                let count = self.count_after(next, more);
                if left < count {
                    word.push(*letter);
                    ring = next;
                    break;
                }
                left -= count;
            }
        }
        word
    }

    /// The number of ways to go on with so many letters, after what this ring did.
    fn count_after(&self, ring: Ring, letters: usize) -> u64 {
        let Some(more) = letters.checked_sub(1) else { return 1 };
        let of = |ring: Ring| {
            let is_next = |letter: &&Letter| ring_after(Ring::Three, **letter, more) == Some(ring);
            self.letters.iter().filter(is_next).count() as u64
        };

        // After ring 0 all accesses are its own; other letters leave the ring as it is.
        match ring {
            Ring::Three => {
                of(Ring::Three) * self.count_after(Ring::Three, more)
                    + of(Ring::Zero) * self.count_after(Ring::Zero, more)
            }
            Ring::Zero => {
                let next = |letter: &&Letter| ring_after(Ring::Zero, **letter, more).is_some();
                let count = self.letters.iter().filter(next).count() as u64;
                count * self.count_after(Ring::Zero, more)
            }
        }
    }
}

/// The ring of the last access after a letter; `None` if the letter cannot come there: after ring 0 the
/// guest does nothing in ring 3, and the last letter is an access. `more` letters follow.
fn ring_after(ring: Ring, letter: Letter, more: usize) -> Option<Ring> {
    match letter {
        Letter::Access { ring: Ring::Three, .. } if ring == Ring::Zero => None,
        Letter::Access { ring, .. } => Some(ring),
        _ if more == 0 => None,
        _ => Some(ring),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By hand: 12 accesses, 6 in each ring, and 20 other letters. Two letters: after one of ring 3 or
    /// another letter (26) all 12 accesses may follow, after one of ring 0 (6) the 6 of ring 0.
    #[test]
    fn the_words_of_two_letters_are_counted_by_hand() {
        let words = Words::new(true, false);
        assert_eq!(words.letters.len(), 12 + 6 + 5 + 3 + 6);
        assert_eq!(words.count(1), 12);
        assert_eq!(words.count(2), 26 * 12 + 6 * 6);
        assert_eq!(words.count(3), 26 * (26 * 12 + 6 * 6) + 6 * (26 * 6));
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
