//! The process of QEMU: started on memory that is shared with it, watched, and gone when its owner
//! is.

use super::arguments::{RamPlace, arguments};
use super::program::{PROGRAM, QemuVersion, installed_version};
use super::rom;
use crate::MachineError;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::unistd::{Pid, getpid, getppid};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread::JoinHandle;

/// Memory of the guest: a file, seen from its start at a guest-physical address.
///
/// Regions below 4 GiB must leave no hole from 0 on. The same file may be given several times; all
/// regions of a file show the same memory.
#[derive(Clone, Copy, Debug)]
pub struct RamRegion<'f> {
    /// Where the guest sees it.
    pub guest_physical: u64,
    /// How much of it.
    pub len: u64,
    /// The file, at least as long: a memfd for instance. QEMU writes to it.
    pub file: BorrowedFd<'f>,
}

/// What QEMU is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Options<'f> {
    /// MAXPHYADDR, or else what QEMU chooses (40).
    pub phys_bits: Option<u8>,
    /// Features to add or take away, in QEMU's words: `-nx`.
    pub cpu_flags: &'f [&'f str],
    /// The guest's memory.
    pub memory: &'f [RamRegion<'f>],
}

/// QEMU, running. It is killed when this is dropped, and when this program ends in whatever way.
#[derive(Debug)]
pub struct QemuProcess {
    child: Child,
    version: QemuVersion,
    /// What QEMU says.
    messages: File,
    /// Dropped, lets the keeper's thread end.
    release: Option<mpsc::Sender<()>>,
    keeper: Option<JoinHandle<()>>,
}

/// Makes a function that tells what was being done when the host's system refused.
fn host<E: Into<io::Error>>(doing: &'static str) -> impl FnOnce(E) -> MachineError {
    move |error| MachineError::Host { doing, source: error.into() }
}

impl QemuProcess {
    /// Starts QEMU with the reset ROM built with this program. The guest's memory must be ready: it
    /// starts at once.
    ///
    /// # Errors
    /// When QEMU is not installed, too old, or cannot be started. What QEMU does not like about its
    /// command line is known a few milliseconds later: [`Self::check_alive`].
    pub fn start(options: &Options<'_>) -> Result<Self, MachineError> {
        let version = installed_version()?;
        let messages = unnamed_file("QEMU's messages")?;
        let mut rom_file = unnamed_file("reset ROM")?;
        rom_file.write_all(&rom::built_in()?).map_err(host("writing the reset ROM"))?;

        let mut inherited = Vec::new();
        let mut memory = Vec::new();
        for &RamRegion { guest_physical, len, file } in options.memory {
            let fd = inherit(&mut inherited, file.try_clone_to_owned())?;
            memory.push(RamPlace { guest_physical, len, fd });
        }
        let rom_fd = inherit(&mut inherited, Ok(rom_file.into()))?;
        let list = arguments(rom_fd, options.phys_bits, options.cpu_flags, &memory)
            .map_err(|why| host("laying out QEMU's memory")(io::Error::other(why)))?;

        let mut command = Command::new(PROGRAM);
        let stderr = messages.try_clone().map_err(host("sharing QEMU's messages"))?;
        command.args(list).stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr);
        // An interrupt from the terminal is for this program alone.
        command.process_group(0);
        let parent = getpid();
        // SAFETY: between fork and exec the closure makes system calls only, and those are
        // async-signal-safe; it allocates nothing and takes no lock.
        unsafe { command.pre_exec(move || become_dependent(parent, &inherited)) };

        let (child, release, keeper) = spawn_with_keeper(command)?;
        Ok(Self { child, version, messages, release: Some(release), keeper: Some(keeper) })
    }

    /// The version of QEMU.
    pub fn version(&self) -> QemuVersion {
        self.version
    }

    /// The id of the process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Says whether QEMU still runs.
    ///
    /// # Errors
    /// If it does not: when it refused its command line, when the guest triple-faulted, when it was
    /// killed or crashed. QEMU's own words are part of the error.
    pub fn check_alive(&mut self) -> Result<(), MachineError> {
        match self.child.try_wait().map_err(host("waiting for QEMU"))? {
            None => Ok(()),
            Some(status) => Err(self.ended(status)),
        }
    }

    fn ended(&self, status: ExitStatus) -> MachineError {
        let said = said(&self.messages);
        // A reset ends QEMU, without a word, and nothing but a triple fault resets our guest.
        if status.success() && said.is_empty() {
            return MachineError::guest("triple-faulted", None);
        }
        let words = if said.is_empty() { String::new() } else { format!(": {said}") };
        let version = self.version;
        if status.code().is_some() {
            MachineError::Unavailable(format!("QEMU {version} ended with {status}{words}"))
        } else {
            let why = format!("QEMU {version} died of {status}{words}");
            host("running QEMU")(io::Error::other(why))
        }
    }
}

impl Drop for QemuProcess {
    fn drop(&mut self) {
        // Neither fails but for a process that is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        drop(self.release.take());
        if let Some(keeper) = self.keeper.take() {
            let _ = keeper.join();
        }
    }
}

/// A file in memory that has no name anywhere.
fn unnamed_file(name: &str) -> Result<File, MachineError> {
    let file = memfd_create(name, MFdFlags::MFD_CLOEXEC).map_err(host("memfd_create"))?;
    Ok(file.into())
}

/// Keeps a file for the child, and says under which number.
fn inherit(files: &mut Vec<OwnedFd>, file: io::Result<OwnedFd>) -> Result<i32, MachineError> {
    let file = file.map_err(host("sharing memory with QEMU"))?;
    let number = file.as_raw_fd();
    files.push(file);
    Ok(number)
}

/// In the child: dies with its parent, and keeps these files.
fn become_dependent(parent: Pid, files: &[OwnedFd]) -> io::Result<()> {
    set_pdeathsig(Signal::SIGKILL)?;
    // A parent that died before the call sends no signal any more.
    if getppid() != parent {
        return Err(Errno::ESRCH.into());
    }
    for file in files {
        fcntl(file, FcntlArg::F_SETFD(FdFlag::empty()))?;
    }
    Ok(())
}

/// Starts the child from a thread that lives as long as the child: the signal of a parent's death
/// comes when the thread ends that started the child, not only with the whole program.
fn spawn_with_keeper(
    mut command: Command,
) -> Result<(Child, mpsc::Sender<()>, JoinHandle<()>), MachineError> {
    let (release, released) = mpsc::channel::<()>();
    let (give, take) = mpsc::channel();
    let keeper = std::thread::Builder::new().name("qemu".into()).spawn(move || {
        let _ = give.send(command.spawn());
        // The parent's copies of the inherited files.
        drop(command);
        // Ends with an error, when the sender is dropped.
        let _ = released.recv();
    });
    let keeper = keeper.map_err(host("starting a thread"))?;
    let spawned = take.recv().unwrap_or_else(|_| Err(io::ErrorKind::BrokenPipe.into()));
    let child = spawned.map_err(host("starting QEMU"))?;
    Ok((child, release, keeper))
}

/// What QEMU said, in one line.
fn said(messages: &File) -> String {
    const MOST: usize = 1000;
    let mut bytes = [0; MOST];
    let len = messages.read_at(&mut bytes, 0).unwrap_or(0);
    let text = String::from_utf8_lossy(&bytes[..len]);
    let program = format!("{PROGRAM}: ");
    let lines = text.lines().map(|line| line.trim().trim_start_matches(program.as_str()));
    lines.filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ")
}
