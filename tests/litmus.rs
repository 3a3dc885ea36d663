//! `crosswalk litmus`: what several processors may show that edit page tables and use them.

use crosswalk_test_support as support;
use support::report::list;
use support::{Sandbox, run};

use serde_json::json;
use std::fs;

#[test]
fn the_catalogue_is_listed() {
    let text = run(&["litmus"]).expect_code(0).expect_80_columns();
    assert!(text.words_of_stdout().contains("103 tests."), "{}", text.stdout);
}

#[test]
fn a_test_has_its_outcomes_with_their_classes() {
    let document = run(&["litmus", "xchg-write", "--json"]).expect_code(0).json();
    let test = &document["tests"][0];
    assert_eq!(test["processors"], json!([["xchg x = 0"], ["write x"]]));
    let outcomes: Vec<_> = list(&test["outcomes"])
        .iter()
        .map(|outcome| (outcome["outcome"].as_str(), outcome["class"].as_str()))
        .collect();
    let expected = [
        (Some("A:a np"), Some("allowed")),
        (Some("A:ad np"), Some("choice")),
        (Some("A:ad ok"), Some("allowed")),
    ];
    assert_eq!(outcomes, expected);
    assert_eq!(list(&test["outcomes"])[1]["choices"], json!([["d_then_fault"]]));

    let required = run(&["litmus", "remap-invlpg"]).expect_code(0).expect_80_columns();
    assert!(required.words_of_stdout().contains("b required"), "{}", required.stdout);
}

#[test]
fn every_test_of_the_catalogue_holds() {
    let document = run(&["litmus", "all", "--json"]).expect_code(0).json();
    let tests = list(&document["tests"]);
    assert_eq!(tests.len(), 103);
    assert!(tests.iter().all(|test| !list(&test["outcomes"]).is_empty()));
    run(&["litmus", "all"]).expect_code(0).expect_80_columns();
}

#[test]
fn an_outcome_is_drawn_step_by_step() {
    let text = run(&["litmus", "explain", "remap-invlpg-remote", "a"]).expect_code(0);
    let words = text.expect_80_columns().words_of_stdout();
    assert!(words.contains("read x the cached translation A:a: a"), "{words}");

    let sandbox = Sandbox::new();
    let explain = ["litmus", "explain", "remap-invlpg-remote", "a", "--svg", "a.svg"];
    sandbox.run(&explain).expect_code(0);
    let svg = fs::read_to_string(sandbox.path().join("a.svg")).expect("it was written");
    assert!(svg.starts_with("<svg"));

    let wrong = run(&["litmus", "explain", "remap-invlpg", "a"]).expect_code(2);
    assert!(wrong.stderr.contains("what is allowed: \"b\""), "{}", wrong.stderr);
}

#[test]
fn a_claim_that_does_not_hold_ends_with_1() {
    let sandbox = Sandbox::new();
    let test = "litmus mine\npage x = A\nP0\npte x = B\nread x\nallowed: b\n";
    let file = &sandbox.file("mine.litmus", test);
    let refuted = sandbox.run(&["litmus", file]).expect_code(1);
    let words = refuted.words_of_stdout();
    assert!(words.contains("The test claims b; what is allowed is a, b."), "{words}");
    let document = sandbox.run(&["litmus", file, "--json"]).expect_code(1).json();
    assert_eq!(document["tests"][0]["refuted_claims"][0]["allowed"], json!(["a", "b"]));

    sandbox.file("mine.litmus", "litmus mine\npage x = A\nP0\nfly x\n");
    let wrong = sandbox.run(&["litmus", file]).expect_code(2);
    assert!(wrong.stderr.contains("mine.litmus: line 4: `fly x`"), "{}", wrong.stderr);
    sandbox.file("mine.litmus", "litmus mine\nP0\nwait f = 1\n");
    let endless = sandbox.run(&["litmus", file]).expect_code(2);
    assert!(endless.stderr.contains("mine: no execution of it ends"), "{}", endless.stderr);
    let missing = run(&["litmus", "remap-invlgp"]).expect_code(2);
    assert!(missing.stderr.contains("`crosswalk litmus` lists them"), "{}", missing.stderr);
}

/// The outcomes of a test that a machine showed, with their counts.
fn seen(test: &str, machine: &str) -> Vec<(String, u64)> {
    let run = ["litmus", test, "--machine", machine, "--runs", "1000", "--seed", "7", "--json"];
    let document = support::run(&run).expect_code(0).json();
    assert_eq!(document["machine"]["kind"], machine);
    let test = &document["tests"][0];
    assert_eq!(test["runs"], 1000, "{}", test["not_run"]);
    let outcomes = list(&test["outcomes"]).iter().map(|outcome| {
        let words = outcome["outcome"].as_str().expect("words").to_owned();
        (words, outcome["count"].as_u64().expect("a count"))
    });
    outcomes.filter(|(_, count)| *count > 0).collect()
}

#[test]
fn one_processor_of_kvm_shows_what_it_must() {
    support::require_kvm!();
    assert_eq!(seen("remap-invlpg", "kvm"), [("b".into(), 1000)]);
    assert_eq!(seen("unmap-invlpg", "kvm"), [("np".into(), 1000)]);
    assert_eq!(seen("dirty-after-read", "kvm"), [("ok d1".into(), 1000)]);
}

#[test]
fn the_catalogue_shows_nothing_forbidden_on_kvm() {
    support::require_kvm!();
    let run = ["litmus", "all", "--machine", "kvm", "--runs", "200", "--json"];
    let document = support::run(&run).expect_code(0).json();
    let tests = list(&document["tests"]);
    let ran = tests.iter().filter(|test| test["runs"] == 200).count();
    assert!(ran > 70, "{ran}");
    let why = |test: &&serde_json::Value| test["runs"] == 200 || test["not_run"].is_string();
    assert_eq!(tests.iter().filter(why).count(), tests.len());
}

