//! Mixed-radix numbers, by which an index names a combination.

/// A mixed-radix system: the radix of each digit. The first digit changes last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Digits {
    radices: Vec<u64>,
}

impl Digits {
    pub(super) fn new(radices: impl IntoIterator<Item = usize>) -> Self {
        Self { radices: radices.into_iter().map(|radix| radix as u64).collect() }
    }

    /// The number of numbers.
    pub(super) fn count(&self) -> u64 {
        self.radices.iter().product()
    }

    /// The digits of a number.
    pub(super) fn of(&self, mut number: u64) -> Vec<usize> {
        let mut digits = vec![0; self.radices.len()];

        for (digit, radix) in digits.iter_mut().zip(&self.radices).rev() {
            *digit = (number % radix) as usize;
            number /= radix;
        }
        digits
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_first_digit_changes_last() {
        let digits = Digits::new([2, 3]);
        let all: Vec<_> = (0..digits.count()).map(|number| digits.of(number)).collect();
        assert_eq!(all, [[0, 0], [0, 1], [0, 2], [1, 0], [1, 1], [1, 2]]);
    }

    #[test]
    fn no_digits_make_one_number() {
        let digits = Digits::new([]);
        assert_eq!(digits.count(), 1);
        assert!(digits.of(0).is_empty());
    }

    proptest! {
        /// Horner's rule gives the number back.
        #[test]
        fn every_number_is_one_combination(radices in prop::collection::vec(1_usize..9, 0..9), at: u64) {
            let digits = Digits::new(radices.clone());
            let number = at % digits.count();
            let found = digits.of(number);
            prop_assert!(found.iter().zip(&radices).all(|(digit, radix)| digit < radix));

            let pairs = found.iter().zip(&radices);
            let back = pairs.fold(0, |sum, (digit, radix)| sum * *radix as u64 + *digit as u64);
            prop_assert_eq!(back, number);
        }
    }
}
