//! `check` on QEMU's TCG, end to end, as a user runs it.

use crosswalk_case::Case;
use crosswalk_test_support as support;
use serde_json::Value;
use std::collections::BTreeSet;
use std::sync::OnceLock;
use std::time::{Duration, Instant};
use support::report::{assert_report, list, text};
use support::{ProgramOutput, Sandbox, count, finding, mode, program, require_qemu, run};

/// Enough cases to hit every finding, and every error code of every mode.
const CASES: u64 = 150_000;

const MODES: [&str; 5] = ["unpaged", "32bit", "pae", "4level", "5level"];

/// Time limit for processes to start and to end, even on a busy machine.
const TIME_LIMIT: Duration = Duration::from_secs(60);

fn check(arguments: &[&str]) -> ProgramOutput {
    run(&[&["check", "--machine", "qemu", "--json", "--seed", "1"], arguments].concat())
}

/// The report of a run with default settings, run once for all tests.
fn plain_report() -> &'static Value {
    static REPORT: OnceLock<Value> = OnceLock::new();
    REPORT.get_or_init(|| {
        let output = check(&["--cases", &CASES.to_string()]).expect_code(0);
        assert_eq!(output.stderr, "", "reports go to standard output, progress to terminals");
        output.json()
    })
}

/// Asserts that all modes were checked with every kind of access, and that every divergence is known.
#[track_caller]
fn assert_checked(report: &Value) {
    let modes = list(&report["modes"]);
    let names: Vec<_> = modes.iter().map(|mode| text(&mode["mode"])).collect();
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

    for finding in list(&report["findings"]) {
        assert!(finding["known"] == true || count(finding, "count") == 0, "{finding}");
    }
}

/// The ids of a user's own file are in that file, and not in those of the program.
#[test]
fn the_command_for_findings_that_were_not_met_names_their_file() {
    require_qemu!();
    let sandbox = Sandbox::new();
    let known = support::repository().join("vmm/known/tcg.toml");
    let known = std::fs::read_to_string(known).expect("known findings");
    let file = "my findings.toml";
    sandbox.file(file, known.replace("\"T13\"", "\"MINE\""));

    let check = ["check", "--machine", "qemu", "--cases", "1000", "--seed", "1", "--known", file];
    let shown = sandbox.run(&check).stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(shown.contains("known, but not met: ") && shown.contains(" MINE,"), "{shown}");
    let command = "`crosswalk findings --known 'my findings.toml' ID` describes one";
    assert!(shown.contains(command), "{shown}");
    let described = sandbox.run(&["findings", "--known", file, "MINE"]).expect_code(0).stdout;
    assert!(described.starts_with("MINE of my findings.toml: "), "{described}");
}

#[test]
fn every_mode_is_checked_and_every_divergence_is_known() {
    require_qemu!();
    let report = plain_report();
    assert_report(report);
    assert_checked(report);

    let machine = &report["machine"];
    assert_eq!(machine["kind"], "qemu");
    assert_eq!(machine["flavour"], "tcg");
    assert_eq!(machine["max_physical_address"], 40);
    let version = text(&machine["version"]);
    assert!(version.starts_with("QEMU "), "{version}");

    // Each mode gets a share of the cases, though less where some cases run alone.
    assert_eq!(count(&report["totals"], "cases"), CASES);
    for name in MODES {
        assert!(count(mode(report, name), "cases") > CASES / 10, "{name}");
    }
}

/// T9, T13 and T14 need another processor than the default.
#[test]
fn every_known_finding_occurs() {
    require_qemu!();
    let occurs = |report: &Value, id: &str| count(finding(report, id), "count") > 0;
    for id in ["T1", "T2", "T3", "T4", "T5", "T6", "T7", "T8", "T11", "T12", "T15"] {
        assert!(occurs(plain_report(), id), "{id} does not occur");
    }

    for (id, without) in [("T9", "pdpe1gb"), ("T13", "pse36"), ("T14", "pat")] {
        assert!(!occurs(plain_report(), id), "{id} occurs with {without}");
        let processor = format!("--qemu-cpu=-{without}");
        let report = check(&["--cases", "20000", &processor]).expect_code(0).json();
        assert!(occurs(&report, id), "{id} does not occur without {without}");
    }
}

