//! What is allowed in litmus tests, as text and as JSON.

mod json;
mod text;

pub use json::{LitmusDocument, document};
pub use text::{execution, list, table, test};

use crosswalk_litmus::{Claim, Judgement, Litmus};
use std::collections::BTreeSet;

/// A test, and what is allowed in it.
pub struct JudgedTest {
    /// The test.
    pub test: Litmus,
    /// What the manuals allow.
    pub judgement: Judgement,
}

impl JudgedTest {
    /// The claims of its author that do not hold, with what is allowed instead by the same choices.
    pub fn refuted_claims(&self) -> Vec<(&Claim, BTreeSet<String>)> {
        let found = self.judgement.by_choices();
        let claims = self.test.claims.iter();
        let judged =
            claims.map(|claim| (claim, found.get(&claim.choices).cloned().unwrap_or_default()));
        judged.filter(|(claim, found)| claim.outcomes != *found).collect()
    }
}

/// Whether an outcome must, may, or by a choice may be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
enum OutcomeClass {
    /// Nothing else is allowed.
    Required,
    /// Every processor may show it.
    Allowed,
    /// A processor may show it that chooses so.
    Choice,
}

impl OutcomeClass {
    fn of(judgement: &Judgement, takes_no_choice: bool) -> Self {
        match takes_no_choice {
            false => Self::Choice,
            true if judgement.outcomes.len() == 1 => Self::Required,
            true => Self::Allowed,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Required => "required",
            Self::Allowed => "allowed",
            Self::Choice => "choice",
        }
    }
}
