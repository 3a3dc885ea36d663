//! The walkers of the table: ours, programs, and the adapters for those of other projects, which a
//! program of its own has (`vmm/adapters`).

use crate::conformance::process::{CommandCandidate, NoAnswer};
use crate::conformance::reference::WalkerCandidate;
use crate::walker::WalkerSpec;
use crosswalk_case::Case;
use crosswalk_case::protocol::{Answer, Candidate};
use serde::Deserialize;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// A walker with its name.
pub struct Subject {
    /// The name.
    pub name: String,
    /// Its version, if it has one.
    pub version: Option<String>,
    /// What it is, in a line.
    pub what: String,
    /// Why it cannot be asked here, if it cannot.
    pub unavailable: Option<String>,
    asked: SubjectKind,
}

enum SubjectKind {
    Own(WalkerCandidate),
    Program(CommandCandidate),
}

impl fmt::Debug for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// How long a walker has for an answer: some start a machine for their first.
const PATIENCE: Duration = Duration::from_secs(30);

impl Subject {
    /// A walker of ours.
    pub fn own(choice: WalkerSpec) -> Self {
        let what =
            if choice.is_reference() { "crosswalk's own walk".into() } else { choice.mistakes() };
        Self {
            name: choice.to_string(),
            version: Some(env!("CARGO_PKG_VERSION").into()),
            what,
            unavailable: None,
            asked: SubjectKind::Own(WalkerCandidate(choice.walker())),
        }
    }

    /// A program that speaks the line protocol.
    pub fn program(path: &Path) -> Self {
        let name = path.file_stem().unwrap_or(path.as_os_str());
        Self {
            name: name.display().to_string(),
            version: None,
            what: format!("cmd:{}", path.display()),
            unavailable: None,
            asked: SubjectKind::Program(CommandCandidate::new(path, &[], PATIENCE)),
        }
    }

    /// What it says of a case.
    ///
    /// # Errors
    /// When it has no answer.
    pub fn ask(&mut self, case: &Case) -> Result<Answer, NoAnswer> {
        match &mut self.asked {
            SubjectKind::Own(own) => Ok(own.answer(case)),
            SubjectKind::Program(program) => program.ask(case),
        }
    }
}

/// Why there are no adapters.
#[derive(Debug, thiserror::Error)]
#[error("{}: {problem}", path.display())]
pub struct AdaptersError {
    path: PathBuf,
    problem: String,
}

/// An adapter, as the program of the adapters lists it.
#[derive(Clone, Debug, Deserialize)]
pub struct AdapterListing {
    /// What it is asked for by.
    pub name: String,
    /// The version of what it adapts.
    pub version: String,
    /// What that is, in a line.
    pub what: String,
    /// Whether it can be asked here.
    pub available: bool,
    /// Why not.
    pub reason: Option<String>,
}

/// The program of the adapters, if it lies beside this one.
pub fn beside_this_program() -> Option<PathBuf> {
    let program = std::env::current_exe().ok()?.with_file_name("crosswalk-adapters");
    program.exists().then_some(program)
}

/// The walkers that a program of adapters has.
///
/// # Errors
/// When it does not list them.
pub fn adapters(program: &Path) -> Result<Vec<Subject>, AdaptersError> {
    let error = |problem: String| AdaptersError { path: program.to_owned(), problem };
    let listed = Command::new(program)
        .arg("list")
        .output()
        .map_err(|problem| error(format!("cannot be run: {problem}")))?;
    if !listed.status.success() {
        let status = listed.status;
        return Err(error(format!("expected a list of adapters, but it ended with {status}")));
    }
    let adapters: Vec<AdapterListing> = serde_json::from_slice(&listed.stdout)
        .map_err(|problem| error(format!("expected a list of adapters: {problem}")))?;
    let named = adapters.into_iter().map(|adapter| {
        let arguments = [adapter.name.clone()];
        let unavailable = (!adapter.available)
            .then(|| adapter.reason.unwrap_or_else(|| "it does not say why".into()));
        Subject {
            name: adapter.name,
            version: Some(adapter.version),
            what: adapter.what,
            unavailable,
            asked: SubjectKind::Program(CommandCandidate::new(program, &arguments, PATIENCE)),
        }
    });
    Ok(named.collect())
}
