//! `check --machine v86`: v86 boots an image by its Multiboot header, and what it prints is judged.

use crosswalk::finding::known::{self, Kind};
use crosswalk_test_support as support;
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};
use support::report::{list, text};
use support::{ProgramOutput, Sandbox, count, finding, mode, require_program, require_v86};

const CHECK: [&str; 6] = ["check", "--machine", "v86", "--seed", "1", "--json"];

/// Runs crosswalk with the packages of a directory.
fn run_with(packages: &Path, sandbox: &Sandbox, arguments: &[&str]) -> ProgramOutput {
    ProgramOutput::of(sandbox.command(arguments).env("NODE_PATH", packages))
}

fn check(packages: &Path, arguments: &[&str], code: i32) -> Value {
    let arguments = [&CHECK[..], arguments].concat();
    run_with(packages, &Sandbox::new(), &arguments).expect_code(code).json()
}

#[test]
fn every_mode_is_checked_and_every_divergence_is_known() {
    let packages = require_v86!();
    let report = check(&packages, &["--cases", "20000"], 0);
    let machine = &report["machine"];
    assert_eq!((&machine["kind"], &machine["flavour"]), (&"v86".into(), &"v86".into()));
    assert!(text(&machine["version"]).starts_with("v86 0."), "{machine}");
    assert_eq!(machine["max_physical_address"], 36);

    for name in ["unpaged", "32bit", "pae"] {
        let mode = mode(&report, name);
        assert!(count(mode, "cases") > 5000, "{mode}");
        let run = count(mode, "agreed") + count(mode, "diverged");
        assert_eq!(count(&mode["provenance"], "emulator"), run, "{mode}");
    }
    assert_eq!(count(mode(&report, "4level"), "cases"), 0, "it has no long mode");
    // V2 is left out, and V5 takes a sequence that is seldom.
    for id in ["V1", "V3", "V4"] {
        let found = finding(&report, id);
        assert!(found["known"] == true && count(found, "count") > 0, "{found}");
    }
}

#[test]
fn without_known_findings_its_faults_fail_the_run() {
    let packages = require_v86!();
    for mode in ["32bit", "pae"] {
        let arguments = ["--mode", mode, "--cases", "2000", "--known", "none"];
        let report = check(&packages, &arguments, 1);
        let is_unknown = |found: &&Value| found["kind"] == "divergence" && found["known"] == false;
        assert!(list(&report["findings"]).iter().any(|found| is_unknown(&found)), "{mode}");
    }
}

/// The case of each finding, alone in an image, ten times in a row: v86 does the same each time. From a fatal one it
/// does not come back, so that each has an image of its own.
#[test]
fn every_known_finding_shows_again_in_an_image_of_its_case() {
    let packages = require_v86!();
    let sandbox = Sandbox::new();
    let (_, all) = known::all_shipped()
        .unwrap()
        .into_iter()
        .find(|(name, _)| *name == "v86")
        .expect("there is a file for v86");

    for known in all {
        let case = known.case.expect("each has a case");
        let in_an_image = if known.kind == Kind::Fatal { 1 } else { 10 };
        let cases = format!("[{}]", vec![case.as_str(); in_an_image].join(","));
        let file = sandbox.file(&format!("{}.json", known.id), cases);

        let explain = ["explain", &file, "--machine", "v86"];
        let mut again = (0..10 / in_an_image).map(|_| {
            let shown = run_with(&packages, &sandbox, &explain).expect_code(0).stdout;
            shown.matches("verdict   DIVERGE").count()
        });
        assert!(again.all(|diverging| diverging == in_an_image), "{}", known.id);
    }
}

#[test]
fn the_report_keeps_the_log_which_can_be_judged_again() {
    let packages = require_v86!();
    let sandbox = Sandbox::new();
    let arguments = ["--cases", "1000", "--mode", "32bit", "--report", "out"];
    let first = run_with(&packages, &sandbox, &[&CHECK[..], &arguments].concat());
    let first = first.expect_code(0).json();
    assert!(sandbox.path().join("out/index.html").is_file());

    let judge = ["judge", "out/v86.log", "--name", "v86", "--name-version", "0.5.462", "--json"];
    let again = sandbox.run(&judge).expect_code(0).json();
    assert_eq!(first["totals"]["case_set"], again["totals"]["case_set"]);
    assert_eq!(first["totals"]["agreed"], again["totals"]["agreed"]);
    assert_eq!(sandbox.processes(), [""; 0], "v86 ends with its log");
}

/// With PCD (bit 4) in CR3, v86 loads other PDPTEs than the case's, and the guest does not come back. That is known, and
/// only an end in a batch shows it.
#[test]
fn a_guest_that_dies_is_reported_with_its_batch() {
    let packages = require_v86!();
    let case = r#"{"mode":"pae","state":{"cr0":"0x80000011","cr3":"0x440270","cr4":"0x630","efer":"0x0","pkru":"0x0","pkrs":"0x0","pdptes":["0x441001","0x442001","0x443001","0x444001"],"ac":false},"entries":[{"address":"0x440270","value":"0x443001"},{"address":"0x4431b0","value":"0x42e00083"}],"access":{"kind":"read","address":"0x86c80603","size":1,"ring":0,"segment":"data","instruction":"mov from memory","value":"0x0"},"profile":{"vendor":"intel","max_physical_address":36,"features":["pge"]}}"#;
    let sandbox = Sandbox::new();
    let output = run_with(&packages, &sandbox, &["explain", case, "--machine", "v86"]);
    let output = output.expect_code(0);
    assert!(output.stderr.contains("v86 ended with exit status: 1"), "{}", output.stderr);
    assert!(output.stdout.contains("did not come back from it (V6"), "{}", output.stdout);

    sandbox.file("twice.json", format!("[{case},{case}]"));
    let output = run_with(&packages, &sandbox, &["explain", "twice.json", "--machine", "v86"]);
    let output = output.expect_code(3);
    assert_eq!(output.stdout.matches("did not come back").count(), 1, "{}", output.stdout);
    assert!(
        output.stderr.contains("the cases after case 1 of 2 were not run"),
        "{}",
        output.stderr
    );
    assert_eq!(sandbox.processes(), [""; 0], "it is reaped");
}

