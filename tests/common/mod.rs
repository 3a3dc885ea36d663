//! What the tests share: running the program, reading its JSON, and saying aloud what is skipped.
#![allow(dead_code, unused_macros, unused_imports, reason = "each test uses its own part of this")]

use assert_cmd::Command;
use serde_json::Value;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tempfile::TempDir;

/// The program under test.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_crosswalk");

/// Nothing here takes longer, even on a busy machine. A program that does hangs.
const DEADLINE: Duration = Duration::from_secs(300);

/// Ends the test, aloud, where there is no KVM.
macro_rules! require_kvm {
    () => {
        if !common::kvm_can_be_opened() {
            common::skip("kvm", "no /dev/kvm");
            return;
        }
    };
}
pub(crate) use require_kvm;

/// Ends the test, aloud, where there is no QEMU.
macro_rules! require_qemu {
    () => {
        if !common::qemu_can_be_started() {
            common::skip("qemu", "no qemu-system-x86_64");
            return;
        }
    };
}
pub(crate) use require_qemu;

/// Ends the test, aloud, where a program is missing.
macro_rules! require_program {
    ($name:literal) => {
        if !common::can_be_started($name) {
            common::skip($name, concat!("no ", $name));
            return;
        }
    };
}
pub(crate) use require_program;

/// Whether the tests that need QEMU can run.
pub(crate) fn qemu_can_be_started() -> bool {
    can_be_started("qemu-system-x86_64")
}

/// Whether there is a program of this name.
pub(crate) fn can_be_started(program: &str) -> bool {
    std::process::Command::new(program).arg("--version").output().is_ok()
}

/// Whether the tests that need KVM can run.
pub(crate) fn kvm_can_be_opened() -> bool {
    OpenOptions::new().read(true).write(true).open("/dev/kvm").is_ok()
}

/// Says that a test is skipped and why.
///
/// # Panics
/// When `CROSSWALK_REQUIRE` lists what is missing: then a skip is a failure.
pub(crate) fn skip(missing: &str, why: &str) {
    let required = std::env::var("CROSSWALK_REQUIRE").unwrap_or_default();
    assert!(
        !required.split(',').any(|name| name.trim() == missing),
        "CROSSWALK_REQUIRE={required} forbids to skip this test: {why}"
    );
    // Straight to standard error: what eprintln! says in a test that passes, nobody sees.
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    let _ = std::io::stderr().write_all(format!("skipped: {why} ({test})\n").as_bytes());
}

/// Where the guest image called `name` was built.
pub(crate) fn guest_image(name: &str) -> PathBuf {
    Path::new(crosswalk_machine::image::BUILD_DIRECTORY).join(name)
}

/// What a run of the program left.
#[derive(Debug)]
pub(crate) struct Ran {
    /// `None` when it was killed: it ran into the deadline, or a signal.
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    /// Runs a command to its end.
    pub(crate) fn of(command: &mut Command) -> Self {
        let output = command.timeout(DEADLINE).output().expect("the program starts");
        let ran = Self {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).expect("standard output is text"),
            stderr: String::from_utf8(output.stderr).expect("standard error is text"),
        };
        assert!(!ran.stderr.contains("panicked"), "the program panicked: {}", ran.stderr);
        ran
    }

    /// Asserts the exit code, and shows what was said if it is another.
    #[track_caller]
    pub(crate) fn expect_code(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }

    /// Asserts that standard error is one line, and returns it.
    #[track_caller]
    pub(crate) fn only_line_of_stderr(&self) -> &str {
        let mut lines = self.stderr.lines();
        let line = lines.next().expect("something on standard error");
        assert_eq!(lines.next(), None, "more than one line: {}", self.stderr);
        line
    }

    /// Asserts that standard output is exactly one JSON document, and returns it.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("{error} in standard output: {}", self.stdout))
    }
}

/// The environment variable by which the processes of a sandbox are known.
const MARK: &str = "CROSSWALK_TEST_SANDBOX";

/// An empty directory for the program to run in.
pub(crate) struct Sandbox {
    directory: TempDir,
}

