//! Durations on the command line.

use std::time::Duration;

/// The duration of a run that has no limit.
pub(super) const DEFAULT_TIME: Duration = Duration::from_secs(10);

/// Parses a duration such as `30s` or `1.5h`.
pub(super) fn parse_time(text: &str) -> Result<Duration, &'static str> {
    const EXPECTED: &str = "expected a number and a unit, such as 30s, 5m or 1h";

    let unit_at = text.find(|c: char| c.is_ascii_alphabetic()).ok_or(EXPECTED)?;
    let (number, unit) = text.split_at(unit_at);
    let number: f64 = number.parse().map_err(|_| EXPECTED)?;
    let seconds = match unit {
        "ms" => 0.001,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err(EXPECTED),
    };

    Duration::try_from_secs_f64(number * seconds)
        .ok()
        .filter(|time| !time.is_zero())
        .ok_or(EXPECTED)
}
