//! What the host refuses: no space, a bad disk, no thread, no process, no memory, a KVM that fails. The
//! program says which in a sentence, exits as the contract says, and what it had saved is still whole.
//!
//! `CROSSWALK_FAULTS=all` strikes at every call instead of at some.

use crosswalk_test_support as support;
use nix::errno::Errno;
use serde_json::Value;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;
use support::faults::{Call, Effect, Fault, TracedRun};
use support::{ProgramOutput, Sandbox, require_kvm, require_qemu};

const CHECK: &str = "check --machine kvm --mode 4level --seed 5 --cases 300 --json";
const CHECK_REPORT: &str =
    "check --machine kvm --mode 4level --seed 5 --cases 300 --json --report r --resume";

/// How the host's error appears in a sentence.
fn told(errno: Errno) -> String {
    std::io::Error::from(errno).to_string()
}

fn words(command: &str) -> Vec<&str> {
    command.split(' ').collect()
}

/// Every how many calls a fault strikes, where there are many.
fn step(usual: usize) -> usize {
    let all = std::env::var("CROSSWALK_FAULTS").is_ok_and(|faults| faults == "all");
    if all { 1 } else { usual }
}

/// The cases and what came of them.
fn results(text: &str) -> [Value; 4] {
    let report: Value = serde_json::from_str(text).expect("a report");
    ["cases", "agreed", "diverged", "case_set"].map(|field| report["totals"][field].clone())
}

/// Asserts that a run ended with 3, and one sentence with these words.
#[track_caller]
fn assert_refused(run: &TracedRun, fault: Fault, cause: &[&str]) {
    assert_eq!(run.code, Some(3), "{fault:?}: {run:?}");
    let mut lines = run.stderr.lines();
    let line = lines.next().unwrap_or_default();
    assert!(line.starts_with("crosswalk: "), "{fault:?}: {run:?}");
    assert!(cause.iter().any(|cause| line.contains(cause)), "{fault:?}: no {cause:?} in {line}");
    assert_eq!(lines.next(), None, "{fault:?}: {run:?}");
}

/// Strikes at every step-th call of a kind, each time in a directory of its own, until the program has no
/// more. Returns the number of faults.
fn strike(
    arguments: &[&str],
    call: Call,
    step: usize,
    effect: Effect,
    check: impl Fn(&Sandbox, TracedRun, Fault),
) -> u32 {
    let mut count = 0;
    for number in (1..).step_by(step) {
        let sandbox = Sandbox::new();
        let fault = Fault::at(call, number, effect);
        let run = sandbox.trace(arguments, Some(fault));
        if !run.struck {
            assert_eq!(run.code, Some(0), "{fault:?}: {run:?}");
            break;
        }
        check(&sandbox, run, fault);
        count += 1;
    }
    println!("{} {call:?} {effect:?}: {count} faults", arguments[0]);
    count
}

#[test]
fn a_disk_that_fails_is_told_and_the_run_resumes() {
    require_kvm!();
    let whole = results(&support::run(&words(CHECK)).expect_code(0).stdout);

    for (call, errnos) in [
        (Call::MakeDirectory, &[Errno::ENOSPC, Errno::EDQUOT][..]),
        (Call::Open, &[Errno::EMFILE, Errno::ENOSPC]),
        (Call::Write, &[Errno::ENOSPC, Errno::EIO, Errno::EDQUOT]),
        (Call::Sync, &[Errno::EIO, Errno::ENOSPC]),
        (Call::Rename, &[Errno::EIO, Errno::ENOSPC]),
        (Call::Lock, &[Errno::EIO]),
    ] {
        let mut count = 0;
        for (index, errno) in errnos.iter().enumerate() {
            let effect = Effect::Fail(*errno);
            // The program treats the other errors alike.
            let step = if index == 0 { 1 } else { step(4) };
            count += strike(&words(CHECK_REPORT), call, step, effect, |sandbox, run, fault| {
                assert_refused(&run, fault, &[&told(*errno)]);
                assert!(run.stderr.contains("r: ") || run.stderr.contains("r/"), "{}", run.stderr);
                assert_eq!(run.stdout, "");

                let again = sandbox.run(&words(CHECK_REPORT)).expect_code(0);
                assert_eq!(results(&again.stdout), whole, "{fault:?}");
                let left = std::fs::read_dir(sandbox.path().join("r")).expect("a directory");
                assert_eq!(left.count(), 4, "{fault:?}");
            });
        }
        assert!(count > 0, "{call:?} was not reached");
    }
}

#[test]
fn interrupted_and_partial_calls_change_nothing() {
    require_kvm!();
    let whole = results(&support::run(&words(CHECK)).expect_code(0).stdout);

    for (call, effect) in [
        (Call::Open, Effect::Fail(Errno::EINTR)),
        (Call::Write, Effect::Fail(Errno::EINTR)),
        (Call::Sync, Effect::Fail(Errno::EINTR)),
        (Call::Write, Effect::Short),
        (Call::Print, Effect::Fail(Errno::EINTR)),
        (Call::Print, Effect::Short),
        // The data of a file that was closed is durable already.
        (Call::Close, Effect::Fail(Errno::EINTR)),
        (Call::Close, Effect::Fail(Errno::EIO)),
    ] {
        let count = strike(&words(CHECK_REPORT), call, 1, effect, |_, run, fault| {
            assert_eq!(run.code, Some(0), "{fault:?}: {run:?}");
            assert_eq!(results(&run.stdout), whole, "{fault:?}");
        });
        assert!(count > 0, "{call:?} was not reached");
    }
}

