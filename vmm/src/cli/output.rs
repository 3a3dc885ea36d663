//! What commands print and write.

use super::failure::Failure;
use crate::campaign::Summary;
use crate::file::{self, LockedDirectory};
use crate::report::run::conclusion::Conclusion;
use crate::report::run::csv::Table;
use crate::report::run::html::Origin;
use crate::report::{self, RunFacts, printable};
use signal_hook::consts::SIGXFSZ;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

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

/// Whatever the reason is, the result is lost.
fn cannot_be_written(path: &Path, error: &io::Error) -> Failure {
    Failure::machine(format!("{}: cannot be written: {error}", path.display()))
}

/// Prints the report of a run, and writes it into a directory if there is one. Returns the exit code.
pub(super) fn publish(
    facts: &RunFacts<'_>,
    summary: &Summary,
    json: bool,
    directory: Option<&Path>,
) -> Result<ExitCode, Failure> {
    if let Some(directory) = directory {
        write_report(facts, summary, directory)?;
    }
    print_beside_verdict(&if json {
        report::run::json::document(facts, summary)
    } else {
        report::run::text::summary(facts, summary)
    });

    Ok(ExitCode::from(exit_code(facts, summary)))
}

/// Writes the report of a run into a directory, as JSON, CSV and HTML.
pub(super) fn write_report(
    facts: &RunFacts<'_>,
    summary: &Summary,
    directory: &Path,
) -> Result<(), Failure> {
    let document = report::run::json::document(facts, summary);
    replace_file(&directory.join("report.json"), document)?;
    let page = report::run::html::page(facts, summary, &Origin::of_this_program());
    replace_file(&directory.join("index.html"), page)?;
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

/// The exit code of a run: 3 if nothing was compared, 1 if the machine or the walker is wrong, else 0.
pub(super) fn exit_code(facts: &RunFacts<'_>, summary: &Summary) -> u8 {
    Conclusion::of(facts, summary).exit_code(true)
}
