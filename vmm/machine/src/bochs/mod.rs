//! Bochs, an emulator of processors by their names: boots an image without firmware, and collects what it
//! prints. It runs no batch that the host gives it; the log is judged like any other
//! ([`LogMachine`](crate::log::LogMachine)).

mod program;
mod rom;

pub use program::BochsProgram;

use crate::child::CountedChild;
use crate::jail::Jail;
use crate::qemu::process::{Keeper, inherit};
use crate::qemu::unnamed_file::unnamed_file;
use crate::tape::Payload;
use crate::{Interrupter, MachineError};
use nix::pty::openpty;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitStatus};
use std::thread;
use std::time::Duration;

/// Processor time that Bochs may use without a byte of output. It runs some thousand cases in a second.
const SILENCE: Duration = Duration::from_secs(60);
/// The time between two looks.
const LOOK: Duration = Duration::from_millis(20);
/// Guest memory in MiB: an image needs all of it, and Bochs allocates what is touched.
const MEMORY: u64 = 2048;
/// How the log of an image ends.
const END: &[u8] = b"cw!";

/// Why Bochs cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BochsError {
    /// The image does not fit into a ROM.
    #[error(
        "the image needs a ROM of {needed} bytes, and Bochs has room for {room}: expected fewer cases"
    )]
    TooLong {
        /// Its size.
        needed: usize,
        /// The largest.
        room: usize,
    },
    /// There is no processor with this name.
    #[error("Bochs has no processor {name:?}: expected one of {}", models.join(", "))]
    NoModel {
        /// The name.
        name: String,
        /// Those that there are.
        models: Vec<String>,
    },
    /// Bochs or the host failed.
    #[error(transparent)]
    Machine(#[from] MachineError),
}

/// What an image printed on Bochs.
#[derive(Debug)]
pub struct BochsLog {
    /// The log.
    pub bytes: Vec<u8>,
    /// Why it does not end as that of an image does; `None` if it does.
    pub cut_off: Option<String>,
}

/// Boots an image on a processor, and waits until it has printed everything, died, or stopped printing.
///
/// # Errors
/// If the processor does not exist, the image is too long, or Bochs cannot be started, or if the run was
/// interrupted.
pub fn boot(
    program: &BochsProgram,
    model: &str,
    payload: &Payload,
    jail: &Jail,
    interrupter: &Interrupter,
) -> Result<BochsLog, BochsError> {
    program.check_model(model)?;
    let rom = rom::rom(payload)?;
    let mut process = BochsProcess::start(program, model, &rom, jail)?;
    Ok(process.collect(interrupter)?)
}

/// A running Bochs. It is killed when this value is dropped, and when this program ends.
struct BochsProcess {
    child: CountedChild,
    keeper: Keeper,
    /// What the first serial port prints.
    serial: File,
    /// What Bochs itself says.
    messages: File,
}

impl BochsProcess {
    fn start(
        program: &BochsProgram,
        model: &str,
        rom: &[u8],
        jail: &Jail,
    ) -> Result<Self, MachineError> {
        let mut inherited = Vec::new();
        let mut share = |name: &str, content: &[u8]| -> Result<(File, String), MachineError> {
            let mut file = unnamed_file(name)?;
            file.write_all(content).map_err(MachineError::host("writing a file in memory"))?;
            let descriptor = inherit(&mut inherited, file.try_clone().map(OwnedFd::from))?;
            Ok((file, format!("/proc/self/fd/{descriptor}")))
        };

        let (_, rom) = share("Bochs's ROM", rom)?;
        // Bochs wants one, and nothing runs it.
        let (_, video_rom) = share("Bochs's video ROM", &[0; 512])?;
        let (serial, serial_path) = share("Bochs's serial port", b"")?;
        let (messages, messages_path) = share("Bochs's messages", b"")?;
        let settings = settings(model, &rom, &video_rom, &serial_path, &messages_path);
        let (_, settings) = share("Bochs's settings", settings.as_bytes())?;
        // Debian's Bochs has a debugger, which waits for a command before it starts.
        let (_, commands) = share("Bochs's commands", b"c\nq\n")?;

        // Its display is a terminal, which nobody watches.
        let terminal = openpty(None, None).map_err(MachineError::host("opening a terminal"))?;
        let slave = || terminal.slave.try_clone().map_err(MachineError::host("opening a terminal"));
        let mut command = Command::new(&program.path);
        command
            .args(["-q", "-f", &settings])
            .env("TERM", "xterm")
            .stdin(slave()?)
            .stdout(slave()?)
            .stderr(slave()?)
            .process_group(0);
        if program.has_debugger {
            command.args(["-rc", &commands, "-dbglog", "/dev/null"]);
        }

        let key = jail
            .cage_booted(&program.path, MEMORY << 20)
            .and_then(|cage| cage.close_around(&mut command))
            .map_err(MachineError::host("building Bochs's jail"))?;
        let (child, keeper) = Keeper::spawn_dependent(command, inherited, key)?;
        drop(terminal.slave);
        discard(terminal.master.into());
        Ok(Self { child, keeper, serial, messages })
    }

