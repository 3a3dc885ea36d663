//! What people are told who wait for another program.

use crate::cli::failure::print_error;
use std::io::{self, IsTerminal};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

/// How long nobody asks why nothing happens.
const SILENCE: Duration = Duration::from_secs(1);

/// Does work that may have to wait. On a terminal it says so after a second.
pub(super) fn waiting<T>(words: &str, work: impl FnOnce() -> T) -> T {
    if !io::stderr().is_terminal() {
        return work();
    }

    let (working, worked) = channel::<()>();
    thread::scope(|scope| {
        // Without a thread nothing is said.
        let _ = thread::Builder::new().spawn_scoped(scope, move || {
            if worked.recv_timeout(SILENCE) == Err(RecvTimeoutError::Timeout) {
                print_error(words);
            }
        });
        let result = work();
        drop(working);
        result
    })
}
