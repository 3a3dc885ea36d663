//! The main job on QEMU's TCG, end to end, as a user starts it.

mod common;
mod contract;

use common::{Ran, Sandbox, count, finding, mode, require_qemu, run};
use contract::assert_report;
use crosswalk_case::Case;
use serde_json::Value;
use std::collections::BTreeSet;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// Enough cases to meet every finding, and every error code of every mode.
const CASES: u64 = 150_000;

const MODES: [&str; 5] = ["unpaged", "32bit", "pae", "4level", "5level"];

/// What must have happened by then, even on a busy machine.
const DEADLINE: Duration = Duration::from_secs(60);

fn check(arguments: &[&str]) -> Ran {
    run(&[&["check", "--machine", "qemu", "--json", "--seed", "1"], arguments].concat())
}

/// A run with nothing unusual asked for. Several tests look at it.
fn plain_report() -> &'static Value {
    static REPORT: OnceLock<Value> = OnceLock::new();
    REPORT.get_or_init(|| {
        let ran = check(&["--cases", &CASES.to_string()]).expect_code(0);
        assert_eq!(ran.stderr, "", "reports go to standard output, progress to terminals");
        ran.json()
    })
}

/// Asserts that all modes were run, with every kind of access, and that what diverged is known.
#[track_caller]
fn assert_checked(report: &Value) {
    let modes = report["modes"].as_array().expect("modes are a list");
    let names: Vec<_> = modes.iter().map(|mode| mode["mode"].as_str().expect("a name")).collect();
    assert_eq!(names, MODES);
    for mode in modes {
        assert_eq!(mode["status"], "checked", "{mode}");
        assert_eq!(count(mode, "unsupported"), 0, "{mode}");
        for kind in ["read", "write", "rmw", "fetch", "clflush"] {
            assert!(count(&mode["accesses"], kind) > 0, "no {kind}: {mode}");
        }
        let observed = count(mode, "translations") + count(mode, "faults");
        assert_eq!(observed, count(mode, "cases"), "{mode}");
        assert_eq!(count(&mode["provenance"], "tcg"), observed, "{mode}");
    }
    for finding in report["findings"].as_array().expect("findings are a list") {
        assert!(finding["known"] == true || count(finding, "count") == 0, "{finding}");
    }
}

#[test]
fn every_mode_is_checked_and_nothing_unknown_diverges() {
    require_qemu!();
    let report = plain_report();
    assert_report(report);
    assert_checked(report);
    let machine = &report["machine"];
    assert_eq!((&machine["kind"], &machine["flavour"]), (&"qemu".into(), &"tcg".into()));
    assert_eq!(machine["max_physical_address"], 40);
    let version = machine["version"].as_str().expect("a version");
    assert!(version.starts_with("QEMU "), "{version}");
    assert_eq!(count(&report["totals"], "cases"), CASES);
    // Each mode gets its share, though those with lone cases come out shorter.
    for name in MODES {
        assert!(count(mode(report, name), "cases") > CASES / 10, "{name}");
    }
}

/// Some only on another processor; T13 with 36 address bits, too.
#[test]
fn every_known_finding_is_met() {
    require_qemu!();
    let met = |report: &Value, id: &str| count(finding(report, id), "count") > 0;
    for id in ["T1", "T2", "T3", "T4", "T5", "T6", "T7", "T8", "T11", "T12"] {
        assert!(met(plain_report(), id), "{id} was not met");
    }
    for (id, without) in [("T9", "pdpe1gb"), ("T13", "pse36"), ("T14", "pat")] {
        assert!(!met(plain_report(), id), "{id} was met");
        let processor = format!("--qemu-cpu=-{without}");
        let report = check(&["--cases", "20000", &processor]).expect_code(0).json();
        assert!(met(&report, id), "{id} was not met without {without}");
    }
}

#[test]
fn other_physical_address_widths_are_checked_too() {
    require_qemu!();
    for bits in ["36", "48", "52"] {
        let report = check(&["--cases", "30000", "--phys-bits", bits]).expect_code(0).json();
        assert_checked(&report);
        assert_eq!(report["machine"]["max_physical_address"].to_string(), bits);
        let narrow = count(finding(&report, "T13"), "count");
        assert_eq!(narrow > 0, bits == "36", "PSE-36 reaches as far as bit 39: {narrow} of T13");
    }
}