#[test]
fn what_v86_cannot_do_is_told() {
    let packages = require_v86!();
    for (arguments, words) in [
        (&["check", "--machine", "v86", "--for", "1s"][..], "--for needs a machine"),
        (&["check", "--machine", "v86", "--exhaustive"], "--exhaustive needs a machine"),
        (&["check", "--machine", "v86", "--phys-bits", "48"], "--phys-bits is not for v86"),
        (&["check", "--machine", "v86", "--qemu", "other"], "--qemu is not for v86"),
        (&["explain", "random:pae:1:7", "--machine", "v86"], "takes cases, not names"),
    ] {
        let output = run_with(&packages, &Sandbox::new(), arguments).expect_code(2);
        let error = output.only_line_of_stderr();
        assert!(error.contains(words), "{arguments:?}: {error}");
    }
}

/// What stands where the package should be, and an emulator that is none, are told.
#[test]
fn without_v86_there_is_no_machine() {
    require_program!("node");
    let sandbox = Sandbox::new();
    fs::create_dir_all(sandbox.path().join("v86/build")).expect("a directory can be made");
    let run = || ProgramOutput::of(sandbox.command(&CHECK).env("NODE_PATH", sandbox.path()));
    sandbox.file("v86/package.json", r#"{"name": "v86", "version": "1.0.0"}"#);
    let error = run().expect_code(3).stderr;
    assert!(error.contains("is not the npm package v86, or not the whole of it"), "{error}");

    sandbox.file("v86/build/v86.wasm", "");
    sandbox.file("v86/build/libv86.mjs", "throw new Error('out of order');");
    let error = run().expect_code(3).stderr;
    assert!(error.contains("v86 ended with exit status: 1: Error: out of order"), "{error}");

    let mut command = sandbox.command(&CHECK);
    let output = ProgramOutput::of(command.env("PATH", sandbox.path())).expect_code(3);
    assert!(output.only_line_of_stderr().contains("is Node.js installed?"), "{}", output.stderr);
}

#[test]
fn machines_lists_it() {
    let packages = require_v86!();
    let offers = run_with(&packages, &Sandbox::new(), &["machines", "--json"]).json();
    let v86 = list(&offers["machines"])
        .iter()
        .find(|offer| offer["kind"] == "v86")
        .expect("it is listed");
    assert_eq!(v86["available"], true);
    assert!(text(&v86["emulator"]).starts_with("v86 0."), "{v86}");

    let nowhere = Sandbox::new();
    let mut command = nowhere.command(&["machines", "--json"]);
    let offers = ProgramOutput::of(command.env("PATH", nowhere.path())).json();
    let v86 = list(&offers["machines"])
        .iter()
        .find(|offer| offer["kind"] == "v86")
        .expect("it is listed");
    assert!(text(&v86["reason"]).contains("Node.js"), "{v86}");
}

/// Of the cases of another corpus, those that fit an image and that v86 survives.
#[test]
fn a_corpus_is_recorded_of_its_own_cases_and_of_others() {
    let packages = require_v86!();
    let sandbox = Sandbox::new();
    let record = ["record", "own.jsonl", "--machine", "v86", "--seed", "1", "--cases", "5000"];
    run_with(&packages, &sandbox, &record).expect_code(0);
    let report = sandbox.run(&["replay", "own.jsonl", "--json"]).expect_code(0).json();
    assert!(count(finding(&report, "V1"), "count") > 0, "{report}");
    let recorded = count(&report["totals"], "cases");

    let record = ["record", "again.jsonl", "--machine", "v86", "--cases-of", "own.jsonl", "--json"];
    let again = run_with(&packages, &sandbox, &record).expect_code(0).json();
    // Those that only a batch together with others can have, or that were not run, are not among them.
    let again = count(&again, "recorded");
    assert!(again > 100 && again <= recorded, "{again} of {recorded}");
}

/// v86 ends with the program, however that ends.
#[test]
fn a_killed_program_leaves_no_v86_behind() {
    let packages = require_v86!();
    let sandbox = Sandbox::new();
    let mut command = sandbox.std_command(support::program());
    command.args(["check", "--machine", "v86", "--cases", "200000"]).env("NODE_PATH", &packages);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().expect("crosswalk starts");
    let start = Instant::now();
    let is_there = || sandbox.processes().iter().any(|line| line.contains("--input-type=module"));
    while !is_there() {
        assert!(start.elapsed() < Duration::from_secs(60), "v86 does not start");
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().expect("it runs");
    child.wait().expect("it ended");
    while is_there() {
        assert!(start.elapsed() < Duration::from_secs(120), "{:?}", sandbox.processes());
        std::thread::sleep(Duration::from_millis(5));
    }
}
