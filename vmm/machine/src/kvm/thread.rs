//! The thread of the vCPU. It owns the virtual machine, is in jail before the guest runs for the first
//! time, and works on one job after another.

use super::vm::Vm;
use super::watchdog;
use crate::MachineError;
use crate::jail::Jail;
use std::io;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Weak};
use std::thread::{Builder, JoinHandle};

type Job = Box<dyn FnOnce(&mut Option<Vm>) + Send>;

/// A thread in jail. It ends when this is dropped, and the virtual machine with it.
#[derive(Debug)]
pub(super) struct VcpuThread {
    /// `None` while it is dropped.
    jobs: Option<Arc<Sender<Job>>>,
    thread: Option<JoinHandle<()>>,
}

/// Gives the thread a job from another one, and does not keep it from ending.
#[derive(Clone, Debug)]
pub(super) struct Knocker(Weak<Sender<Job>>);

impl Knocker {
    /// Lets the thread look at its virtual machine between two other jobs. Nobody waits for it. Returns whether
    /// the thread is there.
    pub(super) fn knock(&self, look: impl FnOnce(&Vm) + Send + 'static) -> bool {
        let job: Job = Box::new(move |vm| {
            if let Some(vm) = vm {
                look(vm);
            }
        });
        self.0.upgrade().is_some_and(|jobs| jobs.send(job).is_ok())
    }
}

impl VcpuThread {
    /// Starts the thread, and locks it up.
    ///
    /// # Errors
    /// If the host refuses the thread, or a part of the jail that it offers.
    pub(super) fn start(jail: &Jail) -> Result<Self, MachineError> {
        let (jobs, received) = channel::<Job>();
        let (locked, is_locked) = channel();
        let jail = jail.clone();

        let thread = Builder::new()
            .name("vcpu".into())
            .spawn(move || {
                let lock = leave_signals_to_others().and_then(|()| jail.lock_vcpu());
                let is_free = lock.is_err();
                if locked.send(lock).is_err() || is_free {
                    return;
                }

                let mut vm = None;
                for job in received {
                    job(&mut vm);
                }
            })
            .map_err(MachineError::host("starting the thread of the vCPU"))?;

        let started = Self { jobs: Some(Arc::new(jobs)), thread: Some(thread) };
        is_locked
            .recv()
            .unwrap_or_else(|_| Err(io::ErrorKind::BrokenPipe.into()))
            .map_err(MachineError::host("closing the jail of the vCPU's thread"))?;
        Ok(started)
    }

    /// What gives it jobs from another thread.
    pub(super) fn knocker(&self) -> Knocker {
        Knocker(self.jobs.as_ref().map(Arc::downgrade).unwrap_or_default())
    }

    /// Lets the thread replace its virtual machine, and waits. The old one is gone before.
    ///
    /// # Errors
    /// If the new one cannot be made, or the thread has ended.
    pub(super) fn replace(
        &self,
        make: impl FnOnce() -> Result<Vm, MachineError> + Send + 'static,
    ) -> Result<(), MachineError> {
        self.work(move |vm| {
            drop(vm.take());
            *vm = Some(make()?);
            Ok(())
        })
    }

    /// Lets the thread work on its virtual machine, and waits.
    ///
    /// # Errors
    /// If the work fails, or the thread has ended.
    pub(super) fn run<R: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Vm) -> Result<R, MachineError> + Send + 'static,
    ) -> Result<R, MachineError> {
        self.work(|vm| match vm {
            Some(vm) => work(vm),
            None => Err(ended("using the virtual machine, which could not be made again")),
        })
    }

    fn work<R: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Option<Vm>) -> Result<R, MachineError> + Send + 'static,
    ) -> Result<R, MachineError> {
        const DOING: &str = "working on the thread of the vCPU, which has ended";

        let (done, result) = channel();
        let job: Job = Box::new(move |vm| {
            let _ = done.send(work(vm));
        });

        let jobs = self.jobs.as_ref().ok_or_else(|| ended(DOING))?;
        jobs.send(job).map_err(|_| ended(DOING))?;
        // A thread that panics drops its end of the channel.
        result.recv().unwrap_or_else(|_| Err(ended(DOING)))
    }
}

/// What makes the calling thread one of a vCPU that is used once: it is in jail, and interrupted at intervals.
#[derive(Debug)]
pub(crate) struct VcpuGuard {
    _watchdog: watchdog::Watchdog,
}

