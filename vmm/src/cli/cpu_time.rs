//! The CPU time that the program and its children have used since it started.

use nix::sys::resource::{Usage, UsageWho, getrusage};
use std::sync::OnceLock;

/// What this process had used when the program started, in seconds. A program that another one became
/// by `exec`, as `cargo run` does, inherits the time of that program and of its children.
static AT_START: OnceLock<f64> = OnceLock::new();

/// Notes that the program starts now.
pub(super) fn start() {
    AT_START.get_or_init(total);
}

/// CPU time of this process and its children since the start, in seconds.
pub(super) fn cpu_seconds() -> f64 {
    total() - AT_START.get().copied().unwrap_or(0.0)
}

fn total() -> f64 {
    [UsageWho::RUSAGE_SELF, UsageWho::RUSAGE_CHILDREN]
        .into_iter()
        .filter_map(|who| getrusage(who).ok())
        .map(seconds)
        .sum()
}

fn seconds(usage: Usage) -> f64 {
    let times = [usage.user_time(), usage.system_time()];
    times.map(|time| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6).iter().sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_used_before_the_start_does_not_count() {
        while total() < 0.05 {
            std::hint::spin_loop();
        }
        let before = total();
        start();

        let used = cpu_seconds();
        assert!(used <= total() - before, "{used} s since the start, {before} s before it");
    }
}
