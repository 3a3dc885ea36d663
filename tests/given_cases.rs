//! Cases that the user gives: they run, and the program ends as `check` does.

use assert_cmd::Command;
use crosswalk_test_support as support;
use serde_json::{Value, json};
use support::{ProgramOutput, Sandbox, case_json, count, finding, require_qemu};

/// The case of a known finding, as the program has it.
fn case_of(id: &str) -> Value {
    support::run(&["findings", id, "--json"]).expect_code(0).json()["findings"][0]["case"].clone()
}

fn on_qemu(sandbox: &Sandbox, command: &str, cases: &[&str], options: &[&str]) -> ProgramOutput {
    sandbox.run(&[&[command, "--machine", "qemu"], options, cases].concat())
}

/// T1: QEMU does not report P for reserved bits.
#[test]
fn a_case_of_a_bug_report_is_a_regression_test() {
    require_qemu!();
    let sandbox = Sandbox::new();
    let case = case_of("T1").to_string();

    let report = on_qemu(&sandbox, "check", &[&case], &["--json"]).expect_code(0).json();
    assert_eq!(count(finding(&report, "T1"), "count"), 1);
    assert_eq!(report["generator"], "given");
    assert_eq!(report["modes"].as_array().map(Vec::len), Some(1), "the mode of the case");

    let report =
        on_qemu(&sandbox, "check", &[&case], &["--json", "--known", "none"]).expect_code(1).json();
    assert_eq!(finding(&report, "T1")["known"], false);

    let good = case_json::plain().to_string();
    let text = on_qemu(&sandbox, "check", &[&good], &[]).expect_code(0).stdout;
    assert!(text.contains("AGREE  "), "{text}");
}

#[test]
fn explain_names_the_known_finding_and_ends_with_its_verdict() {
    require_qemu!();
    let sandbox = Sandbox::new();
    let case = case_of("T1").to_string();

    let text = on_qemu(&sandbox, "explain", &[&case], &[]).expect_code(0).stdout;
    assert!(text.contains("known     T1: a reserved-bit fault does not report P\n"), "{text}");
    let text = on_qemu(&sandbox, "explain", &[&case], &["--known", "none"]).expect_code(1).stdout;
    assert!(text.contains("T1: a reserved-bit fault does not report P (not forgiven)"), "{text}");

    // The reference is right about this one, and the mutant is wrong about the machine.
    let good = case_json::plain().to_string();
    on_qemu(&sandbox, "explain", &[&good], &[]).expect_code(0);
}

#[test]
fn several_cases_come_from_files_arguments_and_standard_input() {
    require_qemu!();
    let sandbox = Sandbox::new();
    let plain = case_json::plain();
    let several = sandbox.file("several.json", json!([plain, case_of("T1")]).to_string());
    let one = sandbox.file("one.json", plain.to_string());

    let cases = [several.as_str(), &one, &plain.to_string(), "random:4level:7:3"];
    let report = on_qemu(&sandbox, "check", &cases, &["--json"]).expect_code(0).json();
    assert_eq!(count(&report["totals"], "cases"), 5);
    assert_eq!(count(finding(&report, "T1"), "count"), 1);

    // The same cases in the same places are the same set; others are not.
    let again = on_qemu(&sandbox, "check", &cases, &["--json"]).expect_code(0).json();
    assert_eq!(again["totals"]["case_set"], report["totals"]["case_set"]);
    let other = on_qemu(&sandbox, "check", &cases[1..], &["--json"]).expect_code(0).json();
    assert_ne!(other["totals"]["case_set"], report["totals"]["case_set"]);

    let mut command = Command::new(support::program());
    command.args(["check", "--machine", "qemu", "--json", "-"]).write_stdin(plain.to_string());
    command.assert().code(0);
}

/// CR4.LASS is a bit with which the guest does not run.
#[test]
fn a_case_that_no_machine_can_run_is_missing_and_no_divergence() {
    require_qemu!();
    let sandbox = Sandbox::new();
    let mut refused = case_json::plain();
    refused["state"]["cr4"] = json!("0x8000620");
    let refused = refused.to_string();
    let good = case_json::plain().to_string();

    on_qemu(&sandbox, "check", &[&refused], &[]).expect_code(3);
    let output = on_qemu(&sandbox, "check", &[&refused, &good], &[]).expect_code(4);
    assert!(output.stdout.contains("INCOMPLETE  ") && output.stdout.contains("1 case could not"));
    on_qemu(&sandbox, "check", &[&refused, &good], &["--allow-incomplete"]).expect_code(0);
    on_qemu(&sandbox, "explain", &[&refused], &[]).expect_code(4);
}

#[test]
fn what_is_generated_is_not_given() {
    let sandbox = Sandbox::new();
    let good = case_json::plain().to_string();
    for option in ["--seed=1", "--for=1s", "--exhaustive", "--shard=0/2", "--cases=3", "--jobs=2"] {
        let output = on_qemu(&sandbox, "check", &[&good], &[option]).expect_code(2);
        let line = output.only_line_of_stderr();
        let name = option.split('=').next().unwrap_or_default();
        assert!(line.contains(name) && line.contains("these are given"), "{line}");
    }
}

/// What was saved for another processor is judged by the rules of the one that runs it.
#[test]
fn a_case_of_another_processor_becomes_one_of_this() {
    require_qemu!();
    let sandbox = Sandbox::new();
    let mut case = case_json::plain();
    case["profile"] = json!({"vendor": "intel", "max_physical_address": 52, "features": ["nx"]});
    let output = on_qemu(&sandbox, "check", &[&case.to_string()], &[]).expect_code(0);
    assert!(
        output.words_of_stdout().contains("1 saved for another processor"),
        "{}",
        output.stdout
    );
    let report = on_qemu(&sandbox, "check", &[&case.to_string()], &["--json"]).json();
    assert_eq!(count(&report["totals"], "diverged"), 0);
}

/// One is one: `1 case`.
#[test]
fn one_case_is_no_plural() {
    require_qemu!();
    let sandbox = Sandbox::new();
    let good = case_json::plain().to_string();
    let text = on_qemu(&sandbox, "check", &[&good], &[]).expect_code(0).stdout;
    assert!(text.contains("\n1 case in "), "{text}");
    assert!(!text.contains("1 cases"), "{text}");
}
