//! A timer that interrupts the vCPU at intervals, so that the host regains control of a guest that
//! never exits. The signal itself does nothing: `KVM_RUN` returns with EINTR, and the caller checks
//! its deadline.

use nix::sys::signal::{SaFlags, SigAction, SigEvent, SigHandler, SigSet, SigevNotify, Signal};
use nix::sys::time::TimeSpec;
use nix::sys::timer::{Expiration, Timer, TimerSetTimeFlags};
use nix::time::ClockId;
use std::io;
use std::time::Duration;

/// The signal with which it interrupts.
pub(super) const SIGNAL: Signal = Signal::SIGUSR1;
/// How often it interrupts a guest of which only the deadline is of interest.
pub(super) const INTERVAL: Duration = Duration::from_millis(100);

/// Interrupts the thread that started it, until it is dropped.
#[derive(Debug)]
pub(super) struct Watchdog {
    timer: Timer,
}

impl Watchdog {
    /// Starts to interrupt the calling thread at these intervals.
    pub(super) fn start(interval: Duration) -> io::Result<Self> {
        extern "C" fn nothing(_: libc::c_int) {}

        // Without SA_RESTART, so that the interrupted call returns.
        let action =
            SigAction::new(SigHandler::Handler(nothing), SaFlags::empty(), SigSet::empty());
        // SAFETY: the handler does nothing, so it may run in any thread at any time. No other code
        // of this program installs a handler for this signal.
        unsafe { nix::sys::signal::sigaction(SIGNAL, &action) }?;

        let thread_id = nix::unistd::gettid().as_raw();
        let notify = SigevNotify::SigevThreadId { signal: SIGNAL, thread_id, si_value: 0 };
        let timer = Timer::new(ClockId::CLOCK_MONOTONIC, SigEvent::new(notify))?;
        let mut watchdog = Self { timer };
        watchdog.set(interval)?;
        Ok(watchdog)
    }

    /// Interrupts at other intervals from now on.
    pub(super) fn set(&mut self, interval: Duration) -> io::Result<()> {
        let expiration = Expiration::Interval(TimeSpec::from_duration(interval));
        self.timer.set(expiration, TimerSetTimeFlags::empty())?;
        Ok(())
    }
}
