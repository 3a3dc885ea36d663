//! The main job on the KVM of this host, end to end, as a user starts it.

mod common;
mod contract;

use common::{count, finding, four_level, require_kvm, run};
use contract::{assert_fields, assert_report};
use serde_json::Value;
use std::sync::OnceLock;

/// Enough cases to meet every finding of every flavour we know.
const CASES: u64 = 80_000;

/// A run with nothing unusual asked for. Several tests look at it.
fn plain_report() -> &'static Value {
    static REPORT: OnceLock<Value> = OnceLock::new();
    REPORT.get_or_init(|| {
        let cases = CASES.to_string();
        let arguments = ["check", "--machine", "kvm", "--cases", &cases, "--seed", "1", "--json"];
        run(&arguments).expect_code(0).json()
    })
}

fn is_pvm(report: &Value) -> bool {
    report["machine"]["flavour"] == "pvm"
}

/// Whether WRPKRU works in ring 3 of this host, and so in that of a guest that runs natively.
fn host_has_pkru() -> bool {
    const OSPKE: u32 = 1 << 4;
    std::arch::x86_64::__cpuid_count(7, 0).ecx & OSPKE != 0
}

#[test]
fn a_report_has_every_field_of_the_contract() {
    require_kvm!();
    let report = plain_report();
    assert_report(report);
    assert_eq!(report["seed"], 1);
    assert_eq!(report["walker"], "reference");
}

#[test]
fn every_case_asked_for_is_counted_once() {
    require_kvm!();
    let report = plain_report();
    let (mode, totals) = (four_level(report), &report["totals"]);
    assert_eq!(count(mode, "cases"), CASES);
    assert_eq!(count(totals, "cases"), CASES);
    let verdicts = ["agreed", "diverged", "unsupported"].map(|name| count(mode, name));
    assert_eq!(verdicts.iter().sum::<u64>(), CASES, "{verdicts:?}");
    assert_eq!(count(totals, "agreed"), verdicts[0]);
    assert_eq!(count(totals, "diverged"), verdicts[1]);

    let observed = CASES - count(mode, "unsupported");
    assert_eq!(count(mode, "translations") + count(mode, "faults"), observed);
    let sum = |name: &str| {
        let counts = mode[name].as_object().expect("counts by name").values();
        counts.map(|count| count.as_u64().expect("a count")).sum::<u64>()
    };
    assert_eq!(sum("provenance"), observed);
    assert_eq!(sum("accesses"), CASES);
}

#[test]
fn the_cases_are_varied_enough_to_meet_real_faults() {
    require_kvm!();
    let mode = four_level(plain_report());
    let at_least = |name: &str, least: u64| {
        let found = count(mode, name);
        assert!(found >= least, "{name}: {found} of {CASES}, expected at least {least}");
    };
    at_least("translations", CASES / 5);
    at_least("faults", CASES / 5);
    at_least("ring0", CASES / 10);
    at_least("page_crossing", CASES / 40);
    at_least("two_or_more_unusual_bits", CASES / 40);
    for kind in ["read", "write", "rmw", "fetch", "clflush"] {
        assert!(count(&mode["accesses"], kind) > 0, "no {kind} among {}", mode["accesses"]);
    }
}

#[test]
fn a_rule_is_either_hit_or_missed() {
    require_kvm!();
    let rules = &plain_report()["rules"];
    let names = |list: &str| -> Vec<&str> {
        let names = rules[list].as_array().expect("a list of rules").iter();
        names.map(|name| name.as_str().expect("an id")).collect()
    };
    let (hit, missed) = (names("hit"), names("missed"));
    assert!(hit.iter().all(|rule| !missed.contains(rule)), "{hit:?} {missed:?}");
    let mut all: Vec<_> = hit.iter().chain(&missed).collect();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), hit.len() + missed.len(), "a rule is listed twice");
    // No run of this size goes without these, whatever the machine.
    for rule in ["CODE-1", "CODE-2", "CODE-12", "RIGHT-1", "RIGHT-2", "AD-1", "CANON-1"] {
        assert!(hit.contains(&rule), "{rule} was not hit");
    }
}

