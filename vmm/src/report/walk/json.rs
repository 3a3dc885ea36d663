//! The walk of a case for scripts, with what a machine did.

use super::steps::observed_in;
use crate::finding::known::KnownFinding;
use crate::report::document::Document;
use crate::report::style::count::Count;
use crate::verdict::{self, Verdict, describe_observation};
use crate::walker::WalkerSpec;
use crosswalk_case::observation::{Attempt, EntryAfter};
use crosswalk_case::{Case, Hex};
use crosswalk_explain::{ExplainedCase, View};
use crosswalk_machine::Identity;
use serde::Serialize;

/// Cases, each walked step by step: `explain`.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(in crate::report) struct ExplainDocument<'r> {
    /// Whose walk it is: `reference`, or the id of a mutant.
    walker: String,
    /// Each case.
    cases: Vec<ExplainedCase<'r, RunOfCase<'r>>>,
}

impl Document for ExplainDocument<'_> {
    const SCHEMA: u32 = 1;
}

/// What a machine did with a case.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct RunOfCase<'r> {
    /// The kind of the machine, such as `kvm`.
    pub(super) machine: &'r str,
    /// How it translates.
    pub(super) flavour: &'r str,
    /// Of an emulator, its name and version.
    pub(super) version: Option<&'r str>,
    /// `agree`, `diverge` or `unsupported`.
    pub(super) verdict: &'static str,
    /// Whether known findings of the machine explain what differs.
    pub(super) known: bool,
    /// The ids of these findings.
    pub(super) findings: Vec<String>,
    /// What it did, in words; null if it did not run the case, or did not come back.
    pub(super) observed: Option<String>,
    /// Who decided that.
    pub(super) provenance: Option<&'static str>,
    /// The entries that it changed.
    pub(super) changed: Vec<ChangedEntryJson>,
    /// Whether nothing proves the physical address.
    unproved: bool,
    /// Why it did not run the case, or did not come back.
    pub(super) reason: Option<String>,
    /// Of a sequence that differs: the number of the action that does, from 1.
    action: Option<Count>,
    /// Each field that differs, in words.
    pub(super) differences: Vec<String>,
}

/// An entry that a machine changed.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(super) struct ChangedEntryJson {
    /// Its physical address.
    pub(super) at: Hex,
    /// Its value before.
    pub(super) before: Hex,
    /// Its value after.
    pub(super) after: Hex,
}

/// The document of `explain --json`.
pub fn document<'r>(
    walker: WalkerSpec,
    cases: Vec<ExplainedCase<'r, RunOfCase<'r>>>,
) -> impl Document + use<'r> {
    ExplainDocument { walker: walker.to_string(), cases }
}

/// A case, with what machines did; `first` is what the first of them did, if it ran the case.
pub fn explained<'r>(
    case: &'r Case,
    walker: WalkerSpec,
    first: Option<&Attempt>,
    machines: Vec<RunOfCase<'r>>,
) -> ExplainedCase<'r, RunOfCase<'r>> {
    crosswalk_explain::explained(case, walker, &observed_in(case, first), machines)
}

/// All that a page shows of a case, with what machines did.
pub fn view<'r>(
    case: &'r Case,
    walker: WalkerSpec,
    first: Option<&Attempt>,
    machines: Vec<RunOfCase<'r>>,
) -> View<'r, RunOfCase<'r>> {
    View::new(case, walker, &observed_in(case, first), machines)
}

impl<'r> RunOfCase<'r> {
    /// What a machine did, with the known findings that explain what differs, if they do, and whether they are
    /// forgiven.
    pub fn new(
        machine: &'r Identity,
        case: &Case,
        walker: WalkerSpec,
        attempt: &Attempt,
        (findings, are_forgiven): (Option<Vec<&KnownFinding>>, bool),
    ) -> Self {
        let none = Self::of(machine, "agree");
        let seen = match attempt {
            Attempt::Unsupported(why) => {
                return Self { verdict: "unsupported", reason: Some(why.clone()), ..none };
            }
            Attempt::Observed(seen) => seen,
        };
        let changed = seen.entries.iter().filter(|entry| entry.before != entry.after);
        let ran = Self {
            observed: Some(describe_observation(case, seen)),
            provenance: Some(seen.provenance.name()),
            changed: changed
                .map(|EntryAfter { at, before, after }| ChangedEntryJson {
                    at: Hex(*at),
                    before: Hex(*before),
                    after: Hex(*after),
                })
                .collect(),
            ..none
        };

        match verdict::judge(walker.walker(), case, attempt) {
            Verdict::Agree { unproved, .. } => Self { unproved, ..ran },
            Verdict::Unsupported(why) => Self { verdict: "unsupported", reason: Some(why), ..ran },
            Verdict::Diverge { at, differences, .. } => Self {
                verdict: "diverge",
                known: findings.is_some() && are_forgiven,
                findings: findings.into_iter().flatten().map(|known| known.id.clone()).collect(),
                action: case.is_sequence().then(|| (at + 1).into()),
                differences: differences.iter().map(ToString::to_string).collect(),
                ..ran
            },
        }
    }

    /// A machine that did not come back from the case, as a known finding says.
    pub fn did_not_return(machine: &'r Identity, id: &str, title: &str) -> Self {
        Self {
            known: true,
            findings: vec![id.to_owned()],
            reason: Some(format!("it did not come back: {title}")),
            ..Self::of(machine, "diverge")
        }
    }

    fn of(machine: &'r Identity, verdict: &'static str) -> Self {
        Self {
            machine: &machine.kind,
            flavour: &machine.flavour,
            version: machine.version.as_deref(),
            verdict,
            known: false,
            findings: Vec::new(),
            observed: None,
            provenance: None,
            changed: Vec::new(),
            unproved: false,
            reason: None,
            action: None,
            differences: Vec::new(),
        }
    }
}
