//! One test for each bug that was found, so that it stays away.

mod common;

use common::{Sandbox, require_kvm, run};

/// Every run of a single case numbered its commands from 1 again, and the guest waits for a number
/// that is new: the second case of a file never ran.
#[test]
fn a_file_of_several_cases_runs_to_its_end() {
    require_kvm!();
    let asked = ["--machine", "kvm", "--cases", "2000", "--seed", "1", "--walker", "mutant:M13b"];
    let report = run(&[&["check", "--json"], &asked[..]].concat()).expect_code(1).json();
    let case = &common::finding(&report, "M13b")["smallest_case"];
    let sandbox = Sandbox::new();
    let file = sandbox.file("cases.json", format!("[{case},\n{case},\n{case}]"));
    let text = sandbox.run(&["explain", "--machine", "kvm", &file]).expect_code(0).stdout;
    assert!(text.contains("case 3 of 3"), "{text}");
    assert_eq!(text.matches("verdict   agree").count(), 3, "{text}");
}

/// Two groups of options had one name, which clap looks at in debug builds only.
#[test]
fn the_command_line_is_well_formed() {
    run(&["--version"]).expect_code(0);
}

/// A field's name went to the terminal as it was, line breaks and escape sequences included.
#[test]
fn an_error_about_a_strange_field_is_one_plain_line() {
    let ran = run(&["explain", "{\"a\\nb\\u001b[31m\": 1}"]).expect_code(2);
    assert!(!ran.only_line_of_stderr().contains(char::is_control), "{}", ran.stderr);
}