#[test]
fn other_physical_address_widths_are_checked_too() {
    require_qemu!();
    for bits in ["36", "48", "52"] {
        let report = check(&["--cases", "30000", "--phys-bits", bits]).expect_code(0).json();
        assert_checked(&report);
        assert_eq!(report["machine"]["max_physical_address"].to_string(), bits);

        // PSE-36 reaches bit 39, so a processor with fewer address bits shows T13.
        let t13 = count(finding(&report, "T13"), "count");
        assert_eq!(t13 > 0, bits == "36", "T13 occurs {t13} times with {bits} bits");
    }
}

#[test]
fn without_known_findings_t1_fails_the_run_one_bit_away_from_a_plain_mapping() {
    require_qemu!();
    let report = check(&["--cases", "40000", "--known", "none"]).expect_code(1).json();
    let t1 = finding(&report, "T1");
    assert_eq!(t1["known"], false);
    assert_eq!(t1["explained_by"], "mutant:M13b");

    let case = Case::from_json(&t1["smallest_case"].to_string()).expect("a case");
    assert_eq!(case.unusual_bits(), 1, "{case}");

    for id in ["T1", "T2", "T3", "T5", "T6", "T8"] {
        let finding = finding(&report, id);
        assert_eq!(finding["known"], false, "{id}");
        let case = finding["smallest_case"].to_string();
        let text = run(&["explain", "--machine", "qemu", &case]).expect_code(0).stdout;
        assert!(text.contains("verdict   DIVERGE"), "{id} {case}\n{text}");
    }
}

/// The same cases in the same order, and the same findings. QEMU resizes its TLB by the clock, so a
/// translation that another run found cached may be gone: what was counted of the outcomes may differ.
#[test]
fn a_seed_repeats_a_run_exactly() {
    require_qemu!();
    let report = || {
        let mut report = check(&["--cases", "20000"]).expect_code(0).json();
        leave_out(
            &mut report["totals"],
            &["seconds", "cpu_seconds", "cases_per_second", "breakdown"],
        );
        leave_out(&mut report, &["started"]);
        for mode in report["modes"].as_array_mut().expect("a list") {
            leave_out(mode, &["outcomes", "faults", "translations"]);
        }
        leave_out(&mut report["coverage"], &["ends"]);
        report["choices"]
            .as_array_mut()
            .expect("a list")
            .retain(|choice| choice["rule"] != "TLB-2");
        report
    };
    assert_eq!(report(), report());
}

/// Takes members away that must be there.
fn leave_out(object: &mut Value, names: &[&str]) {
    for name in names {
        object.as_object_mut().expect("an object").remove(*name).expect("a member");
    }
}

/// QEMU runs until the report is written, so its time is not among that of the children that have ended.
/// What another program used is, if crosswalk takes its place.
#[test]
fn cpu_seconds_include_qemu_while_it_runs_and_nothing_from_before() {
    require_qemu!();
    let sandbox = Sandbox::new();
    let shell = "(i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done); times >before; exec \"$@\"";
    let script = r#"sh -c "$0" sh "$@" >report.json; times >after"#;
    let run = ["check", "--machine", "qemu", "--json", "--cases", "50000", "--seed", "1"];
    let mut command = assert_cmd::Command::new("sh");
    command.current_dir(sandbox.path()).args(["-c", script, shell]).arg(program()).args(run);
    ProgramOutput::of(&mut command).expect_code(0);

    // The second line is about the children: minutes and seconds, in user space and in the kernel.
    let read = |name| std::fs::read_to_string(sandbox.path().join(name)).expect("it was written");
    let seconds = |name| -> f64 {
        let times = read(name);
        let line = times.lines().nth(1).expect("two lines").split_whitespace();
        let seconds = line.map(|time| {
            let (minutes, seconds) = time.trim_end_matches('s').split_once('m').expect("minutes");
            60.0 * number(minutes) + number(seconds)
        });
        seconds.sum()
    };
    let used = seconds("after") - seconds("before");

    let report: Value = serde_json::from_str(&read("report.json")).expect("a report");
    let reported = report["totals"]["cpu_seconds"].as_f64().expect("a number");
    assert!((0.7 * used..used + 0.05).contains(&reported), "{reported} s of {used} s");
}

fn number(text: &str) -> f64 {
    text.parse().expect("a number")
}

