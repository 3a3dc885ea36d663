//! The walkers of the table: built-in walkers, programs, and the adapters for the walkers of other
//! projects. The adapters are a program of their own (`vmm/adapters`).

use super::process::{CommandCandidate, NoAnswer};
use super::walker_candidate::WalkerCandidate;
use crate::campaign::command::WalkerCommand;
use crate::walker::WalkerSpec;
use crosswalk_case::Case;
use crosswalk_case::protocol::{Answer, Candidate};
use crosswalk_machine::jail::Jail;
use serde::Deserialize;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// The time a program has for an answer. Some adapters start a machine for their first.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The file name of the adapters' program.
const ADAPTERS: &str = "crosswalk-adapters";

/// A walker under test.
pub struct Subject {
    /// The name.
    pub name: String,
    /// The version, if it has one.
    pub version: Option<String>,
    /// What it is, in a line.
    pub what: String,
    /// Why it cannot be asked on this host, if it cannot.
    pub unavailable: Option<String>,
    kind: SubjectKind,
}

enum SubjectKind {
    BuiltIn(WalkerCandidate),
    #[cfg(test)]
    ByHand(Box<dyn Candidate>),
    Program(CommandCandidate),
}

impl fmt::Debug for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl Subject {
    /// A built-in walker.
    pub fn built_in(walker: WalkerSpec) -> Self {
        let what =
            if walker.is_reference() { "crosswalk's own walk".into() } else { walker.mistakes() };

        Self {
            name: walker.to_string(),
            version: Some(env!("CARGO_PKG_VERSION").into()),
            what,
            unavailable: None,
            kind: SubjectKind::BuiltIn(WalkerCandidate(walker.walker())),
        }
    }

    /// A candidate for tests.
    #[cfg(test)]
    pub(super) fn by_hand(candidate: Box<dyn Candidate>) -> Self {
        Self {
            name: "by hand".into(),
            version: None,
            what: "a candidate for tests".into(),
            unavailable: None,
            kind: SubjectKind::ByHand(candidate),
        }
    }

    /// A program that speaks the walker protocol, in a jail.
    pub fn program(command: &WalkerCommand, jail: &Jail) -> Self {
        let program = command.program();
        let name = program.file_stem().unwrap_or(program.as_os_str());
        let candidate = CommandCandidate::new(program, command.arguments(), TIMEOUT, jail);

        Self {
            name: name.display().to_string(),
            version: None,
            what: format!("cmd:{command}"),
            unavailable: None,
            kind: SubjectKind::Program(candidate),
        }
    }

    /// One of the walkers that a program of adapters has.
    fn adapter(program: &Path, listing: AdapterListing, jail: &Jail) -> Self {
        let AdapterListing { name, version, what, available, reason } = listing;
        let reason = reason.unwrap_or_else(|| "the adapter gives no reason".into());
        let arguments = std::slice::from_ref(&name);
        let candidate = CommandCandidate::new(program, arguments, TIMEOUT, jail);

        Self {
            name,
            version: Some(version),
            what,
            unavailable: (!available).then_some(reason),
            kind: SubjectKind::Program(candidate),
        }
    }

    /// The walker's answer to a case.
    ///
    /// # Errors
    /// When it has no answer.
    pub fn ask(&mut self, case: &Case) -> Result<Answer, NoAnswer> {
        match &mut self.kind {
            SubjectKind::BuiltIn(walker) => Ok(walker.answer(case)),
            #[cfg(test)]
            SubjectKind::ByHand(candidate) => Ok(candidate.answer(case)),
            SubjectKind::Program(program) => program.ask(case),
        }
    }

    /// Whether it has failed so often that asking again is not worth the time.
    pub(super) const fn is_given_up(&self) -> bool {
        match &self.kind {
            SubjectKind::BuiltIn(_) => false,
            #[cfg(test)]
            SubjectKind::ByHand(_) => false,
            SubjectKind::Program(program) => program.is_given_up(),
        }
    }
}

/// Why the adapters cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{}: {problem}", path.display())]
pub struct AdaptersError {
    path: PathBuf,
    problem: String,
}

/// An adapter, as the program of adapters lists it.
#[derive(Clone, Debug, Deserialize)]
pub struct AdapterListing {
    /// The name of the adapter.
    pub name: String,
    /// The version of the walker that it adapts.
    pub version: String,
    /// What that walker is, in a line.
    pub what: String,
    /// Whether it can be asked on this host.
    pub available: bool,
    /// Why not.
    pub reason: Option<String>,
}

/// The program of adapters in the directory of this program, if there is one.
pub fn beside_this_program() -> Option<PathBuf> {
    let program = std::env::current_exe().ok()?.with_file_name(ADAPTERS);
    program.exists().then_some(program)
}

/// The walkers that a program of adapters has.
///
/// # Errors
/// When the program does not list its adapters.
pub fn adapters(program: &Path, jail: &Jail) -> Result<Vec<Subject>, AdaptersError> {
    let error = |problem: String| AdaptersError { path: program.to_owned(), problem };

    let mut command = Command::new(program);
    command.arg("list");
    let cannot_be_run = |problem| error(format!("cannot be run: {problem}"));
    let key = jail
        .cage_walker()
        .and_then(|cage| cage.close_around(&mut command))
        .map_err(cannot_be_run)?;
    let output = command.output().map_err(|problem| cannot_be_run(key.explain(problem)))?;
    if !output.status.success() {
        let status = output.status;
        return Err(error(format!("expected a list of adapters, but it ended with {status}")));
    }

    let listings: Vec<AdapterListing> = serde_json::from_slice(&output.stdout)
        .map_err(|problem| error(format!("expected a list of adapters: {problem}")))?;
    Ok(listings.into_iter().map(|listing| Subject::adapter(program, listing, jail)).collect())
}
