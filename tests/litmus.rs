//! `crosswalk litmus`: what several processors may show that edit page tables and use them.

use crosswalk_test_support as support;
use support::report::list;
use support::{Sandbox, run};

use serde_json::json;
use std::fs;

#[test]
fn the_catalogue_is_listed() {
    let text = run(&["litmus"]).expect_code(0).expect_80_columns();
    assert!(text.words_of_stdout().contains("93 tests."), "{}", text.stdout);
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

    let text = run(&["litmus", "remap-invlpg"]).expect_code(0).expect_80_columns();
    assert!(text.words_of_stdout().contains("b required"), "{}", text.stdout);
}

#[test]
fn every_test_of_the_catalogue_holds() {
    let document = run(&["litmus", "all", "--json"]).expect_code(0).json();
    let tests = list(&document["tests"]);
    assert_eq!(tests.len(), 93);
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
    let missing = run(&["litmus", "remap-invlgp"]).expect_code(2);
    assert!(missing.stderr.contains("`crosswalk litmus` lists them"), "{}", missing.stderr);
}
