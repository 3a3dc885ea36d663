//! Reports: one room for each thing that is reported, with its text for people (80 columns wide), its
//! JSON for scripts, and pages where people would rather look.
//!
//! - [`run`]: a run or a replay, as text, JSON and HTML; [`mutants`], [`corpus`], [`statistics`], [`conformance`],
//!   [`compare`], [`rules`], [`findings`], [`scenario`], [`exercise`] and [`geometry`]: the other commands;
//! - [`walk`]: one walk, drawn;
//! - [`document`]: what all JSON documents have at their tops, and how a command ends;
//! - `style`: what all texts are made of; `machine` and `jail`: those in JSON.

pub mod compare;
pub mod conformance;
pub mod corpus;
pub mod document;
pub mod exercise;
pub mod findings;
pub mod geometry;
pub mod image;
pub mod inspect;
mod jail;
pub mod litmus;
mod machine;
pub mod machines;
pub mod mutants;
pub mod nested;
pub mod rules;
pub mod run;
pub mod scenario;
#[cfg(test)]
mod schemas;
pub mod statistics;
mod style;
pub mod walk;

pub(crate) use style::date;
pub(crate) use style::number::cases as cases_in_words;
pub(crate) use style::{Coloured, broken, printable, set_width, shell_word, within_line};

use crate::campaign::journal::RunLine;
use crate::conformance::score::CandidateScore;
use crate::corpus::Source;
use crate::verdict::ChoiceTaken;
use crosswalk_case::observation::name_of_fault;
use crosswalk_machine::jail::JailReport;
use crosswalk_machine::{Capabilities, Identity, ModeOffer};
use mmu_core::{Cr4, Features, Rule};

/// What a report says about a run besides its results.
#[derive(Clone, Copy, Debug)]
pub struct RunFacts<'r> {
    /// The machine.
    pub identity: &'r Identity,
    /// What it offers.
    pub capabilities: &'r Capabilities,
    /// The modes that were asked for, each with the reason if it was not run.
    pub modes: &'r [ModeOffer],
    /// What was run.
    pub run: &'r RunLine,
    /// Of a replay: the machines that the cases were recorded on, and the number of cases of each.
    pub sources: &'r [(Source, u64)],
    /// Of a replay: the rules that the corpus covers.
    pub covered: &'r [Rule],
    /// The score of a walker that is a program.
    pub candidate: Option<&'r CandidateScore>,
    /// Whether nothing of the run remains to be done.
    pub complete: bool,
    /// Whether what remains can be done later: nothing is in the way, or something is.
    pub resuming: Resuming,
    /// The number of machines that ran at once, if any did.
    pub jobs: Option<usize>,
    /// The jail of the guest, if one was run.
    pub jail: Option<&'r JailReport>,
    /// CPU time of this process and its children, in seconds.
    pub cpu_seconds: f64,
}

/// Whether a run that was stopped can go on later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resuming {
    /// It has a journal, from which `--resume` goes on.
    FromJournal,
    /// It has no journal, as nobody asked for a report.
    NoReport,
    /// It asks a program, whose answers no journal keeps.
    OfProgram,
    /// It does not run cases on a machine.
    Never,
}

/// An emulator that boots images, or why there is none.
#[derive(Clone, Debug)]
pub struct BootedOffer {
    /// Its kind, as `--machine` names it.
    pub kind: &'static str,
    /// Its name with its version, and the names of its processors.
    pub found: Result<(String, Vec<String>), String>,
}

/// How an access ended on a machine: `completed`, or the exception with its error code.
fn name_of_end(end: Option<(u8, u32)>) -> String {
    end.map_or_else(|| "completed".into(), |(vector, code)| name_of_fault(vector, code))
}

/// The features of translation that a run does not exercise, each with the reason why.
fn features_not_run(capabilities: &Capabilities) -> Vec<(&'static str, String)> {
    let not_yet = Features::LAM;
    let reason = |(name, feature): (&'static str, Features)| {
        let is_obeyed =
            Cr4::from_name(name).is_some_and(|bit| capabilities.not_in_cpuid.contains(bit));

        let why = match feature.cpuid_bit() {
            _ if is_obeyed => return None,
            Some(bit) if !capabilities.profile.features.contains(feature) => format!("{bit} is 0"),
            _ if not_yet.contains(feature) => "the guest has no probe for it yet".into(),
            _ => return None,
        };
        Some((name, why))
    };
    Features::all().iter_names().filter_map(reason).collect()
}

/// The circumstances of a choice, in words.
fn when(choice: &ChoiceTaken) -> String {
    let ring = choice.ring.cpl();
    let level = if choice.level.is_empty() { String::new() } else { format!(", {}", choice.level) };
    format!("ring {ring} {}, {}{level}", choice.access.name(), choice.end.name())
}
