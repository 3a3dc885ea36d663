//! The kinds of system calls.

use libc::user_regs_struct;
use nix::sys::ptrace;
use nix::unistd::Pid;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// A kind of system call. Those on files are counted for files of the sandbox only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Call {
    /// Opens a file or creates it.
    Open,
    /// Creates a directory.
    MakeDirectory,
    /// Reads from a file.
    Read,
    /// Writes to a file.
    Write,
    /// Makes a file durable.
    Sync,
    /// Gives a file another name.
    Rename,
    /// Removes a file.
    Unlink,
    /// Locks a file or a directory.
    Lock,
    /// Closes a file or a directory.
    Close,
    /// Writes to standard output.
    Print,
    /// Starts a thread.
    Thread,
    /// Starts a process.
    Process,
    /// Runs a program in a new process.
    Exec,
    /// Maps memory that is shared, or more than is there: guest memory, KVM's, stacks of threads.
    Map,
    /// Creates a file in memory.
    MemoryFile,
    /// Creates a pipe.
    Pipe,
    /// Creates a timer.
    Timer,
    /// Closes a part of the jail: a filter of system calls, or Landlock.
    Jail,
    /// Asks KVM for something, but not to run.
    Kvm,
    /// Lets KVM run the guest.
    KvmRun,
}

impl Call {
    /// Those that change what is on the disk, or make it durable.
    pub const CHANGES: [Self; 6] =
        [Self::Open, Self::MakeDirectory, Self::Write, Self::Sync, Self::Rename, Self::Unlink];
    /// All on files.
    pub const FILES: [Self; 9] = [
        Self::Open,
        Self::MakeDirectory,
        Self::Read,
        Self::Write,
        Self::Sync,
        Self::Rename,
        Self::Unlink,
        Self::Lock,
        Self::Close,
    ];

    /// The kind of the call that a thread is about to make; `None` if it is of no interest.
    pub(super) fn of(pid: Pid, registers: &user_regs_struct, sandbox: &Path) -> Option<Self> {
        let at_descriptor = |kind| opened(pid, registers.rdi).starts_with(sandbox).then_some(kind);
        let at_path = |pointer, kind| is_within(&path_at(pid, pointer), sandbox).then_some(kind);

        match registers.orig_rax as i64 {
            libc::SYS_open => at_path(registers.rdi, Self::Open),
            libc::SYS_openat => at_path(registers.rsi, Self::Open),
            libc::SYS_mkdir => at_path(registers.rdi, Self::MakeDirectory),
            libc::SYS_read | libc::SYS_pread64 => at_descriptor(Self::Read),
            libc::SYS_write | libc::SYS_writev if registers.rdi == 1 => Some(Self::Print),
            libc::SYS_write | libc::SYS_pwrite64 => at_descriptor(Self::Write),
            libc::SYS_fsync | libc::SYS_fdatasync => at_descriptor(Self::Sync),
            libc::SYS_rename | libc::SYS_link => at_path(registers.rdi, Self::Rename),
            libc::SYS_renameat | libc::SYS_renameat2 | libc::SYS_linkat => {
                at_path(registers.rsi, Self::Rename)
            }
            libc::SYS_unlink => at_path(registers.rdi, Self::Unlink),
            libc::SYS_unlinkat => at_path(registers.rsi, Self::Unlink),
            libc::SYS_flock => at_descriptor(Self::Lock),
            libc::SYS_close => at_descriptor(Self::Close),
            libc::SYS_fork | libc::SYS_vfork => Some(Self::Process),
            libc::SYS_clone => Some(thread_or_process(registers.rdi)),
            libc::SYS_clone3 => {
                let flags = ptrace::read(pid, registers.rdi as ptrace::AddressType).ok()?;
                Some(thread_or_process(flags as u64))
            }
            libc::SYS_execve | libc::SYS_execveat => Some(Self::Exec),
            libc::SYS_mmap => {
                let unusual = libc::MAP_SHARED | libc::MAP_NORESERVE;
                (registers.r10 as i32 & unusual != 0).then_some(Self::Map)
            }
            libc::SYS_memfd_create => Some(Self::MemoryFile),
            libc::SYS_pipe2 | libc::SYS_pipe => Some(Self::Pipe),
            libc::SYS_timer_create => Some(Self::Timer),
            libc::SYS_seccomp => {
                let closes = registers.rdi == u64::from(libc::SECCOMP_SET_MODE_FILTER);
                closes.then_some(Self::Jail)
            }
            libc::SYS_landlock_restrict_self => Some(Self::Jail),
            libc::SYS_ioctl => kvm(registers.rsi),
            _ => None,
        }
    }

    /// Changes the arguments so that the kernel refuses the call and nothing happens. The number of
    /// the call stays, since a filter of system calls may allow no other.
    pub(super) fn spoil(registers: &mut user_regs_struct) {
        match registers.orig_rax as i64 {
            libc::SYS_openat
            | libc::SYS_renameat
            | libc::SYS_renameat2
            | libc::SYS_linkat
            | libc::SYS_unlinkat
            | libc::SYS_execveat
            | libc::SYS_mmap
            | libc::SYS_clone3
            | libc::SYS_pipe2
            | libc::SYS_timer_create => registers.rsi = 0,
            // A thread that shares signal handlers must share memory.
            libc::SYS_clone => registers.rdi = libc::CLONE_SIGHAND as u64,
            _ => registers.rdi = u64::MAX,
        }
        if registers.orig_rax as i64 == libc::SYS_pipe2 {
            registers.rdi = 0;
        }
    }
}

fn thread_or_process(flags: u64) -> Call {
    if flags & libc::CLONE_THREAD as u64 == 0 { Call::Process } else { Call::Thread }
}

/// The requests of KVM have a type of their own.
fn kvm(request: u64) -> Option<Call> {
    const KVMIO: u64 = 0xae;
    const KVM_RUN: u64 = 0xae80;

    match request {
        KVM_RUN => Some(Call::KvmRun),
        _ => (request >> 8 & 0xff == KVMIO).then_some(Call::Kvm),
    }
}

/// What a descriptor was opened on.
fn opened(pid: Pid, descriptor: u64) -> PathBuf {
    let link = format!("/proc/{pid}/fd/{}", descriptor as i32);
    std::fs::read_link(link).unwrap_or_else(|_| "/".into())
}

/// The path at an address of a process.
fn path_at(pid: Pid, pointer: u64) -> PathBuf {
    let mut bytes = [0; 512];
    let memory = std::fs::File::open(format!("/proc/{pid}/mem"));
    let read = memory.and_then(|memory| memory.read_at(&mut bytes, pointer)).unwrap_or(0);

    let path = bytes[..read].split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(path).into_owned().into()
}

/// The program works in the sandbox, so relative paths lead there.
fn is_within(path: &Path, sandbox: &Path) -> bool {
    path.is_relative() || path.starts_with(sandbox)
}
