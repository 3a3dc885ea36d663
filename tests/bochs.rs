//! `check --machine bochs`: Bochs boots an image without firmware, and what it prints is judged.

use crosswalk::finding::known::{self, Kind};
use crosswalk_test_support as support;
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use support::report::{list, text};
use support::{Sandbox, count, finding, mode, require_program, run};

const CHECK: [&str; 6] = ["check", "--machine", "bochs", "--seed", "1", "--json"];

fn check(arguments: &[&str], code: i32) -> Value {
    run(&[&CHECK[..], arguments].concat()).expect_code(code).json()
}

/// The modes of a report in which cases were run.
fn modes_run(report: &Value) -> Vec<&str> {
    let ran = |mode: &&Value| count(mode, "agreed") + count(mode, "diverged") > 0;
    list(&report["modes"]).iter().filter(ran).map(|mode| text(&mode["mode"])).collect()
}

#[test]
fn an_intel_processor_agrees_in_every_mode_that_it_has() {
    require_program!("bochs-bin");
    let report = check(&["--cases", "8000", "--cpu", "corei7_skylake_x"], 0);
    let machine = &report["machine"];
    assert_eq!((&machine["kind"], &machine["flavour"]), (&"bochs".into(), &"bochs".into()));
    assert!(text(&machine["version"]).starts_with("Bochs "), "{machine}");
    assert!(text(&machine["cpu"]).contains("i7-7800X"), "{machine}");
    assert_eq!(machine["max_physical_address"], 40);

    assert_eq!(modes_run(&report), ["unpaged", "32bit", "pae", "4level"]);
    for name in ["32bit", "pae", "4level"] {
        assert_eq!(
            count(&mode(&report, name)["provenance"], "emulator"),
            count(mode(&report, name), "cases")
        );
    }
}

/// Its cases are played by 32-bit code. X3 is in the modes with paging; without, there are #ACs, which leave CR2.
#[test]
fn a_processor_without_long_mode_shows_what_is_known_of_it() {
    require_program!("bochs-bin");
    let arguments = ["--cases", "20000", "--cpu", "p4_willamette"];
    let report = check(&arguments, 0);
    assert_eq!(modes_run(&report), ["unpaged", "32bit", "pae"]);
    assert_eq!(count(mode(&report, "unpaged"), "diverged"), 0, "{report}");
}

/// X1: G in a PML4E, as of every AMD processor of Bochs 2.7.
#[test]
fn an_amd_processor_shows_what_is_known_of_it() {
    require_program!("bochs-bin");
    let arguments = ["--cases", "3000", "--cpu", "ryzen", "--mode", "4level", "--sequences", "off"];
    let report = check(&arguments, 0);
    let x1 = finding(&report, "X1");
    assert!(x1["known"] == true && count(x1, "count") > 0, "{x1}");

    let report = check(&[&arguments[..], &["--known", "none"]].concat(), 1);
    let x1 = finding(&report, "X1");
    assert!(x1["known"] == false && count(x1, "count") > 0, "{x1}");
}

/// PCID, INVPCID, protection keys and CET. With WD of key 0 in PKRU its guest would die (X2).
#[test]
fn a_processor_with_cet_shows_what_is_known_of_it() {
    require_program!("bochs-bin");
    let arguments = ["--cases", "8000", "--cpu", "tigerlake", "--mode", "4level"];
    let report = check(&arguments, 0);
    assert_eq!(count(mode(&report, "4level"), "unsupported"), 0, "{report}");
    for id in ["X2", "X10"] {
        assert!(count(finding(&report, id), "count") > 0, "{id}: {report}");
    }
    let rules = list(&report["coverage"]["rules"]);
    for rule in ["RIGHT-5", "RIGHT-7", "MODE-8"] {
        assert!(rules.iter().any(|decided| decided["rule"] == rule), "{rule}: {report}");
    }
}