#[test]
fn qemu_keeps_what_nobody_invalidated() {
    support::require_qemu!();
    assert_eq!(seen("remap", "qemu"), [("a".into(), 1000)]);
    assert_eq!(seen("remap-invlpg", "qemu"), [("b".into(), 1000)]);
    assert_eq!(seen("two-addresses", "qemu"), [("a".into(), 1000)]);
}

#[test]
fn the_catalogue_shows_nothing_forbidden_on_qemu() {
    support::require_qemu!();
    let sandbox = Sandbox::new();
    let run = ["litmus", "all", "--machine", "qemu", "--runs", "200", "--report", "page.html"];
    let text = sandbox.run(&run).expect_code(0).expect_80_columns().words_of_stdout();
    assert!(text.starts_with("no forbidden outcome"), "{text}");
    let page = fs::read_to_string(sandbox.path().join("page.html")).expect("it was written");
    assert!(page.contains("id=\"xchg-write\"") && !page.contains("http://"), "{page}");
}

#[test]
fn a_test_that_cannot_be_run_is_not_one_that_passed() {
    support::require_qemu!();
    let sandbox = Sandbox::new();
    let file = &sandbox.file("mine.litmus", "litmus mine\npage x = A\nmode pae\nP0\nread x\n");
    let report = sandbox.run(&["litmus", file, "--machine", "qemu"]).expect_code(4);
    let words = report.words_of_stdout();
    assert!(words.starts_with("NOTHING RUN: 0 tests of 1 on qemu tcg"), "{words}");
    assert!(words.contains("not run: mine: the harness runs in 4-level paging"), "{words}");
}

/// What CR0.WP, CR4.SMEP and CR4.SMAP deny ring 0, they deny from the next access on.
#[test]
fn ring_0_and_what_it_is_denied_are_run() {
    support::require_qemu!();
    for (test, outcome) in [("wp", "pf ok"), ("wp-on", "ok pf"), ("smep", "a pf"), ("smap", "a pf")]
    {
        assert_eq!(seen(test, "qemu"), [(outcome.to_owned(), 1000)], "{test}");
    }
    // Ring 0 serves a program in ring 3 while it may not touch a page of ring 3.
    let sandbox = Sandbox::new();
    let text = "litmus mine\npage x = A\ncr4 smep smap\nP0\npte x = B\ninvlpg x\nread x\nfetch x\n";
    let file = &sandbox.file("mine.litmus", format!("{text}allowed: b b\n"));
    let text = sandbox.run(&["litmus", file, "--machine", "qemu"]).expect_code(0).words_of_stdout();
    assert!(text.starts_with("no forbidden outcome: 1 test on qemu tcg"), "{text}");
}

#[test]
fn random_tests_show_nothing_forbidden() {
    support::require_qemu!();
    let arguments =
        ["litmus", "random", "--tests", "20", "--seed", "3", "--machine", "qemu", "--runs", "200"];
    let text = run(&arguments).expect_code(0).expect_80_columns().words_of_stdout();
    assert!(text.starts_with("no forbidden outcome"), "{text}");
    let many = run(&["litmus", "random", "--tests", "1e9"]).expect_code(2);
    assert!(many.stderr.contains("at most 100000 at once"), "{}", many.stderr);
    // Those with extras.
    let extra = run(&[&arguments[..], &["--with", "supervisor"]].concat()).expect_code(0);
    assert!(extra.words_of_stdout().starts_with("no forbidden outcome"), "{}", extra.stdout);
    run(&["litmus", "random", "--with", "luck"]).expect_code(2);
    // Without a machine they are judged alone, and are the same.
    let text = run(&arguments[..6]).expect_code(0).words_of_stdout();
    assert!(text.contains("no machine has run them"), "{text}");
}

/// T1 of TCG: a reserved bit is reported without P, so that the fault looks as if nothing were there.
#[test]
fn what_a_machine_is_known_to_show_does_not_fail_a_run() {
    support::require_qemu!();
    let sandbox = Sandbox::new();
    let text = "litmus reserved\npage x = A nx\nP0\nefer -nxe\ninvlpg x\nread x\n";
    let file = &sandbox.file("reserved.litmus", text);
    let litmus = ["litmus", file, "--machine", "qemu", "--runs", "10"];

    let known = sandbox.run(&[&litmus[..], &["--json"]].concat()).expect_code(0).json();
    let shown = list(&known["tests"][0]["outcomes"]).last().expect("an outcome");
    assert_eq!((&shown["outcome"], &shown["class"]), (&json!("np"), &json!("known")));
    assert_eq!((&shown["findings"], &shown["count"]), (&json!(["T1"]), &json!(10)));

    let text = sandbox.run(&litmus).expect_code(0).expect_80_columns();
    let words = text.words_of_stdout();
    assert!(words.contains("no forbidden outcome but 1 that is known"), "{words}");
    let none = sandbox.run(&[&litmus[..], &["--known", "none"]].concat()).expect_code(1);
    assert!(none.words_of_stdout().contains("np FORBIDDEN"), "{}", none.stdout);
}

#[test]
fn every_mistake_is_found() {
    let document = run(&["litmus", "mutants", "--json"]).expect_code(0).json();
    let mutants = list(&document["mutants"]);
    assert_eq!(mutants.len(), 14);
    assert!(mutants.iter().all(|mutant| mutant["caught_by"].is_string()), "{document}");
    run(&["litmus", "mutants"]).expect_code(0).expect_80_columns();
}
