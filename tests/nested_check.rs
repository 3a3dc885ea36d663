//! `check --nested`, end to end: cases of nested paging on QEMU and Bochs, and where there is none.

use crosswalk_machine::Machine;
use crosswalk_test_support as support;
use serde_json::Value;
use std::collections::BTreeSet;
use support::report::{count, list, text};
use support::single::open_kvm;
use support::{Sandbox, require_kvm, require_program, require_qemu, run};

const QEMU: [&str; 4] = ["check", "--nested", "--machine", "qemu"];

fn on_qemu(arguments: &[&str], code: i32) -> Value {
    run(&[&QEMU[..], arguments, &["--json"]].concat()).expect_code(code).json()
}

fn on_bochs(model: &str, cases: u64) -> Value {
    let command = ["check", "--nested", "--machine", "bochs", "--cpu", model];
    let cases = cases.to_string();
    let report = run(&[&command[..], &["--cases", &cases, "--seed", "1", "--json"]].concat());
    report.expect_code(0).json()
}

/// Asserts that the counts of a report add up.
#[track_caller]
fn assert_adds_up(report: &Value, cases: u64) {
    let totals = &report["totals"];
    let of = |name: &str| count(totals, name);
    assert_eq!(of("cases"), cases, "{totals}");
    let ended = of("agree") + of("diverge") + of("unsupported") + of("unpredicted");
    assert_eq!(ended, cases, "{totals}");

    let sum = |counts: &Value| -> u64 {
        let counts = counts.as_object().expect("counts by name");
        counts.values().map(|count| count.as_u64().expect("a count")).sum()
    };
    assert_eq!(sum(&report["ends"]) + of("unsupported"), cases, "{}", report["ends"]);
    assert_eq!(sum(&report["unsupported"]), of("unsupported"), "{}", report["unsupported"]);

    let of_findings = |is_wanted: fn(&Value) -> bool| -> u64 {
        let wanted = list(&report["findings"]).iter().filter(|finding| is_wanted(finding));
        wanted.map(|finding| count(finding, "cases")).sum()
    };
    assert_eq!(of_findings(|_| true), of("diverge"), "{totals}");
    assert_eq!(of_findings(|finding| !list(&finding["known"]).is_empty()), of("known"), "{totals}");
}

/// The ids of the known findings that were met.
fn met(report: &Value) -> BTreeSet<&str> {
    let known = list(&report["findings"]).iter().flat_map(|finding| list(&finding["known"]));
    known.map(|known| text(&known["id"])).collect()
}

#[test]
fn qemu_does_what_is_known_of_it_and_nothing_else() {
    require_qemu!();
    let report = on_qemu(&["--cases", "3000", "--seed", "1"], 0);
    assert_eq!(report["verdict"], "agree");
    assert_adds_up(&report, 3000);
    assert_eq!(count(&report["totals"], "diverge"), count(&report["totals"], "known"));
    for end in ["completes", "guest fault", "nested page fault"] {
        assert!(count(&report["ends"], end) > 100, "{end}: {}", report["ends"]);
    }
    // Every machine has the rules of NPT, and none those of EPT.
    for (rule, decides) in [("NEST-2", true), ("NEST-8", true), ("NEST-3", false)] {
        assert_eq!(report["rules"][rule].is_number(), decides, "{rule}: {}", report["rules"]);
    }
    assert!(met(&report).is_superset(&["T1", "T2", "TN1", "TN5"].into()), "{:?}", met(&report));
}

#[test]
fn what_is_not_forgiven_diverges_every_time() {
    require_qemu!();
    let report = on_qemu(&["--cases", "300", "--seed", "1", "--known", "none"], 1);
    assert_eq!(report["verdict"], "diverge");
    assert_adds_up(&report, 300);
    assert_eq!(count(&report["totals"], "known"), 0);

    let findings = list(&report["findings"]);
    assert!(!findings.is_empty());
    for finding in findings {
        assert_eq!(finding["shows"], serde_json::json!({ "shown": 10, "runs": 10 }), "{finding}");
        assert!(!list(&finding["differences"]).is_empty(), "{finding}");
    }
}

