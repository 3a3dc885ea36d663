//! The CPU time that the program and its children have used.

use nix::sys::resource::{Usage, UsageWho, getrusage};

/// CPU time of this process and its children so far, in seconds.
pub(super) fn cpu_seconds() -> f64 {
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
