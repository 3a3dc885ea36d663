//! `crosswalk compare` of two reports of runs.

use super::CompareArguments;
use crate::cli::failure::Failure;
use crate::cli::output::finish;
use crate::file;
use crate::report::compare::reports::ReportComparison;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The longest report that is read: many times what a run with every finding has.
const MAX_REPORT: u64 = 256 << 20;

/// Two reports, if the arguments name any.
pub(super) fn named_by(paths: &[PathBuf]) -> Result<Option<[&Path; 2]>, Failure> {
    let is_report =
        |path: &PathBuf| path.is_dir() || path.extension().is_some_and(|end| end == "json");

    match paths {
        [first, second] if is_report(first) && is_report(second) => Ok(Some([first, second])),
        _ if paths.iter().any(is_report) => {
            let problem = "expected two reports of runs, or corpora alone";
            Err(Failure::Input(problem.into()))
        }
        _ => Ok(None),
    }
}

pub(super) fn run(paths: [&Path; 2], arguments: &CompareArguments) -> Result<ExitCode, Failure> {
    if let Some(option) = arguments.first_option_of_corpora() {
        return Err(Failure::Input(format!("{option} is for corpora, not for reports")));
    }

    let reports = [read(paths[0])?, read(paths[1])?];
    let names = paths.map(|path| path.display().to_string());
    let compared = ReportComparison::new(names, &reports).map_err(|(side, problem)| {
        let path = paths.get(side).map_or_else(String::new, |path| path.display().to_string());
        Failure::Input(format!("{path}: {problem}"))
    })?;

    let text = compared.text();
    Ok(finish(arguments.json, compared.verdict().into(), || compared, || text))
}

fn read(path: &Path) -> Result<Value, Failure> {
    let path = if path.is_dir() { path.join("report.json") } else { path.to_owned() };
    let name = path.display();
    let text = file::read_input(&path, MAX_REPORT)
        .map_err(|error| Failure::of_io(format!("{name}: cannot be read: {error}"), &error))?;
    serde_json::from_str(&text).map_err(|error| Failure::Input(format!("{name}: {error}")))
}
