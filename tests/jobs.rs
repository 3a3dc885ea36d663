//! Runs on several machines at once: the report is the same whatever their number is, and nothing is left
//! behind when one of them fails or the user stops the run.

use crosswalk_test_support as support;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use std::fs;
use std::process::Child;
use std::time::{Duration, Instant};
use support::hostile::HostileImage;
use support::{ProgramOutput, Sandbox, count, require_kvm, require_qemu};

/// Time limit for processes to start, and for what they do, even on a busy machine.
const TIME_LIMIT: Duration = Duration::from_secs(60);

fn words(arguments: &str) -> Vec<&str> {
    arguments.split_whitespace().collect()
}

/// Runs `check` with arguments that are separated by spaces.
fn check(sandbox: &Sandbox, machine: &str, arguments: &str) -> ProgramOutput {
    sandbox.run(&[&["check", "--json", "--machine", machine], &words(arguments)[..]].concat())
}

/// A report without what depends on the clock, and without the number of machines; and without the
/// choices of a processor that speculates (AD-5).
pub(crate) fn without_chance(mut report: Value) -> Value {
    for timing in ["seconds", "cpu_seconds", "cases_per_second", "breakdown"] {
        report["totals"].as_object_mut().expect("an object").remove(timing);
    }

    let is_software = matches!(report["machine"]["flavour"].as_str(), Some("pvm" | "tcg"));
    let fields = report.as_object_mut().expect("an object");
    for chance in ["jobs", "started", "command"] {
        fields.remove(chance);
    }
    if !is_software {
        fields.remove("choices");
    }
    report
}

/// Asserts that runs of the same cases on one, two and three machines have the same report. Where the
/// rules leave open what a sequence finds, it may find what earlier ones left in the caches of their
/// machine, so these runs have none.
#[track_caller]
fn assert_same_with_any_number(machine: &str, cases: &str, code: i32) {
    let report = |jobs: u64| {
        let arguments = format!("{cases} --jobs {jobs}");
        let report = check(&Sandbox::new(), machine, &arguments).expect_code(code).json();
        assert_eq!(report["jobs"], jobs, "{arguments}");
        without_chance(report)
    };

    let one = report(1);
    assert!(count(&one["totals"], "cases") > 0);
    for jobs in [2, 3] {
        assert_eq!(report(jobs), one, "{machine} {cases} --jobs {jobs}");
    }
}

#[test]
fn the_report_does_not_depend_on_the_number_of_kvms() {
    require_kvm!();
    assert_same_with_any_number("kvm", "--seed 5 --cases 12000 --sequences off", 0);
    assert_same_with_any_number("kvm", "--seed 5 --cases 4000 --guided --sequences off", 0);
    assert_same_with_any_number("kvm", "--cases 4000 --exhaustive --shard 1/2", 0);
}

/// With `--known none` every divergence is grouped, explained and reduced.
#[test]
fn the_report_does_not_depend_on_the_number_of_qemus() {
    require_qemu!();
    assert_same_with_any_number("qemu", "--seed 5 --cases 20000 --sequences off", 0);
    assert_same_with_any_number("qemu", "--seed 5 --cases 8000 --sequences off --known none", 1);
    assert_same_with_any_number(
        "qemu",
        "--seed 5 --cases 8000 --sequences off --walker mutant:M01",
        1,
    );
}

/// A shard, too, and a run that goes on after another number of machines began it.
#[test]
fn a_run_goes_on_with_another_number_of_machines() {
    require_qemu!();
    let sandbox = Sandbox::new();
    let cases = "--seed 6 --cases 60000 --sequences off --shard 1/2";
    let whole = check(&sandbox, "qemu", &format!("{cases} --jobs 1")).expect_code(0).json();

    let command = format!("check --machine qemu {cases} --jobs 3 --report r");
    let mut child = sandbox.spawn(&words(&command));
    wait_for_journal(&sandbox, &mut child);
    signal(child.id(), Signal::SIGINT);
    assert_eq!(child.wait().expect("it can be waited for").code(), Some(4));
    assert_eq!(sandbox.processes(), [""; 0], "processes are left behind");

    let part = fs::read_to_string(sandbox.path().join("r/report.json")).expect("a report");
    let part: Value = serde_json::from_str(&part).expect("a report");
    assert_eq!(part["complete"], false, "the run ended before it was stopped");
    assert!(count(&part["totals"], "cases") < count(&whole["totals"], "cases"));

    let resumed = check(&sandbox, "qemu", &format!("{cases} --jobs 2 --report r --resume"));
    let resumed = resumed.expect_code(0).json();
    assert_eq!(resumed["complete"], true);
    for field in ["modes", "rules", "coverage", "choices"] {
        assert_eq!(resumed[field], whole[field], "{field}");
    }
    for field in ["cases", "agreed", "diverged", "case_set"] {
        assert_eq!(resumed["totals"][field], whole["totals"][field], "{field}");
    }
}

