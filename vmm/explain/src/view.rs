//! All that a page shows of a case, as one document.

use crate::document::{ExplainedCase, explained};
use crate::picture::{Picture, first_table};
use crate::svg::{self, Words};
use crate::words::{describe_expectation, step_in_words};
use crosswalk_case::Case;
use crosswalk_walker::WalkerSpec;
use serde::Serialize;

/// A case as a page shows it, with what machines did (`R`).
#[derive(Serialize)]
pub struct View<'r, R> {
    /// As `explain --json` says it.
    pub explained: ExplainedCase<'r, R>,
    /// The walk in parts.
    pub picture: Picture,
    /// The walk as one picture.
    pub svg: String,
}

impl<'r, R> View<'r, R> {
    /// What a page shows of a case; `observed` says what the first machine did in each step of a sequence.
    pub fn new(
        case: &'r Case,
        walker: WalkerSpec,
        observed: &dyn Fn(usize) -> Option<String>,
        machines: Vec<R>,
    ) -> Self {
        let prediction = walker.walker().predict(case);
        let picture = Picture::new(case, walker, &prediction);
        let last = case.accesses().pop().unwrap_or_else(|| case.clone());
        let words = Words {
            access: &step_in_words(&last.access_step()),
            first_table: first_table(&last),
            outcomes: prediction.alternatives.iter().map(describe_expectation).collect(),
        };

        Self {
            svg: svg::draw(&picture, &words),
            explained: explained(case, walker, observed, machines),
            picture,
        }
    }
}
