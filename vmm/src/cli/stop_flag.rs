//! Ctrl-C: a command ends with what it has.

use super::failure::Failure;
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// A flag that the first Ctrl-C or SIGTERM sets, so that a run ends with a report. The second one
/// ends the program at once.
pub(super) fn stop_flag() -> Result<Arc<AtomicBool>, Failure> {
    let stop = Arc::new(AtomicBool::new(false));
    register(&[SIGINT, SIGTERM], &stop, &stop)?;
    Ok(stop)
}

/// The same for a command that owes something to another program: no signal ends this one until `may_end` is
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
