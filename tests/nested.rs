//! The main job on a real KVM whose processor QEMU emulates (`ci/nested`), once over nested page
//! tables and once over KVM's shadow tables.

mod common;

use assert_cmd::Command;
use common::{Sandbox, count, finding};
use serde_json::Value;
use std::path::Path;
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

/// What such a KVM must check.
const MODES: &[&str] = &["unpaged", "32bit", "pae", "4level", "5level"];

/// Enough cases to meet the faults of the emulated processor in each mode.
const CASES: u64 = 60_000;

/// The program boots and runs twice in this time. `ci/nested` bounds the runs itself.
const DEADLINE: Duration = Duration::from_secs(1200);

/// What `ci/nested` says when something is missing.
const MISSING: i32 = 77;

/// The reports with npt=1 and npt=0, or what is missing. Several tests look at them.
fn reports() -> &'static Result<[Value; 2], String> {
    static REPORTS: OnceLock<Result<[Value; 2], String>> = OnceLock::new();
    REPORTS.get_or_init(|| {
        let written = run(&["--cases", &CASES.to_string(), "--seed", "1"])?;
        Ok(written.map(|text| {
            serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error} in {text}"))
        }))
    })
}

/// What the program wrote with npt=1 and npt=0, given these arguments; or what is missing.
fn run(arguments: &[&str]) -> Result<[String; 2], String> {
    // One at a time: a program that shares its processor could miss a deadline.
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock();
    let sandbox = Sandbox::new();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../ci/nested");
    let mut command = Command::new(script);
    // This very program: another, built for speed, takes longer to build than it gains.
    command.args(["--offline", "--limit", "300", "--binary", common::PROGRAM, "--out"]);
    command.arg(sandbox.path()).args(arguments);
    let output = command.timeout(DEADLINE).output().expect("ci/nested starts");
    let said = String::from_utf8_lossy(&output.stderr);
    if output.status.code() == Some(MISSING) {
        return Err(said.trim().to_owned());
    }
    let told = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{told}\n{said}");
    Ok(["npt1.json", "npt0.json"]
        .map(|name| std::fs::read_to_string(sandbox.path().join(name)).expect("a report")))
}

/// The two reports. Ends the test, aloud, where they cannot be had.
macro_rules! require_nested {
    () => {
        match reports() {
            Ok(reports) => reports,
            Err(why) => return common::skip("nested", why),
        }
    };
}

#[track_caller]
fn mode<'r>(report: &'r Value, name: &str) -> &'r Value {
    let modes = report["modes"].as_array().expect("modes are a list");
    modes.iter().find(|mode| mode["mode"] == name).unwrap_or_else(|| panic!("no mode {name}"))
}

#[test]
fn the_machine_is_told_by_its_flavour_and_what_lies_beneath() {
    let reports = require_nested!();
    for (report, flavour) in reports.iter().zip(["svm-npt", "svm-shadow"]) {
        let machine = &report["machine"];
        assert_eq!(machine["kind"], "kvm");
        assert_eq!(machine["flavour"], flavour);
        assert_eq!(machine["beneath"], "tcg");
    }
}

#[test]
fn every_mode_is_checked_and_nothing_unknown_diverges() {
    for report in require_nested!() {
        for name in MODES {
            let mode = mode(report, name);
            assert_eq!(mode["status"], "checked", "{mode}");
            let fair_share = CASES / MODES.len() as u64 / 2;
            assert!(count(mode, "cases") >= fair_share, "{mode}");
            assert!(count(mode, "unsupported") < fair_share / 30, "{mode}");
        }
        for finding in report["findings"].as_array().expect("findings are a list") {
            assert!(finding["known"] == true || count(finding, "count") == 0, "{finding}");
        }
    }
}

