//! Durations on the command line.

use std::time::Duration;

/// The duration of a run that has no limit.
pub(super) const DEFAULT_TIME: Duration = Duration::from_secs(10);

/// Parses a duration such as `30s`, `1.5h` or `1h30m`.
pub(super) fn parse_time(text: &str) -> Result<Duration, &'static str> {
    const EXPECTED: &str = "expected numbers and units, such as 30s, 5m or 1h30m";

    let mut seconds = 0.0;
    let mut rest = text;
    while !rest.is_empty() {
        let unit_at = rest.find(|c: char| c.is_ascii_alphabetic()).ok_or(EXPECTED)?;
        let (number, with_unit) = rest.split_at(unit_at);
        let unit_end = with_unit.find(|c: char| !c.is_ascii_alphabetic());
        let (unit, after) = with_unit.split_at(unit_end.unwrap_or(with_unit.len()));

        let is_plain = number.chars().all(|c| c.is_ascii_digit() || c == '.');
        let number: f64 = number.parse().ok().filter(|_| is_plain).ok_or(EXPECTED)?;
        seconds += number * seconds_of(unit).ok_or(EXPECTED)?;
        rest = after;
    }

    let time = Duration::try_from_secs_f64(seconds).ok();
    time.filter(|time| !time.is_zero()).ok_or(EXPECTED)
}

/// The seconds of a unit.
fn seconds_of(unit: &str) -> Option<f64> {
    Some(match unit {
        "ms" => 0.001,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        "d" => 86400.0,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_a_sum_of_numbers_with_units() {
        for (text, seconds) in [
            ("30s", 30.0),
            ("1.5h", 5400.0),
            ("1h30m", 5400.0),
            ("1d", 86400.0),
            ("2m5ms", 120.005),
        ] {
            assert_eq!(parse_time(text), Ok(Duration::from_secs_f64(seconds)), "{text}");
        }
        for text in [
            "", "10", "s", "0s", "0h0m", "-1s", "+1s", "1h30", "1e3s", "nans", "1h-30m", "1w",
            "1h 3m",
        ] {
            assert!(parse_time(text).is_err(), "{text}");
        }
    }
}
