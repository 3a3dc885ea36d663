//! The process of QEMU: a bare processor, and flat memory that it shares with this program. It ends
//! when its owner is dropped or dies.

use super::gdb::Gdb;
use super::monitor::Monitor;
use super::program::PROGRAM;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::unistd::{Pid, getpid, getppid};
use std::fs::File;
use std::io::{self, Read};
use std::marker::PhantomData;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use vm_memory::{FileOffset, GuestAddress, GuestMemoryMmap};

/// Bytes of memory that the machine has. The host allocates a page only when it is written.
pub(super) const MEMORY_SIZE: u64 = 64 << 30;

/// Time to wait for one response, which usually takes less than a millisecond.
const TIMEOUT: Duration = Duration::from_secs(10);

/// QEMU, running.
#[derive(Debug)]
pub(super) struct MonitoredProcess {
    child: Child,
    gdb: Gdb,
    monitor: Monitor,
    memory: GuestMemoryMmap,
    /// The kernel sends the signal of a parent's death when the thread that started the child ends,
    /// so the owner must stay on its thread.
    _not_send: PhantomData<*const ()>,
}

impl MonitoredProcess {
    pub(super) fn start() -> io::Result<Self> {
        let file: File = memfd_create("tables", MFdFlags::MFD_CLOEXEC)?.into();
        file.set_len(MEMORY_SIZE)?;
        let shared = FileOffset::new(file.try_clone()?, 0);
        let range = (GuestAddress(0), MEMORY_SIZE as usize, Some(shared));
        let memory = GuestMemoryMmap::from_ranges_with_files([range]).map_err(io::Error::other)?;

        let (gdb, qemu_gdb) = UnixStream::pair()?;
        let (monitor, qemu_monitor) = UnixStream::pair()?;
        for stream in [&gdb, &monitor] {
            stream.set_read_timeout(Some(TIMEOUT))?;
            stream.set_write_timeout(Some(TIMEOUT))?;
        }
        let mut child = spawn([file.into(), qemu_gdb.into(), qemu_monitor.into()])?;

        match connect(monitor, gdb) {
            Ok((monitor, gdb)) => Ok(Self { child, gdb, monitor, memory, _not_send: PhantomData }),
            Err(error) => {
                let printed = end_with_stderr(&mut child);
                Err(io::Error::other(format!("{error}: {}", printed.trim())))
            }
        }
    }

    pub(super) fn gdb(&mut self) -> &mut Gdb {
        &mut self.gdb
    }

    pub(super) fn monitor(&mut self) -> &mut Monitor {
        &mut self.monitor
    }

    pub(super) fn memory(&self) -> &GuestMemoryMmap {
        &self.memory
    }

    /// Ends QEMU.
    pub(super) fn kill(&mut self) {
        // Both fail only when the process has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for MonitoredProcess {
    fn drop(&mut self) {
        self.kill();
    }
}

fn connect(monitor: UnixStream, gdb: UnixStream) -> io::Result<(Monitor, Gdb)> {
    Ok((Monitor::new(monitor)?, Gdb::new(gdb)?))
}

/// Ends a QEMU that does not respond, and returns what it printed on standard error.
fn end_with_stderr(child: &mut Child) -> String {
    let mut printed = String::new();
    let _ = child.kill();
    if let Some(mut stderr) = child.stderr.take() {
        let _ = stderr.read_to_string(&mut printed);
    }
    let _ = child.wait();
    printed
}

/// Starts QEMU with its memory and its ends of the connections.
#[expect(unsafe_code, reason = "system calls between fork and exec")]
fn spawn(inherited: [OwnedFd; 3]) -> io::Result<Child> {
    let [memory, gdb, monitor] = inherited.each_ref().map(AsRawFd::as_raw_fd);
    let mut command = Command::new(PROGRAM);
    command
        .args("-no-user-config -nodefaults -display none -accel tcg,thread=single -S".split(' '))
        // No board: a processor, and memory without holes. A board would number the processor's APIC.
        .args(["-machine", "none,memory-backend=tables", "-cpu", "max,apic-id=0"])
        .args(["-m", &format!("{MEMORY_SIZE}B"), "-object"])
        .arg(format!(
            "memory-backend-file,id=tables,mem-path=/proc/self/fd/{memory},size={MEMORY_SIZE}B,share=on"
        ))
        .args(["-chardev", &format!("socket,id=gdb,fd={gdb}"), "-gdb", "chardev:gdb"])
        .args(["-chardev", &format!("socket,id=monitor,fd={monitor}")])
        .args(["-mon", "chardev=monitor,mode=control"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        // It stays in the group of this program, and ends with it.
        .stderr(Stdio::piped());

    let parent = getpid();
    // SAFETY: between fork and exec the closure only performs async-signal-safe system calls; it
    // neither allocates nor takes a lock.
    unsafe { command.pre_exec(move || become_dependent(parent, &inherited)) };
    command.spawn()
}

/// In the child: ends it with its parent, and keeps these files open over exec.
fn become_dependent(parent: Pid, files: &[OwnedFd]) -> io::Result<()> {
    set_pdeathsig(Signal::SIGKILL)?;
    // If the parent died before the call, no signal will come.
    if getppid() != parent {
        return Err(Errno::ESRCH.into());
    }

    for file in files {
        fcntl(file, FcntlArg::F_SETFD(FdFlag::empty()))?;
    }
    Ok(())
}
