//! Children of this program, and the processor time that they have used. The kernel adds the time of a
//! child to that of its parent only when the child has ended and was waited for, and an emulator runs
//! until the end.

use nix::sys::resource::{Usage, UsageWho, getrusage};
use nix::time::ClockId;
use nix::unistd::Pid;
use std::io;
use std::process::{Child, ExitStatus};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The children that were not waited for. A thread that waits for one holds the lock, so that
/// each child is counted once.
static NOT_WAITED_FOR: Mutex<Vec<Pid>> = Mutex::new(Vec::new());

/// A child whose processor time counts while it runs. It is killed when this is dropped.
#[derive(Debug)]
pub struct CountedChild(Child);

impl CountedChild {
    /// Counts a child that has just been started.
    pub fn new(child: Child) -> Self {
        let counted = Self(child);
        not_waited_for().push(counted.id());
        counted
    }

    /// The id of the process.
    pub fn id(&self) -> Pid {
        Pid::from_raw(self.0.id().cast_signed())
    }

    /// The processor time that it has used so far, in all its threads.
    ///
    /// # Errors
    /// If it has ended and was waited for.
    pub fn cpu_time(&self) -> io::Result<Duration> {
        Ok(cpu_time_of(self.id())?)
    }

    /// How it ended, if it did.
    ///
    /// # Errors
    /// If the kernel refuses to tell.
    pub fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        let mut not_waited_for = not_waited_for();

        let ended = self.0.try_wait()?;
        if ended.is_some() {
            let id = self.id();
            not_waited_for.retain(|other| *other != id);
        }
        Ok(ended)
    }

    /// Kills it, and waits for its end.
    pub fn end(&mut self) {
        let mut not_waited_for = not_waited_for();

        // Both fail only if the process is gone already.
        let _ = self.0.kill();
        let _ = self.0.wait();
        let id = self.id();
        not_waited_for.retain(|other| *other != id);
    }
}

impl Drop for CountedChild {
    fn drop(&mut self) {
        self.end();
    }
}

/// The processor time of all children so far: of those that were waited for, with the children that
/// they waited for, and of every [`CountedChild`] that runs. A program that another one became by
/// `exec` has inherited the children of that program.
pub fn children_cpu_time() -> Duration {
    let not_waited_for = not_waited_for();

    let ended =
        getrusage(UsageWho::RUSAGE_CHILDREN).map_or(Duration::ZERO, |usage| time_of(&usage));
    let running = not_waited_for.iter().filter_map(|id| cpu_time_of(*id).ok());
    ended + running.sum::<Duration>()
}

/// The processor time of this process so far, in all its threads.
pub fn own_cpu_time() -> Duration {
    getrusage(UsageWho::RUSAGE_SELF).map_or(Duration::ZERO, |usage| time_of(&usage))
}

fn not_waited_for() -> MutexGuard<'static, Vec<Pid>> {
    NOT_WAITED_FOR.lock().unwrap_or_else(PoisonError::into_inner)
}

fn cpu_time_of(id: Pid) -> nix::Result<Duration> {
    ClockId::pid_cpu_clock_id(id).and_then(ClockId::now).map(Duration::from)
}

fn time_of(usage: &Usage) -> Duration {
    let times = [usage.user_time(), usage.system_time()];
    let micros = times.map(|time| time.tv_sec() * 1_000_000 + time.tv_usec());
    Duration::from_micros(micros.into_iter().sum::<i64>().cast_unsigned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::wait::{Id, WaitPidFlag, waitid};
    use std::process::Command;

    #[test]
    fn a_child_counts_while_it_runs_and_after_it_has_ended() {
        let script = "i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done; kill -STOP $$";
        let before = children_cpu_time();
        let counted = || children_cpu_time().saturating_sub(before);
        let child = Command::new("/bin/sh").args(["-c", script]).spawn();
        let mut child = CountedChild::new(child.expect("there is a shell"));

        let stops = WaitPidFlag::WSTOPPED | WaitPidFlag::WNOWAIT;
        waitid(Id::Pid(child.id()), stops).expect("the child stops");
        let used = child.cpu_time().expect("the child was not waited for");
        assert!(used > Duration::ZERO);

        // The kernel counts those that have ended in microseconds.
        let exact = Duration::from_micros(2);
        assert!(counted() >= used, "it runs");
        child.end();
        assert!(counted() + exact >= used, "it has ended");
        assert!(!not_waited_for().contains(&child.id()), "it would count twice");
        assert!(child.cpu_time().is_err());
    }
}
