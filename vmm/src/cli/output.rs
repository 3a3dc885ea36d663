//! What commands print and write.

use super::failure::Failure;
use super::invocation::invocation;
use crate::file;
use crate::report::document::{Document, Ending};
use crate::report::{printable, set_width};
use signal_hook::consts::SIGXFSZ;
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
/// the same whether anything reads it, and however much of it.
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

/// Whether two names are of one file, whether it is there or not.
pub(super) fn is_same_file(one: &Path, other: &Path) -> bool {
    let place = |path: &Path| {
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let directory = directory.unwrap_or(Path::new(".")).canonicalize().ok()?;
        path.canonicalize().ok().or_else(|| Some(directory.join(path.file_name()?)))
    };
    place(one).is_some_and(|one| place(other).is_some_and(|other| one == other))
}

/// Writes a file whole or not at all.
pub(super) fn replace_file(path: &Path, content: impl AsRef<[u8]>) -> Result<(), Failure> {
    file::replace(path, content).map_err(|error| cannot_be_written(path, &error))
}

/// Whatever the reason is, the result is lost.
pub(super) fn cannot_be_written(path: &Path, error: &io::Error) -> Failure {
    Failure::machine(format!("{}: cannot be written: {error}", path.display()))
}
