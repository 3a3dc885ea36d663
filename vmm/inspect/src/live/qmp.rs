//! A client of QEMU's monitor protocol (`docs/interop/qmp-spec.rst` in QEMU): a line of JSON for each command,
//! and for each answer and event.

use super::address::MonitorAddress;
use super::stream::Stream;
use crate::error::{AboutFile, MemoryImageError, quoted};
use serde_json::{Value, json};
use std::io;
use std::time::{Duration, Instant};

/// How long QEMU may take to greet. It does not while another program is connected.
const GREETING: Duration = Duration::from_secs(5);

/// How long it may take to answer a command.
const ANSWER: Duration = Duration::from_secs(10);

/// The most bytes of a line: `info tlb` prints 45 bytes for each page.
const MAX_LINE: usize = 1 << 28;

const CHUNK: usize = 1 << 16;

/// A connection to a monitor that has accepted commands.
#[derive(Debug)]
pub(super) struct Qmp {
    stream: Stream,
    about: AboutFile,
    /// What has been read behind the last line.
    received: Vec<u8>,
    /// The number of the last command. Answers repeat it.
    last_id: u64,
    version: String,
}

impl Qmp {
    /// Connects, and agrees with QEMU about the protocol.
    pub(super) fn connect(
        address: &MonitorAddress,
        about: &AboutFile,
    ) -> Result<Self, MemoryImageError> {
        let stream = Stream::connect(address, GREETING);
        let stream = stream.map_err(|error| about.host("connecting to QEMU's monitor", error))?;
        let mut monitor = Self {
            stream,
            about: about.clone(),
            received: Vec::new(),
            last_id: 0,
            version: String::new(),
        };

        let greeting = monitor.message("the greeting", deadline(GREETING))?;
        let number = |part| greeting.pointer(&format!("/QMP/version/qemu/{part}"))?.as_u64();
        let numbers = (number("major"), number("minor"), number("micro"));
        let (Some(major), Some(minor), Some(micro)) = numbers else {
            return Err(about.malformed("the greeting", "expected that of QEMU's monitor protocol"));
        };
        monitor.version = format!("{major}.{minor}.{micro}");
        monitor.execute("qmp_capabilities", &json!({}))?;
        Ok(monitor)
    }

    /// The version of QEMU.
    pub(super) fn version(&self) -> &str {
        &self.version
    }

    /// The process at the other end, if the kernel knows it.
    pub(super) fn process(&self) -> Option<i32> {
        self.stream.process()
    }

    /// Executes a command, and returns its result.
    pub(super) fn execute(
        &mut self,
        command: &str,
        arguments: &Value,
    ) -> Result<Value, MemoryImageError> {
        self.execute_within(ANSWER, command, arguments)
    }

    /// The same, with another limit of time.
    pub(super) fn execute_within(
        &mut self,
        patience: Duration,
        command: &str,
        arguments: &Value,
    ) -> Result<Value, MemoryImageError> {
        let deadline = deadline(patience);
        self.last_id = self.last_id.wrapping_add(1);
        let id = self.last_id;
        let request = json!({ "execute": command, "arguments": arguments, "id": id });
        let written = self.stream.write(format!("{request}\n").as_bytes(), patience);
        written.map_err(|error| self.about.host(command, in_words(error)))?;

        loop {
            let mut message = self.message(command, deadline)?;
            // Events come at any time, and so do answers for which nobody waits any more.
            if message.get("event").is_some() || answered(&message).is_some_and(|of| of < id) {
                continue;
            }
            if let Some(problem) = message.pointer("/error/desc").and_then(Value::as_str) {
                let problem = quoted(problem);
                return Err(self.about.lacking(format!("QEMU refuses `{command}`: {problem}")));
            }
            if answered(&message) != Some(id) {
                return Err(self.about.malformed(command, "expected QEMU's answer to it"));
            }
            return match message.get_mut("return") {
                Some(result) => Ok(result.take()),
                None => Err(self.about.malformed(command, "expected an answer with a result")),
            };
        }
    }

    /// Executes a command of the monitor for people, and returns what it prints.
    pub(super) fn human(&mut self, line: &str) -> Result<String, MemoryImageError> {
        self.human_within(ANSWER, line, 0)
    }

    /// The same for a CPU, with another limit of time.
    pub(super) fn human_within(
        &mut self,
        patience: Duration,
        line: &str,
        cpu: usize,
    ) -> Result<String, MemoryImageError> {
        let arguments = json!({ "command-line": line, "cpu-index": cpu });
        match self.execute_within(patience, "human-monitor-command", &arguments)? {
            Value::String(printed) => Ok(printed),
            _ => Err(self.about.malformed(line, "expected a text")),
        }
    }

    /// Waits for the next line. `place` says what for.
    fn message(&mut self, place: &str, deadline: Instant) -> Result<Value, MemoryImageError> {
        let line = self.line(place, deadline)?;
        let value: Value = serde_json::from_slice(&line)
            .map_err(|error| self.about.malformed(place, format!("expected JSON: {error}")))?;
        if value.is_object() {
            Ok(value)
        } else {
            Err(self.about.malformed(place, "expected an object of JSON"))
        }
    }

    fn line(&mut self, place: &str, deadline: Instant) -> Result<Vec<u8>, MemoryImageError> {
        let mut searched = 0;
        loop {
            let unsearched = self.received.get(searched..).unwrap_or_default();
            if let Some(end) = unsearched.iter().position(|byte| *byte == b'\n') {
                let behind =
                    self.received.split_off(searched.saturating_add(end).saturating_add(1));
                return Ok(std::mem::replace(&mut self.received, behind));
            }
            searched = self.received.len();
            if searched > MAX_LINE {
                let problem = format!("expected at most {MAX_LINE} bytes in a line");
                return Err(self.about.malformed(place, problem));
            }

            let mut chunk = vec![0; CHUNK];
            let patience = deadline.saturating_duration_since(Instant::now());
            if patience.is_zero() {
                return Err(self.about.host(place, in_words(io::ErrorKind::TimedOut.into())));
            }
            match self.stream.read(&mut chunk, patience) {
                Ok(0) => {
                    let error = io::ErrorKind::UnexpectedEof.into();
                    return Err(self.about.host(place, in_words(error)));
                }
                Ok(count) => self.received.extend(chunk.iter().take(count)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.about.host(place, in_words(error))),
            }
        }
    }
}

/// The time after which nothing is waited for any more.
fn deadline(patience: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(patience).unwrap_or(now)
}

/// The number of the command that a message answers.
fn answered(message: &Value) -> Option<u64> {
    message.get("id")?.as_u64()
}

/// An error of a connection in the words of what it is about.
fn in_words(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::UnexpectedEof
        | io::ErrorKind::ConnectionReset
        | io::ErrorKind::BrokenPipe => {
            io::Error::new(error.kind(), "QEMU has closed the connection")
        }
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => io::Error::new(
            io::ErrorKind::TimedOut,
            "QEMU does not answer; it serves one program at a time: is another one connected?",
        ),
        _ => error,
    }
}