#[test]
fn a_guest_that_dies_ends_the_run_of_all_machines() {
    require_kvm!();
    require_qemu!();
    for (machine, end) in [("kvm", "the guest triple-faulted"), ("qemu", "the guest reset")] {
        let sandbox = Sandbox::new();
        sandbox.file("guest", HostileImage::read().with("triple_faults_in_a_command"));
        let arguments = "--seed 1 --cases 4000 --jobs 3 --guest-image guest";
        let output = check(&sandbox, machine, arguments).expect_code(3);

        assert_eq!(output.stdout, "");
        let line = output.only_line_of_stderr();
        assert!(line.starts_with(&format!("crosswalk: {end}")), "{line}");
        assert_eq!(sandbox.files().len(), 2, "the image and one case: {:?}", sandbox.files());
        assert_eq!(sandbox.processes(), [""; 0], "processes are left behind");
    }
}

#[test]
fn a_qemu_that_is_killed_ends_the_run_of_all_machines() {
    require_qemu!();
    let sandbox = Sandbox::new();
    let mut child = sandbox.spawn(&words("check --machine qemu --for 1h --seed 1 --jobs 3"));

    let start = Instant::now();
    let qemus = loop {
        let children = children_of(child.id());
        if children.len() == 3 && children.iter().all(|id| is_running_a_guest(*id)) {
            break children;
        }
        assert!(start.elapsed() < TIME_LIMIT, "{children:?}");
        std::thread::sleep(Duration::from_millis(10));
    };
    signal(qemus[1], Signal::SIGKILL);

    assert_eq!(child.wait().expect("it can be waited for").code(), Some(3));
    assert_eq!(sandbox.processes(), [""; 0], "processes are left behind");
}

#[test]
fn no_more_machines_run_than_have_something_to_do() {
    require_qemu!();
    for (arguments, jobs) in [("--cases 900 --jobs 3", 1), ("--cases 1900 --jobs 3", 2)] {
        let arguments = format!("--seed 1 {arguments}");
        let report = check(&Sandbox::new(), "qemu", &arguments).expect_code(0).json();
        assert_eq!(report["jobs"], jobs, "{arguments}");
    }
}

#[test]
fn a_corpus_has_no_machines() {
    let output = check(&Sandbox::new(), "corpus", "--jobs 2").expect_code(2);
    let line = output.only_line_of_stderr();
    assert!(line.contains("--jobs needs a machine"), "{line}");
}

fn wait_for_journal(sandbox: &Sandbox, child: &mut Child) {
    let journal = sandbox.path().join("r/journal.jsonl");
    while !journal.exists() {
        let status = child.try_wait().expect("it can be waited for");
        assert_eq!(status, None, "the run ended by itself");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn signal(process: u32, signal: Signal) {
    kill(Pid::from_raw(process.cast_signed()), signal).expect("the process is running");
}

/// The children of all threads of a process.
fn children_of(process: u32) -> Vec<u32> {
    let tasks = fs::read_dir(format!("/proc/{process}/task")).expect("it is running");
    let lists =
        tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("children")).ok());
    let ids =
        lists.flat_map(|list| words(&list).into_iter().map(str::to_owned).collect::<Vec<_>>());
    ids.map(|id| id.parse().expect("a number")).collect()
}

/// Whether a process is a QEMU with a guest, and not one that prints its version.
fn is_running_a_guest(process: u32) -> bool {
    let line = fs::read(format!("/proc/{process}/cmdline")).unwrap_or_default();
    line.windows(6).any(|window| window == b"\0-bios")
}
