//! QEMU's human monitor, reached through its machine protocol (QMP).

use serde_json::{Value, json};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;

/// The connection with QEMU's monitor.
#[derive(Debug)]
pub(super) struct Monitor(BufReader<UnixStream>);

/// Maximum number of bytes in a line that QEMU sends.
const MAX_LINE: u64 = 0x1_0000;

impl Monitor {
    /// Waits for the greeting, and leaves the negotiation of capabilities.
    pub(super) fn new(stream: UnixStream) -> io::Result<Self> {
        let mut monitor = Self(BufReader::new(stream));
        monitor.line()?;
        monitor.execute(&json!({"execute": "qmp_capabilities"}))?;
        Ok(monitor)
    }

    /// Runs a command of the human monitor and returns what it prints.
    pub(super) fn command(&mut self, line: &str) -> io::Result<String> {
        let arguments = json!({"command-line": line});
        let printed =
            self.execute(&json!({"execute": "human-monitor-command", "arguments": arguments}))?;
        printed.as_str().map(str::to_owned).ok_or_else(|| unexpected(&printed))
    }

    fn execute(&mut self, command: &Value) -> io::Result<Value> {
        self.0.get_mut().write_all(format!("{command}\n").as_bytes())?;
        loop {
            let mut response = self.line()?;
            if let Some(value) = response.get_mut("return") {
                return Ok(value.take());
            }
            // An event may come at any time.
            if response.get("event").is_none() {
                return Err(unexpected(&response));
            }
        }
    }

    fn line(&mut self) -> io::Result<Value> {
        let mut line = String::new();
        if self.0.by_ref().take(MAX_LINE).read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(serde_json::from_str(&line)?)
    }
}

fn unexpected(response: &Value) -> io::Error {
    io::Error::other(format!("unexpected response {response}"))
}
