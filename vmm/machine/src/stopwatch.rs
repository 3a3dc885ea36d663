//! Measures the processor time of a thread, which does not depend on what else a host does.

use nix::time::ClockId;
use std::time::Duration;

/// A clock of the processor time of the thread that started it.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch(Duration);

impl Stopwatch {
    /// Starts at this moment of this thread.
    pub fn start() -> Self {
        Self(thread_time())
    }

    /// The time since the start, or since the last lap. A host without such a clock measures nothing.
    pub fn lap(&mut self) -> Duration {
        let now = thread_time();
        let last = std::mem::replace(&mut self.0, now);
        now.saturating_sub(last)
    }
}

fn thread_time() -> Duration {
    ClockId::CLOCK_THREAD_CPUTIME_ID.now().map_or(Duration::ZERO, Duration::from)
}
