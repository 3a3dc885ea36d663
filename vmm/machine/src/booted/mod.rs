//! Emulators that boot an image by themselves: they run no batch that the host gives them, and what the image
//! prints is judged like any other log ([`LogMachine`](crate::log::LogMachine)).

pub mod bochs;
pub mod v86;

use crate::child::CountedChild;
use crate::jail::CageKey;
use crate::qemu::process::{Keeper, inherit};
use crate::qemu::unnamed_file::{message_file, unnamed_file};
use crate::{Interrupter, MachineError};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{OwnedFd, RawFd};
use std::os::unix::fs::FileExt;
use std::process::{Command, ExitStatus};
use std::thread;
use std::time::{Duration, Instant};

/// Processor time that an emulator may use without a byte of output. It runs some thousand cases in a second.
const SILENCE: Duration = Duration::from_secs(60);
/// Time that may pass without a byte of output, however little the emulator does.
const STANDSTILL: Duration = Duration::from_secs(600);
/// The time between two looks.
const LOOK: Duration = Duration::from_millis(20);
/// More than any image prints.
const MAX_LOG: u64 = 256 << 20;
/// How the log of an image ends.
const END: &[u8] = b"cw!";

/// What an image printed on an emulator.
#[derive(Debug)]
pub struct BootedLog {
    /// The log.
    pub bytes: Vec<u8>,
    /// Why it does not end as that of an image does; `None` if it does.
    pub cut_off: Option<String>,
}

/// The files that an emulator inherits.
#[derive(Default)]
struct Inheritance(Vec<OwnedFd>);

impl Inheritance {
    /// Adds a file in memory, and returns it with the number of its descriptor in the emulator.
    fn share(&mut self, name: &str, content: &[u8]) -> Result<(File, RawFd), MachineError> {
        let mut file = unnamed_file(name)?;
        file.write_all(content).map_err(MachineError::host("writing a file in memory"))?;
        let descriptor = self.add(&file)?;
        Ok((file, descriptor))
    }

    /// Adds a file in memory for messages, which cannot grow.
    fn share_messages(&mut self, name: &str) -> Result<(File, RawFd), MachineError> {
        let file = message_file(name)?;
        let descriptor = self.add(&file)?;
        Ok((file, descriptor))
    }

    fn add(&mut self, file: &File) -> Result<RawFd, MachineError> {
        inherit(&mut self.0, file.try_clone().map(OwnedFd::from))
    }
}

/// The path of an inherited file in an emulator.
fn path_of(descriptor: RawFd) -> String {
    format!("/proc/self/fd/{descriptor}")
}

/// What an emulator writes.
struct Output {
    /// What the first serial port prints.
    serial: File,
    /// What the emulator itself says.
    messages: File,
}

/// A running emulator. It is killed when this value is dropped, and when this program ends.
struct EmulatorProcess {
    /// What people call it.
    name: &'static str,
    child: CountedChild,
    keeper: Keeper,
    output: Output,
    /// Finds the message that says why it ended.
    reason: fn(&str) -> Option<&str>,
}

impl EmulatorProcess {
    fn start(
        name: &'static str,
        command: Command,
        inherited: Inheritance,
        key: CageKey,
        output: Output,
        reason: fn(&str) -> Option<&str>,
    ) -> Result<Self, MachineError> {
        let (child, keeper) = Keeper::spawn_dependent(command, inherited.0, key)?;
        Ok(Self { name, child, keeper, output, reason })
    }

    /// Waits until the emulator ends or stops printing, and returns what it has printed.
    fn collect(&mut self, interrupter: &Interrupter) -> Result<BootedLog, MachineError> {
        let name = self.name;
        let mut printed = 0;
        let mut at_last_output = Duration::ZERO;
        let mut time_of_last_output = Instant::now();

        let why = loop {
            if interrupter.is_interrupted() {
                return Err(MachineError::Interrupted);
            }
            let ended = self.child.try_wait();
            if let Some(status) = ended.map_err(MachineError::host("waiting for an emulator"))? {
                break self.why_ended(status);
            }

            let used = self.child.cpu_time();
            let used = used.map_err(MachineError::host("reading an emulator's clock"))?;
            let length = self.output.serial.metadata().map_or(0, |metadata| metadata.len());
            if length > MAX_LOG {
                break format!("{name} printed more than {} MiB", MAX_LOG >> 20);
            }
            if length != printed {
                (printed, at_last_output) = (length, used);
                time_of_last_output = Instant::now();
            } else if used.saturating_sub(at_last_output) > SILENCE {
                let seconds = SILENCE.as_secs();
                break format!("{name} printed nothing for {seconds} s of its processor time");
            } else if time_of_last_output.elapsed() > STANDSTILL {
                break format!("{name} printed nothing for {} s", STANDSTILL.as_secs());
            }
            thread::sleep(LOOK);
        };

        let bytes = whole(&self.output.serial);
        let bytes = bytes.map_err(MachineError::host("reading an emulator's output"))?;
        if bytes.is_empty() {
            return Err(MachineError::Unavailable(why));
        }
        let is_whole = bytes.trim_ascii_end().ends_with(END);
        Ok(BootedLog { bytes, cut_off: (!is_whole).then_some(why) })
    }

    /// What the emulator says about its end, or else how it ended.
    fn why_ended(&self, status: ExitStatus) -> String {
        let messages = whole(&self.output.messages).unwrap_or_default();
        let messages = String::from_utf8_lossy(&messages);
        let said = (self.reason)(messages.trim_end_matches('\0'));

        match said.map(str::trim) {
            Some(said) => format!("{} ended with {status}: {said}", self.name),
            None => format!("{} ended with {status}", self.name),
        }
    }
}

impl Drop for EmulatorProcess {
    fn drop(&mut self) {
        self.child.end();
        self.keeper.end();
    }
}

/// A file in memory that another process writes, up to the longest log.
fn whole(file: &File) -> io::Result<Vec<u8>> {
    let length = file.metadata()?.len().min(MAX_LOG);
    let mut bytes = vec![0; length as usize];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}
