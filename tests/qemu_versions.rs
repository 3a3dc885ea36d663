//! What differs between versions of QEMU: a second, newer QEMU beside the installed one.

use crosswalk_test_support as support;
use serde_json::Value;
use std::collections::BTreeSet;
use support::report::{list, text};
use support::{Sandbox, count, finding, mode, require_second_qemu};

const MODES: [&str; 5] = ["unpaged", "32bit", "pae", "4level", "5level"];

/// Runs `check` on both QEMUs, the installed one first. Returns the document.
fn check_both(second: &std::path::Path, arguments: &[&str], code: i32) -> Value {
    let second = second.to_str().expect("a path of this checkout");
    let both = ["check", "--qemu", "qemu-system-x86_64", "--qemu", second, "--json"];
    Sandbox::new().run(&[&both[..], arguments].concat()).expect_code(code).json()
}

/// The versions of both, as numbers of major versions.
fn majors(document: &Value) -> Vec<u32> {
    let major = |run: &Value| {
        let version = text(&run["machine"]["version"]).strip_prefix("QEMU ").expect("a QEMU");
        version.split('.').next().and_then(|major| major.parse().ok()).expect("a number")
    };
    list(&document["runs"]).iter().map(major).collect()
}

#[test]
fn both_versions_agree_in_every_mode_but_for_what_is_known_of_each() {
    let second = require_second_qemu!();
    let document = check_both(&second, &["--cases", "150000", "--seed", "1"], 0);
    let [installed, newer] = list(&document["runs"]) else { panic!("{document}") };
    let majors = majors(&document);
    assert!(majors[0] < majors[1], "the second QEMU is not newer: {majors:?}");

    for run in [installed, newer] {
        for name in MODES {
            assert!(count(mode(run, name), "cases") > 0, "{name}");
        }
        for finding in list(&run["findings"]) {
            assert!(finding["known"] == true || count(finding, "count") == 0, "{finding}");
        }
    }
    assert_eq!(installed["totals"]["case_set"], newer["totals"]["case_set"]);
}

/// T24 is in QEMU 10.0.2 and not in 7.2.22, T25 the other way round; everything else is in both, in the same
/// cases.
#[test]
fn the_findings_that_differ_are_named_by_version() {
    let second = require_second_qemu!();
    let document = check_both(&second, &["--cases", "60000", "--seed", "1"], 0);
    let majors = majors(&document);
    if majors[0] >= 8 || majors[1] != 10 {
        return support::skip("second-qemu", "these are other versions than 7.2 and 10");
    }

    let [installed, newer] = list(&document["runs"]) else { panic!("{document}") };
    let has = |run: &Value, id: &str| list(&run["findings"]).iter().any(|one| one["id"] == id);
    assert!(!has(installed, "T24"), "a version that lacks a finding does not list it");
    assert!(count(finding(newer, "T24"), "count") > 0);
    assert!(count(finding(installed, "T25"), "count") > 0 && !has(newer, "T25"));

    let rows = list(&document["side_by_side"]);
    let differing: BTreeSet<&str> = rows
        .iter()
        .filter(|row| {
            let counts = list(&row["counts"]);
            (counts[0] == 0) != (counts[1] == 0)
        })
        .map(|row| text(&row["id"]))
        .collect();
    assert_eq!(differing, BTreeSet::from(["T24", "T25"]));
}

/// The version decides: nothing else forgives what 10.0 does.
#[test]
fn a_finding_of_a_newer_version_is_not_forgiven_in_an_older_one() {
    let second = require_second_qemu!();
    let sandbox = Sandbox::new();
    let second = second.to_str().expect("a path of this checkout");
    let shipped = std::fs::read_to_string(support::repository().join("vmm/known/tcg.toml"));
    let shipped = shipped.expect("the file is in the checkout");
    assert!(shipped.contains("versions = { from = \"8.0\" }"));
    let known = sandbox.file("later.toml", shipped.replace("from = \"8.0\"", "from = \"99.0\""));

    let arguments = ["check", "--qemu", second, "--mode", "4level", "--json", "--known", &known];
    let limits = ["--cases", "20000", "--seed", "1"];
    let report = sandbox.run(&[&arguments[..], &limits].concat()).expect_code(1).json();
    let unknown: Vec<_> = list(&report["findings"])
        .iter()
        .filter(|found| found["known"] == false && count(found, "count") > 0)
        .collect();
    let is_cr2 = |found: &&Value| {
        let differences = list(&found["differences"]);
        differences.iter().any(|difference| text(difference).starts_with("cr2: "))
    };
    assert!(!unknown.is_empty() && unknown.iter().all(is_cr2), "{unknown:?}");
}