/// RIGHT-7 by hand: a shadow stack has R/W=0 (bit 1) and D=1 (bit 6) in the leaf, R/W=1 above, and is of the user
/// (bit 2) or of the supervisor. Bit 6 of the error code is SS. An ordinary store to it is one to a read-only page.
#[test]
fn right_7_shadow_stack_accesses_end_as_the_manual_says() {
    require_program!("bochs-bin");
    let case = |kind: &str, ring: u8, leaf: u64, above: u64, shadow_stack: bool| {
        let entry =
            |address: &str, value: u64| json!({"address": address, "value": format!("{value:#x}")});
        json!({
            "mode": "4level",
            "state": {"cr0": "0x80010011", "cr3": "0x440000", "cr4": "0x800630", "efer": "0xd00"},
            "entries": [
                entry("0x440008", 0x44_1007), entry("0x441000", 0x44_3007),
                entry("0x443000", 0x44_5000 | above), entry("0x445008", 0x4067_8000 | leaf),
            ],
            "access": {
                "kind": kind, "address": "0x8000001230", "size": 8, "ring": ring,
                "value": "0x1122334455667788", "shadow_stack": shadow_stack,
            },
            "profile": {
                "vendor": "intel", "max_physical_address": 40, "features": ["nx", "pge", "cet_ss"],
            },
        })
    };
    let cases = [
        (case("write", 3, 0x45, 7, true), "stored 0x40678230=88"),
        (case("write", 0, 0x41, 7, true), "stored 0x40678230=88"),
        (case("read", 3, 0x45, 7, true), "value"),
        (case("write", 3, 0x47, 7, true), "#PF(P|W|U|SS)"),
        (case("write", 3, 0x05, 7, true), "#PF(P|W|U|SS)"),
        (case("write", 3, 0x45, 5, true), "#PF(P|W|U|SS)"),
        (case("write", 3, 0x41, 7, true), "#PF(P|W|U|SS)"),
        (case("read", 3, 0x47, 7, true), "#PF(P|U|SS)"),
        (case("write", 0, 0x45, 7, true), "#PF(P|W|SS)"),
        (case("write", 0, 0x43, 7, true), "#PF(P|W|SS)"),
        (case("read", 3, 0x44, 7, true), "#PF(U|SS)"),
        (case("write", 3, 0x45, 7, false), "#PF(P|W|U)"),
        (case("write", 0, 0x41, 7, false), "#PF(P|W)"),
    ];

    let sandbox = Sandbox::new();
    let given: Vec<_> = cases.iter().map(|(case, _)| case).collect();
    let file = sandbox.file("cases.json", json!(given).to_string());
    let explain = ["explain", &file, "--machine", "bochs", "--cpu", "tigerlake"];
    let output = sandbox.run(&explain).expect_code(0).stdout;
    let ends = output.lines().filter_map(|line| line.strip_prefix("machine   "));
    let ends: Vec<_> = ends.collect();
    assert_eq!(ends.len(), cases.len(), "{output}");
    for (end, (case, expected)) in ends.iter().zip(&cases) {
        let is_so = end.starts_with(&format!("{expected} "));
        assert!(is_so, "expected {expected}, found {end}: {case}");
    }
}

/// The cases of the findings, each ten times in one image of a processor that has them: Bochs does the same each time.
#[test]
fn every_known_finding_shows_again_in_an_image_of_its_case() {
    require_program!("bochs-bin");
    let all = known::all_shipped().unwrap();
    let (_, all) = all.into_iter().find(|(name, _)| *name == "bochs").expect("there is a file");
    let mut shown = Vec::new();

    for (model, ids) in [
        ("ryzen", &["X1", "X6"][..]),
        ("corei7_icelake_u", &["X2"]),
        ("pentium", &["X3", "X5"]),
        ("corei7_skylake_x", &["X4", "X7", "X8"]),
        ("tigerlake", &["X10", "X11", "X12"]),
    ] {
        let sandbox = Sandbox::new();
        for id in ids {
            let known = all.iter().find(|known| known.id == *id).expect("it is known");
            let case = known.case.as_ref().expect("it has a case");
            let ten = sandbox.file("ten.json", format!("[{}]", [case.as_str(); 10].join(",")));
            let explain = ["explain", &ten, "--machine", "bochs", "--cpu", model];
            let output = sandbox.run(&explain).expect_code(0).stdout;
            assert_eq!(output.matches("verdict   DIVERGE").count(), 10, "{id}: {output}");
            shown.push(*id);
        }
    }
    shown.sort_unstable();
    let divergences = all.iter().filter(|known| known.kind == Kind::Divergence);
    let mut expected: Vec<_> = divergences.map(|known| &*known.id).collect();
    expected.sort_unstable();
    assert_eq!(shown, expected);
}

