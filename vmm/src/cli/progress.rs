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
    time: Option<Duration>,
}

impl CampaignBar {
    /// A bar for a campaign that ends after a time or, without one, after a number of cases.
    pub(super) fn start(cases: Option<u64>, time: Option<Duration>) -> Self {
        let length = time.map_or(cases.unwrap_or(0), |time| time.as_millis() as u64);
        Self { bar: bar(length, "{bar:30} {percent:>3}%  {msg}"), time }
    }

    pub(super) fn show(&self, progress: &CampaignProgress) {
        let cases = progress.tally.cases();
        let diverged = progress.tally.diverged();

        self.bar.set_position(match self.time {
            None => cases,
            Some(time) => progress.elapsed.min(time).as_millis() as u64,
        });
        let [cases, diverged] = [cases, diverged].map(HumanCount);
        self.bar.set_message(format!("{cases} cases, {diverged} differ"));
    }

    pub(super) fn end(&self) {
        self.bar.finish_and_clear();
    }
}
