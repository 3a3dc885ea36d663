//! What commands print and save.

use super::failure::Failure;
use crate::campaign;
use crate::report::{self, RunFacts};
use crosswalk_case::Case;
use std::path::Path;
use std::process::ExitCode;

/// Saves the cases that a guest died on: one as it is, several as an array.
pub(super) fn save(cases: &[Case]) -> std::io::Result<Option<String>> {
    let text = match cases {
        [] => return Ok(None),
        [case] => serde_json::to_string_pretty(case),
        many => serde_json::to_string_pretty(many),
    };
    let name = format!("crosswalk-case-{}.json", std::process::id());
    std::fs::write(&name, text? + "\n")?;
    Ok(Some(name))
}

/// Prints to standard output; a closed pipe ends the program quietly.
pub(super) fn print(text: &str) {
    use std::io::Write;
    if std::io::stdout().write_all(text.as_bytes()).is_err() {
        std::process::exit(0);
    }
}

/// Prints a report and writes it into a directory, if there is one; the exit code tells the result.
pub(super) fn show(
    facts: &RunFacts<'_>,
    summary: &campaign::Summary,
    json: bool,
    directory: Option<&Path>,
) -> Result<ExitCode, Failure> {
    let document = report::run::json::document(facts, summary);
    if let Some(directory) = directory {
        let page = report::run::html::page(facts, summary);
        for (name, text) in [("report.json", &document), ("index.html", &page)] {
            let path = directory.join(name);
            std::fs::write(&path, text).map_err(|error| {
                Failure::Input(format!("{}: cannot be written: {error}", path.display()))
            })?;
        }
    }
    print(&if json { document } else { report::run::text::summary(facts, summary) });
    let is_wrong = facts.candidate.is_some_and(|score| !score.is_clean());
    Ok(ExitCode::from(u8::from(summary.has_unknown_divergence() || is_wrong)))
}
