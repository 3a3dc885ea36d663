//! Time: a guest is judged by its own, a run keeps the user's, and nothing outlives the program.

use crosswalk_test_support as support;
use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command};
use std::thread::sleep;
use std::time::{Duration, Instant};
use support::{Sandbox, count, require_kvm, require_qemu};

/// Time limit for what should take a second or two, even on a busy machine. Before deadlines were
/// kept, it took some 50 s.
const SOON: Duration = Duration::from_secs(25);

fn read_report(sandbox: &Sandbox) -> Value {
    let report = fs::read_to_string(sandbox.path().join("r/report.json")).expect("a report");
    serde_json::from_str(&report).expect("JSON")
}

fn signal(child: &Child, name: &str) {
    let kill = format!("kill -{name} {}", child.id());
    let status = Command::new("sh").args(["-c", &kill]).status().expect("sh starts");
    assert!(status.success(), "{kill}");
}

/// Longer than the 4 s that a guest may take, on KVM and on QEMU.
const STOP: Duration = Duration::from_secs(6);

/// Stops a run for longer than a guest may take, and asserts that it goes on as if nothing had been.
fn assert_survives_a_stop(machine: &str) {
    let sandbox = Sandbox::new();
    let arguments = ["check", "--machine", machine, "--seed", "5", "--for", "1m", "--report", "r"];
    let mut child = sandbox.spawn(&arguments);
    let journal = sandbox.path().join("r/journal.jsonl");
    while !journal.exists() {
        assert_eq!(child.try_wait().expect("it is a child"), None, "the run ended by itself");
        sleep(Duration::from_millis(20));
    }

    // Wherever the run is, the guest is likely to be in the middle of a batch. So it is stopped often.
    for _ in 0..10 {
        signal(&child, "STOP");
        sleep(STOP / 10);
        signal(&child, "CONT");
        sleep(Duration::from_millis(30));
    }
    signal(&child, "STOP");
    sleep(STOP);
    signal(&child, "CONT");
    sleep(Duration::from_millis(500));

    // Ctrl-C: the run is incomplete, and agrees so far.
    signal(&child, "INT");
    assert_eq!(child.wait().expect("it ends").code(), Some(4));
    let report = read_report(&sandbox);
    assert!(count(&report["totals"], "cases") > 0, "{}", report["totals"]);
}

#[test]
fn a_run_on_kvm_that_was_stopped_goes_on() {
    require_kvm!();
    assert_survives_a_stop("kvm");
}

#[test]
fn a_run_on_qemu_that_was_stopped_goes_on() {
    require_qemu!();
    assert_survives_a_stop("qemu");
}

/// The processes that any thread of a process has started.
fn children(process: u32) -> Vec<String> {
    let tasks = fs::read_dir(format!("/proc/{process}/task")).expect("the process exists");
    let of_task = |task: std::io::Result<fs::DirEntry>| {
        let children = task.expect("a thread").path().join("children");
        fs::read_to_string(children).unwrap_or_default()
    };
    let all: Vec<String> = tasks.map(of_task).collect();
    all.iter().flat_map(|list| list.split_whitespace()).map(str::to_owned).collect()
}

/// A machine that does not come back when the time of the run is up is interrupted, and what it did
/// until then counts. Nothing is known against its guest: here QEMU itself has been stopped.
#[test]
fn a_machine_that_hangs_is_interrupted_when_the_time_is_up() {
    require_qemu!();
    let sandbox = Sandbox::new();
    let arguments = ["check", "--machine", "qemu", "--seed", "5", "--for", "4s", "--report", "r"];
    let mut child = sandbox.spawn(&arguments);
    while !sandbox.path().join("r/journal.jsonl").exists() {
        assert_eq!(child.try_wait().expect("it is a child"), None, "the run ended by itself");
        sleep(Duration::from_millis(20));
    }
    let qemu = children(child.id());
    let stop = Command::new("sh").args(["-c", &format!("kill -STOP {}", qemu.join(" "))]).status();
    assert!(stop.expect("sh starts").success(), "{qemu:?}");

    assert_eq!(child.wait().expect("it ends").code(), Some(0));
    assert_eq!(sandbox.processes(), [""; 0], "processes are left behind");
    let report = read_report(&sandbox);
    assert!(count(&report["totals"], "cases") > 0, "{}", report["totals"]);
    assert!(report["totals"]["seconds"].as_f64().expect("seconds") < 9.0, "{}", report["totals"]);
}

/// A walker that is a shell script, as `--walker` takes it.
fn script_walker(sandbox: &Sandbox, script: &str) -> String {
    let path = sandbox.path().join("walker");
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("the script can be written");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("the script is ours");
    format!("cmd:{}", path.display())
}

#[test]
fn a_slow_walker_does_not_use_up_more_than_the_time_of_the_run() {
    require_kvm!();
    let sandbox = Sandbox::new();
    let script = r#"while read -r case; do sleep 0.05; echo '{"silent":"slow"}'; done"#;
    let walker = script_walker(&sandbox, script);

    let start = Instant::now();
    let options = ["--machine", "kvm", "--for", "1s", "--walker", &walker, "--json"];
    let report = sandbox.run(&[&["check"], &options[..]].concat()).expect_code(3).json();
    assert!(start.elapsed() < SOON, "{:?}", start.elapsed());

    let score = &report["candidate"];
    assert!(count(score, "does_not_say") > 0, "{score}");
    assert!(count(score, "not_asked_in_time") > 0, "{score}");
    assert_eq!(count(score, "not_asked"), 0, "{score}");
}

/// Whether a walker ends by itself or not, what it started ends with it.
#[test]
fn nothing_that_a_walker_starts_is_left_behind() {
    let answer = r#"while read -r case; do echo '{"silent":"x"}'; done"#;
    let children = "for i in 1 2 3; do sleep 4321 & done";
    for script in [
        format!("{children}\n{answer}"),
        format!("{children}\nexit 7"),
        "sleep 4321 >/dev/null 2>&1 </dev/null &\nexit 7".into(),
        format!("trap '' TERM INT HUP\n{children}\nsleep 4321"),
    ] {
        let sandbox = Sandbox::new();
        let walker = script_walker(&sandbox, &script);
        sandbox.run(&["replay", "--cases", "3", "--walker", &walker]);
        assert_eq!(sandbox.processes(), [""; 0], "left behind by {script}");
    }
}
