//! Places in a chain of pieces, each of which says where the next one begins. Not all of them are kept:
//! from the one before a position, the chain leads on.

/// Places by position. There are at most as many as were allowed: when there are more, every other one goes.
#[derive(Debug)]
pub(crate) struct Checkpoints<T> {
    places: Vec<(u64, T)>,
    max: usize,
    /// One of this many pieces is kept.
    stride: u64,
    /// Number of pieces so far.
    count: u64,
}

impl<T: Copy> Checkpoints<T> {
    /// No places, and room for `max`.
    pub(crate) const fn new(max: usize) -> Self {
        Self { places: Vec::new(), max, stride: 1, count: 0 }
    }

    /// Adds the place of the next piece, whose position is behind those of all others.
    pub(crate) fn add(&mut self, position: u64, place: T) {
        if self.places.len() == self.max && self.count.is_multiple_of(self.stride) {
            let mut is_kept = false;
            self.places.retain(|_| {
                is_kept = !is_kept;
                is_kept
            });
            self.stride = self.stride.saturating_mul(2);
        }
        if self.count.is_multiple_of(self.stride) {
            self.places.push((position, place));
        }
        self.count = self.count.saturating_add(1);
    }

    /// The last place that is kept at or before a position, with its own position.
    pub(crate) fn before(&self, position: u64) -> Option<(u64, T)> {
        let behind = self.places.partition_point(|(at, _)| *at <= position);
        self.places.get(behind.checked_sub(1)?).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_near_every_position_is_kept() {
        let mut all = Checkpoints::new(8);
        for piece in 0..1000_u64 {
            all.add(piece * 10, piece);
            assert!(all.places.len() <= 8);
        }

        // 1000 pieces in 8 places: one of 128.
        assert_eq!(all.stride, 128);
        for position in 0..10_000 {
            let (at, piece) = all.before(position).unwrap();
            assert_eq!(at, piece * 10);
            assert!(at <= position && position < at + 1280);
        }
    }

    #[test]
    fn all_are_kept_while_there_is_room() {
        let mut all = Checkpoints::new(3);
        for position in [5, 6, 9] {
            all.add(position, ());
        }
        assert_eq!(
            [4, 5, 8, 100].map(|at| all.before(at).map(|found| found.0)),
            [None, Some(5), Some(6), Some(9)]
        );
    }
}
