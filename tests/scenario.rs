//! What `crosswalk scenario` prints. The snapshots were read line by line; a change to a snapshot is
//! a change to what users see.

use crosswalk_test_support as support;
use serde_json::{Value, json};
use support::hostile::HostileImage;
use support::report::list;
use support::{ProgramOutput, Sandbox, count, require_kvm, run, run_with_dev, skip};

/// What the program prints about the software alone, which fits a terminal.
fn scenario(arguments: &[&str]) -> String {
    let software = ["scenario", "--machine", "none"];
    run(&[&software, arguments].concat()).expect_code(0).expect_80_columns().stdout
}

#[test]
fn copy_on_write_is_narrated_step_by_step() {
    insta::assert_snapshot!(scenario(&["copy-on-write"]));
}

#[test]
fn dirty_pages_go_to_the_store() {
    insta::assert_snapshot!(scenario(&["dirty", "--mode", "32bit"]));
}

#[test]
fn every_scenario_passes_in_every_mode() {
    for mode in ["32bit", "pae", "4level", "5level"] {
        let text = scenario(&["all", "--mode", mode]);
        assert!(text.contains(&format!("10 of 10 scenarios pass with {mode} tables.")), "{text}");
        let end = "Software only: nothing was compared: no machine was asked for.\n";
        assert!(text.ends_with(end), "{text}");
    }
}

#[test]
fn without_a_name_the_scenarios_are_listed() {
    let listed = run(&["scenario"]).expect_code(0).stdout;
    for name in ["isolation", "reclaim", "linear-versus-multilevel"] {
        assert!(listed.lines().any(|line| line.starts_with(&format!("{name}: "))), "{listed}");
    }
}

#[test]
fn json_reports_the_same_to_scripts() {
    let arguments = ["scenario", "all", "--machine", "none", "--json"];
    let report = run(&arguments).expect_code(0).json();
    assert_eq!(report["modes"], json!(["4level"]));
    assert_eq!(report["comparison"]["machine"], Value::Null);
    assert_eq!(report["comparison"]["result"], "software only: nothing was compared");
    assert_eq!(count(&report["totals"], "scenarios"), 10);
    assert_eq!(count(&report["totals"], "passed"), 10);

    let mut scenarios = list(&report["scenarios"]).iter();
    let dirty = scenarios.find(|scenario| scenario["name"] == "dirty").expect("dirty is listed");
    assert_eq!(count(&dirty["statistics"]["pages"], "written"), 2);

    // The first read from an image: by user code, from a page that is not present.
    let mut events = list(&dirty["timeline"]).iter();
    let fault = events.find(|event| event["event"] == "fault").expect("a fault");
    assert_eq!(fault["error_code"], "0x4");
    assert_eq!(fault["cr2"], "0x80500000");
    assert_eq!(fault["kind"], "major");
}

/// Where there is neither KVM nor QEMU, the software runs alone, and the program says so; a machine
/// that is named on the command line and missing is an error.
#[test]
fn without_a_machine_the_software_runs_alone() {
    let Some(output) = run_without_machines("scenario dirty") else { return };
    let output = output.expect_code(0);
    assert!(output.stdout.contains("Software only: nothing was compared: "), "{}", output.stdout);
    assert!(output.stdout.contains("/dev/kvm"), "{}", output.stdout);

    let Some(output) = run_without_machines("scenario dirty --machine kvm") else { return };
    assert!(output.expect_code(3).only_line_of_stderr().contains("/dev/kvm"));
}

/// Runs the program with an empty `/dev`; where that cannot be mounted, prints that the test is
/// skipped.
fn run_without_machines(arguments: &str) -> Option<ProgramOutput> {
    let output = run_with_dev("true", arguments);
    if output.is_none() {
        skip("unshare", "another /dev cannot be mounted here");
    }
    output
}

#[test]
fn a_misbehaving_guest_ends_the_run() {
    require_kvm!();
    let image = HostileImage::read();
    for behaviour in
        ["completes_a_later_command", "loops_in_a_command", "triple_faults_in_a_command"]
    {
        let sandbox = Sandbox::new();
        let guest = sandbox.file("guest", image.with(behaviour));
        let arguments = ["scenario", "dirty", "--machine", "kvm", "--guest-image", &guest];
        sandbox.run(&arguments).expect_code(3).only_line_of_stderr();
    }
}
