//! The process of QEMU: started on memory shared with it, watched, and killed together with its
//! owner.

use super::arguments::{RamPlace, arguments};
use super::program::{QemuProgram, SANDBOX};
use super::rom;
use super::unnamed_file::{message_file, messages, unnamed_file};
use crate::child::CountedChild;
use crate::jail::{CageKey, Jail, JailReport};
use crate::{GuestFailure, MachineError, Version};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getpid, getppid};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

/// A region of the guest's memory: a file, mapped from its start at a guest-physical address.
///
/// Regions below 4 GiB must be contiguous from address 0. Several regions may use the same file;
/// they show the same memory.
#[derive(Clone, Copy, Debug)]
pub struct RamRegion<'f> {
    /// The guest-physical address of the region.
    pub guest_physical: u64,
    /// Its size in bytes.
    pub len: u64,
    /// The file, for example a memfd, at least as long as the region. QEMU writes to it.
    pub file: BorrowedFd<'f>,
}

/// What QEMU is asked to emulate.
#[derive(Clone, Copy, Debug)]
pub struct Options<'f> {
    /// The name or path of the QEMU; a name without a slash is searched in `PATH`.
    pub program: &'f Path,
    /// MAXPHYADDR; QEMU's own choice (40) if not given.
    pub phys_bits: Option<u8>,
    /// Features to add or remove, in QEMU's notation, such as `-nx`.
    pub cpu_flags: &'f [&'f str],
    /// The guest's memory.
    pub memory: &'f [RamRegion<'f>],
    /// Number of processors. Several run in threads of their own.
    pub processors: u8,
}

/// A running QEMU. It is killed when this value is dropped, and when this program ends, however it
/// ends.
#[derive(Debug)]
pub struct QemuProcess {
    child: CountedChild,
    program: QemuProgram,
    /// QEMU's standard error.
    messages: File,
    keeper: Keeper,
    jail: JailReport,
    is_suspended: bool,
    /// Whether its end was waited for, so that its id may be that of another process.
    is_reaped: bool,
}

impl QemuProcess {
    /// Starts QEMU in a jail with the built-in reset ROM. The guest starts at once, so its memory must
    /// be ready.
    ///
    /// # Errors
    /// If there is no such QEMU, it is too old or cannot be started, or the jail cannot be closed. Whether
    /// QEMU accepts its command line is known a few milliseconds later: see [`Self::check_alive`].
    pub fn start(options: &Options<'_>, jail: &Jail) -> Result<Self, MachineError> {
        let program = QemuProgram::find(options.program)?;
        let sandbox = if jail.is_none() {
            Err("QEMU is not in jail".into())
        } else {
            program.sandbox.clone()
        };
        let messages = message_file("QEMU's messages")?;
        let mut rom_file = unnamed_file("reset ROM")?;
        rom_file
            .write_all(&rom::built_in()?)
            .map_err(MachineError::host("writing the reset ROM"))?;

        let mut inherited = Vec::new();
        let mut memory = Vec::new();
        for &RamRegion { guest_physical, len, file } in options.memory {
            let fd = inherit(&mut inherited, file.try_clone_to_owned())?;
            memory.push(RamPlace { guest_physical, len, fd });
        }
        let rom_fd = inherit(&mut inherited, Ok(rom_file.into()))?;

        let list =
            arguments(rom_fd, options.phys_bits, options.cpu_flags, &memory, options.processors)
                .map_err(|why| {
                    MachineError::host("laying out QEMU's memory")(io::Error::other(why))
                })?;
        let stderr = messages.try_clone().map_err(MachineError::host("sharing QEMU's messages"))?;
        let mut command = Command::new(&program.path);
        if sandbox.is_ok() {
            command.args(SANDBOX);
        }
        command.args(list).stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr);
        // An interrupt from the terminal is meant for this program alone.
        command.process_group(0);

        let size = options.memory.iter().map(|region| region.len).sum();
        let key = jail
            .cage_qemu(&program.path, size)
            .and_then(|cage| cage.close_around(&mut command))
            .map_err(MachineError::host("building QEMU's jail"))?;