#[test]
fn a_run_says_where_its_time_went() {
    require_qemu!();
    let report = check(&["--cases", "2000"]).expect_code(0).json();

    let breakdown = &report["totals"]["breakdown"];
    for phase in ["generating", "encoding", "guest", "exit", "reading_back", "judging"] {
        let seconds = breakdown[phase].as_f64().expect("every phase has a number");
        assert!(seconds > 0.0, "{phase} in {breakdown}");
    }
}

/// Every outcome of an access in a mode, by the SDM's "Page-Fault Exceptions": an absent entry, a
/// denial, or a reserved bit (which QEMU reports without P: T1), for reads, writes and fetches in
/// either ring. In long mode keys can deny reads and writes, and an address can be non-canonical
/// (which is never #SS: T3).
fn outcomes(mode: &str) -> BTreeSet<String> {
    let mut outcomes = BTreeSet::from(["completed".to_owned()]);
    let is_long_mode = matches!(mode, "4level" | "5level");
    if is_long_mode {
        outcomes.insert("#GP(0)".into());
    }
    if mode == "unpaged" {
        return outcomes;
    }

    for user in ["", "U"] {
        for (write, fetch) in [("", ""), ("W", ""), ("", "I")] {
            for (present, reserved, key) in
                [("", "", ""), ("P", "", ""), ("", "RSVD", ""), ("P", "", "PK")]
            {
                if !key.is_empty() && (!is_long_mode || !fetch.is_empty()) {
                    continue;
                }
                let all = [present, write, user, reserved, fetch, key];
                let set: Vec<_> = all.into_iter().filter(|flag| !flag.is_empty()).collect();
                let flags = if set.is_empty() { "0".into() } else { set.join("|") };
                outcomes.insert(format!("#PF({flags})"));
            }
        }
    }
    outcomes
}

#[test]
fn every_error_code_of_every_mode_occurs_and_no_other() {
    require_qemu!();
    for name in MODES {
        let counts = mode(plain_report(), name)["outcomes"].as_object().expect("counts");
        let observed: BTreeSet<String> = counts.keys().cloned().collect();
        let expected = outcomes(name);

        let missing: Vec<_> = expected.difference(&observed).collect();
        let unexpected: Vec<_> = observed.difference(&expected).collect();
        assert!(missing.is_empty(), "{name}: {missing:?}");
        assert!(unexpected.is_empty(), "{name}: {unexpected:?}");
    }
}

#[test]
fn a_missing_qemu_is_reported_in_one_sentence() {
    let sandbox = Sandbox::new();
    let mut command = sandbox.command(&["check", "--machine", "qemu", "--cases", "10"]);
    let output = ProgramOutput::of(command.env("PATH", sandbox.path())).expect_code(3);
    assert_eq!(output.stdout, "");
    let line = output.only_line_of_stderr();
    assert_eq!(line, "crosswalk: no qemu-system-x86_64 in PATH: is QEMU installed?");
}

#[test]
fn an_option_that_qemu_refuses_is_reported_in_one_sentence() {
    require_qemu!();
    for (option, word) in [("nonsense", "nonsense"), ("+no-such-feature", "no-such-feature")] {
        let output = check(&["--cases", "10", &format!("--qemu-cpu={option}")]).expect_code(2);
        assert_eq!(output.stdout, "");
        let line = output.only_line_of_stderr();
        assert!(line.starts_with("crosswalk: QEMU ") && line.contains(word), "{line}");
    }
}

/// A program that is killed has no time to end QEMU itself.
#[test]
fn no_process_is_left_behind_when_the_program_ends_or_is_killed() {
    require_qemu!();
    let sandbox = Sandbox::new();
    sandbox.run(&["check", "--machine", "qemu", "--cases", "1000"]).expect_code(0);
    assert_eq!(sandbox.processes(), [""; 0]);

    let wait_until = |condition: &dyn Fn(&[String]) -> bool| {
        let start = Instant::now();
        while !condition(&sandbox.processes()) {
            assert!(start.elapsed() < TIME_LIMIT, "{:?}", sandbox.processes());
            std::thread::sleep(Duration::from_millis(10));
        }
    };
    let mut program = sandbox.spawn(&["check", "--machine", "qemu", "--for", "1h"]);
    // The QEMU that is run, not the one that only prints its version.
    wait_until(&|lines| lines.iter().any(|line| line.contains(" -bios ")));
    program.kill().expect("the program is running");
    program.wait().expect("the program can be waited for");
    wait_until(&|lines| lines.is_empty());
}