#[test]
fn without_known_findings_t1_fails_the_run_one_bit_away_from_a_plain_mapping() {
    require_qemu!();
    let report = check(&["--cases", "40000", "--known", "none"]).expect_code(1).json();
    let t1 = finding(&report, "T1");
    assert_eq!(t1["known"], false);
    assert_eq!(t1["explained_by"], "mutant:M13b");
    let text = t1["smallest_case"].to_string();
    let case = Case::from_json(&text).expect("the case in a report is a case");
    assert_eq!(case.unusual_bits(), 1, "{case}");
    for id in ["T1", "T2", "T3", "T5", "T6", "T8"] {
        let finding = finding(&report, id);
        assert_eq!(finding["known"], false, "{id}");
        let case = finding["smallest_case"].to_string();
        let text = run(&["explain", "--machine", "qemu", &case]).expect_code(0).stdout;
        assert!(text.contains("verdict   DIVERGE"), "{id} {case}\n{text}");
    }
}

#[test]
fn a_seed_repeats_a_run_exactly() {
    require_qemu!();
    let report = || {
        let mut report = check(&["--cases", "20000"]).expect_code(0).json();
        for timing in ["seconds", "cpu_seconds", "cases_per_second"] {
            report["totals"].as_object_mut().expect("totals").remove(timing);
        }
        report
    };
    assert_eq!(report(), report());
}

/// Every way an access can end in a mode, by the SDM's "Page-Fault Exceptions": an absent entry, a
/// denial, or a reserved bit (which QEMU reports without P: T1), for reads, writes and fetches in
/// either ring. In long mode keys can deny reads and writes, and an address can be no address (#SS
/// never comes: T3).
fn ends(mode: &str) -> BTreeSet<String> {
    let mut ends = BTreeSet::from(["completed".to_owned()]);
    let is_long_mode = matches!(mode, "4level" | "5level");
    if is_long_mode {
        ends.insert("#GP(0)".into());
    }
    if mode == "unpaged" {
        return ends;
    }
    for user in ["", "U"] {
        for (write, fetch) in [("", ""), ("W", ""), ("", "I")] {
            for (present, reserved, key) in
                [("", "", ""), ("P", "", ""), ("", "RSVD", ""), ("P", "", "PK")]
            {
                if !key.is_empty() && (!is_long_mode || !fetch.is_empty()) {
                    continue;
                }
                let flags = [present, write, user, reserved, fetch, key];
                let flags: Vec<_> = flags.into_iter().filter(|flag| !flag.is_empty()).collect();
                let flags = if flags.is_empty() { "0".into() } else { flags.join("|") };
                ends.insert(format!("#PF({flags})"));
            }
        }
    }
    ends
}

#[test]
fn every_error_code_of_every_mode_is_seen_and_no_other() {
    require_qemu!();
    for name in MODES {
        let outcomes = mode(plain_report(), name)["outcomes"].as_object().expect("counts");
        let seen: BTreeSet<String> = outcomes.keys().cloned().collect();
        let missing: Vec<_> = ends(name).difference(&seen).cloned().collect();
        let strange: Vec<_> = seen.difference(&ends(name)).cloned().collect();
        assert!(missing.is_empty() && strange.is_empty(), "{name}: {missing:?} {strange:?}");
    }
}

#[test]
fn without_qemu_there_is_one_sentence() {
    let sandbox = Sandbox::new();
    let asked = ["check", "--machine", "qemu", "--cases", "10"];
    let ran = Ran::of(sandbox.command(&asked).env("PATH", sandbox.path())).expect_code(3);
    assert_eq!(ran.stdout, "");
    let line = ran.only_line_of_stderr();
    assert_eq!(line, "crosswalk: no qemu-system-x86_64 in PATH: is QEMU installed?");
}

#[test]
fn what_qemu_refuses_is_told_in_one_sentence() {
    require_qemu!();
    for (option, word) in [("nonsense", "nonsense"), ("+no-such-feature", "no-such-feature")] {
        let ran = check(&["--cases", "10", &format!("--qemu-cpu={option}")]).expect_code(3);
        assert_eq!(ran.stdout, "");
        let line = ran.only_line_of_stderr();
        assert!(line.starts_with("crosswalk: QEMU ") && line.contains(word), "{line}");
    }
}

/// A killed program has no time to end QEMU.
#[test]
fn nothing_is_left_behind_when_the_program_ends_or_is_killed() {
    require_qemu!();
    let sandbox = Sandbox::new();
    sandbox.run(&["check", "--machine", "qemu", "--cases", "1000"]).expect_code(0);
    assert_eq!(sandbox.processes(), [""; 0]);

    let wait_until = |condition: &dyn Fn(&[String]) -> bool| {
        let start = Instant::now();
        while !condition(&sandbox.processes()) {
            assert!(start.elapsed() < DEADLINE, "{:?}", sandbox.processes());
            std::thread::sleep(Duration::from_millis(10));
        }
    };
    let mut program = sandbox.spawn(&["check", "--machine", "qemu", "--for", "1h"]);
    // Not the one that is asked for its version.
    wait_until(&|lines| lines.iter().any(|line| line.contains(" -bios ")));
    program.kill().expect("it runs");
    program.wait().expect("it is ours");
    wait_until(&|lines| lines.is_empty());
}