#[test]
fn a_machine_that_agrees_forgives_only_what_is_known() {
    require_kvm!();
    let report = plain_report();
    for finding in report["findings"].as_array().unwrap() {
        let met = count(finding, "count") > 0;
        assert!(!met || finding["known"] == true, "{finding}");
    }
    if !is_pvm(report) {
        return;
    }
    let provenance = &four_level(report)["provenance"];
    for who in ["processor-on-shadow-tables", "kvm-walker", "kvm-emulator"] {
        assert!(count(provenance, who) > 0, "nothing was decided by {who}: {provenance}");
    }
    for number in 1..=9 {
        let _ = finding(report, &format!("K{number}"));
    }
    for id in ["K1", "K2", "K3", "K4", "K5", "K6", "K7", "K8"] {
        let met = count(finding(report, id), "count") > 0;
        assert!(met || (id == "K7" && !host_has_pkru()), "{id} was not met");
    }
}

#[test]
fn without_known_findings_the_faults_of_pvm_fail_the_run() {
    require_kvm!();
    let cases = CASES.to_string();
    let asked = ["--machine", "kvm", "--cases", &cases, "--seed", "1"];
    let ran = run(&[&["check", "--known", "none", "--json"], &asked[..]].concat());
    let report = ran.json();
    if !is_pvm(&report) {
        return;
    }
    let ran = ran.expect_code(1);
    assert_eq!(ran.stderr, "", "reports go to standard output, progress to terminals");
    for id in ["K1", "K2", "K3", "K7"] {
        if id == "K7" && !host_has_pkru() {
            continue;
        }
        let finding = finding(&report, id);
        assert_eq!(finding["known"], false, "{id}");
        assert!(count(finding, "count") > 0, "{id} was not met");
        let case = finding["smallest_case"].to_string();
        let text = run(&["explain", "--machine", "kvm", &case]).expect_code(0).stdout;
        assert!(text.contains("verdict   DIVERGE"), "{id} {case}\n{text}");
    }
}

/// A file of one's own replaces the one that comes with the program: with an empty one, pvm's
/// faults are unknown and have no names.
#[test]
fn an_empty_file_of_known_findings_forgives_nothing() {
    require_kvm!();
    let sandbox = common::Sandbox::new();
    let file = sandbox.file("none.toml", "# nothing is known\n");
    let asked = ["--machine", "kvm", "--cases", "8000", "--seed", "2", "--known", &file];
    let ran = sandbox.run(&[&["check", "--json"], &asked[..]].concat());
    let report = ran.json();
    let findings = report["findings"].as_array().unwrap();
    assert!(findings.iter().all(|finding| finding["known"] == false), "{findings:?}");
    let named = |finding: &&Value| finding["id"].as_str().unwrap().starts_with('K');
    assert_eq!(findings.iter().find(named), None);
    if is_pvm(&report) {
        ran.expect_code(1);
        assert!(!findings.is_empty());
    }
}

#[test]
fn a_malformed_file_of_known_findings_is_refused_with_its_place() {
    require_kvm!();
    let sandbox = common::Sandbox::new();
    let colour = "[[finding]]\nid = 'X'\ntitle = 't'\nkind = 'divergence'\nrule = 'AD-1'\n\
                  manual = 'm'\nsince = 's'\nwhen = { colour = 1 }\n";
    let bad_case = "[[finding]]\nid = 'X9'\ntitle = 't'\nkind = 'divergence'\nrule = 'AD-1'\n\
                    manual = 'm'\nsince = 's'\ncase = '{}'\n";
    for (name, text, place) in [
        ("syntax.toml", "[[finding]]\nid = \n", "line 2"),
        ("colour.toml", colour, "colour"),
        ("field.toml", "[[finding]]\nid = 'X'\n", "title"),
        ("case.toml", bad_case, "X9"),
    ] {
        let file = sandbox.file(name, text);
        let asked = ["check", "--machine", "kvm", "--cases", "10", "--known", &file];
        let ran = sandbox.run(&asked).expect_code(2);
        assert!(ran.stderr.contains(name) && ran.stderr.contains(place), "{}", ran.stderr);
    }
    let asked = ["check", "--machine", "kvm", "--cases", "10", "--known", "missing.toml"];
    let ran = sandbox.run(&asked).expect_code(2);
    assert!(ran.only_line_of_stderr().contains("missing.toml"));
}

