//! A bar on a terminal's standard error, nothing elsewhere.

use crate::campaign::CampaignProgress;
use indicatif::{ProgressBar, ProgressStyle};
use std::time::Duration;

/// The bar.
pub(super) struct Bar {
    bar: ProgressBar,
    time: Option<Duration>,
}

impl Bar {
    /// For a run that ends after so many cases, or so much time.
    pub(super) fn start(cases: Option<u64>, time: Option<Duration>) -> Self {
        let length = time.map_or(cases.unwrap_or(0), |time| time.as_millis() as u64);
        let bar = ProgressBar::new(length);
        let style = ProgressStyle::with_template("{bar:30} {percent:>3}%  {msg}");
        bar.set_style(style.expect("the template is well-formed"));
        Self { bar, time }
    }

    pub(super) fn show(&self, progress: &CampaignProgress) {
        let (cases, diverged) = (progress.tally.cases(), progress.tally.diverged());
        self.bar.set_position(match self.time {
            None => cases,
            Some(time) => progress.elapsed.min(time).as_millis() as u64,
        });
        self.bar.set_message(format!("{cases} cases, {diverged} diverged"));
    }

    pub(super) fn end(&self) {
        self.bar.finish_and_clear();
    }
}
