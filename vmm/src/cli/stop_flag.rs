//! Ctrl-C: a command ends with what it has.

use super::failure::{Failure, print_error};
use crate::report::cases_in_words;
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use std::fs;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A flag that the first Ctrl-C or SIGTERM sets, so that a run ends with a report. The second one
/// ends the program at once.
pub(super) fn stop_flag() -> Result<Arc<AtomicBool>, Failure> {
    let stop = Arc::new(AtomicBool::new(false));
    register(&[SIGINT, SIGTERM], &stop, &stop)?;
    Ok(stop)
}

/// Whether a loop goes on: until the user stops it.
pub(super) fn goes_on(stop: &AtomicBool) -> ControlFlow<()> {
    if stop.load(Ordering::Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
}

/// Whether the user has stopped a command that has reported what it had from this number of cases. Says so.
pub(super) fn was_stopped(stop: &AtomicBool, cases: u64) -> bool {
    let is_stopped = stop.load(Ordering::Relaxed);
    if is_stopped {
        print_error(&format!("interrupted: that is the result of {}", cases_in_words(cases)));
    }
    is_stopped
}

/// The same for a command that leaves something behind if it is killed: the end of its terminal and Ctrl-\ end it so,
/// too. A hangup that its parent has it ignore (`nohup`) stays ignored.
pub(super) fn stop_flag_to_tidy_up() -> Result<Arc<AtomicBool>, Failure> {
    let stop = Arc::new(AtomicBool::new(false));
    register(&[SIGINT, SIGTERM, SIGQUIT], &stop, &stop)?;
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    if !is_ignored(SIGHUP, &status) {
        register(&[SIGHUP], &stop, &stop)?;
    }
    Ok(stop)
}

/// Whether a process ignores a signal, by its `/proc/PID/status` (`proc_pid_status(5)`).
fn is_ignored(signal: i32, status: &str) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}

/// A flag for a command that owes something to another program: no signal ends this one until `may_end` is
/// set.
pub(super) fn stop_flag_until(may_end: &Arc<AtomicBool>) -> Result<Arc<AtomicBool>, Failure> {
    let stop = Arc::new(AtomicBool::new(false));
    register(&[SIGINT, SIGTERM, SIGHUP, SIGQUIT], &stop, may_end)?;
    Ok(stop)
}

/// Lets signals set `stop`, or end the program once `may_end` is set.
fn register(
    signals: &[i32],
    stop: &Arc<AtomicBool>,
    may_end: &Arc<AtomicBool>,
) -> Result<(), Failure> {
    for signal in signals {
        let code = 128 + signal;
        signal_hook::flag::register_conditional_shutdown(*signal, code, may_end.clone())
            .and_then(|_| signal_hook::flag::register(*signal, stop.clone()))
            .map_err(|error| Failure::machine(format!("signals cannot be caught: {error}")))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ignored_signal_is_a_bit_of_the_mask() {
        // What `nohup grep Sig /proc/self/status` says: SIGHUP is 1. SIGPIPE is 13.
        let status = "SigQ:\t0/15000\nSigBlk:\t0000000000000001\nSigIgn:\t0000000000001001\n";
        assert!(is_ignored(SIGHUP, status) && is_ignored(13, status));
        assert!(!is_ignored(SIGINT, status) && !is_ignored(SIGHUP, "SigIgn:\t0000000000001000\n"));
        assert!(!is_ignored(SIGHUP, ""));
    }
}