impl Sandbox {
    pub(crate) fn new() -> Self {
        Self { directory: tempfile::tempdir().expect("a temporary directory can be made") }
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Writes a file, and returns its name.
    pub(crate) fn file(&self, name: &str, contents: impl AsRef<[u8]>) -> String {
        std::fs::write(self.path().join(name), contents).expect("the file can be written");
        name.to_owned()
    }

    /// The names of the files in the directory.
    pub(crate) fn files(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.path()).expect("the directory can be read");
        let name = |entry: std::io::Result<std::fs::DirEntry>| {
            entry.expect("an entry").file_name().into_string().expect("a name of ours")
        };
        entries.map(name).collect()
    }

    /// The program with these arguments, not started yet.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        command.current_dir(self.path()).args(arguments).env(MARK, self.path());
        command
    }

    /// The same for a command that is to be waited for by hand.
    pub(crate) fn spawn(&self, arguments: &[&str]) -> std::process::Child {
        let mut command = std::process::Command::new(PROGRAM);
        command.current_dir(self.path()).args(arguments).env(MARK, self.path());
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().expect("the program starts")
    }

    /// The command lines of the processes that were started in this directory, the program's children
    /// too, wherever they hang in the tree by now.
    pub(crate) fn processes(&self) -> Vec<String> {
        let mark = format!("{MARK}={}\0", self.path().display()).into_bytes();
        let entries = std::fs::read_dir("/proc").expect("/proc can be read");
        let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
        let is_ours = |path: &PathBuf| {
            // Not a process, another user's, or gone.
            let Ok(environment) = std::fs::read(path.join("environ")) else { return false };
            environment.windows(mark.len()).any(|window| window == mark)
        };
        let command_line = |path: PathBuf| {
            let line = std::fs::read(path.join("cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).replace('\0', " ")
        };
        paths.filter(is_ours).map(command_line).collect()
    }

    /// Runs the program.
    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        Ran::of(&mut self.command(arguments))
    }
}

/// Runs the program in a directory of its own.
pub(crate) fn run(arguments: &[&str]) -> Ran {
    Sandbox::new().run(arguments)
}

/// Runs the program where /dev holds nothing but what `make` puts there; `None` if that cannot be
/// had here. With an empty /dev there is neither KVM nor QEMU, which needs /dev/null.
pub(crate) fn run_with_dev(make: &str, arguments: &str) -> Option<Ran> {
    let sandbox = Sandbox::new();
    let script = format!(
        "mount -t tmpfs -o nodev none /dev && {{ {make} ; }} || exit 77\n\
         exec '{PROGRAM}' {arguments}"
    );
    [&["--mount"][..], &["--mount", "--map-root-user"]].into_iter().find_map(|how| {
        let mut command = Command::new("unshare");
        command.current_dir(sandbox.path()).args(how).args(["sh", "-c", &script]);
        // What unshare itself cannot do ends with 1, what the script cannot do with 77.
        let output = command.ok().or_else(|error| error.as_output().cloned().ok_or(())).ok()?;
        let refused = output.status.code() == Some(77)
            || output.stderr.starts_with(b"unshare:")
            || output.stderr.starts_with(b"mount:");
        (!refused).then(|| Ran::of(&mut command))
    })
}

/// The finding with this id in a report.
#[track_caller]
pub(crate) fn finding<'r>(report: &'r Value, id: &str) -> &'r Value {
    let findings = report["findings"].as_array().expect("findings are a list");
    findings.iter().find(|finding| finding["id"] == id).unwrap_or_else(|| {
        let ids: Vec<_> = findings.iter().map(|finding| &finding["id"]).collect();
        panic!("no finding {id} among {ids:?}")
    })
}

/// The part of a report about a mode.
#[track_caller]
pub(crate) fn mode<'r>(report: &'r Value, name: &str) -> &'r Value {
    let modes = report["modes"].as_array().expect("modes are a list");
    modes.iter().find(|mode| mode["mode"] == name).unwrap_or_else(|| panic!("no mode {name}"))
}

/// The 4-level part of a report.
#[track_caller]
pub(crate) fn four_level(report: &Value) -> &Value {
    mode(report, "4level")
}

/// A number of a report.
#[track_caller]
pub(crate) fn count(value: &Value, name: &str) -> u64 {
    value[name].as_u64().unwrap_or_else(|| panic!("{name} is not a count in {value}"))
}
