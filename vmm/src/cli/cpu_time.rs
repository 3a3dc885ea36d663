//! The CPU time that the program and its children have used since it started.

use crosswalk_machine::child::{children_cpu_time, own_cpu_time};
use std::sync::OnceLock;
use std::time::Duration;

/// What this process had used when the program started. A program that another one became by `exec`,
/// as `cargo run` does, inherits the time of that program and of its children.
static AT_START: OnceLock<Duration> = OnceLock::new();

/// Notes that the program starts now.
pub(super) fn start() {
    AT_START.get_or_init(total);
}

/// CPU time of this process and its children since the start, in seconds. Emulators and walkers count
/// while they run.
pub(super) fn cpu_seconds() -> f64 {
    let before = AT_START.get().copied().unwrap_or_default();
    total().saturating_sub(before).as_secs_f64()
}

fn total() -> Duration {
    own_cpu_time() + children_cpu_time()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn what_was_used_before_the_start_does_not_count() {
        let script = "i=0; while [ $i -lt 10000 ]; do i=$((i+1)); done";
        let child = Command::new("/bin/sh").args(["-c", script]).status();
        assert!(child.expect("there is a shell").success());
        while own_cpu_time() < Duration::from_millis(50) {
            std::hint::spin_loop();
        }
        let before = total();
        start();

        let used = cpu_seconds();
        let since = total().saturating_sub(before).as_secs_f64();
        assert!(used <= since, "{used} s since the start, {before:?} before it");
    }
}
