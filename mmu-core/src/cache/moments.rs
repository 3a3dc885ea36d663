//! When something can have been cached: the moments of a history, and sets of them.

/// A moment, as the number of edits, changes of registers and invalidations before it. Memory and registers
/// stay the same for the whole of a moment, and nothing is invalidated in it.
pub(super) type MomentNumber = u32;

/// A set of the first moments of a history.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct MomentSet(u128);

impl MomentSet {
    /// Number of moments that a set can hold.
    pub(super) const ROOM: MomentNumber = u128::BITS;

    /// Every moment.
    pub(super) const ALL: Self = Self(u128::MAX);

    /// This moment and all that follow.
    pub(super) const fn since(first: MomentNumber) -> Self {
        Self(match u128::MAX.checked_shl(first) {
            Some(moments) => moments,
            None => 0,
        })
    }

    /// The moments from `first` up to the one before `end`.
    pub(super) const fn between(first: MomentNumber, end: MomentNumber) -> Self {
        Self(Self::since(first).0 & !Self::since(end).0)
    }

    pub(super) const fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(super) const fn contains(self, moment: MomentNumber) -> bool {
        !Self(self.0 & Self::between(moment, moment + 1).0).is_empty()
    }

    #[must_use]
    pub(super) const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    #[must_use]
    pub(super) const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// How many there are up to a moment, this one included.
    pub(super) const fn count_to(self, moment: MomentNumber) -> MomentNumber {
        (self.0 & Self::between(0, moment + 1).0).count_ones()
    }

    /// The moments up to `now` at which something is cached that can be cached again in each of these.
    /// Each of `drops` begins with an invalidation of it.
    #[must_use]
    pub(super) fn lasting(self, drops: Self, now: MomentNumber) -> Self {
        let mut is_cached = false;
        let lasting = (0..=now).filter(|moment| {
            is_cached = is_cached && !drops.contains(*moment) || self.contains(*moment);
            is_cached
        });
        lasting.collect()
    }
}

impl FromIterator<MomentNumber> for MomentSet {
    fn from_iter<T: IntoIterator<Item = MomentNumber>>(moments: T) -> Self {
        let one = |moment| Self::between(moment, moment + 1);
        moments.into_iter().map(one).fold(Self::default(), Self::or)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(moments: &[MomentNumber]) -> MomentSet {
        moments.iter().copied().collect()
    }

    #[test]
    fn a_set_has_the_moments_between_two() {
        assert_eq!(MomentSet::between(2, 5), set(&[2, 3, 4]));
        assert_eq!(MomentSet::between(5, 5), set(&[]));
        assert_eq!(MomentSet::between(126, MomentNumber::MAX), set(&[126, 127]));
        assert!(MomentSet::since(200).is_empty());
        assert!(MomentSet::since(3).contains(127) && !MomentSet::since(3).contains(2));
    }

    #[test]
    fn what_is_cached_lasts_until_it_is_dropped() {
        assert_eq!(set(&[1, 5]).lasting(set(&[3, 4]), 6), set(&[1, 2, 5, 6]));
        // It can be cached again after the invalidation with which a moment begins.
        assert_eq!(set(&[3]).lasting(set(&[3]), 4), set(&[3, 4]));
        assert_eq!(set(&[]).lasting(set(&[]), 4), set(&[]));
    }
}
