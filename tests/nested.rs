//! `check` on a real KVM whose processor QEMU emulates (`ci/nested`), once over nested page tables
//! and once over KVM's shadow tables.

use assert_cmd::Command;
use crosswalk_test_support as support;
use serde_json::{Map, Value};
use std::sync::{Mutex, OnceLock};
use std::thread;
use std::time::Duration;
use support::report::list;
use support::{Sandbox, count, finding, mode, program, repository, skip};

/// The modes that such a KVM must check.
const MODES: &[&str] = &["unpaged", "32bit", "pae", "4level", "5level"];

/// Enough cases to hit the faults of the emulated processor in each mode.
const CASES: u64 = 60_000;

/// Time limit for booting and running the program. `ci/nested` limits the run itself.
const TIME_LIMIT: Duration = Duration::from_secs(1200);

/// The exit code of `ci/nested` when something that it needs is missing.
const MISSING: i32 = 77;

/// The reports with npt=1 and npt=0, run once for all tests; or what is missing.
fn reports() -> &'static Result<[Value; 2], String> {
    static REPORTS: OnceLock<Result<[Value; 2], String>> = OnceLock::new();
    REPORTS.get_or_init(|| {
        let written = run(&["--cases", &CASES.to_string(), "--seed", "1"])?;
        Ok(written.map(|text| {
            serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error} in {text}"))
        }))
    })
}

/// What the program prints with npt=1 and npt=0, given these arguments; or what is missing. Each run
/// keeps one processor busy, so they go side by side.
fn run(arguments: &[&str]) -> Result<[String; 2], String> {
    // One pair at a time: more that share a processor could exceed a time limit.
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock();

    thread::scope(|scope| {
        let nested = scope.spawn(|| run_over("1", arguments));
        let shadow = run_over("0", arguments);
        let nested = nested.join().expect("its messages are above");
        Ok([nested?, shadow?])
    })
}

/// What the program prints with npt as given.
fn run_over(npt: &str, arguments: &[&str]) -> Result<String, String> {
    let sandbox = Sandbox::new();
    let mut command = Command::new(repository().join("ci/nested"));
    // The program under test: to build an optimised one would take longer than it saves.
    command.args(["--offline", "--npt", npt, "--limit", "600", "--binary"]).arg(program());
    command.arg("--out").arg(sandbox.path()).args(arguments);
    let output = command.timeout(TIME_LIMIT).output().expect("ci/nested starts");

    let stderr = String::from_utf8_lossy(&output.stderr);
    if output.status.code() == Some(MISSING) {
        return Err(stderr.trim().to_owned());
    }
    let stdout = String::from_utf8_lossy(&output.stdout);
    // `explain` ends with 4 if the machine could not run the case: what it says is looked at by the test.
    let is_refused =
        arguments.first() == Some(&"explain") && stdout.contains(": exit code 4 after");
    assert!(output.status.success() || is_refused, "{stdout}\n{stderr}");

    let report = sandbox.path().join(format!("npt{npt}.json"));
    Ok(std::fs::read_to_string(report).expect("a report"))
}

/// The two reports. Skips the rest of the test function where they cannot be produced.
macro_rules! require_nested {
    () => {
        match reports() {
            Ok(reports) => reports,
            Err(why) => return skip("nested", why),
        }
    };
}

#[test]
fn the_machine_has_its_flavour_and_what_lies_beneath() {
    let reports = require_nested!();
    for (report, flavour) in reports.iter().zip(["svm-npt", "svm-shadow"]) {
        let machine = &report["machine"];
        assert_eq!(machine["kind"], "kvm");
        assert_eq!(machine["flavour"], flavour);
        assert_eq!(machine["beneath"], "tcg");
    }
}

#[test]
fn every_mode_is_checked_and_every_divergence_is_known() {
    for report in require_nested!() {
        for name in MODES {
            let mode = mode(report, name);
            assert_eq!(mode["status"], "checked", "{mode}");
            let fair_share = CASES / MODES.len() as u64 / 2;
            assert!(count(mode, "cases") >= fair_share, "{mode}");
            assert!(count(mode, "unsupported") < fair_share / 30, "{mode}");
        }
        for finding in list(&report["findings"]) {
            assert!(finding["known"] == true || count(finding, "count") == 0, "{finding}");
        }
    }
}

