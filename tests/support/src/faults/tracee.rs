//! A program beneath the tracer.

use super::{Call, Effect, Fault};
use libc::user_regs_struct;
use nix::errno::Errno;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

/// A program, with all its threads.
pub(super) struct Tracee {
    pid: Pid,
    sandbox: PathBuf,
    fault: Option<Fault>,
    /// Whether the shell has become the program.
    started: bool,
    pub(super) calls: BTreeMap<Call, u32>,
    pub(super) struck: bool,
    /// What remains to be done when a thread's call returns.
    pending: HashMap<Pid, Effect>,
}

impl Tracee {
    /// Takes hold of a child of this thread that stops itself, and lets it go on.
    pub(super) fn seize(pid: Pid, sandbox: &Path, fault: Option<Fault>) -> Self {
        let stopped = waitpid(pid, Some(WaitPidFlag::WUNTRACED)).expect("a child");
        assert!(matches!(stopped, WaitStatus::Stopped(..)), "{stopped:?}");

        let options = Options::PTRACE_O_TRACESYSGOOD
            | Options::PTRACE_O_TRACECLONE
            | Options::PTRACE_O_TRACEFORK
            | Options::PTRACE_O_TRACEVFORK
            | Options::PTRACE_O_TRACEEXEC
            | Options::PTRACE_O_EXITKILL;
        ptrace::seize(pid, options).expect("a child can be traced");
        kill(pid, Signal::SIGCONT).expect("a child");

        Self {
            pid,
            sandbox: sandbox.to_owned(),
            fault,
            started: false,
            calls: BTreeMap::new(),
            struck: false,
            pending: HashMap::new(),
        }
    }

    /// Follows it to its end. Returns its exit code, if no signal ended it.
    pub(super) fn run(&mut self) -> Option<i32> {
        // Other tests have children of their own, in other threads.
        let flags = WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD;

        loop {
            match waitpid(None, Some(flags)) {
                Ok(WaitStatus::Exited(pid, code)) if pid == self.pid => return Some(code),
                Ok(WaitStatus::Signaled(pid, ..)) if pid == self.pid => return None,
                Ok(WaitStatus::PtraceSyscall(pid)) => {
                    self.stop_at_call(pid);
                    let _ = ptrace::syscall(pid, None);
                }
                Ok(WaitStatus::PtraceEvent(pid, _, libc::PTRACE_EVENT_EXEC)) => {
                    if pid == self.pid {
                        self.started = true;
                        let _ = ptrace::syscall(pid, None);
                    } else {
                        // Another program is not under test.
                        let _ = ptrace::detach(pid, None);
                    }
                }
                Ok(WaitStatus::PtraceEvent(pid, ..)) => {
                    let _ = ptrace::syscall(pid, None);
                }
                Ok(WaitStatus::Stopped(pid, signal)) => {
                    let _ = ptrace::syscall(pid, signal);
                }
                Ok(_) | Err(Errno::EINTR) => {}
                Err(error) => panic!("waiting for the program: {error}"),
            }
        }
    }

    /// Counts a call that begins, or ends one that the fault struck. A thread that is gone was killed.
    fn stop_at_call(&mut self, pid: Pid) {
        let Ok(info) = ptrace::syscall_info(pid) else { return };
        let Ok(registers) = ptrace::getregs(pid) else { return };

        match info.op {
            libc::PTRACE_SYSCALL_INFO_ENTRY if self.started => self.begin(pid, registers),
            libc::PTRACE_SYSCALL_INFO_EXIT => self.end(pid, registers),
            _ => {}
        }
    }

    fn begin(&mut self, pid: Pid, mut registers: user_regs_struct) {
        let Some(call) = Call::of(pid, &registers, &self.sandbox) else { return };
        let number = self.calls.entry(call).or_default();
        *number += 1;

        let Some(fault) = self.fault.filter(|fault| fault.strikes(call, *number)) else { return };
        self.struck = true;
        match fault.effect {
            Effect::Kill => {
                let _ = kill(self.pid, Signal::SIGKILL);
                return;
            }
            Effect::Short | Effect::Torn => registers.rdx = registers.rdx.div_ceil(2),
            // The kernel closes a file even if it returns an error.
            Effect::Fail(_) if call == Call::Close => {}
            Effect::Fail(_) => Call::spoil(&mut registers),
        }
        let _ = ptrace::setregs(pid, registers);
        self.pending.insert(pid, fault.effect);
    }

    fn end(&mut self, pid: Pid, mut registers: user_regs_struct) {
        match self.pending.remove(&pid) {
            Some(Effect::Fail(errno)) => {
                registers.rax = -(errno as i64) as u64;
                let _ = ptrace::setregs(pid, registers);
            }
            Some(Effect::Torn) => {
                let _ = kill(self.pid, Signal::SIGKILL);
            }
            _ => {}
        }
    }
}
