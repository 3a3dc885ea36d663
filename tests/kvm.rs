//! `check` on the KVM of this host, end to end, as a user runs it.

use crosswalk_test_support as support;
use serde_json::Value;
use std::sync::OnceLock;
use support::report::{assert_fields, assert_report, list, text};
use support::{Sandbox, count, finding, four_level, require_kvm, run};

/// Enough cases to hit every finding of every known flavour.
const CASES: u64 = 80_000;

/// The report of a run with default settings, run once for all tests.
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

/// Whether WRPKRU works in ring 3 of this host, and so in ring 3 of a guest that runs natively.
fn host_has_pkru() -> bool {
    const OSPKE: u32 = 1 << 4;
    std::arch::x86_64::__cpuid_count(7, 0).ecx & OSPKE != 0
}

#[test]
fn a_report_has_every_field_of_the_contract() {
    require_kvm!();
    let report = plain_report();
    assert_report(report);
    assert_eq!(report["seed"], "1");
    assert_eq!(report["walker"], "reference");
}

#[test]
fn every_case_is_counted_once() {
    require_kvm!();
    let report = plain_report();
    let mode = four_level(report);
    let totals = &report["totals"];
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
fn the_cases_are_varied() {
    require_kvm!();
    let mode = four_level(plain_report());
    let at_least = |name: &str, minimum: u64| {
        let found = count(mode, name);
        assert!(found >= minimum, "{name}: {found} of {CASES}, expected at least {minimum}");
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
    let hit: Vec<_> = list(&rules["hit"]).iter().map(text).collect();
    let missed: Vec<_> = list(&rules["missed"]).iter().map(text).collect();
    assert!(hit.iter().all(|rule| !missed.contains(rule)), "{hit:?} {missed:?}");

    let mut all: Vec<_> = hit.iter().chain(&missed).collect();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), hit.len() + missed.len(), "a rule is listed twice");

    // Any run of this size hits these, on any machine.
    for rule in ["CODE-1", "CODE-2", "CODE-12", "RIGHT-1", "RIGHT-2", "AD-1", "CANON-1"] {
        assert!(hit.contains(&rule), "{rule} was not hit");
    }
}

#[test]
fn a_run_that_agrees_has_known_findings_only() {
    require_kvm!();
    let report = plain_report();
    for finding in list(&report["findings"]) {
        let occurred = count(finding, "count") > 0;
        assert!(!occurred || finding["known"] == true, "{finding}");
    }
    if !is_pvm(report) {
        return;
    }

    let provenance = &four_level(report)["provenance"];
    for who in ["processor", "processor-on-shadow-tables", "kvm-walker", "kvm-emulator"] {
        assert!(count(provenance, who) > 0, "nothing was decided by {who}: {provenance}");
    }
    for number in 1..=9 {
        let _ = finding(report, &format!("K{number}"));
    }
    for id in ["K1", "K2", "K3", "K4", "K5", "K6", "K7", "K8", "K11"] {
        let occurred = count(finding(report, id), "count") > 0;
        assert!(occurred || (id == "K7" && !host_has_pkru()), "{id} was not found");
    }
}

#[test]
fn without_known_findings_the_faults_of_pvm_fail_the_run() {
    require_kvm!();
    let cases = CASES.to_string();
    let options = ["--machine", "kvm", "--cases", &cases, "--seed", "1"];
    let output = run(&[&["check", "--known", "none", "--json"], &options[..]].concat());
    let report = output.json();
    if !is_pvm(&report) {
        return;
    }

    let output = output.expect_code(1);
    assert_eq!(output.stderr, "", "reports go to standard output, progress to terminals");
    for id in ["K1", "K2", "K3", "K7"] {
        if id == "K7" && !host_has_pkru() {
            continue;
        }
        let finding = finding(&report, id);
        assert_eq!(finding["known"], false, "{id}");
        assert!(count(finding, "count") > 0, "{id} was not found");

        let case = finding["smallest_case"].to_string();
        let text = run(&["explain", "--machine", "kvm", &case]).expect_code(0).stdout;
        assert!(text.contains("verdict   DIVERGE"), "{id} {case}\n{text}");
    }
}

