//! Numbers in words.

/// A size in the largest unit of which it is a whole number: 4 KiB, 1536 bytes.
pub(crate) fn size(bytes: u128) -> String {
    const UNITS: [&str; 8] = ["bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB"];

    let unit = (bytes.trailing_zeros() / 10).min(7) as usize;
    match bytes {
        0 => "0 bytes".into(),
        1 => "1 byte".into(),
        _ => format!("{} {}", bytes >> (10 * unit), UNITS[unit]),
    }
}

/// A number, and as a power if it is a large one: 16, or 2^20 = 1048576.
pub(crate) fn power(number: u128) -> String {
    if number >= 1024 && number.is_power_of_two() {
        format!("2^{} = {number}", number.ilog2())
    } else {
        number.to_string()
    }
}

/// A number with its noun: 1 bit, 2 bits.
pub(crate) fn counted(number: u128, noun: &str) -> String {
    match (number, noun) {
        (1, noun) => format!("1 {noun}"),
        (number, "entry") => format!("{number} entries"),
        (number, noun) => format!("{number} {noun}s"),
    }
}

/// A list in words: a, b and c.
pub(crate) fn listed<T: ToString>(items: impl IntoIterator<Item = T>) -> String {
    let items: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
    match &items[..] {
        [] => "none".into(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

/// The same words with a capital letter first.
pub(crate) fn with_capital(words: &str) -> String {
    let mut letters = words.chars();
    letters.next().map_or(String::new(), |first| first.to_uppercase().chain(letters).collect())
}
