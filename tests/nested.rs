//! The main job on a real KVM whose processor QEMU emulates (`ci/nested`), once over nested page
//! tables and once over KVM's shadow tables.

mod common;

use assert_cmd::Command;
use common::{Sandbox, count, finding};
use serde_json::Value;
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

/// What such a KVM must check.
const MODES: &[&str] = &["unpaged", "32bit", "pae", "4level", "5level"];

/// Enough cases to meet the faults of the emulated processor in each mode.
const CASES: u64 = 60_000;

/// The program is built in this time, and boots and runs twice. `ci/nested` bounds the runs itself.
const DEADLINE: Duration = Duration::from_secs(1200);

/// What `ci/nested` says when something is missing.
const MISSING: i32 = 77;

/// The reports with npt=1 and npt=0, or what is missing. Several tests look at them.
fn reports() -> &'static Result<[Value; 2], String> {
    static REPORTS: OnceLock<Result<[Value; 2], String>> = OnceLock::new();
    REPORTS.get_or_init(|| {
        let sandbox = Sandbox::new();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../ci/nested");
        let mut command = Command::new(script);
        command.args(["--offline", "--limit", "300", "--out"]).arg(sandbox.path());
        command.args(["--cases", &CASES.to_string(), "--seed", "1"]);
        let output = command.timeout(DEADLINE).output().expect("ci/nested starts");
        let said = String::from_utf8_lossy(&output.stderr);
        if output.status.code() == Some(MISSING) {
            return Err(said.trim().to_owned());
        }
        let told = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(0), "{told}\n{said}");
        Ok(["npt1.json", "npt0.json"].map(|name| {
            let text = std::fs::read_to_string(sandbox.path().join(name)).expect("a report");
            serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error} in {text}"))
        }))
    })
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
            assert!(count(mode, "unsupported") < fair_share / 100, "{mode}");
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
    for id in ["T1", "T2", "T3", "T5", "T8"] {
        assert!(count(finding(nested, id), "count") > 0, "{id} was not met with npt=1");
    }
    for id in ["T2", "T3", "T8"] {
        assert!(count(finding(shadow, id), "count") > 0, "{id} was not met with npt=0");
    }
    let findings = shadow["findings"].as_array().expect("findings are a list");
    assert!(findings.iter().all(|finding| finding["id"] != "T1"));
}
