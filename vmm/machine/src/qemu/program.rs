//! QEMU as a program: which one, its version, and what it can do for its jail.
#![cfg_attr(
    not(test),
    warn(
        clippy::arithmetic_side_effects,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::string_slice,
        clippy::unwrap_used
    )
)]

use super::unnamed_file::{message_file, messages};
use crate::jail::find_program;
use crate::{MachineError, Version};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// The name of the program, which is searched in `PATH`.
pub const PROGRAM: &str = "qemu-system-x86_64";

/// The oldest version that is known to work.
const OLDEST: Version = Version([7, 2, 0]);

/// QEMU's own filter of system calls, with everything in it that QEMU can leave out.
pub(super) const SANDBOX: [&str; 2] =
    ["-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"];

/// How long it may take to tell its version.
const LIMIT: Duration = Duration::from_secs(10);

/// A QEMU that this program can use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QemuProgram {
    /// The file.
    pub path: PathBuf,
    /// Its version.
    pub version: Version,
    /// Whether it has its own [filter](SANDBOX) of system calls.
    pub(super) sandbox: Result<(), String>,
}

impl QemuProgram {
    /// Finds the QEMU of this name or path; a name without a slash is searched in `PATH`. A file is asked
    /// once, however many machines run it.
    ///
    /// # Errors
    /// If there is none, or it is too old, or is another program.
    pub fn find(name: &Path) -> Result<Self, MachineError> {
        static ASKED: Mutex<BTreeMap<PathBuf, QemuProgram>> = Mutex::new(BTreeMap::new());

        let path = find_program(name)
            .map_err(|error| MachineError::Unavailable(format!("{error}: is QEMU installed?")))?;
        let asked = || ASKED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = asked().get(&path) {
            return Ok(known.clone());
        }

        let (version, sandbox) = ask_for_sandbox(&path)?;
        let program = Self { path, version, sandbox };
        asked().insert(program.path.clone(), program.clone());
        Ok(program)
    }
}

/// Asks a QEMU for its version and its filter: one that has none refuses the option before it prints its
/// version.
fn ask_for_sandbox(program: &Path) -> Result<(Version, Result<(), String>), MachineError> {
    let answer = answer_of(program, &SANDBOX)?;

    if parse(&answer).is_some() {
        return Ok((version_in(program, &answer)?, Ok(())));
    }
    let why = "this QEMU was built without seccomp, or does not know all of its options";
    Ok((version_of(program)?, Err(why.into())))
}

/// Parses the output of `--version`: `QEMU emulator version 7.2.22 (...)`.
fn parse(text: &str) -> Option<Version> {
    let version = text.strip_prefix("QEMU emulator version ")?.split_whitespace().next()?;
    Version::at_start_of(version)
}

/// The version of a program.
fn version_of(program: &Path) -> Result<Version, MachineError> {
    version_in(program, &answer_of(program, &[])?)
}

/// What a program answers to `--version` after these options.
fn answer_of(program: &Path, options: &[&str]) -> Result<String, MachineError> {
    let name = program.display();
    // Not a pipe: what the program starts could keep that open.
    let answer = message_file("QEMU's version")?;
    let stdout = answer.try_clone().map_err(MachineError::host("sharing a file with QEMU"))?;

    let mut command = Command::new(program);
    command
        .args(options)
        .arg("--version")
        .stdin(Stdio::null())
        .stdout(stdout)
        .stderr(Stdio::null());
    let mut child = command
        .spawn()
        .map_err(|error| MachineError::Unavailable(format!("{name} cannot be started: {error}")))?;
    if !ends_within(&mut child, LIMIT).map_err(MachineError::host("waiting for QEMU"))? {
        return Err(MachineError::Unavailable(format!("{name} --version does not end")));
    }

    Ok(messages(&answer))
}

/// The version in a program's answer.
fn version_in(program: &Path, text: &str) -> Result<Version, MachineError> {
    let name = program.display();
    let version = parse(text).ok_or_else(|| {
        let line = text.lines().next().unwrap_or_default();
        MachineError::Unavailable(format!("{name} --version prints no version, but {line:?}"))
    })?;

    if version < OLDEST {
        let why = format!("QEMU {version} is too old: {OLDEST} or later is needed");
        return Err(MachineError::Unavailable(why));
    }

    Ok(version)
}

/// Waits for a child, which is killed if it does not end in time.
fn ends_within(child: &mut Child, limit: Duration) -> io::Result<bool> {
    let start = Instant::now();
    while child.try_wait()?.is_none() {
        if start.elapsed() > limit {
            child.kill()?;
            child.wait()?;
            return Ok(false);
        }
        thread::sleep(Duration::from_millis(1));
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn versions_of_distributions_are_parsed() {
        for (text, expected) in [
            ("QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18)\nCopyright", [7, 2, 22]),
            ("QEMU emulator version 10.0.2 (qemu-10.0.2-1.fc42)\n", [10, 0, 2]),
            ("QEMU emulator version 9.1.50-dirty\n", [9, 1, 50]),
            ("QEMU emulator version 8.2\n", [8, 2, 0]),
        ] {
            assert_eq!(parse(text), Some(Version(expected)), "{text}");
        }

        for text in ["", "QEMU emulator version", "QEMU emulator version seven", "bash 5.2"] {
            assert_eq!(parse(text), None, "{text}");
        }
        assert!(Version([10, 0, 0]) > OLDEST && Version([7, 1, 9]) < OLDEST);
    }

    fn error_of(script: &str) -> String {
        let directory = tempfile::tempdir().expect("a temporary directory can be created");
        let program = directory.path().join("qemu");
        std::fs::write(&program, script).expect("the file can be written");

        let executable = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(&program, executable).expect("the mode can be set");

        version_of(&program).expect_err("this is not a usable QEMU").to_string()
    }

    #[test]
    fn a_program_that_does_not_end_is_killed() {
        let ended = |script: &str, limit| {
            let mut child = Command::new("sh").args(["-c", script]).spawn().expect("sh starts");
            ends_within(&mut child, limit).expect("it is a child")
        };
        assert!(ended("exit 3", LIMIT));
        assert!(!ended("exec sleep 1000", Duration::from_millis(50)));
    }

    /// What it started may go on and hold its output.
    #[test]
    fn a_program_that_leaves_another_behind_is_not_waited_for() {
        let error = error_of("#!/bin/sh\necho hello\nsleep 20 &\n");
        assert!(error.ends_with("prints no version, but \"hello\""), "{error}");
    }

    /// What it cannot write fills no memory, and the beginning is what counts.
    #[test]
    fn a_program_that_writes_without_end_is_told_so() {
        let error = error_of("#!/bin/sh\nyes hello\n");
        assert!(error.ends_with("prints no version, but \"hello\""), "{error}");
    }

    #[test]
    fn each_unusable_program_has_its_own_error() {
        let old = error_of("#!/bin/sh\necho QEMU emulator version 6.1.0\n");
        assert_eq!(old, "QEMU 6.1.0 is too old: 7.2.0 or later is needed");

        let other = error_of("#!/bin/sh\necho hello\n");
        assert!(other.ends_with("prints no version, but \"hello\""), "{other}");

        let missing = QemuProgram::find(Path::new("no-such-qemu")).expect_err("there is none");
        assert_eq!(missing.to_string(), "no no-such-qemu in PATH: is QEMU installed?");
    }
}
