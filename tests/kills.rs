//! The program is killed at every step that changes a file: before it, and half-way through a write.
//! Nothing is lost, nothing is counted twice, and no file is half written.
//!
//! `CROSSWALK_FAULTS=all` also kills it at every other call on a file.

use crosswalk_test_support as support;
use serde_json::{Value, json};
use std::path::Path;
use support::faults::{Call, Effect, Fault};
use support::{Sandbox, require_kvm};

/// Whether the user wants every call.
fn strikes_all() -> bool {
    std::env::var("CROSSWALK_FAULTS").is_ok_and(|faults| faults == "all")
}

/// The kinds of calls to kill at, and how.
fn kills() -> Vec<(Call, Effect)> {
    let calls = if strikes_all() { &Call::FILES[..] } else { &Call::CHANGES };

    let mut kills: Vec<_> = calls.iter().map(|call| (*call, Effect::Kill)).collect();
    kills.push((Call::Write, Effect::Torn));
    kills
}

/// How far it is from a call to the next one to kill at. The first of each kind are those on the journal, the document
/// and the page; then come the tables, which are all written alike, and of their calls every fifth is enough.
fn stride(number: u32) -> u32 {
    if strikes_all() || number < 12 { 1 } else { 5 }
}

/// Kills a command at every such call. After each kill `check` looks at the sandbox, which `prepare`
/// has filled. Returns the number of kills.
fn kill_everywhere(
    arguments: &[&str],
    prepare: impl Fn(&Sandbox),
    check: impl Fn(&Sandbox, Fault),
) -> u32 {
    let mut count = 0;
    for (call, effect) in kills() {
        let mut number = 1;
        loop {
            let sandbox = Sandbox::new();
            prepare(&sandbox);
            let fault = Fault::at(call, number, effect);
            let run = sandbox.trace(arguments, Some(fault));
            if !run.struck {
                assert_eq!(run.code, Some(0), "{fault:?}: {run:?}");
                break;
            }

            assert_eq!(run.code, None, "{fault:?}: {run:?}");
            check(&sandbox, fault);
            count += 1;
            number += stride(number);
        }
    }
    println!("{}: {count} kills", arguments[0]);
    count
}

fn read_json(path: &Path) -> Option<Value> {
    let text = std::fs::read_to_string(path).ok()?;
    Some(serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
}

/// What a run found, without times.
fn results(report: &Value) -> Value {
    let mut results = json!({"seed": report["seed"], "complete": report["complete"]});
    for field in ["cases", "agreed", "diverged", "case_set"] {
        results[field] = report["totals"][field].clone();
    }
    results["coverage"] = report["coverage"].clone();
    results
}

/// Asserts that the files of a report are whole, or not there, and that no others are.
#[track_caller]
fn assert_whole_report(directory: &Path, fault: Fault) {
    if let Ok(page) = std::fs::read_to_string(directory.join("index.html")) {
        assert!(page.trim_end().ends_with("</html>"), "{fault:?}: {page}");
    }
    read_json(&directory.join("report.json"));
}

fn file_names(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).expect("a directory");
    let name = |entry: std::io::Result<std::fs::DirEntry>| {
        entry.expect("an entry").file_name().into_string().expect("a plain name")
    };
    let mut names: Vec<_> = entries.map(name).collect();
    names.sort();
    names
}

const CHECK: &str = "check --machine kvm --mode 4level --seed 5 --cases 300 --json";
const CHECK_REPORT: &str =
    "check --machine kvm --mode 4level --seed 5 --cases 300 --json --report r --resume";

fn words(command: &str) -> Vec<&str> {
    command.split(' ').collect()
}

#[test]
fn a_check_that_is_killed_anywhere_resumes_to_the_same_results() {
    require_kvm!();
    let whole = results(&support::run(&words(CHECK)).expect_code(0).json());

    let kills = kill_everywhere(
        &words(CHECK_REPORT),
        |_| {},
        |sandbox, fault| {
            let directory = sandbox.path().join("r");
            assert_whole_report(&directory, fault);

            let resumed = sandbox.run(&words(CHECK_REPORT)).expect_code(0).json();
            assert_eq!(results(&resumed), whole, "{fault:?}");
            assert_eq!(
                file_names(&directory),
                ["csv", "index.html", "journal.jsonl", "report.json"]
            );
            assert_eq!(sandbox.files(), ["r"]);
        },
    );
    assert!(kills >= 15, "{kills}");
}

/// A shard of a run, made once.
fn shard(sandbox: &Sandbox) {
    let command = "check --machine kvm --mode 4level --seed 5 --cases 300 --report part";
    sandbox.run(&words(command)).expect_code(0);
}

#[test]
fn a_merge_that_is_killed_anywhere_leaves_whole_files() {
    require_kvm!();
    let source = Sandbox::new();
    shard(&source);
    let part = source.path().join("part").display().to_string();
    let whole = results(&source.run(&["merge", &part, "--json"]).expect_code(0).json());

    let arguments = ["merge", &part, "--report", "sum"];
    let kills = kill_everywhere(
        &arguments,
        |_| {},
        |sandbox, fault| {
            let directory = sandbox.path().join("sum");
            assert_whole_report(&directory, fault);

            // What is there of the journal is the whole sum. A new sum goes into another directory.
            if directory.join("journal.jsonl").exists() {
                let again = sandbox.run(&["merge", "sum", "--json"]).expect_code(0).json();
                assert_eq!(results(&again), whole, "{fault:?}");
            } else {
                sandbox.run(&arguments).expect_code(0);
                assert_eq!(
                    file_names(&directory),
                    ["csv", "index.html", "journal.jsonl", "report.json"]
                );
            }
        },
    );
    assert!(kills >= 12, "{kills}");
}

#[test]
fn a_replay_that_is_killed_anywhere_leaves_whole_files() {
    let arguments = words("replay --cases 40 --report r --json");
    let kills = kill_everywhere(
        &arguments,
        |_| {},
        |sandbox, fault| {
            let directory = sandbox.path().join("r");
            assert_whole_report(&directory, fault);

            sandbox.run(&arguments).expect_code(0);
            assert_eq!(file_names(&directory), ["csv", "index.html", "report.json"], "{fault:?}");
        },
    );
    assert!(kills >= 8, "{kills}");
}

#[test]
fn a_recording_that_is_killed_anywhere_leaves_the_old_corpus_or_the_new_one() {
    require_kvm!();
    let arguments = words("record c.jsonl --machine kvm --mode 4level --seed 5 --cases 60");
    let new = {
        let sandbox = Sandbox::new();
        sandbox.run(&arguments).expect_code(0);
        std::fs::read_to_string(sandbox.path().join("c.jsonl")).expect("a corpus")
    };

    let prepare = |sandbox: &Sandbox| {
        sandbox.file("c.jsonl", "old");
    };
    let kills = kill_everywhere(&arguments, prepare, |sandbox, fault| {
        let corpus = std::fs::read_to_string(sandbox.path().join("c.jsonl")).expect("a corpus");
        assert!(corpus == "old" || corpus == new, "{fault:?}: {corpus}");
    });
    assert!(kills >= 4, "{kills}");
}
