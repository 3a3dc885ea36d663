//! A candidate that is a program of its own: it reads a case a line and writes an answer a line.
//! Whatever the program does, the run goes on: if it dies or misses its deadline, it is started again
//! for the next case.
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

use crosswalk_case::Case;
use crosswalk_case::protocol::Answer;
use crosswalk_case::protocol::MAX_ANSWER_BYTES;
use crosswalk_machine::child::CountedChild;
use crosswalk_machine::jail::Jail;
use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{ChildStderr, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

/// The time a dying program has to end.
const GRACE: Duration = Duration::from_secs(1);

/// The time a program has to end whose input is closed.
const SHORT_GRACE: Duration = Duration::from_millis(100);

/// The bytes of a line that are read at most: one more than an answer may have.
const LONGEST_READ: u64 = MAX_ANSWER_BYTES as u64 + 1;

/// Number of bytes of a program's messages that are passed on.
const MAX_MESSAGE_BYTES: usize = 1 << 16;

/// Number of failures in a row after which a program is given up.
const MAX_FAILURES: u32 = 20;

/// Number of late answers in a row, and in all, after which it is: each costs all the time of an answer.
const MAX_LATE: u32 = 2;
const MAX_LATE_IN_ALL: u32 = 6;

/// Why a program has no answer to a case.
#[derive(Debug, thiserror::Error)]
pub enum NoAnswer {
    /// It cannot be started, or not again.
    #[error("it cannot be started: {0}")]
    NotStarted(std::io::Error),
    /// It ended instead of answering.
    #[error("it {0} instead of answering")]
    Died(String),
    /// It took too long.
    #[error("no answer within {} s", .0.as_secs_f64())]
    Late(Duration),
    /// Its line is not an answer.
    #[error("it answered {line:?}, which is not an answer: {problem}")]
    Bad {
        /// The line, or the part of it that is wrong.
        line: String,
        /// What is wrong with it.
        problem: String,
    },
}

/// A program that answers cases.
#[derive(Debug)]
pub struct CommandCandidate {
    program: PathBuf,
    arguments: Vec<String>,
    timeout: Duration,
    jail: Jail,
    running: Option<Running>,
    /// Number of failures since the last answer, and of those that were late.
    failures: u32,
    late: u32,
    /// Number of late answers.
    late_in_all: u32,
}

impl CommandCandidate {
    /// A program with its arguments; `timeout` is the time it has for each answer. It runs in a jail.
    pub fn new(program: &Path, arguments: &[String], timeout: Duration, jail: &Jail) -> Self {
        Self {
            program: program.to_owned(),
            arguments: arguments.to_vec(),
            timeout,
            jail: jail.clone(),
            running: None,
            failures: 0,
            late: 0,
            late_in_all: 0,
        }
    }

    /// Starts the program, if it is not running.
    ///
    /// # Errors
    /// When the program does not exist, or may not be run.
    pub fn start(&mut self) -> std::io::Result<()> {
        self.running = Some(self.take_running()?);
        Ok(())
    }

    /// Ends the program, if it is running.
    pub fn end(&mut self) {
        self.running = None;
    }

    /// The running program; it is started if necessary.
    fn take_running(&mut self) -> std::io::Result<Running> {
        match self.running.take() {
            Some(running) => Ok(running),
            None => Running::start(&self.program, &self.arguments, &self.jail),
        }
    }

    /// The program's answer to a case.
    ///
    /// # Errors
    /// When there is no answer. The program can be asked again.
    pub fn ask(&mut self, case: &Case) -> Result<Answer, NoAnswer> {
        let answer = self.try_ask(case);
        match &answer {
            Ok(_) => (self.failures, self.late) = (0, 0),
            Err(failure) => {
                let late = u32::from(matches!(failure, NoAnswer::Late(_)));
                self.failures = self.failures.saturating_add(1);
                self.late = self.late.saturating_add(late);
                self.late_in_all = self.late_in_all.saturating_add(late);
            }
        }
        answer
    }

    fn try_ask(&mut self, case: &Case) -> Result<Answer, NoAnswer> {
        let mut running = self.take_running().map_err(NoAnswer::NotStarted)?;
        let line = running.ask(&case.to_json(), self.timeout)?;
        let text = String::from_utf8_lossy(&line);

        let answer = Answer::from_line(&text).map_err(|problem| NoAnswer::Bad {
            line: wrong_part(&text, &problem),
            problem: shortened(&problem),
        })?;

        // A program that answers nonsense may have lost count, so only one that answers stays.
        self.running = Some(running);
        Ok(answer)
    }

    /// Whether it has failed so often in a row that asking again is not worth the time.
    pub const fn is_given_up(&self) -> bool {
        self.failures >= MAX_FAILURES
            || self.late >= MAX_LATE
            || self.late_in_all >= MAX_LATE_IN_ALL
    }
}

/// What is shown of a long line that is not an answer: the letters around the column that the problem names.
fn wrong_part(line: &str, problem: &str) -> String {
    const MAX_CHARS: usize = 160;
    const BEFORE: usize = 60;

    let column = problem.rsplit_once(" column ").and_then(|(_, column)| column.parse().ok());
    let count = line.chars().count();
    let start = match column {
        Some(column) if count > MAX_CHARS => usize::min(column, count).saturating_sub(BEFORE),
        _ => 0,
    };

    let part: String = line.chars().skip(start).take(MAX_CHARS).collect();
    let before = if start > 0 { "…" } else { "" };
    let after = if count.saturating_sub(start) > MAX_CHARS { "…" } else { "" };
    format!("{before}{part}{after}")
}

/// A problem without the middle, if it is very long: what is wrong stands first, and where it is last.
fn shortened(problem: &str) -> String {
    const MAX_CHARS: usize = 600;

    let count = problem.chars().count();
    if count <= MAX_CHARS {
        return problem.to_owned();
    }
    let half = MAX_CHARS / 2;
    let first: String = problem.chars().take(half).collect();
    let last: String = problem.chars().skip(count.saturating_sub(half)).collect();
    format!("{first}…{last}")
}

/// A program that is running, with a thread for its input and one for its output.
#[derive(Debug)]
struct Running {
    child: CountedChild,
    /// The lines that the program writes, as bytes.
    lines: Receiver<std::io::Result<Vec<u8>>>,
    /// The lines to write to the program.
    cases: Option<SyncSender<String>>,
    /// Disconnected when all of its messages have been passed on.
    passed_on: Receiver<()>,
}

impl Running {
    fn start(program: &Path, arguments: &[String], jail: &Jail) -> std::io::Result<Self> {
        let mut command = Command::new(program);
        command
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // Standard error may be a terminal or a file of the user's.
            .stderr(Stdio::piped())
            // So that the processes that it starts can be killed with it.
            .process_group(0);
        let key = jail.cage_walker()?.close_around(&mut command)?;
        let mut child = command.spawn().map_err(|error| key.explain(error))?;
        let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());

        // A program need not read what it is sent; then only this thread waits.
        let (cases, to_send) = sync_channel(1);
        // A program may be at most one line ahead: a line that was not asked for is not an answer.
        let (send, lines) = sync_channel(1);
        // From here on the child is killed whatever happens.
        let (passing_on, passed_on) = sync_channel(0);
        let child = CountedChild::new(child);
        let running = Self { child, lines, cases: Some(cases), passed_on };
        let (Some(input), Some(output), Some(messages)) = pipes else {
            return Err(std::io::Error::other("it has no pipes"));
        };

        thread::Builder::new().spawn(move || write_lines(input, &to_send))?;
        thread::Builder::new().spawn(move || read_lines(output, &send))?;
        thread::Builder::new().spawn(move || pass_on(messages, &passing_on))?;
        Ok(running)
    }

    /// Sends a line and waits for the next line of the program.
    fn ask(&mut self, line: &str, timeout: Duration) -> Result<Vec<u8>, NoAnswer> {
        let start = Instant::now();

        let sent = self.cases.as_ref().map(|cases| cases.try_send(format!("{line}\n")));
        if let Some(Err(TrySendError::Full(_))) = sent {
            return Err(NoAnswer::Late(timeout));
        }

        match self.lines.recv_timeout(timeout.saturating_sub(start.elapsed())) {
            Ok(Ok(line)) => Ok(line),
            Ok(Err(error)) => {
                Err(NoAnswer::Bad { line: String::new(), problem: error.to_string() })
            }
            Err(RecvTimeoutError::Timeout) => Err(NoAnswer::Late(timeout)),
            Err(RecvTimeoutError::Disconnected) => Err(NoAnswer::Died(self.describe_end())),
        }
    }

    /// How a program that has closed its output ended.
    fn describe_end(&self) -> String {
        match self.end_within(GRACE) {
            Some(WaitStatus::Exited(_, code)) => format!("ended with exit code {code}"),
            Some(WaitStatus::Signaled(_, signal, _)) => {
                format!("was killed by signal {}", signal as i32)
            }
            Some(_) => "ended".into(),
            None => "closed its output".into(),
        }
    }

    /// How the program ends, if it does within a time. It is not waited for: until then no other group
    /// of processes has its number.
    fn end_within(&self, time: Duration) -> Option<WaitStatus> {
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        let start = Instant::now();

        loop {
            match waitid(Id::Pid(self.group()), flags) {
                Ok(WaitStatus::StillAlive) if start.elapsed() < time => {
                    thread::sleep(Duration::from_millis(1));
                }
                Ok(WaitStatus::StillAlive) | Err(_) => return None,
                Ok(end) => return Some(end),
            }
        }
    }

    /// The group of the program, and of what it starts.
    fn group(&self) -> Pid {
        self.child.id()
    }
}

