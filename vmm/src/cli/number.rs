//! Counts and seeds on the command line.

/// Parses a count of at least 1: `200000`, `200_000` or `1e6`.
pub(super) fn parse_count(text: &str) -> Result<u64, &'static str> {
    const EXPECTED: &str = "expected a count of at least 1, such as 200000 or 1e6";

    let count = match text.split_once(['e', 'E']) {
        None => digits(text).and_then(|digits| digits.parse().ok()),
        Some((mantissa, exponent)) => scaled(mantissa, exponent),
    };
    count.filter(|count| *count > 0).ok_or(EXPECTED)
}

/// Parses a seed: a decimal number, or a hexadecimal one with 0x.
pub(super) fn parse_seed(text: &str) -> Result<u64, &'static str> {
    const EXPECTED: &str = "expected a number of at most 64 bits, such as 7 or 0x1f";

    let number = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        // `from_str_radix` takes a sign.
        Some(hex) if hex.starts_with('+') => None,
        Some(hex) => u64::from_str_radix(hex, 16).ok(),
        None => digits(text).and_then(|digits| digits.parse().ok()),
    };
    number.ok_or(EXPECTED)
}

/// The digits of a number, without the underscores between them.
fn digits(text: &str) -> Option<String> {
    let is_number = text.starts_with(|first: char| first.is_ascii_digit())
        && text.ends_with(|last: char| last.is_ascii_digit())
        && text.chars().all(|letter| letter.is_ascii_digit() || letter == '_');
    is_number.then(|| text.replace('_', ""))
}

/// A whole number in scientific notation, exactly: `2.5e3` is 2500.
fn scaled(mantissa: &str, exponent: &str) -> Option<u64> {
    let (whole, fraction) = match mantissa.split_once('.') {
        None => (digits(mantissa)?, String::new()),
        Some((whole, fraction)) => (digits(whole)?, digits(fraction)?),
    };
    let exponent: u32 = digits(exponent)?.parse().ok()?;
    let zeros = exponent.checked_sub(fraction.len() as u32)?;

    let number: u64 = (whole + &fraction).parse().ok()?;
    number.checked_mul(10_u64.checked_pow(zeros)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_whole_numbers_in_any_notation() {
        for (text, count) in [
            ("1", 1),
            ("200_000", 200_000),
            ("1e6", 1_000_000),
            ("2.5E3", 2500),
            ("18446744073709551615", u64::MAX),
        ] {
            assert_eq!(parse_count(text), Ok(count), "{text}");
        }
        for text in
            ["", "0", "0e5", "-1", "+1", "e6", "1e", "1e20", "1.25e1", "1.e3", "0x10", "many", "_1"]
        {
            assert!(parse_count(text).is_err(), "{text}");
        }
    }

    #[test]
    fn seeds_are_decimal_or_hexadecimal() {
        assert_eq!(parse_seed("0"), Ok(0));
        assert_eq!(parse_seed("0x1F"), Ok(31));
        assert_eq!(parse_seed("0xffffffffffffffff"), Ok(u64::MAX));
        for text in ["", "0x", "0x+1", "-1", "1e3", "0x1ffffffffffffffff", "f"] {
            assert!(parse_seed(text).is_err(), "{text}");
        }
    }
}
