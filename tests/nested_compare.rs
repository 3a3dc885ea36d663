//! `compare --nested`: the same nested cases on several machines.

use crosswalk_test_support as support;
use serde_json::Value;
use support::report::{count, list, text};
use support::{require_program, require_qemu, require_second_qemu, run};

const COMPARE: [&str; 2] = ["compare", "--nested"];

fn compare(arguments: &[&str], code: i32) -> Value {
    run(&[&COMPARE[..], arguments, &["--json"]].concat()).expect_code(code).json()
}

/// The counts of each machine add up, and so do those of the disagreements.
#[track_caller]
fn assert_adds_up(kind: &Value, cases: u64) {
    assert_eq!(count(kind, "cases"), cases, "{kind}");
    for machine in list(&kind["machines"]) {
        let of = |name: &str| count(machine, name);
        assert_eq!(of("cases"), cases, "{machine}");
        let ended = of("right") + of("known") + of("unknown") + of("unrun");
        assert_eq!(ended, cases, "{machine}");
    }
    let disputed: u64 =
        list(&kind["disagreements"]).iter().map(|found| count(found, "count")).sum();
    assert_eq!(disputed + count(kind, "unanimous"), count(kind, "shared"), "{kind}");
}

/// The disagreement about these findings.
fn about<'d>(kind: &'d Value, ids: &[&str]) -> Option<&'d Value> {
    list(&kind["disagreements"]).iter().find(|found| {
        let about: Vec<_> = list(&found["about"]).iter().map(text).collect();
        about == ids
    })
}

#[test]
fn qemu_and_bochs_differ_from_the_manuals_as_is_known_and_from_each_other() {
    require_qemu!();
    require_program!("bochs-bin");
    let machines = ["--machine", "qemu", "--machine", "bochs:ryzen"];
    let options = ["--machine", "bochs:corei7_skylake_x", "--cases", "600", "--seed", "1"];
    let report = compare(&[&machines[..], &options].concat(), 0);

    let [kind] = list(&report["kinds"]) else { panic!("one kind: {report}") };
    assert_eq!((&kind["kind"], &report["seed"]), (&"NPT".into(), &"1".into()));
    assert_adds_up(kind, 600);
    // The only machine with EPT is left out.
    let [alone] = list(&report["alone"]) else { panic!("one is alone: {report}") };
    assert_eq!(alone["kind"], "EPT");
    assert!(text(&alone["name"]).contains("skylake"), "{alone}");

    // TN1: QEMU's nested page faults by a reserved bit lack P. Bochs is right, and of two each is outvoted.
    let found = about(kind, &["TN1"]).expect("TN1 is frequent");
    let [qemu, bochs] = list(&kind["machines"]) else { panic!("two machines: {kind}") };
    assert_eq!(list(&found["differ_from_manuals"]), [qemu["name"].clone()]);
    assert_eq!(list(&found["differ_from_others"]), [qemu["name"].clone(), bochs["name"].clone()]);
    assert_eq!((&found["known"], &found["everyone"]), (&true.into(), &false.into()));
    assert_eq!(list(&found["observed"]).len(), 2);
    // BN7 is Bochs' own, and T2 QEMU's.
    assert_eq!(
        list(&about(kind, &["BN7"]).expect("BN7")["differ_from_manuals"]),
        [bochs["name"].clone()]
    );
    assert!(about(kind, &["T2"]).is_some());
}

#[test]
fn given_cases_run_where_they_can() {
    require_qemu!();
    let newer = require_second_qemu!().display().to_string();
    let qemus = ["--machine", "qemu", "--machine", &format!("qemu:{newer}")];
    let found = compare(&[&qemus[..], &["--cases", "100", "--seed", "2"]].concat(), 0);
    let kind = &list(&found["kinds"])[0];
    assert_adds_up(kind, 100);
    let case = list(&kind["disagreements"])[0]["case"].to_string();

    let again = compare(&[&qemus[..], &[&case]].concat(), 0);
    let kind = &list(&again["kinds"])[0];
    assert_adds_up(kind, 1);
    assert_eq!(again["seed"], Value::Null);
    assert_eq!(list(&kind["disagreements"])[0]["case"].to_string(), case);

    // With nothing forgiven, what is known is not.
    compare(&[&qemus[..], &[&case, "--known", "none"]].concat(), 1);
}

#[test]
fn what_cannot_be_compared_is_refused_by_name() {
    let two = ["--machine", "qemu", "--machine", "qemu"];
    let refused: [(Vec<&str>, &str); 6] = [
        (vec!["--machine", "qemu"], "at least two machines"),
        ([&two[..], &["--mode", "pae"]].concat(), "--mode"),
        ([&two[..], &["--page", "there"]].concat(), "--page"),
        ([&two[..], &["--known", "there"]].concat(), "--known"),
        ([&two[..], &["--seed", "1", "{}"]].concat(), "--seed"),
        ([&two[..], &["nested:random:1:2"]].concat(), "nested:random:1:2"),
    ];
    for (arguments, name) in refused {
        let output = run(&[&COMPARE[..], &arguments].concat()).expect_code(2);
        assert!(output.only_line_of_stderr().contains(name), "{}", output.stderr);
    }
    let unknown = run(&[&COMPARE[..], &["--machine", "v86"]].concat()).expect_code(2);
    assert!(unknown.stderr.contains("bochs:MODEL"), "{}", unknown.stderr);
    run(&["compare", "--machine", "qemu"]).expect_code(2);
}
