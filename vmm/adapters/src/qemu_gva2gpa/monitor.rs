//! QEMU's monitor, the commands for people, by way of its protocol for programs (QMP).

use serde_json::{Value, json};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;

/// The connection with QEMU's monitor.
#[derive(Debug)]
pub(super) struct Monitor(BufReader<UnixStream>);

/// No line of QEMU's to us is longer.
const LONGEST: u64 = 0x1_0000;

impl Monitor {
    /// Waits for the greeting.
    pub(super) fn new(stream: UnixStream) -> io::Result<Self> {
        let mut monitor = Self(BufReader::new(stream));
        monitor.line()?;
        monitor.ask(&json!({"execute": "qmp_capabilities"}))?;
        Ok(monitor)
    }

    /// What a command prints.
    pub(super) fn command(&mut self, line: &str) -> io::Result<String> {
        let arguments = json!({"command-line": line});
        let said =
            self.ask(&json!({"execute": "human-monitor-command", "arguments": arguments}))?;
        said.as_str().map(str::to_owned).ok_or_else(|| unexpected(&said))
    }

    fn ask(&mut self, command: &Value) -> io::Result<Value> {
        self.0.get_mut().write_all(format!("{command}\n").as_bytes())?;
        loop {
            let mut said = self.line()?;
            if let Some(answer) = said.get_mut("return") {
                return Ok(answer.take());
            }
            // An event may come at any time.
            if said.get("event").is_none() {
                return Err(unexpected(&said));
            }
        }
    }

    fn line(&mut self) -> io::Result<Value> {
        let mut line = String::new();
        if self.0.by_ref().take(LONGEST).read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(serde_json::from_str(&line)?)
    }
}

fn unexpected(said: &Value) -> io::Error {
    io::Error::other(format!("it says {said}"))
}
