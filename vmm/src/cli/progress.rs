//! Progress on standard error, if that is a terminal.

use crate::campaign::CampaignProgress;
use indicatif::{HumanCount, ProgressBar, ProgressStyle};
use std::time::Duration;

/// A bar of some length, with an indicatif template.
pub(super) fn bar(length: u64, template: &str) -> ProgressBar {
    ProgressBar::new(length).with_style(style(template))
}

/// Counts cases whose number is not known in advance.
pub(super) fn case_counter() -> ProgressBar {
    let template = "{spinner} {human_pos} cases  {elapsed}";
    ProgressBar::new_spinner().with_style(style(template))
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("the template is well-formed")
}

/// The bar of a campaign.
pub(super) struct CampaignBar {
    bar: ProgressBar,
    cases: Option<u64>,
    time: Option<Duration>,
}

impl CampaignBar {
    /// A bar for a campaign that ends after a time or, without one, after a number of cases.
    pub(super) fn start(cases: Option<u64>, time: Option<Duration>) -> Self {
        let length = time.map_or(cases.unwrap_or(0), |time| time.as_millis() as u64);
        Self { bar: bar(length, "{bar:20} {percent:>3}%  {wide_msg}"), cases, time }
    }

    pub(super) fn show(&self, progress: &CampaignProgress) {
        let cases = progress.tally.cases();
        let elapsed = progress.elapsed;

        self.bar.set_position(match self.time {
            None => cases,
            Some(time) => elapsed.min(time).as_millis() as u64,
        });
        let pace = pace(cases, elapsed, self.cases, self.time);
        let diverged = progress.tally.diverged();
        let differ = differ(diverged, progress.findings.unknown());
        self.bar.set_message(format!("{} cases, {pace}{differ}", HumanCount(cases)));
    }

    pub(super) fn end(&self) {
        self.bar.finish_and_clear();
    }
}

/// The bar of a run that counts cases.
pub(super) struct CaseBar {
    bar: ProgressBar,
    cases: Option<u64>,
    time: Option<Duration>,
}

impl CaseBar {
    /// A bar for a run that ends after a time or, without one, after a number of cases.
    pub(super) fn start(cases: Option<u64>, time: Option<Duration>) -> Self {
        let length = time.map_or(cases.unwrap_or(0), |time| time.as_millis() as u64);
        Self { bar: bar(length, "{bar:20} {percent:>3}%  {wide_msg}"), cases, time }
    }

    /// Shows how far the run is.
    pub(super) fn show(&self, cases: u64, diverged: u64, unknown: u64) {
        let elapsed = self.bar.elapsed();
        self.bar.set_position(match self.time {
            None => cases,
            Some(time) => elapsed.min(time).as_millis() as u64,
        });
        let pace = pace(cases, elapsed, self.cases, self.time);
        let message = format!("{} cases, {pace}{}", HumanCount(cases), differ(diverged, unknown));
        self.bar.set_message(message);
    }

    pub(super) fn end(&self) {
        self.bar.finish_and_clear();
    }
}

/// Cases a second, and the time that is left.
fn pace(cases: u64, elapsed: Duration, of: Option<u64>, time: Option<Duration>) -> String {
    let seconds = elapsed.as_secs_f64();
    if seconds <= 0.0 || cases == 0 {
        return String::new();
    }

    let rate = cases as f64 / seconds;
    let left = time
        .map(|time| time.saturating_sub(elapsed).as_secs_f64())
        .or(of.map(|of| of.saturating_sub(cases) as f64 / rate))
        .and_then(|left| Duration::try_from_secs_f64(left.ceil()).ok());
    let left = left.map_or(String::new(), |left| format!("{} left, ", in_units(left)));
    format!("{}/s, {left}", HumanCount(rate as u64))
}

/// A duration in its two largest units.
fn in_units(time: Duration) -> String {
    let seconds = time.as_secs();
    match (seconds / 86400, seconds / 3600 % 24, seconds / 60 % 60, seconds % 60) {
        (0, 0, 0, seconds) => format!("{seconds}s"),
        (0, 0, minutes, seconds) => format!("{minutes}m{seconds:02}s"),
        (0, hours, minutes, _) => format!("{hours}h{minutes:02}m"),
        (days, hours, ..) => format!("{days}d{hours:02}h"),
    }
}

/// How many cases differ: those that are new apart from the known ones.
fn differ(diverged: u64, unknown: u64) -> String {
    match (diverged, unknown) {
        (0, 0) => "none differs".into(),
        (known, 0) => format!("{} known", HumanCount(known)),
        (_, unknown) => {
            let known = diverged.saturating_sub(unknown);
            format!("{} NEW, {} known", HumanCount(unknown), HumanCount(known))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_says_how_fast_how_long_and_what_is_new() {
        let seconds = Duration::from_secs;
        assert_eq!(pace(2000, seconds(2), Some(10_000), None), "1,000/s, 8s left, ");
        assert_eq!(pace(2000, seconds(2), None, Some(seconds(5402))), "1,000/s, 1h30m left, ");
        assert_eq!(pace(0, seconds(0), None, None), "");
        assert_eq!(in_units(seconds(90_000)), "1d01h");

        assert_eq!(differ(0, 0), "none differs");
        assert_eq!(differ(9, 0), "9 known");
        assert_eq!(differ(9, 2), "2 NEW, 7 known");
    }
}