/// A report without what depends on the clock; and without the choices, unless the machine is
/// software: a processor that speculates chooses differently every time (AD-5).
fn without_chance(mut report: Value) -> Value {
    for timing in ["seconds", "cpu_seconds", "cases_per_second"] {
        report["totals"].as_object_mut().unwrap().remove(timing);
    }
    if !is_pvm(&report) {
        report.as_object_mut().unwrap().remove("choices");
    }
    report
}

#[test]
fn a_seed_repeats_a_run_exactly() {
    require_kvm!();
    let report = |seed: &str| {
        let arguments = ["check", "--machine", "kvm", "--cases", "9000", "--json", "--seed", seed];
        without_chance(run(&arguments).expect_code(0).json())
    };
    let (first, again, other) = (report("77"), report("77"), report("78"));
    assert_eq!(first, again);
    let counts = |report: &Value| four_level(report).clone();
    assert_ne!(counts(&first), counts(&other), "another seed gave the same cases");
}

#[test]
fn a_run_without_a_seed_says_which_it_had() {
    require_kvm!();
    let seed = |arguments: &[&str]| {
        run(&[arguments, &["--cases", "100", "--json"]].concat()).json()["seed"].as_u64()
    };
    // No subcommand means check, and auto takes KVM where it can be opened.
    let (first, second) = (seed(&[]), seed(&["check"]));
    assert!(first.is_some() && second.is_some());
    assert_ne!(first, second);
}

#[test]
fn the_text_report_tells_machine_counts_and_verdict() {
    require_kvm!();
    let arguments = ["check", "--machine", "kvm", "--cases", "5000", "--seed", "3"];
    let text = run(&arguments).expect_code(0).stdout;
    for words in
        ["machine   kvm (as asked): flavour ", "cases     random, seed 3", "5,000", "decided by: "]
    {
        assert!(text.contains(words), "no {words:?} in\n{text}");
    }
    assert!(text.ends_with("The machine and the model agree, known findings aside.\n"), "{text}");
    assert_eq!(text.lines().find(|line| line.chars().count() > 80), None);
}

#[test]
fn machines_lists_what_kvm_offers() {
    require_kvm!();
    let offers = run(&["machines", "--json"]).expect_code(0).json();
    let kvm = offers.as_array().expect("a list").iter().find(|offer| offer["kind"] == "kvm");
    let kvm = kvm.expect("kvm is listed");
    assert_fields(kvm, &[("available", "flag"), ("reason", "null"), ("machine", "object")]);
    assert_eq!(kvm["available"], true);
    let modes = kvm["modes"].as_array().expect("modes are a list");
    let names: Vec<_> = modes.iter().map(|mode| mode["mode"].as_str().unwrap()).collect();
    assert_eq!(names, ["unpaged", "32bit", "pae", "4level", "5level"]);
    for mode in modes {
        let offered = mode["offered"].as_bool().expect("a flag");
        assert_fields(mode, &[("reason", if offered { "null" } else { "text" })]);
    }
    assert_eq!(modes[3]["offered"], true);
    assert_eq!(kvm["machine"]["flavour"], plain_report()["machine"]["flavour"]);

    let text = run(&["machines"]).expect_code(0).stdout;
    for name in names.iter().chain(&["kvm", "flavour"]) {
        assert!(text.contains(name), "no {name} in\n{text}");
    }
    assert_eq!(text.lines().find(|line| line.chars().count() > 80), None);
}
