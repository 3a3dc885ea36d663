//! Litmus tests: what is allowed and what was seen, as text, as JSON and as a page.

mod json;
mod mutants;
mod page;
mod text;

pub use json::{LitmusDocument, document};
pub use mutants::{LitmusMutantsDocument, LitmusTrial, mutants_document, mutants_text};
pub use page::page;
pub use text::{execution, list, random, table, test};

use crate::campaign::known::KnownSource;
use crosswalk_litmus::{Claim, Judgement, Litmus, Seen, SeenOutcomes};
use crosswalk_machine::{Capabilities, Identity};
use std::collections::{BTreeMap, BTreeSet};

/// A test, what is allowed in it, and what a machine showed.
pub struct JudgedTest {
    /// The test.
    pub test: Litmus,
    /// What the manuals allow.
    pub judgement: Judgement,
    /// What a machine showed, if it was to be run.
    pub run: Option<TestRun>,
    /// The outcomes that no manual allows and that the machine is known to show, with the ids of its known findings.
    pub known: BTreeMap<String, Vec<String>>,
}

/// What a machine showed of a test.
pub enum TestRun {
    /// Why the machine cannot run it.
    NotRun(String),
    /// The outcomes.
    Seen(SeenOutcomes),
}

/// What reports say of a run besides its results.
pub struct LitmusRunFacts<'r> {
    /// The machine, if there is one.
    pub machine: Option<MachineFacts<'r>>,
    /// Where the known findings of the machine come from.
    pub known: &'r KnownSource,
    /// The seed of delays and random tests.
    pub seed: u64,
}

/// What reports say of a machine.
pub struct MachineFacts<'r> {
    /// What it is.
    pub identity: &'r Identity,
    /// What it offers.
    pub capabilities: &'r Capabilities,
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

    /// The outcomes that were seen though they are forbidden, and are not known.
    pub fn forbidden(&self) -> impl Iterator<Item = (&str, &Seen)> {
        self.not_allowed().filter(|(outcome, _)| !self.known.contains_key(*outcome))
    }

    /// The outcomes that were seen though no manual allows them.
    pub fn not_allowed(&self) -> impl Iterator<Item = (&str, &Seen)> {
        self.seen().into_iter().flat_map(|seen| self.judgement.forbidden(seen))
    }

    /// What was seen, if it was run.
    pub fn seen(&self) -> Option<&SeenOutcomes> {
        match &self.run {
            Some(TestRun::Seen(seen)) => Some(seen),
            Some(TestRun::NotRun(_)) | None => None,
        }
    }

    /// Why it was not run, if it was to be.
    pub fn not_run(&self) -> Option<&str> {
        match &self.run {
            Some(TestRun::NotRun(why)) => Some(why),
            Some(TestRun::Seen(_)) | None => None,
        }
    }

    /// Whether a machine has run it.
    pub fn was_run(&self) -> bool {
        self.seen().is_some()
    }

    /// Every outcome that is allowed or was seen, with its class and how often it was seen.
    fn outcomes(&self) -> Vec<ClassedOutcome<'_>> {
        let allowed = self.judgement.outcomes.iter().map(|(outcome, judged)| ClassedOutcome {
            outcome,
            class: OutcomeClass::of(&self.judgement, judged.takes_no_choice()),
            findings: &[],
            seen: self.seen().and_then(|seen| seen.outcomes.get(outcome)),
        });
        let not_allowed = self.not_allowed().map(|(outcome, seen)| {
            let findings = self.known.get(outcome);
            let class = findings.map_or(OutcomeClass::Forbidden, |_| OutcomeClass::Known);
            let findings = findings.map_or(&[][..], Vec::as_slice);
            ClassedOutcome { outcome, class, findings, seen: Some(seen) }
        });
        allowed.chain(not_allowed).collect()
    }
}

/// An outcome that is allowed or was seen.
struct ClassedOutcome<'r> {
    outcome: &'r str,
    class: OutcomeClass,
    /// The known findings by which it comes about, if no manual allows it.
    findings: &'r [String],
    seen: Option<&'r Seen>,
}

impl ClassedOutcome<'_> {
    /// How often it was seen.
    fn count(&self) -> u64 {
        self.seen.map_or(0, |seen| seen.count)
    }
}

/// Whether an outcome must, may, by a choice may, or may not be shown.
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
    /// No execution leads to it, but one does on a machine with its known findings.
    Known,
    /// No execution leads to it.
    Forbidden,
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
            Self::Known => "known",
            Self::Forbidden => "FORBIDDEN",
        }
    }
}