/// What known findings explain is one group for each of them, and for each set of them.
#[test]
fn known_findings_are_a_group_each() {
    require_qemu!();
    let report = on_qemu(&["--cases", "3000", "--seed", "1"], 0);
    let mut groups = BTreeSet::new();
    for finding in list(&report["findings"]) {
        let ids: Vec<&str> =
            list(&finding["known"]).iter().map(|known| text(&known["id"])).collect();
        assert!(!ids.is_empty() && groups.insert(ids), "{finding}");
        assert_eq!(finding["shows"], serde_json::json!({ "shown": 10, "runs": 10 }), "{finding}");
    }
}

#[test]
fn a_quiet_run_has_its_verdict_and_what_is_new_alone() {
    require_qemu!();
    let run = |arguments: &[&str], code: i32| {
        let run = run(&[&QEMU[..], &["-q", "--cases", "300", "--seed", "1"], arguments].concat());
        run.expect_code(code).stdout
    };
    let agrees = run(&[], 0);
    assert!(agrees.starts_with("AGREE  300 cases in "), "{agrees}");
    assert!(!agrees.contains("known T"), "{agrees}");

    let differs = run(&["--known", "none"], 1);
    assert!(differs.starts_with("NEW  "), "{differs}");
    let verdict = differs.lines().position(|line| line.starts_with("DIVERGE  300 cases in "));
    assert!(verdict.is_some_and(|line| line + 3 > differs.lines().count()), "{differs}");
}

/// A report without what another run of the same cases has otherwise.
fn without_circumstances(mut report: Value) -> Value {
    let members = report.as_object_mut().expect("a document");
    for name in ["started", "command", "seconds", "shard"] {
        members.remove(name).expect("a member of every report");
    }
    report
}

#[test]
fn machines_that_share_a_run_find_what_one_alone_does() {
    require_qemu!();
    let [alone, shared] = ["1", "3"].map(|jobs| {
        let report = on_qemu(&["--cases", "2000", "--seed", "7", "--jobs", jobs], 0);
        without_circumstances(report)
    });
    assert_eq!(count(&alone["totals"], "cases"), 2000);
    assert_eq!(shared, alone);
}

#[test]
fn shards_part_a_run() {
    require_qemu!();
    let run = |shard: &[&str]| on_qemu(&[&["--cases", "1500", "--seed", "7"], shard].concat(), 0);
    let whole = run(&[]);
    assert_eq!(whole["shard"], serde_json::json!({ "index": 0, "count": 1 }));
    let parts = ["0/2", "1/2"].map(|shard| run(&["--shard", shard]));
    assert_eq!(parts[1]["shard"], serde_json::json!({ "index": 1, "count": 2 }));
    for total in ["cases", "agree", "diverge", "known"] {
        let of = |report: &Value| count(&report["totals"], total);
        assert!(of(&parts[0]) > 0 && of(&parts[1]) > 0, "{total}");
        assert_eq!(of(&parts[0]) + of(&parts[1]), of(&whole), "{total}");
    }
    assert_eq!(&met(&parts[0]) | &met(&parts[1]), met(&whole));

    let nothing = on_qemu(&["--cases", "9", "--seed", "7", "--shard", "5/6"], 0);
    assert_eq!((&nothing["verdict"], count(&nothing["totals"], "cases")), (&"done".into(), 0));
}

/// What the machine itself does differently is no finding about a mutant. TCG makes the mistake of NM16 (TN1).
#[test]
fn a_mutant_is_proved_wrong() {
    require_qemu!();
    let totals = |walker: &str, code: i32| {
        let report = on_qemu(&["--cases", "300", "--seed", "1", "--walker", walker], code);
        assert_eq!(report["walker"], walker);
        report["totals"].clone()
    };
    for (walker, code) in [("mutant:NM1", 1), ("mutant:NM2", 1), ("mutant:NM16", 0)] {
        let totals = totals(walker, code);
        let (diverge, known) = (count(&totals, "diverge"), count(&totals, "known"));
        assert!(known > 50 && (diverge > known) == (code == 1), "{walker}: {totals}");
    }
}

