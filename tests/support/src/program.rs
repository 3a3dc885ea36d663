//! Running the program under test, as a user runs it.

use assert_cmd::Command;
use serde_json::Value;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::LazyLock;
use std::time::Duration;
use tempfile::TempDir;

/// Time limit for one run. No run of the tests takes as long, even on a busy machine.
const TIME_LIMIT: Duration = Duration::from_secs(300);

/// The environment variable that marks the processes of a sandbox.
const MARK: &str = "CROSSWALK_TEST_SANDBOX";

/// The program under test: `crosswalk`, built in the same profile as the test.
pub fn program() -> &'static Path {
    static PROGRAM: LazyLock<PathBuf> = LazyLock::new(|| {
        let test = std::env::current_exe().expect("the test is a file");
        let profile = test.ancestors().nth(2).expect("tests are in target/PROFILE/deps");
        let program = profile.join(format!("crosswalk{}", std::env::consts::EXE_SUFFIX));

        assert!(
            program.is_file(),
            "the program under test is missing: {}; `cargo build --package crosswalk-cli` builds it",
            program.display()
        );
        program
    });
    &PROGRAM
}

/// The root of the checkout.
pub fn repository() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// The path of a guest image that was built with the program.
pub fn guest_image(name: &str) -> PathBuf {
    Path::new(crosswalk_machine::image::BUILD_DIRECTORY).join(name)
}

/// The output of a program that has ended.
#[derive(Debug)]
pub struct ProgramOutput {
    /// The exit code; `None` when a signal or the time limit ended the program.
    pub code: Option<i32>,
    /// What it wrote to standard output.
    pub stdout: String,
    /// What it wrote to standard error.
    pub stderr: String,
}

impl ProgramOutput {
    /// Runs a command to its end, and asserts that it does not panic.
    pub fn of(command: &mut Command) -> Self {
        let output = command.timeout(TIME_LIMIT).output().expect("the program starts");
        let output = Self {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).expect("standard output is text"),
            stderr: String::from_utf8(output.stderr).expect("standard error is text"),
        };

        assert!(!output.stderr.contains("panicked"), "the program panicked: {}", output.stderr);
        output
    }

    /// Asserts the exit code; on failure, shows what the program wrote.
    #[track_caller]
    pub fn expect_code(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }

    /// Asserts that standard error is one line, and returns it.
    #[track_caller]
    pub fn only_line_of_stderr(&self) -> &str {
        let mut lines = self.stderr.lines();
        let line = lines.next().expect("a line on standard error");
        assert_eq!(lines.next(), None, "more than one line on standard error: {}", self.stderr);
        line
    }

    /// Asserts that standard output is exactly one JSON document with its top, and returns it.
    #[track_caller]
    pub fn json(&self) -> Value {
        let document: Value = serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("{error} in standard output: {}", self.stdout));

        assert_eq!(document["exit"].as_i64(), self.code.map(i64::from), "{document}");
        for member in ["version", "started", "verdict"] {
            assert!(document[member].is_string(), "{member} of {document}");
        }
        assert_eq!(document["command"][0], "crosswalk", "{document}");
        document
    }

    /// Asserts that standard output fits a terminal of 80 columns.
    #[track_caller]
    pub fn expect_80_columns(self) -> Self {
        let too_wide = self.stdout.lines().find(|line| line.chars().count() > 80);
        assert_eq!(too_wide, None, "too wide:\n{}", self.stdout);
        self
    }

    /// Standard output with each run of white space, line breaks included, as one space.
    pub fn words_of_stdout(&self) -> String {
        self.stdout.split_whitespace().collect::<Vec<_>>().join(" ")
    }
}

/// An empty directory for the program to run in. It is deleted when it is dropped.
#[derive(Debug)]
pub struct Sandbox {
    directory: TempDir,
}

impl Default for Sandbox {
    fn default() -> Self {
        Self::new()
    }
}

impl Sandbox {
    /// Creates the directory.
    pub fn new() -> Self {
        Self { directory: tempfile::tempdir().expect("a temporary directory can be created") }
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Writes a file, and returns its name.
    pub fn file(&self, name: &str, contents: impl AsRef<[u8]>) -> String {
        std::fs::write(self.path().join(name), contents).expect("the file can be written");
        name.to_owned()
    }

    /// The names of the files in the directory.
    pub fn files(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.path()).expect("the directory can be read");
        let name = |entry: std::io::Result<std::fs::DirEntry>| {
            entry.expect("an entry").file_name().into_string().expect("the tests use plain names")
        };
        entries.map(name).collect()
    }

    /// The program with these arguments, not started yet.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(program());
        command.current_dir(self.path()).args(arguments).env(MARK, self.path());
        command
    }

    /// Runs the program to its end.
    pub fn run(&self, arguments: &[&str]) -> ProgramOutput {
        ProgramOutput::of(&mut self.command(arguments))
    }

    /// Starts the program without waiting for it. Its output is discarded.
    pub fn spawn(&self, arguments: &[&str]) -> Child {
        let mut command = self.std_command(program());
        command.args(arguments);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().expect("the program starts")
    }

    /// A command in this directory, not started yet, that [`Self::processes`] finds.
    pub fn std_command(&self, program: impl AsRef<OsStr>) -> std::process::Command {
        let mut command = std::process::Command::new(program);
        command.current_dir(self.path()).env(MARK, self.path());
        command
    }

    /// The command lines of the processes that were started in this directory and still exist,
    /// including those that the program started, wherever they are in the process tree by now.
    pub fn processes(&self) -> Vec<String> {
        let mark = format!("{MARK}={}\0", self.path().display()).into_bytes();
        let is_ours = |path: &PathBuf| {
            // An error means that this is not a process, or another user's, or that it has ended.
            let Ok(environment) = std::fs::read(path.join("environ")) else { return false };
            environment.windows(mark.len()).any(|window| window == mark)
        };
        let command_line = |path: PathBuf| {
            let line = std::fs::read(path.join("cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).replace('\0', " ")
        };

        let entries = std::fs::read_dir("/proc").expect("/proc can be read");
        let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
        paths.filter(is_ours).map(command_line).collect()
    }
}

/// Runs the program in a directory of its own.
pub fn run(arguments: &[&str]) -> ProgramOutput {
    Sandbox::new().run(arguments)
}

/// Runs the program with a `/dev` that contains only what the shell command `make` creates there;
/// `None` where another `/dev` cannot be mounted. With an empty `/dev` there is neither KVM nor
/// QEMU, which needs `/dev/null`.
pub fn run_with_dev(make: &str, arguments: &str) -> Option<ProgramOutput> {
    /// The exit code for a script that cannot mount or fill `/dev`; unshare itself exits with 1.
    const REFUSED: i32 = 77;

    let sandbox = Sandbox::new();
    let script = format!(
        "mount -t tmpfs -o nodev none /dev && {{ {make} ; }} || exit {REFUSED}\n\
         exec '{}' {arguments}",
        program().display()
    );

    [&["--mount"][..], &["--mount", "--map-root-user"]].into_iter().find_map(|how| {
        let mut command = Command::new("unshare");
        command.current_dir(sandbox.path()).args(how).args(["sh", "-c", &script]);

        let output = command.ok().or_else(|error| error.as_output().cloned().ok_or(())).ok()?;
        let refused = output.status.code() == Some(REFUSED)
            || output.stderr.starts_with(b"unshare:")
            || output.stderr.starts_with(b"mount:");
        (!refused).then(|| ProgramOutput::of(&mut command))
    })
}