#[test]
fn the_report_keeps_the_log_which_can_be_judged_again() {
    require_program!("bochs-bin");
    let sandbox = Sandbox::new();
    let arguments = ["--cases", "1000", "--mode", "32bit", "--report", "out"];
    let first = sandbox.run(&[&CHECK[..], &arguments].concat()).expect_code(0).json();
    assert!(sandbox.path().join("out/index.html").is_file());

    let judge = ["judge", "out/bochs.log", "--name", "bochs", "--name-version", "2.7", "--json"];
    let again = sandbox.run(&judge).expect_code(0).json();
    assert_eq!(first["totals"]["case_set"], again["totals"]["case_set"]);
    assert_eq!(first["totals"]["agreed"], again["totals"]["agreed"]);
    assert_eq!(sandbox.processes(), [""; 0], "Bochs ends with its log");
}

/// The disk has no limit that a user meets: this is more than Bochs takes as a ROM.
#[test]
fn there_are_as_many_cases_as_asked() {
    require_program!("bochs-bin");
    let arguments = ["--cases", "60000", "--mode", "unpaged", "--sequences", "off"];
    let report = check(&arguments, 0);
    assert_eq!(report["totals"]["cases"], 60000);
    assert_eq!(count(mode(&report, "unpaged"), "cases"), 60000);
}

#[test]
fn what_bochs_cannot_do_is_told() {
    require_program!("bochs-bin");
    for (arguments, words) in [
        (&["check", "--machine", "bochs", "--cpu", "abacus"][..], "corei7_skylake_x"),
        (&["check", "--machine", "bochs", "--for", "1s"], "--for needs a machine"),
        (&["check", "--machine", "bochs", "--exhaustive"], "--exhaustive needs a machine"),
        (&["check", "--machine", "bochs", "--walker", "mutant:M07"], "--walker needs a machine"),
        (&["check", "--machine", "bochs", "--phys-bits", "48"], "--phys-bits is not for Bochs"),
        (&["check", "--machine", "bochs", "--qemu", "other"], "--qemu is not for Bochs"),
    ] {
        let output = run(arguments).expect_code(2);
        let error = output.only_line_of_stderr();
        assert!(error.contains(words), "{arguments:?}: {error}");
    }
}

#[test]
fn without_bochs_there_is_no_machine() {
    let sandbox = Sandbox::new();
    let mut command = sandbox.command(&["check", "--machine", "bochs"]);
    let output = support::ProgramOutput::of(command.env("PATH", sandbox.path())).expect_code(3);
    assert!(output.only_line_of_stderr().contains("is Bochs installed?"), "{}", output.stderr);
}

#[test]
fn machines_lists_its_processors() {
    require_program!("bochs-bin");
    let offers = run(&["machines", "--json"]).json();
    let bochs = list(&offers["machines"])
        .iter()
        .find(|offer| offer["kind"] == "bochs")
        .expect("it is listed");
    assert_eq!(bochs["available"], true);
    assert!(list(&bochs["models"]).iter().any(|model| model == "ryzen"), "{bochs}");
    run(&["machines"]).expect_80_columns();
}

/// A corpus of what it does, which is replayed as any other.
#[test]
fn a_corpus_is_recorded() {
    require_program!("bochs-bin");
    let sandbox = Sandbox::new();
    let machine = ["--machine", "bochs", "--cpu", "ryzen", "--mode", "4level", "--cases", "2000"];
    let record = [&["record", "out.jsonl", "--seed", "1", "--json"][..], &machine].concat();
    sandbox.run(&record).expect_code(0);
    let report = sandbox.run(&["replay", "out.jsonl", "--json"]).expect_code(0).json();
    assert!(count(mode(&report, "4level"), "agreed") > 100, "{report}");
    assert!(count(finding(&report, "X1"), "count") > 0, "{report}");
}

/// Bochs ends with the program, however that ends.
#[test]
fn a_killed_program_leaves_no_bochs_behind() {
    require_program!("bochs-bin");
    let sandbox = Sandbox::new();
    let mut child = sandbox.spawn(&["check", "--machine", "bochs", "--cases", "20000"]);
    let start = Instant::now();
    let is_there = || sandbox.processes().iter().any(|line| line.contains("bochs-bin"));
    while !is_there() {
        assert!(start.elapsed() < Duration::from_secs(60), "Bochs does not start");
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().expect("it runs");
    child.wait().expect("it ended");
    while is_there() {
        assert!(start.elapsed() < Duration::from_secs(120), "{:?}", sandbox.processes());
        std::thread::sleep(Duration::from_millis(5));
    }
}