    /// Waits for the end of the log, and returns it.
    fn collect(&mut self, interrupter: &Interrupter) -> Result<BochsLog, MachineError> {
        let mut printed = 0;
        let mut at_last_output = Duration::ZERO;

        let why = loop {
            if interrupter.is_interrupted() {
                return Err(MachineError::Interrupted);
            }
            let ended = self.child.try_wait().map_err(MachineError::host("waiting for Bochs"))?;
            if let Some(status) = ended {
                break self.why_ended(status);
            }

            let used =
                self.child.cpu_time().map_err(MachineError::host("reading Bochs's clock"))?;
            let length = self.serial.metadata().map_or(0, |metadata| metadata.len());
            if length != printed {
                (printed, at_last_output) = (length, used);
            } else if used.saturating_sub(at_last_output) > SILENCE {
                let seconds = SILENCE.as_secs();
                break format!("Bochs printed nothing for {seconds} s of its processor time");
            }
            thread::sleep(LOOK);
        };

        let bytes = whole(&self.serial).map_err(MachineError::host("reading Bochs's output"))?;
        if bytes.is_empty() {
            return Err(MachineError::Unavailable(why));
        }
        let is_whole = bytes.trim_ascii_end().ends_with(END);
        Ok(BochsLog { bytes, cut_off: (!is_whole).then_some(why) })
    }

    /// What Bochs says about its end: the last line that it calls a panic, or how it ended.
    fn why_ended(&self, status: ExitStatus) -> String {
        let messages = whole(&self.messages).unwrap_or_default();
        let messages = String::from_utf8_lossy(&messages);
        let is_panic = |line: &&str| line.contains("p[") || line.contains("e[");
        let said = messages.lines().rev().find(is_panic).map(str::trim);

        match said {
            Some(said) => format!("Bochs ended with {status}: {said}"),
            None => format!("Bochs ended with {status}"),
        }
    }
}

impl Drop for BochsProcess {
    fn drop(&mut self) {
        self.child.end();
        self.keeper.end();
    }
}

/// Reads what Bochs draws, until it ends.
fn discard(mut display: File) {
    thread::spawn(move || {
        let mut bytes = [0; 4096];
        while display.read(&mut bytes).is_ok_and(|count| count > 0) {}
    });
}

/// A file in memory that another process writes.
fn whole(file: &File) -> io::Result<Vec<u8>> {
    /// More than any image prints.
    const MAX_BYTES: u64 = 256 << 20;

    let length = file.metadata()?.len().min(MAX_BYTES);
    let mut bytes = vec![0; length as usize];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}

/// Bochs's settings: nothing but a processor, memory, and a serial port. The port has the speed of virtual
/// time, of which there must be much in an instruction (`ips`).
fn settings(model: &str, rom: &str, video_rom: &str, serial: &str, messages: &str) -> String {
    format!(
        "config_interface: textconfig\n\
         display_library: term\n\
         plugin_ctrl: unmapped=1, biosdev=0, speaker=0, extfpuirq=0, parallel=0, serial=1, iodebug=0\n\
         romimage: file={rom}\n\
         vgaromimage: file={video_rom}\n\
         megs: {MEMORY}\n\
         cpu: model={model}, count=1, ips=1000000, reset_on_triple_fault=0, ignore_bad_msrs=1\n\
         boot: floppy\n\
         com1: enabled=1, mode=file, dev={serial}\n\
         log: {messages}\n\
         panic: action=fatal\n\
         error: action=report\n\
         info: action=ignore\n\
         debug: action=ignore\n\
         private_colormap: enabled=0\n"
    )
}
