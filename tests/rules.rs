//! `crosswalk rules`: the manuals by id.

use crosswalk_test_support as support;
use support::report::list;
use support::run;

use std::collections::BTreeSet;

#[test]
fn a_rule_is_explained_with_its_manual_and_a_case() {
    let text = run(&["rules", "CODE-1"]).expect_code(0);
    let words = text.words_of_stdout();
    for part in ["CODE-1: ", "manual SDM", "mutants ", "M13b", "finding T1 of tcg: "] {
        assert!(words.contains(part), "{part}: {words}");
    }
    let case = text.stdout.split("crosswalk explain '").nth(1).expect("a case");
    let case = case.split('\'').next().unwrap_or_default();
    let explained = run(&["explain", case]).expect_code(0).stdout;
    assert!(explained.contains("CODE-1"), "{explained}");
}

#[test]
fn all_rules_are_listed_once() {
    let rules = run(&["rules", "--json"]).expect_code(0).json();
    let ids: Vec<_> =
        list(&rules["rules"]).iter().map(|rule| rule["id"].as_str().unwrap_or("")).collect();
    assert_eq!(ids.len(), 55 + 13);
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len());
    assert!(
        list(&rules["rules"])
            .iter()
            .all(|rule| rule["manual"].as_str().is_some_and(|m| !m.is_empty()))
    );
    run(&["rules"]).expect_code(0).expect_80_columns();
    let wrong = run(&["rules", "CODE-99"]).expect_code(2);
    assert!(wrong.stderr.contains("CODE-99"), "{}", wrong.stderr);
}

#[test]
fn a_rule_of_nested_translation_has_its_manual_mutants_and_findings() {
    let words = run(&["rules", "NEST-9"]).expect_code(0).expect_80_columns().words_of_stdout();
    for part in [
        "NEST-9: EPT: ",
        "manual SDM",
        "mutants NM25, NM26; `crosswalk mutants --nested`",
        "finding BN1 of bochs: ",
    ] {
        assert!(words.contains(part), "{part}: {words}");
    }

    // What a machine does wrong in one dimension and in two is one finding.
    let rules = run(&["rules", "CODE-1", "NEST-8", "--json"]).expect_code(0).json();
    let findings = |rule: usize| {
        let findings = list(&rules["rules"][rule]["findings"]).iter();
        let named = findings.map(|finding| format!("{} {}", finding["flavour"], finding["id"]));
        named.map(|name| name.replace('"', "")).collect::<Vec<_>>()
    };
    assert_eq!(findings(0).iter().filter(|name| *name == "tcg T1").count(), 1);
    assert!(findings(1).contains(&"tcg TN1".to_owned()), "{:?}", findings(1));
}
