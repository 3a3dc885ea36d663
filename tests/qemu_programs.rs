//! Other QEMUs than the one in `PATH` (`--qemu`), one or several side by side.

use crosswalk_test_support as support;
use serde_json::Value;
use std::path::PathBuf;
use support::report::{list, text};
use support::{Sandbox, count, require_program, require_qemu, run};

/// A directory with the QEMU of this host under another name.
struct RenamedQemu(Sandbox);

impl RenamedQemu {
    fn new() -> Self {
        let sandbox = Sandbox::new();
        let installed: PathBuf = crosswalk_machine::jail::find_program("qemu-system-x86_64")
            .expect("the caller requires it");
        std::os::unix::fs::symlink(installed, sandbox.path().join("my-qemu"))
            .expect("a link can be made");
        Self(sandbox)
    }
}

#[test]
fn a_qemu_is_named_by_its_path_and_runs_in_jail() {
    require_qemu!();
    let RenamedQemu(sandbox) = RenamedQemu::new();

    let arguments = ["check", "--qemu", "./my-qemu", "--cases", "2000", "--seed", "1", "--json"];
    let report = sandbox.run(&arguments).expect_code(0).json();
    assert_eq!(report["machine"]["kind"], "qemu", "naming a QEMU asks for QEMU");
    assert_eq!(report["jail"]["on"], true);

    let installed =
        run(&["check", "--machine", "qemu", "--cases", "2000", "--seed", "1", "--json"]);
    let installed = installed.expect_code(0).json();
    assert_eq!(report["totals"]["case_set"], installed["totals"]["case_set"]);
    assert_eq!(report["machine"], installed["machine"]);
}

#[test]
fn what_is_not_a_qemu_is_refused_by_name() {
    require_program!("true");
    for (arguments, code, words) in [
        (&["check", "--qemu", "/no/such/qemu"][..], 2, "--qemu: /no/such/qemu is not a program"),
        (&["check", "--qemu", "no-such-qemu"], 2, "--qemu: no no-such-qemu in PATH"),
        (&["check", "--qemu", "/etc"], 2, "--qemu: /etc is not a program"),
        (&["check", "--qemu", "true", "--machine", "kvm"], 2, "--qemu is for --machine qemu"),
        (&["check", "--qemu", "true", "--machine", "corpus"], 2, "--qemu needs a machine"),
        (&["mutants", "--qemu", "true", "--qemu", "true"], 2, "this command runs one machine"),
        (&["scenario", "all", "--qemu", "true", "--qemu", "true"], 2, "expected one, found 2"),
        (&["explain", "random:pae:1:1", "--qemu", "true"], 3, "true --version prints no version"),
        (&["record", "out", "--qemu", "true"], 3, "true --version prints no version"),
    ] {
        let output = run(arguments).expect_code(code);
        let error = output.only_line_of_stderr();
        assert!(error.contains(words), "{arguments:?}: {error}");
        assert_eq!(output.stdout, "");
    }
}

#[test]
fn several_qemus_run_the_same_cases_and_are_compared() {
    require_qemu!();
    let RenamedQemu(sandbox) = RenamedQemu::new();
    let both = ["check", "--qemu", "./my-qemu", "--qemu", "qemu-system-x86_64"];
    let limits = ["--cases", "3000", "--seed", "1"];

    let json = sandbox.run(&[&both[..], &limits, &["--json", "--report", "out"]].concat());
    let document = json.expect_code(0).json();
    let [first, second] = list(&document["runs"]) else { panic!("{document}") };
    assert_eq!(first["totals"]["case_set"], second["totals"]["case_set"]);
    assert_eq!(count(&first["totals"], "cases"), 3000);

    let rows = list(&document["side_by_side"]);
    let t1 = rows.iter().find(|row| row["id"] == "T1").expect("every QEMU so far has T1");
    let counts: Vec<_> = list(&t1["counts"]).iter().map(Value::as_u64).collect();
    assert!(counts[0] > Some(0) && counts[0] == counts[1], "{counts:?}");
    for directory in ["out/1", "out/2"] {
        for name in ["report.json", "index.html"] {
            assert!(sandbox.path().join(directory).join(name).is_file(), "{directory}/{name}");
        }
    }

    let output = sandbox.run(&[&both[..], &limits].concat()).expect_code(0).expect_80_columns();
    let text = &output.stdout;
    assert_eq!(text.matches("machine   qemu (as asked): QEMU ").count(), 2, "{text}");
    assert!(text.contains("\nA  ./my-qemu: QEMU "), "{text}");
    assert!(text.contains("\nB  qemu-system-x86_64: QEMU "), "{text}");
}

/// The gravest exit code counts, whichever machine has it.
#[test]
fn several_qemus_fail_if_one_does() {
    require_qemu!();
    let RenamedQemu(sandbox) = RenamedQemu::new();
    let both = ["check", "--qemu", "./my-qemu", "--qemu", "qemu-system-x86_64", "--json"];
    let limits = ["--cases", "3000", "--seed", "1", "--known", "none"];
    let document = sandbox.run(&[&both[..], &limits].concat()).expect_code(1).json();
    assert_eq!(list(&document["runs"]).len(), 2);
}

#[test]
fn several_qemus_are_recorded_explained_and_listed() {
    require_qemu!();
    let RenamedQemu(sandbox) = RenamedQemu::new();
    let both = ["--qemu", "./my-qemu", "--qemu", "qemu-system-x86_64"];

    let record = ["record", "out.jsonl", "--cases", "500", "--seed", "1"];
    let document = sandbox.run(&[&record[..], &both, &["--json"]].concat()).expect_code(0).json();
    let sections = list(&document["sections"]);
    assert_eq!(sections.len(), 2);
    assert_eq!(sections[0]["recorded"], sections[1]["recorded"]);
    let printed = sandbox.run(&[&record[..], &both].concat()).expect_code(0).expect_80_columns();
    assert!(printed.words_of_stdout().contains("of 1,000 cases"), "{}", printed.stdout);
    let replay = sandbox.run(&["replay", "out.jsonl", "--json"]).expect_code(0).json();
    assert_eq!(list(&replay["sources"]).len(), 2);

    let explain = ["explain", "random:4level:1:7"];
    let explained = sandbox.run(&[&explain[..], &both].concat()).expect_code(0).stdout;
    assert_eq!(explained.matches("\non        qemu tcg, QEMU ").count(), 2, "{explained}");
    assert_eq!(explained.matches("\nverdict ").count(), 2, "{explained}");

    let machines =
        sandbox.run(&[&["machines", "--json"], &both[..]].concat()).expect_code(0).json();
    let kinds: Vec<_> =
        list(&machines["machines"]).iter().map(|offer| text(&offer["kind"])).collect();
    assert_eq!(kinds, ["kvm", "qemu", "qemu", "bochs", "v86"]);
    for offer in &list(&machines["machines"])[1..3] {
        assert!(text(&offer["machine"]["version"]).starts_with("QEMU "), "{offer}");
    }
}
