//! What became of a scenario: in 80 columns ([`text`]) and as JSON ([`json`]); [`random`] operations
//! have both forms of their own.

mod json;
pub mod random;
mod text;

pub use json::{json, json_list};
pub use text::text;

use crate::report::style::table::line;
use crate::scenario::SCENARIOS;
use crate::scenario::story::Story;
use crosswalk_machine::Identity;

/// What a report without a machine says.
pub(super) const NOTHING_COMPARED: &str = "software only: nothing was compared";

/// What is told of.
#[derive(Clone, Copy, Debug)]
pub struct NarratedScenario<'t> {
    /// The scenarios that were run.
    pub stories: &'t [Story],
    /// The machine beside the software, and why it was chosen.
    pub machine: Option<(&'t Identity, &'t str)>,
    /// Why there is none.
    pub why_none: &'t str,
}

impl NarratedScenario<'_> {
    /// The result of all comparisons.
    fn result(&self) -> &'static str {
        let comparisons = self.stories.iter().filter_map(|story| story.comparison.as_ref());
        let divergence = comparisons.clone().any(|comparison| comparison.divergence.is_some());
        match comparisons.count() {
            0 => NOTHING_COMPARED,
            _ if divergence => "histories part",
            _ => "histories equal",
        }
    }
}

/// The scenarios there are.
pub fn list() -> String {
    let mut text = String::new();
    for scenario in SCENARIOS {
        line(&mut text, &format!("{}: {}", scenario.name, scenario.shows));
    }
    text.push_str("\ncrosswalk scenario NAME runs one of them, crosswalk scenario all each, and\n");
    text.push_str("crosswalk scenario random thousands of random operations.\n");
    text
}

fn entries_per_translation(story: &Story) -> f64 {
    let accesses = &story.accesses;
    if accesses.completed == 0 {
        return 0.0;
    }
    accesses.entries_read as f64 / accesses.completed as f64
}
