//! v86, an emulator in JavaScript and WebAssembly, run by Node.js. It has no long mode.

mod package;

pub use package::V86Package;

use super::{BootedLog, EmulatorProcess, Inheritance, Output};
use crate::jail::Jail;
use crate::tape::{Payload, executable};
use crate::{Interrupter, MachineError};
use std::io::Seek;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

/// The program that Node.js runs, given on its standard input.
static DRIVER: &str = include_str!("driver.mjs");

/// Guest memory in bytes: what an image needs.
const MEMORY: u64 = 1984 << 20;

/// Boots an image, and waits until it has printed everything, died, or stopped printing.
///
/// # Errors
/// If v86 cannot be started, or if the run was interrupted.
pub fn boot(
    package: &V86Package,
    payload: &Payload,
    jail: &Jail,
    interrupter: &Interrupter,
) -> Result<BootedLog, MachineError> {
    start(package, payload, jail)?.collect(interrupter)
}

fn start(
    package: &V86Package,
    payload: &Payload,
    jail: &Jail,
) -> Result<EmulatorProcess, MachineError> {
    let mut inherited = Inheritance::default();
    let rewind = MachineError::host("reading a file in memory");
    let (mut image, image_number) = inherited.share("the image for v86", &executable(payload))?;
    let (mut driver, _) = Inheritance::default().share("the driver of v86", DRIVER.as_bytes())?;
    image.rewind().and_then(|()| driver.rewind()).map_err(rewind)?;
    let (serial, serial_port) = inherited.share("v86's serial port", b"")?;
    let (messages, _) = inherited.share_messages("v86's messages")?;
    let stderr = messages.try_clone().map_err(MachineError::host("sharing v86's messages"))?;

    let mut command = Command::new(&package.node);
    command
        .args(["--input-type=module", "-"])
        .arg(&package.directory)
        .args([image_number, serial_port].map(|number| number.to_string()))
        .arg(MEMORY.to_string())
        .env_remove("NODE_OPTIONS")
        // Nothing here is encrypted, and the jail would refuse its settings.
        .env("OPENSSL_CONF", "/dev/null")
        .stdin(driver)
        .stdout(Stdio::null())
        .stderr(stderr)
        .process_group(0);

    let key = jail
        .cage_v86(&package.node, &package.directory, MEMORY)
        .and_then(|cage| cage.close_around(&mut command))
        .map_err(MachineError::host("building v86's jail"))?;
    let output = Output { serial, messages };
    EmulatorProcess::start("v86", command, inherited, key, output, last_line)
}

/// The last line, which is the reason of the driver.
fn last_line(messages: &str) -> Option<&str> {
    messages.lines().rev().find(|line| !line.trim().is_empty())
}
