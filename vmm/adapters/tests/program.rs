//! The program, as crosswalk and people run it.

use assert_cmd::Command;
use serde_json::Value;
use std::path::Path;

fn program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_crosswalk-adapters"))
}

/// A read by ring 3 in 4-level paging, from a page of 4 KiB at 0x201000.
const CASE: &str = concat!(
    r#"{"mode":"4level","state":{"cr0":"0x80010011","cr3":"0x1000","cr4":"0x620","efer":"0xd00"},"#,
    r#""entries":[{"address":"0x1000","value":"0x2007"},{"address":"0x2000","value":"0x3007"},"#,
    r#"{"address":"0x3000","value":"0x4007"},{"address":"0x4008","value":"0x201007"}],"#,
    r#""access":{"kind":"read","address":"0x1108","size":8,"ring":3}}"#,
);

fn list() -> Vec<Value> {
    let output = program().arg("list").assert().success().get_output().stdout.clone();
    let text = String::from_utf8(output).expect("it is text");
    assert_eq!(text.lines().count(), 1, "{text}");
    serde_json::from_str(&text).expect("it is a JSON array")
}

#[test]
fn the_list_names_every_adapter_once() {
    let names = [
        "x86_64",
        "memflow",
        "page_table_multiarch",
        "vm-memory",
        "kvm-translate",
        "qemu-gva2gpa",
        "unicorn",
    ];
    let list = list();
    assert_eq!(list.iter().map(|adapter| &adapter["name"]).collect::<Vec<_>>(), names);
    for adapter in list {
        assert!(adapter["what"].is_string(), "{adapter}");
        assert_eq!(adapter["available"] == true, adapter["reason"].is_null(), "{adapter}");
        assert!(adapter["version"].is_string(), "{adapter}");
    }
}

#[test]
fn the_libraries_have_the_versions_that_are_linked() {
    let lock = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../Cargo.lock");
    let lock = std::fs::read_to_string(lock).expect("the workspace has a lock file");
    for adapter in list() {
        let name = adapter["name"].as_str().expect("it has a name");
        let package = match name {
            "kvm-translate" | "qemu-gva2gpa" => continue,
            "unicorn" => "unicorn-engine",
            library => library,
        };
        let linked = format!("name = \"{package}\"\nversion = {}\n", adapter["version"]);
        assert!(lock.contains(&linked), "{linked}");
    }
}

#[test]
fn every_adapter_that_is_here_answers_a_line_with_a_line() {
    for adapter in list() {
        let name = adapter["name"].as_str().expect("it has a name");
        if adapter["available"] != true {
            let assert = program().arg(name).assert().code(3).stdout("");
            let said = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
            assert_eq!(said.lines().count(), 1, "{said}");
            continue;
        }
        let assert =
            program().arg(name).write_stdin(format!("{CASE}\n{CASE}\n")).assert().success();
        let said = String::from_utf8_lossy(&assert.get_output().stdout).into_owned();
        assert_eq!(said.lines().count(), 2, "{name}: {said}");
        for line in said.lines() {
            let answer: Value = serde_json::from_str(line).expect("an answer is JSON");
            assert_eq!(answer["translated"]["address"], "0x201108", "{name}: {answer}");
        }
    }
}

#[test]
fn what_it_does_not_know_is_bad_usage() {
    let problems = [
        ("bochs", "", "crosswalk-adapters: there is no adapter \"bochs\"; there are x86_64, "),
        ("x86_64", "{\"mode\":\"6level\"}\n", "crosswalk-adapters: "),
    ];
    for (name, input, problem) in problems {
        let assert = program().arg(name).write_stdin(input).assert().code(2).stdout("");
        let said = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
        assert!(said.starts_with(problem) && said.lines().count() == 1, "{said}");
    }
}
