//! The program `crosswalk-adapters`, as crosswalk and people run it.

use assert_cmd::Command;
use assert_cmd::assert::Assert;
use serde_json::Value;
use std::path::Path;

fn program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_crosswalk-adapters"))
}

fn stdout(assert: &Assert) -> String {
    String::from_utf8(assert.get_output().stdout.clone()).expect("standard output is text")
}

fn stderr(assert: &Assert) -> String {
    String::from_utf8(assert.get_output().stderr.clone()).expect("standard error is text")
}

/// A read by ring 3 in 4-level paging, from a page of 4 KiB at 0x201000.
const CASE: &str = concat!(
    r#"{"mode":"4level","state":{"cr0":"0x80010011","cr3":"0x1000","cr4":"0x620","efer":"0xd00"},"#,
    r#""entries":[{"address":"0x1000","value":"0x2007"},{"address":"0x2000","value":"0x3007"},"#,
    r#"{"address":"0x3000","value":"0x4007"},{"address":"0x4008","value":"0x201007"}],"#,
    r#""access":{"kind":"read","address":"0x1108","size":8,"ring":3}}"#,
);

fn list() -> Vec<Value> {
    let text = stdout(&program().arg("list").assert().success());
    assert_eq!(text.lines().count(), 1, "{text}");
    serde_json::from_str(&text).expect("the list is a JSON array")
}

fn name_of(adapter: &Value) -> &str {
    adapter["name"].as_str().expect("an adapter has a name")
}

#[test]
fn the_list_names_every_adapter_once() {
    let list = list();
    let names: Vec<_> = list.iter().map(name_of).collect();
    let expected = [
        "x86_64",
        "memflow",
        "page_table_multiarch",
        "vm-memory",
        "kvm-translate",
        "qemu-gva2gpa",
        "unicorn",
    ];
    assert_eq!(names, expected);

    for adapter in list {
        assert!(adapter["what"].is_string(), "{adapter}");
        assert!(adapter["version"].is_string(), "{adapter}");
        assert_eq!(adapter["available"] == true, adapter["reason"].is_null(), "{adapter}");
    }
}

#[test]
fn each_library_has_the_version_in_the_lock_file() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../Cargo.lock");
    let lock = std::fs::read_to_string(path).expect("the workspace has a lock file");
    for adapter in list() {
        let package = match name_of(&adapter) {
            "kvm-translate" | "qemu-gva2gpa" => continue,
            "unicorn" => "unicorn-engine",
            library => library,
        };
        let linked = format!("name = \"{package}\"\nversion = {}\n", adapter["version"]);
        assert!(lock.contains(&linked), "{linked}");
    }
}

#[test]
fn every_available_adapter_answers_each_line_with_a_line() {
    for adapter in list() {
        let name = name_of(&adapter);
        if adapter["available"] != true {
            let error = stderr(&program().arg(name).assert().code(3).stdout(""));
            assert_eq!(error.lines().count(), 1, "{error}");
            continue;
        }

        let input = format!("{CASE}\n{CASE}\n");
        let answers = stdout(&program().arg(name).write_stdin(input).assert().success());
        assert_eq!(answers.lines().count(), 2, "{name}: {answers}");
        for line in answers.lines() {
            let answer: Value = serde_json::from_str(line).expect("an answer is JSON");
            assert_eq!(answer["translated"]["address"], "0x201108", "{name}: {answer}");
        }
    }
}

#[test]
fn unknown_adapters_and_bad_cases_are_bad_input() {
    let problems = [
        ("bochs", "", "crosswalk-adapters: there is no adapter \"bochs\"; there are x86_64, "),
        ("x86_64", "{\"mode\":\"6level\"}\n", "crosswalk-adapters: "),
    ];
    for (name, input, problem) in problems {
        let error = stderr(&program().arg(name).write_stdin(input).assert().code(2).stdout(""));
        assert!(error.starts_with(problem) && error.lines().count() == 1, "{error}");
    }
}

#[test]
fn help_and_version_are_printed_and_other_options_refused() {
    for option in ["-h", "--help"] {
        let help = stdout(&program().arg(option).assert().success());
        assert!(help.contains("Usage: crosswalk-adapters <NAME>"), "{help}");
    }
    for option in ["-V", "--version"] {
        let version = stdout(&program().arg(option).assert().success());
        assert_eq!(version, format!("crosswalk-adapters {}\n", env!("CARGO_PKG_VERSION")));
    }
    for arguments in [&[][..], &["--frobnicate"], &["x86_64", "memflow"]] {
        let error = stderr(&program().args(arguments).assert().code(2).stdout(""));
        assert!(error.contains("--help"), "{error}");
    }
}
