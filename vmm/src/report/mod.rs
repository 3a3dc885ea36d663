//! What a run looks like to people ([`text`], [`walk`]) and to scripts ([`json`]); [`geometry`],
//! [`mutants`], [`scenario`] and [`random`] have both forms of their own.

pub mod conformance;
pub mod corpus;
pub mod geometry;
mod machine;
pub mod mutants;
pub mod run;
pub mod scenario;
mod style;
pub mod walk;

use crate::campaign::journal::RunLine;
use crate::conformance::score::CandidateScore;
use crate::corpus::Source;
use crate::verdict::ChoiceTaken;
use crosswalk_case::observation::name_of_fault;
use crosswalk_machine::{Capabilities, Identity, ModeOffer};
use mmu_core::{Cr4, Features, Ring, Rule};

/// What a report says about a run besides its results.
#[derive(Clone, Copy, Debug)]
pub struct RunFacts<'r> {
    /// The machine.
    pub identity: &'r Identity,
    /// What it offers.
    pub capabilities: &'r Capabilities,
    /// The modes asked for, each with the reason why it was not run.
    pub modes: &'r [ModeOffer],
    /// What was run.
    pub run: &'r RunLine,
    /// Where the cases were recorded, if they were, and how many each gave.
    pub sources: &'r [(Source, u64)],
    /// The rules that such a corpus covers.
    pub covered: &'r [Rule],
    /// What came of asking a walker that is a program.
    pub candidate: Option<&'r CandidateScore>,
    /// Whether nothing remained to be done.
    pub complete: bool,
    /// CPU time of this process and its children.
    pub cpu_seconds: f64,
}

/// How an access ended on a machine: `completed`, or the exception with its error code.
fn name_of_end(end: Option<(u8, u32)>) -> String {
    end.map_or_else(|| "completed".into(), |(vector, code)| name_of_fault(vector, code))
}

/// The features of translation that a run does not exercise, each with the reason.
fn features_not_run(capabilities: &Capabilities) -> Vec<(&'static str, String)> {
    let not_yet = Features::INVPCID | Features::CET_SS | Features::LAM;
    let all = Features::all().iter_names();
    let reasons = all.filter_map(|(name, feature)| {
        let obeyed =
            Cr4::from_name(name).is_some_and(|bit| capabilities.not_in_cpuid.contains(bit));
        let reason = match feature.cpuid_bit() {
            _ if obeyed => return None,
            Some(bit) if !capabilities.profile.features.contains(feature) => format!("{bit} is 0"),
            _ if not_yet.contains(feature) => "the guest has no probe for it yet".into(),
            _ => return None,
        };
        Some((name, reason))
    });
    reasons.collect()
}

/// The circumstances of a choice, in words.
fn when(choice: &ChoiceTaken) -> String {
    let ring = if choice.ring == Ring::Zero { 0 } else { 3 };
    let level = if choice.level.is_empty() { String::new() } else { format!(", {}", choice.level) };
    format!("ring {ring} {}, {}{level}", choice.access.name(), choice.end.name())
}