/// A name, the case that it stands for, and a file with that case.
#[test]
fn a_case_is_the_same_by_its_name_and_as_json() {
    require_qemu!();
    let all = on_qemu(&["--cases", "100", "--seed", "1", "--known", "none"], 1);
    let name = text(&list(&all["findings"])[0]["name"]);
    let named = on_qemu(&[name, "--known", "none"], 1);
    let [finding] = list(&named["findings"]) else { panic!("one finding: {named}") };
    assert_eq!(finding["name"], name);
    assert_eq!((&named["generator"], &named["seed"]), (&"given".into(), &Value::Null));

    let case = finding["example"].to_string();
    let sandbox = Sandbox::new();
    let file = sandbox.path().join(sandbox.file("case.json", format!("[{case},{case}]")));
    let file = file.display().to_string();
    for (given, cases) in [(&case, 1), (&file, 2)] {
        let report = on_qemu(&[given, "--known", "none"], 1);
        assert_adds_up(&report, cases);
        let [again] = list(&report["findings"]) else { panic!("one finding: {report}") };
        assert_eq!(count(again, "cases"), cases);
        for field in ["example", "expected", "differences", "seen_end"] {
            assert_eq!(again[field], finding[field], "{field}");
        }
    }

    let heading = run(&[&QEMU[..], &[&file]].concat()).expect_code(0).stdout;
    assert!(heading.contains("\ncases     2 given\n"), "{heading}");

    // What it is known for is forgiven otherwise.
    let known = on_qemu(&[&case], 0);
    assert!(!met(&known).is_empty(), "{known}");
}

#[test]
fn options_and_cases_that_do_not_fit_are_refused_by_name() {
    let case = "nested:random:1:3";
    let refused: [(&[&str], &str); 15] = [
        (&["--mode", "pae"], "--mode"),
        (&["--sequences", "off"], "--sequences"),
        (&["--shard", "0/2"], "--shard"),
        (&[case, "--shard", "0/2"], "--shard"),
        (&[case, "--jobs", "2"], "--jobs"),
        (&["--machine", "bochs", "--jobs", "2"], "--jobs"),
        (&["--report", "there"], "--report"),
        (&["--require-machine"], "--require-machine"),
        (&["--format", "junit"], "--format"),
        (&["--machine", "corpus"], "corpus"),
        (&["--walker", "mutant:M37"], "mutant:M37"),
        (&[case, "--seed", "3"], "--seed"),
        (&[case, "--exhaustive"], "--exhaustive"),
        (&["--machine", "bochs", "--for", "3s"], "--for"),
        (&["--machine", "bochs", "--fail-fast"], "--fail-fast"),
    ];
    for (arguments, name) in refused {
        let output = run(&[&["check", "--nested"], arguments].concat()).expect_code(2);
        assert!(output.only_line_of_stderr().contains(name), "{}", output.stderr);
        assert_eq!(output.stdout, "");
    }

    // And the other way around.
    for arguments in [&[case][..], &["--walker", "mutant:NM1"]] {
        let output = run(&[&["check"], arguments].concat()).expect_code(2);
        assert!(output.only_line_of_stderr().contains("--nested"), "{}", output.stderr);
    }
}

#[test]
fn a_machine_whose_guests_run_no_guests_says_why() {
    require_kvm!();
    let Err(why) = open_kvm().capabilities().virtualization.clone() else {
        support::skip("kvm-without-virtualization", "the guests of this KVM can run guests");
        return;
    };
    let output = run(&["check", "--nested", "--machine", "kvm"]).expect_code(3);
    assert!(output.only_line_of_stderr().contains(&why), "{}", output.stderr);
}

#[test]
fn npt_of_bochs_does_what_is_known_of_it() {
    require_program!("bochs-bin");
    let report = on_bochs("ryzen", 2000);
    assert_adds_up(&report, 2000);
    assert!(count(&report["ends"], "nested page fault") > 100, "{}", report["ends"]);
    assert!(met(&report).contains("BN7"), "{:?}", met(&report));
}

#[test]
fn ept_of_bochs_does_what_is_known_of_it() {
    require_program!("bochs-bin");
    let report = on_bochs("corei7_skylake_x", 2000);
    assert_adds_up(&report, 2000);
    for end in ["EPT violation", "EPT misconfiguration"] {
        assert!(count(&report["ends"], end) > 50, "{end}: {}", report["ends"]);
    }
    assert!(report["rules"]["NEST-3"].is_number(), "{}", report["rules"]);
    assert!(met(&report).contains("BN2"), "{:?}", met(&report));
}

/// A case with a second level, as JSON.
fn case_with(second: &str) -> String {
    format!(
        r#"{{"guest":{{"mode":"unpaged","cr0":"0x11","cr3":"0x0","cr4":"0x0","efer":"0x0"}},
            {second},"guest_entries":[],"nested_entries":[{{"address":"0x4f6000","value":"0x4f7007"}}],
            "code":"0x2000","access":{{"kind":"read","address":"0x3170","size":4,"ring":0}}}}"#
    )
}