        let (child, keeper) = Keeper::spawn_dependent(command, inherited, key)?;
        let jail = jail.report_qemu(size, &sandbox);
        Ok(Self { child, program, messages, keeper, jail, is_suspended: false, is_reaped: false })
    }

    /// The version of QEMU.
    pub fn version(&self) -> Version {
        self.program.version
    }

    /// The jail that it is in.
    pub fn jail(&self) -> &JailReport {
        &self.jail
    }

    /// The id of the process.
    pub fn id(&self) -> u32 {
        self.child.id().as_raw().cast_unsigned()
    }

    /// Checks that QEMU is still running.
    ///
    /// # Errors
    /// If it is not: QEMU refused its command line, the guest triple-faulted, or QEMU was killed or
    /// crashed. The error contains QEMU's messages.
    pub fn check_alive(&mut self) -> Result<(), MachineError> {
        match self.child.try_wait().map_err(MachineError::host("waiting for QEMU"))? {
            None => Ok(()),
            Some(status) => {
                self.is_reaped = true;
                Err(self.ended(status))
            }
        }
    }

    /// The processor time that QEMU has used so far, in all its threads.
    ///
    /// # Errors
    /// If it is not running any more, and has been waited for.
    pub fn cpu_time(&self) -> Result<Duration, MachineError> {
        self.child.cpu_time().map_err(MachineError::host("reading QEMU's clock"))
    }

    /// Stops QEMU until it is resumed: its guest waits for commands in a loop. It can be killed all the same.
    pub fn suspend(&mut self) {
        // It fails only if the process is gone already, which shows at the next command.
        self.is_suspended = self.signal(Signal::SIGSTOP).is_ok();
    }

    /// Lets QEMU go on.
    pub fn resume(&mut self) {
        if std::mem::take(&mut self.is_suspended) {
            // As above: the thread that waits for the command finds out.
            let _ = self.signal(Signal::SIGCONT);
        }
    }

    fn signal(&self, signal: Signal) -> Result<(), Errno> {
        if self.is_reaped {
            return Err(Errno::ESRCH);
        }
        kill(self.child.id(), signal)
    }

    fn ended(&self, status: ExitStatus) -> MachineError {
        let messages = one_line(&self.program.path, &self.messages);
        // A reset ends QEMU without a message, and so does turning the power off. Of our guest's
        // doings only a triple fault does that.
        if status.success() && messages.is_empty() {
            return MachineError::guest(GuestFailure::MachineOff, None);
        }

        let version = self.program.version;
        // It takes the features of -cpu for globals of the processor.
        let is_about_property = messages.contains("Property '") && messages.contains("not found");
        if messages.contains("can't apply global") || is_about_property {
            return MachineError::Refused(format!(
                "QEMU {version} refuses its processor: {messages}"
            ));
        }
        let words = if messages.is_empty() { String::new() } else { format!(": {messages}") };
        let hint = match self.jail {
            JailReport::On(_) => " (it is in jail; --no-jail runs it without)",
            JailReport::Off => "",
        };
        if status.code().is_some() {
            MachineError::Unavailable(format!("QEMU {version} ended with {status}{words}{hint}"))
        } else {
            let why = format!("QEMU {version} died of {status}{words}");
            MachineError::host("running QEMU")(io::Error::other(why))
        }
    }
}

impl Drop for QemuProcess {
    fn drop(&mut self) {
        self.child.end();
        self.keeper.end();
    }
}

/// The thread that started the child and lives as long as the child does. The kernel sends the
/// signal of a parent's death when the thread ends that started the child, not only when the whole
/// program ends.
#[derive(Debug)]
pub(crate) struct Keeper {
    /// The thread ends when this is dropped.
    release: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Keeper {
    /// Starts a child that ends with this program, and inherits these files.
    pub(crate) fn spawn_dependent(
        mut command: Command,
        inherited: Vec<OwnedFd>,
        key: CageKey,
    ) -> Result<(CountedChild, Self), MachineError> {
        let parent = getpid();
        // SAFETY: between fork and exec the closure only makes system calls that are
        // async-signal-safe (prctl, getppid, fcntl). It allocates nothing and takes no lock.
        unsafe { command.pre_exec(move || become_dependent(parent, &inherited)) };

        Self::spawn(command, key)
    }

    /// Starts a child from a new thread.
    fn spawn(mut command: Command, key: CageKey) -> Result<(CountedChild, Self), MachineError> {
        let (release, released) = mpsc::channel::<()>();
        let (give, take) = mpsc::channel();

        let thread = std::thread::Builder::new()
            .name("emulator".into())
            .spawn(move || {
                let _ = give.send(command.spawn().map(CountedChild::new));
                // Closes the parent's copies of the inherited files.
                drop(command);
                // Returns an error when the sender is dropped.
                let _ = released.recv();
            })
            .map_err(MachineError::host("starting a thread"))?;

        let spawned = take.recv().unwrap_or_else(|_| Err(io::ErrorKind::BrokenPipe.into()));
        let child = spawned
            .map_err(|error| key.explain(error))
            .map_err(MachineError::host("starting the emulator"))?;
        Ok((child, Self { release: Some(release), thread: Some(thread) }))
    }

    pub(crate) fn end(&mut self) {
        drop(self.release.take());

        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Adds a file to those that the child inherits, and returns its descriptor, which is the same in
/// the child.
pub(crate) fn inherit(
    files: &mut Vec<OwnedFd>,
    file: io::Result<OwnedFd>,
) -> Result<RawFd, MachineError> {
    let file = file.map_err(MachineError::host("sharing memory with the emulator"))?;
    let descriptor = file.as_raw_fd();
    files.push(file);
    Ok(descriptor)
}

/// In the child, before QEMU runs: arranges to die with the parent, and to inherit these files.
fn become_dependent(parent: Pid, files: &[OwnedFd]) -> io::Result<()> {
    set_pdeathsig(Signal::SIGKILL)?;
    // If the parent died before that call, no signal will come.
    if getppid() != parent {
        return Err(Errno::ESRCH.into());
    }

    for file in files {
        fcntl(file, FcntlArg::F_SETFD(FdFlag::empty()))?;
    }
    Ok(())
}

/// QEMU's messages in one line, without the program's name.
fn one_line(program: &Path, file: &File) -> String {
    let text = messages(file);
    let name = program.file_name().unwrap_or_default();
    let program = format!("{}: ", name.display());
    let lines = text.lines().map(|line| line.trim().trim_start_matches(program.as_str()));
    lines.filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ")
}