/// With nested tables the processor decides everything; with shadow tables KVM walks, and the
/// processor uses what KVM built. The processor is emulated, so nothing counts as a processor's.
#[test]
fn an_emulated_processor_is_never_called_a_processor() {
    let [nested, shadow] = require_nested!();
    for name in MODES {
        let shadow_mode = mode(shadow, name);
        let decided = [("tcg-on-shadow-tables", "translations"), ("kvm-walker", "faults")]
            .map(|(who, results)| (who, count(shadow_mode, results)));
        let nested = deciders(mode(nested, name));
        let shadow = deciders(shadow_mode);

        let all: u64 = nested.values().map(|count| count.as_u64().expect("a count")).sum();
        assert!(nested["tcg"].as_u64() > Some(all * 9 / 10), "{name}: {nested:?}");
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

/// The number of cases that each provenance decided.
fn deciders(mode: &Value) -> &Map<String, Value> {
    mode["provenance"].as_object().expect("counts by provenance")
}

/// TCG reports a reserved bit without P; KVM's walker, which decides with npt=0, does not.
#[test]
fn the_faults_found_are_those_of_the_walk_that_decides() {
    let [nested, shadow] = require_nested!();
    for id in ["T1", "T2", "T3", "T5", "T6", "T8", "T11", "N8"] {
        assert!(count(finding(nested, id), "count") > 0, "{id} was not found with npt=1");
    }
    for id in ["T2", "T3", "T8", "N6", "N7"] {
        assert!(count(finding(shadow, id), "count") > 0, "{id} was not found with npt=0");
    }
    assert!(list(&shadow["findings"]).iter().all(|finding| finding["id"] != "T1"));
}

/// AD-2 leaves open whether A is set above a fault: TCG sets it during the walk, KVM after it.
#[test]
fn tcg_and_kvm_choose_differently_about_accessed_flags_above_a_fault() {
    let [nested, shadow] = require_nested!();
    for name in MODES.iter().filter(|mode| **mode != "unpaged") {
        let times = |report: &Value, member: &str| times_chosen(report, name, "AD-2", member);
        let tcg = ["A set", "A left clear"].map(|member| times(nested, member));
        assert!(tcg[0] > tcg[1], "{name}: {tcg:?} with npt=1");
        let kvm = ["A set", "A left clear"].map(|member| times(shadow, member));
        assert!(kvm[0] < kvm[1], "{name}: {kvm:?} with npt=0");
    }
}

/// The number of cases in which a machine chose this member of a choice.
fn times_chosen(report: &Value, mode: &str, rule: &str, member: &str) -> u64 {
    let choices = list(&report["choices"]).iter();
    let these = choices.filter(|choice| {
        choice["mode"] == mode && choice["rule"] == rule && choice["member"] == member
    });
    these.map(|choice| count(choice, "count")).sum()
}

/// PDPTE-4: a PDPTE that is no longer in memory is in KVM's register with npt=0, and with npt=1 the
/// processor reads it from memory. PDPTE-1 and the APM's nested paging allow both.
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
        Err(why) => return skip("nested", &why),
    };

    // The frame is that of lane 1 in arena 0, and each byte of memory names its place (contents.rs).
    let byte = crosswalk_guest::contents::byte(0x403a_87a0);
    for (text, machine) in
        [(nested, "#PF(U) at 0x967a87a0 (decided by tcg)".into()), (shadow, format!("{byte:#x}"))]
    {
        let line = text.lines().find(|line| line.starts_with("machine ")).expect("the case ran");
        assert!(line.contains(&machine), "{text}");
        assert!(text.contains("verdict   agree"), "{text}");
    }
}

/// N17: over shadow tables PUSH of memory never ends where CR0.WP=0 lets ring 0 write to the large page that it
/// reads. It is given up by itself, although the stack pointer is its operand; nothing else in the batch is.
#[test]
fn a_push_that_never_ends_is_given_up_over_shadow_tables() {
    let case = r#"{"mode": "4level", "state": {"cr0": "0x80000011", "cr3": "0x640010",
        "cr4": "0x620", "efer": "0x500", "pkru": "0x0", "pkrs": "0x0", "ac": false},
        "entries": [{"address": "0x640150", "value": "0x644005"},
                    {"address": "0x644b40", "value": "0x645007"},
                    {"address": "0x6459f0", "value": "0x43000087"}],
        "access": {"kind": "write", "address": "0x155a27de62f7", "size": 2, "ring": 0,
        "segment": "stack", "instruction": "push", "source": "0x155a27de8ff0"},
        "profile": {"vendor": "amd", "max_physical_address": 40, "features": ["nx", "pge"]}}"#;
    let [nested, shadow] = match run(&["explain", "--machine", "kvm", &case.replace('\n', "")]) {
        Ok(written) => written,
        Err(why) => return skip("nested", &why),
    };

    assert!(nested.contains("verdict   agree"), "{nested}");
    let given_up = "cannot run it: the guest did not come back: it hangs or loops";
    assert!(shadow.contains(given_up), "{shadow}");
    assert!(shadow.contains("verdict   unsupported"), "{shadow}");
}

