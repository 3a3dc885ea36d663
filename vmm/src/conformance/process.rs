//! A candidate that is a program of its own: it reads a case a line and answers a line. Whatever it
//! does, the run goes on: one that dies or says nothing in time is started again for the next case.

use crosswalk_case::Case;
use crosswalk_case::protocol::Answer;
use crosswalk_case::protocol::MAX_ANSWER_BYTES;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

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
    /// It said something else.
    #[error("it answered {line:?}, which is no answer: {problem}")]
    Bad {
        /// The line, or its beginning.
        line: String,
        /// What is wrong with it.
        problem: String,
    },
}

/// A program.
#[derive(Debug)]
pub struct CommandCandidate {
    program: PathBuf,
    arguments: Vec<String>,
    patience: Duration,
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    child: Child,
    /// The bytes of every line that it writes, as they come.
    lines: Receiver<std::io::Result<Vec<u8>>>,
    /// What is to be written to it.
    cases: Option<SyncSender<String>>,
}

/// How long a dying program has to be gone.
const GRACE: Duration = Duration::from_secs(1);

impl CommandCandidate {
    /// A program with its arguments, which has so long for each answer.
    pub fn new(program: &Path, arguments: &[String], patience: Duration) -> Self {
        let (program, arguments) = (program.to_owned(), arguments.to_vec());
        Self { program, arguments, patience, running: None }
    }

    /// Starts it, if it does not run yet.
    ///
    /// # Errors
    /// When there is no such program, or it may not be run.
    pub fn start(&mut self) -> std::io::Result<()> {
        self.running = Some(self.taken()?);
        Ok(())
    }

    /// What runs, or is started now.
    fn taken(&mut self) -> std::io::Result<Running> {
        match self.running.take() {
            Some(running) => Ok(running),
            None => Running::start(&self.program, &self.arguments),
        }
    }

    /// What it says of a case.
    ///
    /// # Errors
    /// When it says nothing that is an answer. It can be asked again.
    pub fn ask(&mut self, case: &Case) -> Result<Answer, NoAnswer> {
        let mut running = self.taken().map_err(NoAnswer::NotStarted)?;
        let line = running.ask(&case.to_json(), self.patience)?;
        // A program that answers nonsense may have lost count: it starts anew.
        let text = String::from_utf8_lossy(&line);
        let answer = Answer::from_line(&text).map_err(|problem| {
            let beginning = |text: &str| text.chars().take(60).collect();
            NoAnswer::Bad { line: beginning(&text), problem: beginning(&problem) }
        })?;
        self.running = Some(running);
        Ok(answer)
    }
}

impl Running {
    fn start(program: &Path, arguments: &[String]) -> std::io::Result<Self> {
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // Whatever it starts goes with it.
            .process_group(0)
            .spawn()?;
        let mut input = child.stdin.take().expect("it is piped");
        let output = child.stdout.take().expect("it is piped");
        // A program need not read what it is sent, and then only this thread waits.
        let (cases, to_send) = sync_channel::<String>(1);
        thread::spawn(move || {
            for line in to_send {
                if input.write_all(line.as_bytes()).and_then(|()| input.flush()).is_err() {
                    return;
                }
            }
        });
        // A line ahead is as many as a program may be: what it says unasked is no answer.
        let (send, lines) = sync_channel(1);
        thread::spawn(move || {
            let mut output = BufReader::new(output);
            loop {
                let mut line = Vec::new();
                let read =
                    output.by_ref().take(MAX_ANSWER_BYTES as u64 + 1).read_until(b'\n', &mut line);
                let line = match read {
                    Ok(0) => return,
                    Ok(_) if line.ends_with(b"\n") => Ok(line),
                    Ok(read) if read > MAX_ANSWER_BYTES => {
                        Err(std::io::Error::other("a line without end"))
                    }
                    Ok(_) => return,
                    Err(error) => Err(error),
                };
                let is_last = line.is_err();
                if send.send(line).is_err() || is_last {
                    return;
                }
            }
        });
        Ok(Self { child, lines, cases: Some(cases) })
    }

