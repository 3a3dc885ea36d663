//! Faults of the host: the program under test runs beneath a tracer, which counts its system calls by
//! kind and lets one of them fail, do half of its work, or be the last thing before a SIGKILL.
//!
//! The tracer sees every system call of every thread, whichever library makes it, and of child
//! processes until they run a program of their own.

mod call;
mod tracee;

pub use call::Call;

use crate::program::Sandbox;
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek};
use std::process::Stdio;
use std::sync::mpsc;
use std::time::Duration;

/// What happens to a system call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It does nothing and returns this error.
    Fail(Errno),
    /// It reads or writes half of the bytes.
    Short,
    /// The program is killed before it.
    Kill,
    /// The program is killed after half of the bytes were written.
    Torn,
}

/// A fault of the host.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    /// The kind of system call that it strikes.
    pub call: Call,
    /// The number of the first call of this kind that it strikes, from 1.
    pub first: u32,
    /// How many calls it strikes.
    pub times: u32,
    /// What it does.
    pub effect: Effect,
}

impl Fault {
    /// A fault that strikes one call.
    pub fn at(call: Call, number: u32, effect: Effect) -> Self {
        Self { call, first: number, times: 1, effect }
    }

    /// A fault that strikes every call from this one on.
    pub fn from(call: Call, number: u32, effect: Effect) -> Self {
        Self { times: u32::MAX, ..Self::at(call, number, effect) }
    }

    fn strikes(&self, call: Call, number: u32) -> bool {
        let distance = number.checked_sub(self.first);
        call == self.call && distance.is_some_and(|distance| distance < self.times)
    }
}

/// How a traced run ended.
#[derive(Debug)]
pub struct TracedRun {
    /// The exit code; `None` when a signal ended the program.
    pub code: Option<i32>,
    /// What it wrote to standard output.
    pub stdout: String,
    /// What it wrote to standard error.
    pub stderr: String,
    /// Number of calls of each kind.
    pub calls: BTreeMap<Call, u32>,
    /// Whether the fault struck.
    pub struck: bool,
}

/// Time limit of a traced run, which is slower than others.
const TIME_LIMIT: Duration = Duration::from_secs(120);

impl TracedRun {
    /// Asserts that it did not panic, and that it was not killed by anything but its fault.
    #[track_caller]
    pub fn expect_no_panic(self, fault: Option<Fault>) -> Self {
        let kills = |fault: Fault| matches!(fault.effect, Effect::Kill | Effect::Torn);
        let may_be_killed = self.struck && fault.is_some_and(kills);

        assert!(!self.stderr.contains("panicked"), "{fault:?}: {}", self.stderr);
        assert!(self.code.is_some() || may_be_killed, "{fault:?}: {self:?}");
        self
    }
}

impl Sandbox {
    /// Runs the program to its end beneath a tracer, with a fault or without.
    pub fn trace(&self, arguments: &[&str], fault: Option<Fault>) -> TracedRun {
        let mut stdout = tempfile::tempfile().expect("a temporary file");
        let mut stderr = tempfile::tempfile().expect("a temporary file");

        // The program waits for its tracer, so that none of its calls is missed.
        let mut command = self.std_command("sh");
        command.args(["-c", "kill -STOP $$; exec \"$@\"", "sh"]);
        command.arg(crate::program()).args(arguments).stdin(Stdio::null());
        command
            .stdout(stdout.try_clone().expect("a file"))
            .stderr(stderr.try_clone().expect("a file"));
        #[expect(clippy::zombie_processes, reason = "the tracer waits for it")]
        let child = command.spawn().expect("sh starts");
        let pid = Pid::from_raw(child.id().cast_signed());

        let (done, is_done) = mpsc::channel::<()>();
        let watch = std::thread::spawn(move || {
            if is_done.recv_timeout(TIME_LIMIT) == Err(mpsc::RecvTimeoutError::Timeout) {
                let _ = kill(pid, Signal::SIGKILL);
            }
        });
        let mut tracee = tracee::Tracee::seize(pid, self.path(), fault);
        let code = tracee.run();
        drop(done);
        watch.join().expect("the watch does not panic");

        let run = TracedRun {
            code,
            stdout: text_of(&mut stdout),
            stderr: text_of(&mut stderr),
            calls: tracee.calls,
            struck: tracee.struck,
        };
        run.expect_no_panic(fault)
    }
}

fn text_of(file: &mut File) -> String {
    let mut text = String::new();
    file.rewind().and_then(|()| file.read_to_string(&mut text)).expect("text");
    text
}
