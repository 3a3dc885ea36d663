//! Scenarios that were run, in 80 columns ([`text`]) and as JSON ([`document`]); [`random`] operations have
//! both forms of their own.

mod explanation;
pub(super) mod json;
mod map;
mod page;
pub mod random;
mod text;

pub use json::{document, list_document};
pub use page::page;
pub use text::text;

use crate::report::document::VerdictWord;
use crate::report::style::table::line;
use crate::scenario::SCENARIOS;
use crate::scenario::story::{Story, StoryEnding};
use crosswalk_machine::Identity;

/// What a report says when there was no machine.
pub(super) const NOTHING_COMPARED: &str = "software only: nothing was compared";

/// What a report says of a scenario whose claims were all left out.
pub(super) const UNTESTED: &str = "No claim was tested: each is left out by its `when`.";

/// Scenarios to report.
#[derive(Clone, Copy, Debug)]
pub struct NarratedScenarios<'t> {
    /// The scenarios that were run.
    pub stories: &'t [Story],
    /// The machine that the software was compared with, and why it was chosen.
    pub machine: Option<(&'t Identity, &'t str)>,
    /// Why there is no machine.
    pub why_none: &'t str,
}

impl NarratedScenarios<'_> {
    /// What the software was compared with, and the result.
    fn comparison_sentence(&self) -> String {
        text::ending(self.machine, self.why_none, self.result())
    }

    /// The verdict on all of them.
    pub fn verdict(&self) -> VerdictWord {
        match self.stories.iter().map(Story::ending).max() {
            Some(StoryEnding::Failed) => VerdictWord::Failed,
            Some(StoryEnding::Untested) => VerdictWord::Incomplete,
            Some(StoryEnding::Passed) | None => VerdictWord::Passed,
        }
    }

    /// How many ended so.
    fn count(&self, ending: StoryEnding) -> usize {
        self.stories.iter().filter(|story| story.ending() == ending).count()
    }

    /// The result of all comparisons.
    fn result(&self) -> &'static str {
        let comparisons = self.stories.iter().filter_map(|story| story.comparison.as_ref());
        let differ = comparisons.clone().any(|comparison| comparison.divergence.is_some());

        match comparisons.count() {
            0 => NOTHING_COMPARED,
            _ if differ => "histories part",
            _ => "histories equal",
        }
    }
}

/// The list of scenarios.
pub fn list() -> String {
    let mut text = String::new();
    for scenario in SCENARIOS.iter() {
        line(&mut text, &format!("{}: {}", scenario.name, scenario.shows));
    }
    text.push_str(
        "\n`crosswalk scenario NAME` runs one of them, `crosswalk scenario all` runs all\n",
    );
    text.push_str(
        "of them, `crosswalk scenario random` performs thousands of random operations.\n",
    );
    text
}

/// The average number of table entries that an access read.
fn entries_per_translation(story: &Story) -> f64 {
    let accesses = &story.accesses;
    if accesses.completed == 0 {
        return 0.0;
    }
    accesses.entries_read as f64 / accesses.completed as f64
}
