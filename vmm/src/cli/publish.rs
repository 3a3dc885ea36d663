//! The result of a run: printed, and written into the directory of its report.

use super::failure::Failure;
use super::invocation::invocation;
use super::output::{cannot_be_written, check_replaceable, print_beside_verdict, replace_file};
use super::output_arguments::{Format, OutputArguments};
use crate::campaign::Summary;
use crate::file::LockedDirectory;
use crate::report::document::Ending;
use crate::report::run::conclusion::Conclusion;
use crate::report::run::csv::Table;
use crate::report::run::formats;
use crate::report::run::html::Origin;
use crate::report::{self, RunFacts};
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

/// The directory of a report for this command alone; it is made if there is none. Before the work whose report is to
/// be written there.
pub(super) fn lock_report(directory: &Path) -> Result<LockedDirectory, Failure> {
    let cannot_be_used = |error: &io::Error| {
        let problem = format!("{}: the directory cannot be used: {error}", directory.display());
        Failure::of_io(problem, error)
    };

    let locked = LockedDirectory::create(directory).map_err(|error| cannot_be_used(&error))?;
    for name in REPORT_FILES {
        check_replaceable(&directory.join(name))?;
    }
    Ok(locked)
}

/// The files of a report.
const REPORT_FILES: [&str; 2] = ["report.json", "index.html"];

/// Prints the report of a run, and writes it into a directory if there is one. Returns the exit code. The heading
/// is what has not been told yet of a run that is over.
pub(super) fn publish(
    facts: &RunFacts<'_>,
    summary: &Summary,
    heading: &str,
    output: OutputArguments,
    directory: Option<&Path>,
) -> Result<ExitCode, Failure> {
    let ending = Conclusion::of(facts, summary).ending(output.allow_incomplete);
    publish_ending(facts, summary, heading, ending, output, directory)
}

/// The same of a run that ends in another way than its results say.
pub(super) fn publish_ending(
    facts: &RunFacts<'_>,
    summary: &Summary,
    heading: &str,
    ending: Ending,
    output: OutputArguments,
    directory: Option<&Path>,
) -> Result<ExitCode, Failure> {
    if let Some(directory) = directory {
        write_report(facts, summary, ending, directory)?;
    }

    match output.format() {
        Format::Text => {
            let text = report::run::text::summary(facts, summary, heading, output.detail());
            output.colour.print(&text);
        }
        Format::Json => {
            let document = report::run::json::document(facts, summary);
            print_beside_verdict(&invocation().document(&document, ending));
        }
        Format::Junit => print_beside_verdict(&formats::junit::document(facts, summary, ending)),
        Format::Sarif => {
            print_beside_verdict(&formats::sarif::document(facts, summary, ending));
        }
        Format::Markdown => print_beside_verdict(&formats::markdown::page(facts, summary, ending)),
        Format::Github => {
            print_beside_verdict(&formats::github::annotations(facts, summary, ending));
            add_to_step_summary(&formats::markdown::page(facts, summary, ending))?;
        }
    }
    Ok(ending.exit_code())
}

/// Adds a page to the summary of the step of a GitHub workflow that this is, if it is one.
fn add_to_step_summary(page: &str) -> Result<(), Failure> {
    let Some(path) = std::env::var_os("GITHUB_STEP_SUMMARY").filter(|path| !path.is_empty()) else {
        return Ok(());
    };
    let path = Path::new(&path);
    // One that waits for a reader would keep the run.
    if path.metadata().is_ok_and(|metadata| !metadata.is_file()) {
        let error = io::Error::other("expected a regular file, found something else");
        return Err(cannot_be_written(path, &error));
    }
    let file = OpenOptions::new().append(true).create(true).open(path);
    file.and_then(|mut file| file.write_all(page.as_bytes()))
        .map_err(|error| cannot_be_written(path, &error))
}

/// Writes the report of a run into a directory, as JSON, CSV and HTML.
pub(super) fn write_report(
    facts: &RunFacts<'_>,
    summary: &Summary,
    ending: Ending,
    directory: &Path,
) -> Result<(), Failure> {
    let document = report::run::json::document(facts, summary);
    let [json, page] = REPORT_FILES.map(|name| directory.join(name));
    replace_file(&json, invocation().document(&document, ending))?;
    replace_file(&page, report::run::html::page(facts, summary, &Origin::of_this_program()))?;
    write_tables(&report::run::csv::tables(facts, summary), &directory.join("csv"))
}

/// Writes tables into a directory of theirs.
fn write_tables(tables: &[Table], directory: &Path) -> Result<(), Failure> {
    let _lock = LockedDirectory::create_within(directory)
        .map_err(|error| cannot_be_written(directory, &error))?;

    for Table { file, text } in tables {
        replace_file(&directory.join(file), text)?;
    }
    Ok(())
}