/// N18: the walk must set A in a table in read-only memory, and the emulator of KVM, which takes over, does not
/// know CMPXCHG16B. A sequence in which that happens is not run, whatever follows.
#[test]
fn a_sequence_with_an_unknown_instruction_is_not_run() {
    let case = r#"{"mode": "5level", "state": {"cr0": "0x80000011", "cr3": "0x640008",
        "cr4": "0x1630", "efer": "0xd00", "pkru": "0x0", "pkrs": "0x0", "ac": false},
        "entries": [{"address": "0x640838", "value": "0x641007"},
                    {"address": "0x641638", "value": "0x644007"},
                    {"address": "0x6446e8", "value": "0x646007"},
                    {"address": "0x6461d0", "value": "0x3f1007"},
                    {"address": "0x3f1bb0", "value": "0x40046067"}],
        "before": [{"access": {"kind": "rmw", "address": "0xff0763b747576040", "size": 16,
        "ring": 3, "segment": "data", "instruction": "lock cmpxchg", "value": "0x1"}}],
        "access": {"kind": "read", "address": "0xff0763b747576020", "size": 1, "ring": 3},
        "profile": {"vendor": "amd", "max_physical_address": 40, "features": ["nx", "pge", "la57"]}}"#;
    let [nested, _] = match run(&["explain", "--machine", "kvm", &case.replace('\n', "")]) {
        Ok(written) => written,
        Err(why) => return skip("nested", &why),
    };

    assert!(nested.contains("cannot run it: #UD: the machine lacks the instruction"), "{nested}");
}

/// Cases of nested paging that show KVM's own findings, run by a KVM on a KVM: shutdowns (KT7), PDPTEs (KT6), 4 MiB pages
/// (KT9), and one from which the guest does not come back (KT8).
#[test]
fn cases_of_nested_paging_show_what_is_known_even_if_the_guest_is_lost() {
    let expected =
        [("128", "KT7"), ("643", "KT8"), ("137", "KT6"), ("1007", "KT9"), ("143", "KT7")];
    let names = expected.map(|(index, _)| format!("nested:random:5:{index}"));
    let names = names.iter().map(String::as_str);
    let arguments: Vec<_> =
        ["check", "--machine", "kvm", "--nested", "--json"].into_iter().chain(names).collect();
    let report = match run_over("1", &arguments) {
        Ok(report) => serde_json::from_str::<Value>(&report).expect("a report"),
        Err(why) => return skip("nested", &why),
    };

    assert_eq!(report["verdict"], "agree", "{report}");
    assert_eq!(count(&report["totals"], "known"), 5, "{report}");
    for (index, id) in expected {
        let name = format!("nested:random:5:{index}");
        let findings = list(&report["findings"]);
        let shows =
            |finding: &&Value| list(&finding["known"]).iter().any(|known| known["id"] == id);
        assert!(findings.iter().any(|finding| shows(&finding)), "{name}: {id}: {findings:?}");
    }
    let lost = |finding: &Value| finding["seen_end"] == "the hypervisor is lost";
    assert!(list(&report["findings"]).iter().any(lost), "{report}");
}

/// Linux edits its own code when a first vCPU is made and when the last one is gone, and with two processors TCG may run
/// the old code for ever after (T26). A host that did so for each test did not come back in half of the runs.
#[test]
fn all_litmus_tests_run_on_two_emulated_processors() {
    let arguments =
        ["--processors", "2", "litmus", "all", "--machine", "kvm", "--json", "--runs", "50"];
    let reports = match run(&arguments) {
        Ok(reports) => reports.map(|text| serde_json::from_str::<Value>(&text).expect("a report")),
        Err(why) => return skip("nested", &why),
    };

    for (report, flavour) in reports.iter().zip(["svm-npt", "svm-shadow"]) {
        assert_eq!(report["machine"]["flavour"], flavour);
        assert_eq!(report["verdict"], "passed", "{report}");
        let tests = list(&report["tests"]).iter();
        let run = tests.filter(|test| test["runs"] == 50).count();
        assert!(run >= 80, "{flavour}: {run} tests ran");
    }
}
