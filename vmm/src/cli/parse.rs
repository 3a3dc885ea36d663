//! Values of options.

use mmu_core::PagingMode;
use std::time::Duration;

/// How long a run takes when nothing is said.
pub(super) const DEFAULT_TIME: Duration = Duration::from_secs(10);

pub(super) fn parse_mode(text: &str) -> Result<PagingMode, String> {
    PagingMode::ALL.into_iter().find(|mode| mode.name() == text).ok_or_else(|| {
        let names: Vec<_> = PagingMode::ALL.iter().map(|mode| mode.name()).collect();
        format!("expected one of {}", names.join(", "))
    })
}

pub(super) fn parse_time(text: &str) -> Result<Duration, String> {
    let problem = || "expected a number and a unit, such as 30s, 5m or 1h".to_owned();
    let unit_at = text.find(|c: char| c.is_ascii_alphabetic()).ok_or_else(problem)?;
    let (number, unit) = text.split_at(unit_at);
    let seconds = match unit {
        "ms" => 0.001,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err(problem()),
    };
    let number: f64 = number.parse().map_err(|_| problem())?;
    Duration::try_from_secs_f64(number * seconds)
        .ok()
        .filter(|time| !time.is_zero())
        .ok_or_else(problem)
}