/// Nested tables leave everything to the processor; with shadow tables KVM walks, and the processor
/// uses what KVM built. None of it is hardware's.
#[test]
fn an_emulated_processor_is_never_called_one() {
    let [nested, shadow] = require_nested!();
    for name in MODES {
        let (nested, shadow) = (mode(nested, name), mode(shadow, name));
        let decided = [("tcg-on-shadow-tables", "translations"), ("kvm-walker", "faults")]
            .map(|(who, what)| (who, count(shadow, what)));
        let deciders = |mode: &'static Value| mode["provenance"].as_object().expect("counts");
        let (nested, shadow) = (deciders(nested), deciders(shadow));
        let all = |deciders: &serde_json::Map<String, Value>| {
            deciders.values().map(|count| count.as_u64().expect("a count")).sum::<u64>()
        };
        assert!(nested["tcg"].as_u64() > Some(all(nested) * 9 / 10), "{name}: {nested:?}");
        for (who, results) in decided {
            let part = shadow.get(who).and_then(Value::as_u64).unwrap_or(0);
            assert!(part >= results / 2, "{name}: {part} of {results}: {shadow:?}");
        }
        for who in ["processor", "processor-on-shadow-tables"] {
            assert!(!nested.contains_key(who) && !shadow.contains_key(who), "{name}: {who}");
        }
        assert!(!nested.contains_key("tcg-on-shadow-tables"), "{name}: {nested:?}");
    }
}

/// TCG reports a reserved bit without P; KVM's walker, which decides with npt=0, does not.
#[test]
fn whose_walk_it_is_shows_in_whose_faults_are_met() {
    let [nested, shadow] = require_nested!();
    for id in ["T1", "T2", "T3", "T5", "T6", "T8", "T11", "N8"] {
        assert!(count(finding(nested, id), "count") > 0, "{id} was not met with npt=1");
    }
    for id in ["T2", "T3", "T8", "N6", "N7"] {
        assert!(count(finding(shadow, id), "count") > 0, "{id} was not met with npt=0");
    }
    let findings = shadow["findings"].as_array().expect("findings are a list");
    assert!(findings.iter().all(|finding| finding["id"] != "T1"));
}

/// AD-2 leaves open whether A is set above a fault: TCG sets it on its way, KVM after a whole walk.
#[test]
fn the_two_choose_differently_about_accessed_flags_above_a_fault() {
    let reports = require_nested!();
    for name in MODES.iter().filter(|mode| **mode != "unpaged") {
        let [nested, shadow] = [0, 1].map(|which| {
            ["A set", "A left clear"].map(|member| taken(&reports[which], name, "AD-2", member))
        });
        assert!(nested[0] > nested[1], "{name}: {nested:?} with npt=1");
        assert!(shadow[0] < shadow[1], "{name}: {shadow:?} with npt=0");
    }
}

/// In how many cases a member of a choice was taken.
fn taken(report: &Value, mode: &str, rule: &str, member: &str) -> u64 {
    let choices = report["choices"].as_array().expect("choices are a list").iter();
    let these =
        choices.filter(|at| at["mode"] == mode && at["rule"] == rule && at["member"] == member);
    these.map(|choice| count(choice, "count")).sum()
}

/// PDPTE-4: a PDPTE that memory has no more is in a register of KVM's with npt=0, and read from
/// memory by the processor with npt=1; PDPTE-1 and the APM's nested paging allow both.
#[test]
fn pdptes_are_read_during_the_walk_over_nested_tables_only() {
    let case = r#"{"mode": "pae", "state": {"cr0": "0x80010011", "cr3": "0x440900",
        "cr4": "0x620", "efer": "0x0",
        "pdptes": ["0x441001", "0x442001", "0x443001", "0x444001"]},
        "entries": [{"address": "0x440910", "value": "0x443000"},
                    {"address": "0x443598", "value": "0x40200087"}],
        "access": {"kind": "read", "address": "0x967a87a0", "size": 1, "ring": 3},
        "profile": {"vendor": "amd", "max_physical_address": 40, "features": ["nx", "pge"]}}"#;
    let [nested, shadow] = match run(&["explain", "--machine", "kvm", &case.replace('\n', "")]) {
        Ok(written) => written,
        Err(why) => return common::skip("nested", &why),
    };
    // The frame is lane 1's in arena 0, and memory's bytes tell where they lie (contents.rs).
    let byte = crosswalk_guest::contents::byte(0x403a_87a0);
    for (text, machine) in
        [(nested, "#PF(U) at 0x967a87a0 (decided by tcg)".into()), (shadow, format!("{byte:#x}"))]
    {
        let line = text.lines().find(|line| line.starts_with("machine ")).expect("it ran");
        assert!(line.contains(&machine), "{text}");
        assert!(text.contains("verdict   agree"), "{text}");
    }
}