/// A file of known findings replaces the one that comes with the program: with an empty one, pvm's
/// faults are unknown and have no ids.
#[test]
fn with_an_empty_file_of_known_findings_nothing_is_known() {
    require_kvm!();
    let sandbox = Sandbox::new();
    let file = sandbox.file("none.toml", "# nothing is known\n");
    let options = ["--machine", "kvm", "--cases", "8000", "--seed", "2", "--known", &file];
    let output = sandbox.run(&[&["check", "--json"], &options[..]].concat());
    let report = output.json();

    let findings = list(&report["findings"]);
    assert!(findings.iter().all(|finding| finding["known"] == false), "{findings:?}");
    let has_known_id = |finding: &&Value| text(&finding["id"]).starts_with('K');
    assert_eq!(findings.iter().find(has_known_id), None);
    if is_pvm(&report) {
        output.expect_code(1);
        assert!(!findings.is_empty());
    }
}

#[test]
fn a_malformed_file_of_known_findings_is_refused_with_its_place() {
    require_kvm!();
    let sandbox = Sandbox::new();
    let refused = |file: &str| {
        let arguments = ["check", "--machine", "kvm", "--cases", "10", "--known", file];
        sandbox.run(&arguments).expect_code(2)
    };

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
        let output = refused(&sandbox.file(name, text));
        assert!(output.stderr.contains(name) && output.stderr.contains(place), "{}", output.stderr);
    }

    assert!(refused("missing.toml").only_line_of_stderr().contains("missing.toml"));
}

/// A report without what depends on the clock; and without the choices, unless the machine is
/// software: a processor that speculates chooses differently every time (AD-5).
fn without_chance(mut report: Value) -> Value {
    for timing in ["seconds", "cpu_seconds", "cases_per_second", "breakdown"] {
        report["totals"].as_object_mut().expect("an object").remove(timing);
    }
    if !is_pvm(&report) {
        report.as_object_mut().expect("an object").remove("choices");
    }
    report.as_object_mut().expect("an object").remove("started");
    report
}

#[test]
fn a_seed_repeats_a_run_exactly() {
    require_kvm!();
    let report = |seed: &str| {
        let arguments = ["check", "--machine", "kvm", "--cases", "9000", "--json", "--seed", seed];
        without_chance(run(&arguments).expect_code(0).json())
    };
    let first = report("77");
    assert_eq!(first, report("77"));

    let other = report("78");
    assert_ne!(four_level(&first), four_level(&other), "another seed gave the same cases");
}

#[test]
fn a_run_without_a_seed_reports_the_one_it_used() {
    require_kvm!();
    let seed = |arguments: &[&str]| {
        run(&[arguments, &["--cases", "100", "--json"]].concat()).json()["seed"]
            .as_str()
            .map(str::to_owned)
    };
    // No subcommand means check, and auto selects KVM where it can be opened.
    let first = seed(&[]);
    let second = seed(&["check"]);
    assert!(first.is_some() && second.is_some());
    assert_ne!(first, second);
}

#[test]
fn the_text_report_has_machine_counts_and_verdict() {
    require_kvm!();
    let arguments = ["check", "--machine", "kvm", "--cases", "5000", "--seed", "3", "-v"];
    let text = run(&arguments).expect_code(0).expect_80_columns().stdout;
    for words in
        ["machine   kvm (as asked): flavour ", "cases     random, seed 3", "5,000", "decided by: "]
    {
        assert!(text.contains(words), "no {words:?} in\n{text}");
    }
    let verdict = "AGREE  The machine and the model agree, known findings aside.\n";
    assert!(text.ends_with(verdict) && text.contains(&format!("\n\n{verdict}\n")), "{text}");
}

#[test]
fn machines_lists_what_kvm_offers() {
    require_kvm!();
    let offers = run(&["machines", "--json"]).expect_code(0).json();
    let kvm = list(&offers["machines"])
        .iter()
        .find(|offer| offer["kind"] == "kvm")
        .expect("kvm is listed");
    assert_fields(kvm, &[("available", "flag"), ("reason", "null"), ("machine", "object")]);
    assert_eq!(kvm["available"], true);
    assert_eq!(kvm["machine"]["flavour"], plain_report()["machine"]["flavour"]);

    let modes = list(&kvm["modes"]);
    let names: Vec<_> = modes.iter().map(|mode| text(&mode["mode"])).collect();
    assert_eq!(names, ["unpaged", "32bit", "pae", "4level", "5level"]);
    for mode in modes {
        let offered = mode["offered"].as_bool().expect("a flag");
        assert_fields(mode, &[("reason", if offered { "null" } else { "text" })]);
    }
    assert_eq!(modes[3]["offered"], true);

    let text = run(&["machines"]).expect_code(0).expect_80_columns().stdout;
    for name in names.iter().chain(&["kvm", "flavour"]) {
        assert!(text.contains(name), "no {name} in\n{text}");
    }
}
