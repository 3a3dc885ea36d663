//! What `crosswalk scenario` tells. The snapshots were read line by line; a change to one is a change
//! to what users see.

mod common;

use common::{count, guest_image, require_kvm, run, run_with_dev, skip};

/// What the program says in software alone, which fits a terminal.
fn scenario(arguments: &[&str]) -> String {
    let software = ["scenario", "--machine", "none"];
    let text = run(&[&software, arguments].concat()).expect_code(0).stdout;
    assert_eq!(text.lines().find(|line| line.chars().count() > 80), None, "too wide:\n{text}");
    text
}

#[test]
fn copy_on_write_is_told_step_by_step() {
    insta::assert_snapshot!(scenario(&["copy-on-write"]));
}

#[test]
fn dirty_pages_go_to_the_store() {
    insta::assert_snapshot!(scenario(&["dirty", "--mode", "32bit"]));
}

#[test]
fn all_of_them_pass_in_every_mode() {
    for mode in ["32bit", "pae", "4level", "5level"] {
        let text = scenario(&["all", "--mode", mode]);
        assert!(text.contains(&format!("10 of 10 scenarios pass with {mode} tables.")), "{text}");
        let end = "Software only: nothing was compared: no machine was asked for.\n";
        assert!(text.ends_with(end), "{text}");
    }
}

#[test]
fn without_a_name_they_are_listed() {
    let list = scenario(&[]);
    for name in ["isolation", "reclaim", "linear-versus-multilevel"] {
        assert!(list.lines().any(|line| line.starts_with(&format!("{name}: "))), "{list}");
    }
}

#[test]
fn json_has_the_same_for_scripts() {
    let arguments = ["scenario", "all", "--machine", "none", "--json"];
    let report = run(&arguments).expect_code(0).json();
    assert_eq!(report["modes"], serde_json::json!(["4level"]));
    assert_eq!(report["comparison"]["machine"], serde_json::Value::Null);
    assert_eq!(report["comparison"]["result"], "software only: nothing was compared");
    assert_eq!(
        (count(&report["totals"], "scenarios"), count(&report["totals"], "passed")),
        (10, 10)
    );
    let told = report["scenarios"].as_array().expect("a list");
    let dirty = told.iter().find(|told| told["name"] == "dirty").expect("dirty is among them");
    assert_eq!(count(&dirty["statistics"]["pages"], "written"), 2);
    let faults = dirty["timeline"].as_array().expect("a list");
    let fault = faults.iter().find(|moment| moment["event"] == "fault").expect("a fault");
    // The first read of an image: user, not present.
    assert_eq!(fault["error_code"], "0x4");
    assert_eq!((&fault["cr2"], &fault["kind"]), (&"0x80500000".into(), &"major".into()));
}

/// Where there is neither KVM nor QEMU, the software runs alone, and says so; a machine that was asked
/// for and is not there is an error.
#[test]
fn without_any_machine_the_software_runs_alone() {
    let without = |arguments: &str| {
        let ran = run_with_dev("true", arguments);
        if ran.is_none() {
            skip("unshare", "another /dev cannot be mounted here");
        }
        ran
    };
    let Some(ran) = without("scenario dirty") else { return };
    let ran = ran.expect_code(0);
    assert!(ran.stdout.contains("Software only: nothing was compared: "), "{}", ran.stdout);
    assert!(ran.stdout.contains("/dev/kvm"), "{}", ran.stdout);
    let Some(asked) = without("scenario dirty --machine kvm") else { return };
    assert!(asked.expect_code(3).only_line_of_stderr().contains("/dev/kvm"));
}

#[test]
fn a_guest_that_writes_nonsense_ends_the_run() {
    require_kvm!();
    for image in ["bad-mailbox", "bad-loop", "bad-triple-fault"] {
        let image = guest_image(image);
        let image = image.to_str().expect("a plain path");
        let arguments = ["scenario", "dirty", "--machine", "kvm", "--guest-image", image];
        run(&arguments).expect_code(3).only_line_of_stderr();
    }
}