#[test]
fn a_journal_that_cannot_be_read_is_told() {
    require_kvm!();
    let source = Sandbox::new();
    source.run(&words(CHECK_REPORT)).expect_code(0);
    let part = source.path().join("r").display().to_string();

    let journal = std::fs::read(source.path().join("r/journal.jsonl")).expect("a journal");
    for (effect, code) in
        [(Effect::Fail(Errno::EIO), 3), (Effect::Fail(Errno::EINTR), 0), (Effect::Short, 0)]
    {
        for number in 1.. {
            let fault = Fault::at(Call::Read, number, effect);
            let run = source.trace(&["merge", &part], Some(fault));
            if !run.struck {
                assert!(number > 1, "no call was struck");
                break;
            }
            assert_eq!(run.code, Some(code), "{fault:?}: {run:?}");
            let told = run.stderr.contains("journal.jsonl: cannot be read: Input/output error");
            assert_eq!(told, code == 3, "{fault:?}: {}", run.stderr);
        }
    }
    let after = std::fs::read(source.path().join("r/journal.jsonl")).expect("a journal");
    assert_eq!(after, journal);
}

#[test]
fn a_recording_that_cannot_be_written_leaves_the_old_corpus() {
    require_kvm!();
    let arguments = words("record c.jsonl --machine kvm --mode 4level --seed 5 --cases 60");
    for call in [Call::Open, Call::Write, Call::Sync, Call::Rename] {
        let sandbox = Sandbox::new();
        sandbox.file("c.jsonl", "old");
        let fault = Fault::at(call, 1, Effect::Fail(Errno::ENOSPC));
        let run = sandbox.trace(&arguments, Some(fault));

        assert_refused(&run, fault, &["c.jsonl: cannot be written: No space left on device"]);
        assert_eq!(sandbox.files(), ["c.jsonl"], "{fault:?}");
        let corpus = std::fs::read_to_string(sandbox.path().join("c.jsonl")).expect("a corpus");
        assert_eq!(corpus, "old", "{fault:?}");
    }
}

#[test]
fn standard_output_that_cannot_be_written_is_told() {
    let mut commands =
        vec!["geometry", "machines", "replay --cases 40", "scenario all --machine none"];
    if support::requirement::has_kvm() {
        commands.extend([CHECK, "mutants --machine kvm --cases 50"]);
    }

    for command in commands {
        let sandbox = Sandbox::new();
        let mut run = std::process::Command::new(support::program());
        run.current_dir(sandbox.path()).args(words(command)).stdin(Stdio::null());
        run.stdout(std::fs::File::options().write(true).open("/dev/full").expect("/dev/full"));
        let output = run.output().expect("the program starts");

        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{command}: {stderr}");
        let told = "crosswalk: standard output: cannot be written: No space left on device";
        assert!(stderr.contains(told), "{command}: {stderr}");
    }
}

/// Errors of the host while a run starts, or in the middle of it.
fn assert_each_is_told(arguments: &[&str], call: Call, usual_step: usize, errnos: &[Errno]) {
    let mut count = 0;
    for errno in errnos {
        let effect = Effect::Fail(*errno);
        count += strike(arguments, call, step(usual_step), effect, |sandbox, run, fault| {
            // Some failures are those of a probe, which says that there is less to test.
            if run.code != Some(0) {
                assert_refused(&run, fault, &[&told(*errno), "refused", "KVM"]);
            }
            assert_eq!(sandbox.processes(), Vec::<String>::new(), "{fault:?}");
        });
    }
    assert!(count > 0, "{call:?} was not reached");
}

#[test]
fn a_kvm_that_fails_is_told() {
    require_kvm!();
    assert_each_is_told(&words(CHECK), Call::Kvm, 7, &[Errno::ENOMEM, Errno::EIO]);
    assert_each_is_told(&words(CHECK), Call::KvmRun, 11, &[Errno::EIO]);
}

/// A signal may arrive at any time.
#[test]
fn an_interrupted_kvm_run_goes_on() {
    require_kvm!();
    let whole = results(&support::run(&words(CHECK)).expect_code(0).stdout);
    for errno in [Errno::EINTR, Errno::EAGAIN] {
        strike(&words(CHECK), Call::KvmRun, step(11), Effect::Fail(errno), |_, run, fault| {
            assert_eq!(run.code, Some(0), "{fault:?}: {run:?}");
            assert_eq!(results(&run.stdout), whole, "{fault:?}");
        });
    }
}