fn npt(mode: &str, cr0: u64, cr4: u64, efer: u64) -> String {
    let cr3 = r#""cr3":"0x4f6000""#;
    case_with(&format!(
        r#""npt":{{"mode":"{mode}","cr0":"{cr0:#x}",{cr3},"cr4":"{cr4:#x}","efer":"{efer:#x}"}}"#
    ))
}

#[test]
fn a_case_that_the_machine_cannot_run_is_refused_before_it_runs() {
    require_qemu!();
    let ept = case_with(r#""ept":{"eptp":"0x4f605e","capabilities":["flags"]}"#);
    let runs = npt("4level", 0x8001_0011, 0x20, 0x1d00);
    let refused = [
        (ept.clone(), "this machine has NPT"),
        // The probe of QEMU finds that it walks nothing then.
        (npt("32bit", 0x8001_0011, 0x10, 0x1000), "no hypervisor in 32bit"),
        (npt("5level", 0x8001_0011, 0x1020, 0x1d00), "no hypervisor in 5level"),
        (npt("unpaged", 0x11, 0x20, 0x1000), "npt is without"),
        // EM, and UINTR, with which the hypervisor itself does not run.
        (npt("4level", 0x8001_0015, 0x20, 0x1d00), "CR0"),
        (npt("4level", 0x8001_0011, 0x200_0020, 0x1d00), "CR4"),
    ];
    let given: Vec<&str> = refused.iter().map(|(case, _)| case.as_str()).collect();
    let report = on_qemu(&[&given[..], &[&runs, "--qemu-cpu=-la57"]].concat(), 4);
    assert_adds_up(&report, 7);
    assert_eq!(count(&report["totals"], "unsupported"), 6);
    let reasons = report["unsupported"].as_object().expect("reasons");
    for (_, why) in &refused {
        assert!(reasons.keys().any(|reason| reason.contains(why)), "{why}: {reasons:?}");
    }

    let output = run(&[&QEMU[..], &[&ept]].concat()).expect_code(3);
    assert!(output.stdout.contains("this machine has NPT"), "{}", output.stdout);
    let output = run(&["explain", &ept, "--machine", "qemu"]).expect_code(4);
    assert!(output.stdout.contains("this machine has NPT"), "{}", output.stdout);
}

#[test]
fn bochs_refuses_what_it_cannot_run() {
    require_program!("bochs-bin");
    let ept = |eptp: &str| case_with(&format!(r#""ept":{{"eptp":"{eptp}","capabilities":[]}}"#));
    let (five_levels, plain) = (ept("0x4f6066"), ept("0x4f605e"));
    let of_amd = npt("4level", 0x8001_0011, 0x20, 0x1d00);
    let command = ["check", "--nested", "--machine", "bochs", "--cpu", "corei7_skylake_x"];
    let cases = [five_levels.as_str(), &plain, &of_amd, "--json"];
    let report = run(&[&command[..], &cases].concat()).expect_code(4).json();

    assert_adds_up(&report, 3);
    let reasons = report["unsupported"].as_object().expect("reasons");
    for why in ["EPT of five levels", "this machine has EPT"] {
        assert!(reasons.keys().any(|reason| reason.contains(why)), "{why}: {reasons:?}");
    }
}

/// N7 of QEMU: CPUID decides neither about nested paging nor about pages of 1 GiB.
#[test]
fn what_cpuid_does_not_report_and_qemu_has_is_a_finding() {
    require_qemu!();
    let report = on_qemu(&["--qemu-cpu=-npt", "--cases", "300", "--seed", "1"], 0);
    assert_adds_up(&report, 300);
    assert_eq!(report["probe"]["known"]["id"], "TN10");
    let unforgiven = on_qemu(&["--qemu-cpu=-npt", "--cases", "3", "--known", "none"], 1);
    assert_eq!(unforgiven["probe"]["known"], Value::Null);
    assert!(text(&unforgiven["probe"]["shows"]).contains("CPUID"), "{unforgiven}");
    assert_eq!(on_qemu(&["--cases", "3", "--seed", "1"], 0)["probe"], Value::Null);

    let report = on_qemu(&["--qemu-cpu=-pdpe1gb", "--cases", "6000", "--seed", "7"], 0);
    assert!(met(&report).contains("TN11"), "{:?}", met(&report));
}