/// Writes lines to a program until it closes its input, or there are no more.
fn write_lines(mut input: ChildStdin, lines: &Receiver<String>) {
    for line in lines {
        if input.write_all(line.as_bytes()).and_then(|()| input.flush()).is_err() {
            return;
        }
    }
}

/// Reads lines from a program until it closes its output. A line that is too long is an error, and the
/// last.
fn read_lines(output: ChildStdout, lines: &SyncSender<std::io::Result<Vec<u8>>>) {
    let mut output = BufReader::new(output);

    loop {
        let mut bytes = Vec::new();
        let read = output.by_ref().take(LONGEST_READ).read_until(b'\n', &mut bytes);
        let line = match read {
            Ok(0) => return,
            Ok(_) if bytes.ends_with(b"\n") => Ok(bytes),
            Ok(read) if read > MAX_ANSWER_BYTES => Err(std::io::Error::other("a line without end")),
            Ok(_) => return,
            Err(error) => Err(error),
        };

        let is_last = line.is_err();
        if lines.send(line).is_err() || is_last {
            return;
        }
    }
}

/// Passes on what a program says on standard error, up to a limit, and without what commands a terminal. It
/// reads on after that, so that the program does not wait.
fn pass_on(mut messages: ChildStderr, _until_done: &SyncSender<()>) {
    let mut rest = MAX_MESSAGE_BYTES;
    let mut bytes = [0; 4096];

    while let Ok(read @ 1..) = messages.read(&mut bytes) {
        let said = bytes.get(..read.min(rest)).unwrap_or_default();
        rest = rest.saturating_sub(read);
        let is_command = |letter: char| letter.is_control() && letter != '\n' && letter != '\t';
        let text = String::from_utf8_lossy(said).replace(is_command, "\u{fffd}");
        // Nobody need listen.
        let _ = std::io::stderr().write_all(text.as_bytes());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // A well-behaved program ends when its input is closed.
        self.cases = None;
        let _ = self.end_within(SHORT_GRACE);

        // What it started dies, too, whether the program is well-behaved or not.
        let _ = killpg(self.group(), Signal::SIGKILL);
        self.child.end();

        let _ = self.passed_on.recv_timeout(SHORT_GRACE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crosswalk_guest::layout::Arena;
    use mmu_core::{Profile, Ring};

    fn shell(script: &str, timeout: Duration) -> CommandCandidate {
        CommandCandidate::new(
            Path::new("/bin/sh"),
            &["-c".into(), script.into()],
            timeout,
            &Jail::strongest(),
        )
    }

    fn case() -> Case {
        Case::plain(Arena::ALL[0], 3, Ring::Three, Profile::default())
    }

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn a_program_answers_case_after_case() {
        let script = r#"n=0; while read case; do n=$((n+1)); echo "{\"silent\":\"$n\"}"; done"#;
        let mut program = shell(script, LONG);
        for number in 1..=5 {
            assert_eq!(program.ask(&case()).unwrap(), Answer::Silent(number.to_string()));
        }
    }

    #[test]
    fn whatever_a_program_does_is_reported_and_it_can_be_asked_again() {
        let short = Duration::from_millis(300);
        for (script, timeout, words) in [
            ("exit 7", LONG, "it ended with exit code 7 instead of answering"),
            ("kill -SEGV $$", LONG, "it was killed by signal 11 instead of answering"),
            ("exec >&-; sleep 1000", LONG, "it closed its output instead of answering"),
            ("echo hello; cat", LONG, "it answered \"hello\\n\", which is not an answer"),
            ("cat", LONG, "which is not an answer"),
            ("sleep 1000", short, "no answer within 0.3 s"),
            ("while :; do :; done", short, "no answer within 0.3 s"),
            ("head -c 1000000 /dev/zero", LONG, "a line without end"),
            ("printf '{\"silent\"'", LONG, "instead of answering"),
        ] {
            let mut program = shell(script, timeout);
            for _ in 0..2 {
                let error = program.ask(&case()).unwrap_err().to_string();
                assert!(error.contains(words), "{script}: {error}");
            }
        }

        let mut missing =
            CommandCandidate::new(Path::new("/no/such/program"), &[], LONG, &Jail::strongest());
        let error = missing.ask(&case()).unwrap_err().to_string();
        assert!(error.starts_with("it cannot be started: No such file"), "{error}");
    }

    #[test]
    fn a_program_that_never_reads_does_not_block_the_run() {
        let mut program = shell("while :; do echo '{\"silent\":\"\"}'; done", LONG);

        let mut case = case();
        let entry = case.entries[0];
        case.entries =
            (0..600).map(|i| crosswalk_case::TableEntry { at: 8 * i, ..entry }).collect();

        let asked = (0..20).map(|_| program.ask(&case));
        assert!(asked.into_iter().any(|answer| answer.is_err()), "the pipe is full at some point");
    }
}
