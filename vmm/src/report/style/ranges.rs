//! Numbers as ranges.

/// Ascending numbers in words, those in a row as a range: `1, 4 to 7, 9`.
pub(in crate::report) fn ranges(numbers: &[u64]) -> String {
    let rows = numbers.chunk_by(|one, next| one.checked_add(1) == Some(*next));
    let words = rows.map(|row| match row {
        [first, .., last] if row.len() > 2 => format!("{first} to {last}"),
        few => few.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
    });
    words.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_a_row_are_a_range() {
        assert_eq!(ranges(&[]), "");
        assert_eq!(ranges(&[3]), "3");
        assert_eq!(ranges(&[1, 2, 4, 5, 6, 7, 9]), "1, 2, 4 to 7, 9");
        assert_eq!(
            ranges(&[0, u64::MAX - 1, u64::MAX]),
            "0, 18446744073709551614, 18446744073709551615"
        );
    }
}
