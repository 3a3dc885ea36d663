//! What commands print and write.

use super::failure::Failure;
use super::invocation::invocation;
use super::output_arguments::{Format, OutputArguments};
use crate::campaign::Summary;
use crate::file::{self, LockedDirectory};
use crate::report::document::{Document, Ending};
use crate::report::run::conclusion::Conclusion;
use crate::report::run::csv::Table;
use crate::report::run::formats;
use crate::report::run::html::Origin;
use crate::report::{self, RunFacts, printable, set_width};
use signal_hook::consts::SIGXFSZ;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use terminal_size::{Width, terminal_size_of};

/// Prints to standard output, with nothing that a terminal obeys. If the pipe is closed, the program ends
/// quietly; if the text cannot be written for another reason, it says so and exits with 3.
pub(super) fn print(text: &str) {
    let text = printable(text);
    let mut out = io::stdout().lock();

    if let Err(error) = out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        end_unread(&error);
    }
}

/// The same for a command whose exit code is a verdict. If the pipe is closed, it goes on without a word: its code is
/// the same whoever reads, and however much of it.
pub(super) fn print_beside_verdict(text: &str) {
    let text = printable(text);
    let mut out = io::stdout().lock();

    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    end_unwritten(written);
}

/// Prints the document, or the text for people, and returns the exit code: the one that the document has.
pub(super) fn finish<D: Document>(
    json: bool,
    ending: Ending,
    document: impl FnOnce() -> D,
    text: impl FnOnce() -> String,
) -> ExitCode {
    let report = if json { invocation().document(&document(), ending) } else { text() };
    print_beside_verdict(&report);
    ending.exit_code()
}

/// Ends the program if standard output could not be written, unless only nobody reads it.
pub(super) fn end_unwritten(written: io::Result<()>) {
    match written {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => end_unread(&error),
        _ => {}
    }
}

/// Ends the program since standard output cannot be written.
pub(super) fn end_unread(error: &io::Error) -> ! {
    if error.kind() == io::ErrorKind::BrokenPipe {
        std::process::exit(0);
    }
    let _ = writeln!(io::stderr(), "crosswalk: standard output: cannot be written: {error}");
    std::process::exit(3);
}

/// Makes texts as wide as the terminal that shows them. What goes elsewhere has 80 columns.
pub(super) fn fit_terminal() {
    if let Some((Width(columns), _)) = terminal_size_of(io::stdout()) {
        set_width(columns);
    }
}

/// Lets a file that grows beyond the limit of its size (`RLIMIT_FSIZE`) be an error of writing. By default the signal
/// ends the program without a word.
pub(super) fn expect_size_limits() {
    let _ = signal_hook::flag::register(SIGXFSZ, Arc::new(AtomicBool::new(false)));
}

/// Checks that [`replace_file`] can write a file, before the work that fills it.
pub(super) fn check_replaceable(path: &Path) -> Result<(), Failure> {
    if path.as_os_str() == "-" {
        let problem =
            "-: expected the name of a file, since standard output has the report; ./- is one";
        return Err(Failure::Input(problem.into()));
    }
    file::check_replaceable(path).map_err(|error| cannot_be_written(path, &error))
}

/// Writes a file whole or not at all.
pub(super) fn replace_file(path: &Path, content: impl AsRef<[u8]>) -> Result<(), Failure> {
    file::replace(path, content).map_err(|error| cannot_be_written(path, &error))
}

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

/// Whatever the reason is, the result is lost.
pub(super) fn cannot_be_written(path: &Path, error: &io::Error) -> Failure {
    Failure::machine(format!("{}: cannot be written: {error}", path.display()))
}

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
        Format::Junit => print_beside_verdict(&formats::junit::document(facts, summary)),
        Format::Sarif => {
            print_beside_verdict(&formats::sarif::document(facts, summary, ending));
        }
        Format::Markdown => print_beside_verdict(&formats::markdown::page(facts, summary)),
        Format::Github => {
            print_beside_verdict(&formats::github::annotations(facts, summary));
            add_to_step_summary(&formats::markdown::page(facts, summary))?;
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