    /// Sends a line and waits for the next.
    fn ask(&mut self, line: &str, patience: Duration) -> Result<Vec<u8>, NoAnswer> {
        let deadline = Instant::now() + patience;
        let cases = self.cases.as_ref().expect("it is taken when the program is dropped");
        if let Err(TrySendError::Full(_)) = cases.try_send(format!("{line}\n")) {
            return Err(NoAnswer::Late(patience));
        }
        match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(Ok(line)) => Ok(line),
            Ok(Err(error)) => {
                Err(NoAnswer::Bad { line: String::new(), problem: error.to_string() })
            }
            Err(RecvTimeoutError::Timeout) => Err(NoAnswer::Late(patience)),
            Err(RecvTimeoutError::Disconnected) => Err(NoAnswer::Died(self.end())),
        }
    }

    /// How a program that has closed its output ended.
    fn end(&mut self) -> String {
        let start = Instant::now();
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => {
                    return match (status.code(), status.signal()) {
                        (Some(code), _) => format!("ended with exit code {code}"),
                        (None, Some(signal)) => format!("was killed by signal {signal}"),
                        (None, None) => "ended".into(),
                    };
                }
                Ok(None) if start.elapsed() < GRACE => thread::sleep(Duration::from_millis(1)),
                Ok(None) | Err(_) => return "closed its output".into(),
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.cases = None;
        // One that was asked and answered ends by itself when there is no more to read.
        let start = Instant::now();
        while start.elapsed() < GRACE / 10 {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            thread::sleep(Duration::from_millis(1));
        }
        if let Ok(group) = i32::try_from(self.child.id()) {
            let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crosswalk_guest::layout::Arena;
    use mmu_core::{Profile, Ring};

    fn shell(script: &str, patience: Duration) -> CommandCandidate {
        CommandCandidate::new(Path::new("/bin/sh"), &["-c".into(), script.into()], patience)
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
    fn whatever_a_program_does_is_told_and_it_can_be_asked_again() {
        let short = Duration::from_millis(300);
        for (script, patience, told) in [
            ("exit 7", LONG, "it ended with exit code 7 instead of answering"),
            ("kill -SEGV $$", LONG, "it was killed by signal 11 instead of answering"),
            ("exec >&-; sleep 1000", LONG, "it closed its output instead of answering"),
            ("echo hello; cat", LONG, "it answered \"hello\\n\", which is no answer"),
            ("cat", LONG, "which is no answer"),
            ("sleep 1000", short, "no answer within 0.3 s"),
            ("while :; do :; done", short, "no answer within 0.3 s"),
            ("head -c 1000000 /dev/zero", LONG, "a line without end"),
            ("printf '{\"silent\"'", LONG, "instead of answering"),
        ] {
            let mut program = shell(script, patience);
            for _ in 0..2 {
                let error = program.ask(&case()).unwrap_err().to_string();
                assert!(error.contains(told), "{script}: {error}");
            }
        }
        let mut missing = CommandCandidate::new(Path::new("/no/such/program"), &[], LONG);
        let error = missing.ask(&case()).unwrap_err().to_string();
        assert!(error.starts_with("it cannot be started: No such file"), "{error}");
    }

    #[test]
    fn a_program_that_never_reads_holds_nobody_up() {
        let mut program = shell("while :; do echo '{\"silent\":\"\"}'; done", LONG);
        let mut case = case();
        let entry = case.entries[0];
        case.entries =
            (0..600).map(|i| crosswalk_case::TableEntry { at: 8 * i, ..entry }).collect();
        let asked = (0..20).map(|_| program.ask(&case));
        assert!(asked.into_iter().any(|answer| answer.is_err()), "pipes have an end");
    }
}