impl VcpuGuard {
    /// Locks the calling thread up.
    ///
    /// # Errors
    /// If the host refuses a part of the jail that it offers, or a timer.
    pub(crate) fn close(jail: &Jail) -> Result<Self, MachineError> {
        let watchdog = watchdog::Watchdog::start(watchdog::INTERVAL)
            .map_err(MachineError::host("starting the watchdog"))?;
        leave_signals_to_others()
            .and_then(|()| jail.lock_vcpu())
            .map_err(MachineError::host("closing the jail of the vCPU's thread"))?;
        Ok(Self { _watchdog: watchdog })
    }
}

/// Blocks every signal in the calling thread that is meant for the whole process: whatever its handler
/// does, as writing into a pipe, the jail would refuse. The watchdog's signal still comes, and so do
/// those of a thread's own mistakes.
fn leave_signals_to_others() -> io::Result<()> {
    use nix::sys::signal::{SigSet, Signal};
    const OWN: [Signal; 7] = [
        watchdog::SIGNAL,
        Signal::SIGSEGV,
        Signal::SIGBUS,
        Signal::SIGFPE,
        Signal::SIGILL,
        Signal::SIGTRAP,
        Signal::SIGSYS,
    ];

    let mut others = SigSet::all();
    for signal in OWN {
        others.remove(signal);
    }
    Ok(others.thread_set_mask()?)
}

impl Drop for VcpuThread {
    fn drop(&mut self) {
        drop(self.jobs.take());

        if let Some(thread) = self.thread.take() {
            // A panic has been reported by the job that caused it.
            let _ = thread.join();
        }
    }
}

fn ended(doing: &'static str) -> MachineError {
    MachineError::host(doing)(io::Error::from(io::ErrorKind::BrokenPipe))
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::errno::Errno;
    use std::fs::File;
    use std::net::TcpStream;
    use std::os::unix::net::UnixStream;
    use std::process::Command;

    /// Lets a thread of a vCPU do something that no vCPU does. The run ends with the error of the
    /// machine, which the program reports with exit code 3.
    fn refused<T: Send + 'static>(work: fn() -> io::Result<T>) -> io::Error {
        let thread = VcpuThread::start(&Jail::strongest()).unwrap();
        let error = thread.work(move |_| work().map_err(MachineError::host("escaping"))).err();

        // It goes on: nobody waits for a thread that was killed.
        assert_eq!(thread.work(|_| Ok(7)).unwrap(), 7);
        match error {
            Some(MachineError::Host { source, .. }) => source,
            other => panic!("expected the host's refusal, got {other:?}"),
        }
    }

    #[test]
    fn a_vcpu_opens_no_file() {
        let error = refused(|| File::open("/proc/self/status"));
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied, "{error}");
        let error = refused(|| File::create("/tmp/written-by-a-vcpu"));
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied, "{error}");
    }

    #[test]
    fn a_vcpu_has_no_network_and_no_sockets() {
        let error = refused(|| TcpStream::connect(("127.0.0.1", 9)));
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied, "{error}");
        let error = refused(UnixStream::pair);
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied, "{error}");
    }

    #[test]
    fn a_vcpu_starts_no_process() {
        let error = refused(|| Command::new("/bin/true").spawn());
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied, "{error}");
    }

    #[test]
    fn a_vcpu_gets_no_memory_for_code() {
        let error = refused(|| {
            // SAFETY: new memory, placed by the kernel, which nothing else uses.
            let address = unsafe {
                libc::mmap(
                    std::ptr::null_mut(),
                    0x1000,
                    libc::PROT_READ | libc::PROT_EXEC,
                    libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                    -1,
                    0,
                )
            };
            if address == libc::MAP_FAILED { Err(Errno::last().into()) } else { Ok(()) }
        });
        assert_eq!(error.raw_os_error(), Some(libc::EPERM), "{error}");
    }

    #[test]
    fn a_thread_without_jail_is_free() {
        let thread = VcpuThread::start(&Jail::none()).unwrap();
        let open = || File::open("/proc/self/status").map_err(MachineError::host("opening"));
        thread.work(move |_| open()).unwrap();
    }

    #[test]
    fn a_thread_that_panics_is_an_error() {
        let thread = VcpuThread::start(&Jail::strongest()).unwrap();
        let error = thread.work::<()>(|_| panic!("on purpose")).unwrap_err();
        assert!(error.to_string().contains("has ended"), "{error}");
        let error = thread.run(|_| Ok(())).unwrap_err();
        assert!(error.to_string().contains("has ended"), "{error}");
    }
}
