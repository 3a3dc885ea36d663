//! What commands print and write.

use super::failure::Failure;
use crate::campaign::Summary;
use crate::report::{self, RunFacts};
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

/// Prints to standard output. If the pipe is closed, the program ends quietly.
pub(super) fn print(text: &str) {
    if io::stdout().write_all(text.as_bytes()).is_err() {
        std::process::exit(0);
    }
}

/// Writes a file.
pub(super) fn write_file(path: &Path, content: impl AsRef<[u8]>) -> Result<(), Failure> {
    std::fs::write(path, content).map_err(|error| cannot_write(path, &error))
}

/// Refuses what [`replace_file`] must not replace: a device such as /dev/null, a pipe, a directory, a
/// symbolic link.
pub(super) fn check_replaceable(path: &Path) -> Result<(), Failure> {
    match std::fs::symlink_metadata(path) {
        Ok(found) if !found.is_file() => {
            let problem = "is not a regular file, so it is not replaced; name a file";
            Err(Failure::Input(format!("{}: {problem}", path.display())))
        }
        _ => Ok(()),
    }
}

/// Writes a file whole or not at all.
pub(super) fn replace_file(path: &Path, content: impl AsRef<[u8]>) -> Result<(), Failure> {
    check_replaceable(path)?;
    let mut next = path.as_os_str().to_owned();
    next.push(".next");

    std::fs::write(&next, content)
        .and_then(|()| std::fs::rename(&next, path))
        .map_err(|error| cannot_write(path, &error))
}

fn cannot_write(path: &Path, error: &io::Error) -> Failure {
    Failure::Input(format!("{}: cannot be written: {error}", path.display()))
}

/// Prints the report of a run, and writes it into a directory if there is one. Returns the exit code:
/// 1 if the machine or the walker is wrong, else 0.
pub(super) fn publish(
    facts: &RunFacts<'_>,
    summary: &Summary,
    json: bool,
    directory: Option<&Path>,
) -> Result<ExitCode, Failure> {
    let document = report::run::json::document(facts, summary);
    if let Some(directory) = directory {
        write_file(&directory.join("report.json"), &document)?;
        write_file(&directory.join("index.html"), report::run::html::page(facts, summary))?;
    }

    print(&if json { document } else { report::run::text::summary(facts, summary) });

    let is_candidate_wrong = facts.candidate.is_some_and(|score| !score.is_clean());
    let failed = summary.has_unknown_divergence() || is_candidate_wrong;
    Ok(ExitCode::from(u8::from(failed)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{FileTypeExt, symlink};
    use std::os::unix::net::UnixListener;

    /// A socket stands for every special file: a test can make one without privileges.
    #[test]
    fn only_regular_files_are_replaced() {
        let directory = tempfile::tempdir().expect("a directory");
        let socket = directory.path().join("socket");
        let link = directory.path().join("link");
        let _listener = UnixListener::bind(&socket).expect("a socket");
        symlink(&socket, &link).expect("a link");

        for path in [socket.as_path(), &link, directory.path()] {
            assert!(replace_file(path, "text").is_err(), "{}", path.display());
        }
        assert!(fs::symlink_metadata(&socket).expect("still there").file_type().is_socket());
        assert!(fs::symlink_metadata(&link).expect("still there").is_symlink());

        let file = directory.path().join("file");
        for text in ["new", "replaced"] {
            replace_file(&file, text).expect("a regular file is written");
            assert_eq!(fs::read_to_string(&file).expect("a file"), text);
        }
    }
}
