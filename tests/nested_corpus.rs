//! Corpora of nested cases: recorded on QEMU, replayed by the reference and by mutants, tabled by rule, and refused where
//! they are of no use.

use crosswalk_test_support as support;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use support::report::{count, list, text};
use support::{Sandbox, require_qemu, run};

/// The ids of the known findings that a report met.
fn met(report: &Value) -> BTreeSet<&str> {
    let known = list(&report["findings"]).iter().flat_map(|finding| list(&finding["known"]));
    known.map(|known| text(&known["id"])).collect()
}

/// What is recorded is judged as it was when it ran, compressed or not.
#[test]
fn a_recording_is_replayed() {
    require_qemu!();
    let sandbox = Sandbox::new();
    let record = |out: &str, arguments: &[&str]| {
        let command = ["record", "--nested", "--machine", "qemu", "--seed", "1", "--json", out];
        sandbox.run(&[&command[..], arguments].concat()).expect_code(0).json()
    };
    let recorded = record("some.zst", &["--cases", "1500"]);
    let kept = count(&recorded, "recorded");
    assert_eq!((count(&recorded, "tried"), count(&recorded, "unknown")), (1500, 0));
    assert!((50..1000).contains(&kept), "{recorded}");
    for mutant in ["NM1", "NM3", "NM13"] {
        assert!(list(&recorded["mutants"]).contains(&mutant.into()), "{recorded}");
    }
    assert!(!list(&recorded["mutants"]).contains(&"NM25".into()), "it is one of EPT: {recorded}");

    let replayed = sandbox.run(&["replay", "some.zst", "--json"]).expect_code(0).json();
    assert_eq!(count(&replayed["totals"], "cases"), kept);
    assert_eq!((&replayed["generator"], &replayed["seed"]), (&"recorded".into(), &Value::Null));
    assert_eq!(replayed["machine"]["kind"], "corpus");
    let [source] = list(&replayed["sources"]) else { panic!("one source: {replayed}") };
    assert_eq!((count(source, "tried"), count(source, "cases")), (1500, kept));
    assert_eq!(source["machine"]["kind"], "qemu");

    // All cases, as plain text: they differ as those of a run do.
    let all = record("all.jsonl", &["--cases", "700", "--all"]);
    assert_eq!(count(&all, "recorded"), 700);
    let replayed = sandbox.run(&["replay", "all.jsonl", "--json"]).expect_code(0).json();
    let checked =
        run(&["check", "--nested", "--machine", "qemu", "--cases", "700", "--seed", "1", "--json"]);
    let checked = checked.expect_code(0).json();
    assert_eq!(replayed["totals"], checked["totals"]);
    assert_eq!(met(&replayed), met(&checked));
    let first = fs::read_to_string(sandbox.path().join("all.jsonl")).expect("it was written");
    assert!(first.starts_with("{\"nested_corpus\":1,"), "{}", &first[..80]);
}

#[test]
fn the_bundled_corpus_is_judged_by_the_reference_and_by_mutants() {
    let replay = |arguments: &[&str], code: i32| {
        run(&[&["replay", "--nested", "--json"], arguments].concat()).expect_code(code).json()
    };
    let report = replay(&[], 0);
    assert_eq!(report["verdict"], "agree");
    let expected = ["T1", "T2", "TN1", "TN5", "TN7", "TN9", "BN1", "BN2", "BN3", "BN6", "BN7"];
    assert!(met(&report).is_superset(&expected.into()), "{:?}", met(&report));
    assert_eq!(replay(&["--known", "none"], 1)["verdict"], "diverge");
    assert_eq!(count(&replay(&["--cases", "9"], 0)["totals"], "cases"), 9);

    // What the machines do differently is no finding about the mutant, and what is one shows a case.
    let caught = replay(&["--walker", "mutant:NM3"], 1);
    assert_eq!(met(&caught), met(&report));
    let new = list(&caught["findings"]).iter().find(|finding| list(&finding["known"]).is_empty());
    let example = new.expect("it is caught")["example"].to_string();
    let explained = run(&["explain", &example, "--walker", "mutant:NM3"]).expect_code(0);
    assert!(explained.stdout.contains("\nexpected "), "{}", explained.stdout);
    // It leads to memory of which nothing is known; Bochs has the other one itself.
    assert_eq!(replay(&["--walker", "mutant:NM2"], 1)["verdict"], "diverge");
    assert_eq!(replay(&["--walker", "mutant:NM26"], 0)["verdict"], "agree");

    let words = run(&["replay", "--nested"]).expect_code(0).expect_80_columns().words_of_stdout();
    let heading = "machine corpus: nothing is run, the bundled corpus of nested cases is replayed ";
    assert!(words.starts_with("AGREE ") && words.contains(heading), "{words}");
}