#[test]
fn a_host_without_threads_timers_or_memory_is_told() {
    require_kvm!();
    assert_each_is_told(&words(CHECK), Call::Thread, 1, &[Errno::EAGAIN]);
    assert_each_is_told(&words(CHECK), Call::Timer, 11, &[Errno::EAGAIN]);
    assert_each_is_told(&words(CHECK), Call::Map, 1, &[Errno::ENOMEM]);
}

const QEMU: &str = "check --machine qemu --mode 4level --seed 5 --cases 60 --json";

#[test]
fn a_qemu_that_cannot_be_started_is_told() {
    require_qemu!();
    assert_each_is_told(&words(QEMU), Call::Thread, 1, &[Errno::EAGAIN]);
    assert_each_is_told(&words(QEMU), Call::Process, 1, &[Errno::EAGAIN, Errno::ENOMEM]);
    assert_each_is_told(&words(QEMU), Call::MemoryFile, 1, &[Errno::EMFILE]);
    assert_each_is_told(&words(QEMU), Call::Map, 3, &[Errno::ENOMEM]);

    for errno in [Errno::ENOENT, Errno::EACCES, Errno::ENOMEM, Errno::ETXTBSY] {
        let sandbox = Sandbox::new();
        // The first exec is the program's own.
        let fault = Fault::from(Call::Exec, 1, Effect::Fail(errno));
        let run = sandbox.trace(&words(QEMU), Some(fault));
        assert_eq!(run.code, Some(3), "{fault:?}: {run:?}");
        assert!(run.stderr.lines().count() == 1, "{fault:?}: {run:?}");
        assert_eq!(sandbox.processes(), Vec::<String>::new());
    }
}

#[test]
fn a_walker_that_cannot_be_started_is_told() {
    let walker = "replay --cases 40 --walker cmd:/bin/cat";
    for (call, errno) in [
        (Call::Process, Errno::EAGAIN),
        (Call::Process, Errno::ENOMEM),
        (Call::Exec, Errno::ENOENT),
        (Call::Exec, Errno::EACCES),
        (Call::Exec, Errno::ETXTBSY),
        (Call::Pipe, Errno::EMFILE),
        (Call::Thread, Errno::EAGAIN),
    ] {
        let sandbox = Sandbox::new();
        let fault = Fault::from(call, 1, Effect::Fail(errno));
        let run = sandbox.trace(&words(walker), Some(fault));

        assert!(run.struck, "{fault:?} was not reached");
        assert!(matches!(run.code, Some(2 | 3)), "{fault:?}: {run:?}");
        assert!(run.stderr.contains(&told(errno)), "{fault:?}: {run:?}");
        assert_eq!(sandbox.processes(), Vec::<String>::new(), "{fault:?}");
    }
}

/// What the host offers and then refuses ends a run: nobody is left half in jail.
#[track_caller]
fn assert_an_open_jail_is_told(inmate: &[&str]) {
    for number in 1.. {
        let sandbox = Sandbox::new();
        let fault = Fault::at(Call::Jail, number, Effect::Fail(Errno::EPERM));
        let run = sandbox.trace(inmate, Some(fault));
        if !run.struck {
            assert!(number > 1, "{inmate:?}: this host offers no part of a jail");
            return;
        }
        assert_refused(&run, fault, &["jail"]);
        assert_eq!(sandbox.processes(), Vec::<String>::new(), "{inmate:?}: {fault:?}");
    }
}

#[test]
fn a_walker_whose_jail_cannot_be_closed_is_told() {
    let sandbox = Sandbox::new();
    let script = "#!/bin/sh\nwhile read -r case; do echo '{\"silent\":\"x\"}'; done\n";
    let path = sandbox.path().join(sandbox.file("walker", script));
    std::fs::set_permissions(&path, Permissions::from_mode(0o755)).expect("a file of our own");

    let walker = format!("cmd:{}", path.display());
    assert_an_open_jail_is_told(&["replay", "--cases", "40", "--walker", &walker]);
}

#[test]
fn a_vcpu_whose_jail_cannot_be_closed_is_told() {
    require_kvm!();
    assert_an_open_jail_is_told(&words("check --machine kvm --cases 100"));
}

#[test]
fn a_qemu_whose_jail_cannot_be_closed_is_told() {
    require_qemu!();
    assert_an_open_jail_is_told(&words("check --machine qemu --cases 100"));
}

/// With hardly any descriptors, a run ends with a sentence.
#[test]
fn a_small_number_of_descriptors_is_told() {
    require_kvm!();
    for limit in 4..12 {
        let sandbox = Sandbox::new();
        let script =
            format!("ulimit -n {limit}; exec '{}' {CHECK_REPORT}", support::program().display());
        let mut command = assert_cmd::Command::new("sh");
        command.current_dir(sandbox.path()).args(["-c", &script]);

        let output = ProgramOutput::of(&mut command);
        match output.code {
            Some(0) => return,
            // The loader of shared libraries needs one, too.
            Some(127) if limit < 5 => {}
            _ => {
                let output = output.expect_code(3);
                let line = output.only_line_of_stderr();
                assert!(line.contains("Too many open files"), "{limit}: {line}");
            }
        }
    }
}
