//! The process of QEMU: a bare processor and flat memory that is shared with this program. It is gone
//! when its owner is.

use super::gdb::Gdb;
use super::monitor::Monitor;
use crosswalk_machine::qemu::PROGRAM;
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

/// How much memory the machine has. Nothing is there until it is written.
pub(super) const MEMORY_SIZE: u64 = 64 << 30;

/// It answers in less than a millisecond.
const PATIENCE: Duration = Duration::from_secs(10);

/// QEMU, running.
#[derive(Debug)]
pub(super) struct MonitoredProcess {
    child: Child,
    gdb: Gdb,
    monitor: Monitor,
    memory: GuestMemoryMmap,
    /// The signal of a parent's death comes when the thread ends that started the child, so the
    /// owner stays on its thread.
    _stays: PhantomData<*const ()>,
}

impl MonitoredProcess {
    pub(super) fn start() -> io::Result<Self> {
        let file: File = memfd_create("tables", MFdFlags::MFD_CLOEXEC)?.into();
        file.set_len(MEMORY_SIZE)?;
        let range = (GuestAddress(0), MEMORY_SIZE as usize);
        let shared = Some(FileOffset::new(file.try_clone()?, 0));
        let memory = GuestMemoryMmap::from_ranges_with_files([(range.0, range.1, shared)])
            .map_err(io::Error::other)?;
        let (gdb, its_gdb) = UnixStream::pair()?;
        let (monitor, its_monitor) = UnixStream::pair()?;
        for stream in [&gdb, &monitor] {
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.set_write_timeout(Some(PATIENCE))?;
        }
        let inherited: [OwnedFd; 3] = [file.into(), its_gdb.into(), its_monitor.into()];
        let mut child = spawn(inherited)?;
        let connected = Monitor::new(monitor).and_then(|monitor| Ok((monitor, Gdb::new(gdb)?)));
        match connected {
            Ok((monitor, gdb)) => Ok(Self { child, gdb, monitor, memory, _stays: PhantomData }),
            Err(error) => {
                let _ = child.kill();
                let mut said = String::new();
                let _ = child.stderr.take().map(|mut stderr| stderr.read_to_string(&mut said));
                let _ = child.wait();
                Err(io::Error::other(format!("{error}: {}", said.trim())))
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

    /// Ends it.
    pub(super) fn kill(&mut self) {
        // Neither fails but for a process that is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for MonitoredProcess {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Starts QEMU with the memory, and its ends of the connections.
fn spawn(inherited: [OwnedFd; 3]) -> io::Result<Child> {
    let [memory, gdb, monitor] = inherited.each_ref().map(AsRawFd::as_raw_fd);
    let mut command = Command::new(PROGRAM);
    command
        .args("-no-user-config -nodefaults -display none -accel tcg,thread=single -S".split(' '))
        // No board: a processor, and memory without holes. It lacks the APIC's number, which a board
        // would give it.
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
        .stderr(Stdio::piped())
        // An interrupt from the terminal is for this program alone.
        .process_group(0);
    let parent = getpid();
    // SAFETY: between fork and exec the closure makes system calls only, and those are
    // async-signal-safe; it allocates nothing and takes no lock.
    unsafe { command.pre_exec(move || become_dependent(parent, &inherited)) };
    command.spawn()
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