/// Each rule of nested translation has a row, and each recorded machine a cell in it.
#[test]
fn rules_are_tabled_by_recorded_machine() {
    let table = run(&["conformance", "--nested", "--json"]).expect_code(0).json();
    let machines = list(&table["machines"]).iter();
    let kinds: Vec<&str> = machines.map(|machine| text(&machine["machine"]["kind"])).collect();
    assert_eq!(kinds, ["qemu", "bochs", "bochs"]);

    let rules = list(&table["rules"]);
    let ids: Vec<&str> = rules.iter().map(|rule| text(&rule["rule"])).collect();
    let expected: Vec<String> = (1..=13).map(|number| format!("NEST-{number}")).collect();
    assert_eq!(ids, expected);
    for rule in rules {
        for cell in list(&rule["cells"]) {
            let [tried, agree, differ] = ["tried", "agree", "differ"].map(|name| count(cell, name));
            assert!(agree + differ <= tried, "{rule}");
            assert_eq!((count(cell, "new"), differ > 0), (0, !list(&cell["findings"]).is_empty()));
        }
    }
    // NEST-3 is about entries of EPT, and NEST-8 about EXITINFO1.
    let tried = |rule: usize| {
        list(&rules[rule - 1]["cells"])
            .iter()
            .map(|cell| count(cell, "tried") > 0)
            .collect::<Vec<_>>()
    };
    assert_eq!(tried(3), [false, false, true]);
    assert_eq!(tried(8), [true, true, false]);
    assert!(list(&rules[7]["cells"][0]["findings"]).contains(&"TN1".into()), "{}", rules[7]);

    let drawn = run(&["conformance", "--nested"]).expect_code(0).expect_80_columns().stdout;
    assert!(drawn.contains("\n NEST-13   ok "), "{drawn}");
}

#[test]
fn what_does_not_fit_is_refused_by_name() {
    let sandbox = Sandbox::new();
    let bundled = support::repository().join("vmm/corpus/nested.jsonl.zst");
    let nested = bundled.to_str().expect("its name is text");
    let refused: [(&[&str], &str); 10] = [
        (&["record", "--nested", "out", "--mode", "pae"], "--mode"),
        (&["record", "--nested", "out", "--cases-of", "bundled"], "--cases-of"),
        (&["replay", "--nested", "--mode", "pae"], "--mode"),
        (&["replay", nested, "--report", "there"], "--report"),
        (&["replay", nested, "--format", "sarif"], "--format"),
        (&["replay", nested, "--walker", "mutant:M37"], "mutant:M37"),
        (&["replay", "--walker", "mutant:NM3"], "--nested"),
        (&["conformance", nested, "--walker", "mutant:NM3"], "--walker"),
        (&["compare", nested], "corpus of nested cases"),
        (&["corpus", "stats", nested], "corpus of nested cases"),
    ];
    for (arguments, name) in refused {
        let output = sandbox.run(arguments).expect_code(2);
        assert!(output.only_line_of_stderr().contains(name), "{arguments:?}: {}", output.stderr);
    }
}

#[test]
fn a_damaged_corpus_is_told_by_its_line() {
    let sandbox = Sandbox::new();
    let bundled = support::repository().join("vmm/corpus/nested.jsonl.zst");
    let whole = fs::read(bundled).expect("it comes with the program");
    sandbox.file("cut.zst", &whole[..whole.len() / 2]);
    sandbox.file("head.jsonl", "{\"nested_corpus\":2}\n");
    sandbox.file("nothing.jsonl", "");
    for (file, problem) in [
        ("cut.zst", "cut.zst, line "),
        ("head.jsonl", "head.jsonl, line 1: expected version 1 of the format, found 2"),
        ("nothing.jsonl", "nothing.jsonl, line 1: expected a corpus, found nothing"),
    ] {
        for command in ["replay", "conformance"] {
            let output = sandbox.run(&[command, "--nested", file]).expect_code(2);
            assert!(output.only_line_of_stderr().contains(problem), "{}", output.stderr);
        }
    }
}
