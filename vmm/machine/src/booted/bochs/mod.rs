//! Bochs, an emulator of processors by their names.

mod program;

pub use program::BochsProgram;

use super::{BootedLog, EmulatorProcess, Inheritance, Output, path_of};
use crate::jail::Jail;
use crate::qemu::rom;
use crate::tape::{Payload, disk};
use crate::{Interrupter, MachineError};
use nix::pty::openpty;
use std::fs::File;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::thread;

/// Guest memory in MiB: an image needs all of it, and Bochs allocates what is touched.
const MEMORY: u64 = 2048;

/// The ROM that was built with this program: it loads the payload from the disk, which takes a BIOS seconds.
static ROM: &[u8] = include_bytes!(concat!(env!("GUEST_IMAGES"), "/disk_rom"));

/// Why Bochs cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BochsError {
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

/// Boots an image on a processor, from a disk and without firmware, and waits until it has printed everything, died, or stopped
/// printing.
///
/// # Errors
/// If the processor does not exist, Bochs cannot be started, or the run was interrupted.
pub fn boot(
    program: &BochsProgram,
    model: &str,
    payload: &Payload,
    jail: &Jail,
    interrupter: &Interrupter,
) -> Result<BootedLog, BochsError> {
    program.check_model(model)?;
    let mut process = start(program, model, payload, jail)?;
    Ok(process.collect(interrupter)?)
}

fn start(
    program: &BochsProgram,
    model: &str,
    payload: &Payload,
    jail: &Jail,
) -> Result<EmulatorProcess, MachineError> {
    let mut inherited = Inheritance::default();
    let rom = rom::from_elf("the built-in ROM for disks", ROM)?;
    let (_, rom) = inherited.share("Bochs's ROM", &rom)?;
    let (_, disk) = inherited.share("Bochs's disk", &disk(payload))?;
    // Bochs wants one, and nothing runs it.
    let (_, video_rom) = inherited.share("Bochs's video ROM", &[0; 512])?;
    let (serial, serial_port) = inherited.share("Bochs's serial port", b"")?;
    let (messages, log) = inherited.share("Bochs's messages", b"")?;
    let files = [rom, video_rom, disk, serial_port, log].map(path_of);
    let settings = settings(model, &files);
    let (_, settings) = inherited.share("Bochs's settings", settings.as_bytes())?;
    // Debian's Bochs has a debugger, which waits for a command before it starts.
    let (_, commands) = inherited.share("Bochs's commands", b"c\nq\n")?;

    // Its display is a terminal, which nobody watches.
    let terminal = openpty(None, None).map_err(MachineError::host("opening a terminal"))?;
    let slave = || terminal.slave.try_clone().map_err(MachineError::host("opening a terminal"));
    let mut command = Command::new(&program.path);
    command
        .args(["-q", "-f", &path_of(settings)])
        .env("TERM", "xterm")
        .stdin(slave()?)
        .stdout(slave()?)
        .stderr(slave()?)
        .process_group(0);
    if program.has_debugger {
        command.args(["-rc", &path_of(commands), "-dbglog", "/dev/null"]);
    }

    let key = jail
        .cage_booted(&program.path, MEMORY << 20)
        .and_then(|cage| cage.close_around(&mut command))
        .map_err(MachineError::host("building Bochs's jail"))?;
    let output = Output { serial, messages };
    let process = EmulatorProcess::start("Bochs", command, inherited, key, output, last_panic)?;
    drop(terminal.slave);
    discard(terminal.master.into());
    Ok(process)
}

/// The last line that Bochs calls a panic or an error.
fn last_panic(messages: &str) -> Option<&str> {
    messages.lines().rev().find(|line| line.contains("p[") || line.contains("e["))
}

/// Reads what Bochs draws, until it ends.
fn discard(mut display: File) {
    thread::spawn(move || {
        let mut bytes = [0; 4096];
        while display.read(&mut bytes).is_ok_and(|count| count > 0) {}
    });
}

/// Bochs's settings: nothing but a processor, memory, a disk, and a serial port. The port has the speed of virtual
/// time, of which there must be much in an instruction (`ips`).
fn settings(model: &str, [rom, video_rom, disk, serial, messages]: &[String; 5]) -> String {
    format!(
        "config_interface: textconfig\n\
         display_library: term\n\
         plugin_ctrl: unmapped=1, biosdev=0, speaker=0, extfpuirq=0, parallel=0, serial=1, iodebug=0\n\
         romimage: file={rom}\n\
         vgaromimage: file={video_rom}\n\
         megs: {MEMORY}\n\
         cpu: model={model}, count=1, ips=1000000, reset_on_triple_fault=0, ignore_bad_msrs=1\n\
         ata0: enabled=1, ioaddr1=0x1f0, ioaddr2=0x3f0, irq=14\n\
         ata0-master: type=disk, mode=flat, path={disk}, cylinders=0\n\
         boot: disk\n\
         com1: enabled=1, mode=file, dev={serial}\n\
         log: {messages}\n\
         panic: action=fatal\n\
         error: action=report\n\
         info: action=ignore\n\
         debug: action=ignore\n\
         private_colormap: enabled=0\n"
    )
}
