//! Numbers for people: grouped digits, sizes with units, powers of two; and large numbers for scripts.

pub(in crate::report) use crosswalk_explain::words::counted;
use serde::Serialize;

/// 1234567 as 1,234,567.
pub(in crate::report) fn with_commas(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number of cases with its noun: 1 case, 1,234 cases.
pub(crate) fn cases(number: u64) -> String {
    numbered(number, "case")
}

/// A number of batches with its noun: 1 batch, 1,234 batches.
pub(in crate::report) fn batches(number: u64) -> String {
    match number {
        1 => "1 batch".into(),
        number => format!("{} batches", with_commas(number)),
    }
}

/// A size in the largest unit that it fills, to four digits.
pub(in crate::report) fn size(bytes: u128) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB"];
    let Some(unit) = (bytes.max(1).ilog2() / 10).min(7).checked_sub(1) else {
        return counted(bytes, "byte");
    };

    let one = 1_u128 << (10 * (unit + 1));
    let unit = units[unit as usize];
    let scaled = |scale| rounded_quotient(bytes * scale, one);
    match bytes / one {
        whole if bytes.is_multiple_of(one) => format!("{whole} {unit}"),
        0..10 => format!("{}.{:03} {unit}", scaled(1000) / 1000, scaled(1000) % 1000),
        10..100 => format!("{}.{:02} {unit}", scaled(100) / 100, scaled(100) % 100),
        _ => format!("{}.{} {unit}", scaled(10) / 10, scaled(10) % 10),
    }
}

/// A large number with its noun: 1 page, 1,234 pages.
pub(in crate::report) fn numbered(number: u64, what: &str) -> String {
    match number {
        1 => format!("1 {what}"),
        number => format!("{} {what}s", with_commas(number)),
    }
}

/// The exact size of a number of bits in bytes: 20 bits are 2.5 bytes.
pub(in crate::report) fn exact_bytes(bits: u32) -> String {
    let whole = bits / 8;
    let eighths = bits % 8;
    let digits = format!("{whole}.{:03}", eighths * 125);
    match digits.trim_end_matches('0').trim_end_matches('.') {
        "1" => "1 byte".into(),
        digits => format!("{digits} bytes"),
    }
}

/// A power of two, and its approximate value.
pub(in crate::report) fn power(number: u128) -> String {
    let log2 = number.ilog2();
    match few(number) {
        Some(digits) => format!("2^{log2} = {digits}"),
        None => format!("2^{log2}, about {}", scientific(number)),
    }
}

/// All digits of a number, unless there are too many to read.
pub(in crate::report) fn few(number: u128) -> Option<String> {
    u64::try_from(number).ok().filter(|number| *number < 100_000_000).map(with_commas)
}

/// 4503599627370496 as 4.5 x 10^15: at least two digits, and an exponent that is a multiple of three.
pub(in crate::report) fn scientific(number: u128) -> String {
    let mut exponent = number.max(1).ilog10() / 3 * 3;
    let mut tenths = rounded_quotient(number * 10, 10_u128.pow(exponent));
    if tenths >= 9995 {
        exponent += 3;
        tenths = 10;
    }

    if tenths < 100 {
        format!("{}.{} x 10^{exponent}", tenths / 10, tenths % 10)
    } else {
        format!("{} x 10^{exponent}", rounded_quotient(tenths, 10))
    }
}

/// A number of tables. A long one is always a power of two.
pub(in crate::report) fn short(count: u128) -> String {
    if count >= 100_000 && count.is_power_of_two() {
        format!("2^{}", count.ilog2())
    } else {
        count.to_string()
    }
}

/// How often one size fits into another, to at least three digits.
pub(in crate::report) fn quotient(large: u128, small: u128) -> String {
    let whole = large / small;
    if whole >= 1_000_000 {
        return scientific(whole);
    }

    let scaled = |scale| rounded_quotient(large * scale, small);
    match whole {
        _ if large.is_multiple_of(small) => with_commas(whole as u64),
        0..10 => format!("{}.{:02}", scaled(100) / 100, scaled(100) % 100),
        10..100 => format!("{}.{}", scaled(10) / 10, scaled(10) % 10),
        _ => with_commas(scaled(1) as u64),
    }
}

/// The quotient, rounded to the nearest whole number.
fn rounded_quotient(number: u128, divisor: u128) -> u128 {
    (number + divisor / 2) / divisor
}

/// A number that can exceed 64 bits, as JSON: all digits, and its logarithm if that is a whole number.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(in crate::report) struct Large {
    /// All digits.
    decimal: String,
    /// The logarithm, if it is a whole number.
    log2: Option<u32>,
}

impl From<u128> for Large {
    fn from(number: u128) -> Self {
        let log2 = number.is_power_of_two().then(|| number.ilog2());
        Self { decimal: number.to_string(), log2 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_by_three() {
        let numbers = [0, 999, 1000, 123_456, 1_234_567];
        assert_eq!(numbers.map(with_commas), ["0", "999", "1,000", "123,456", "1,234,567"]);
    }

    #[test]
    fn numbers_for_people() {
        assert_eq!([1, 2, 1000].map(batches), ["1 batch", "2 batches", "1,000 batches"]);
        assert_eq!(
            [1, 1023, 1024, 1792, 20_288, 1 << 76].map(size),
            ["1 byte", "1023 bytes", "1 KiB", "1.750 KiB", "19.81 KiB", "64 ZiB"]
        );
        assert_eq!(
            [1, 8, 20, 52].map(exact_bytes),
            ["0.125 bytes", "1 byte", "2.5 bytes", "6.5 bytes"]
        );
        assert_eq!(
            [1 << 20, 1 << 52, 1 << 55, 999_960_000].map(scientific),
            ["1.0 x 10^6", "4.5 x 10^15", "36 x 10^15", "1.0 x 10^9"]
        );
        let quotients = [(4, 2), (7, 2), (1024, 257), (1000, 99), (1 << 22, 1792), (1, 2)];
        let quotients = quotients.map(|(large, small)| quotient(large, small));
        assert_eq!(quotients, ["2", "3.50", "3.98", "10.1", "2,341", "0.50"]);
    }
}
