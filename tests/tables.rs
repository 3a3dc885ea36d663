//! The tables of a report as CSV: every file is read by a parser, and says what the JSON of the same run says.

use crosswalk_test_support as support;
use serde_json::Value;
use std::collections::BTreeMap;
use support::{Sandbox, require_kvm};

/// The rows of a table, each by the names of its columns.
type Rows = Vec<BTreeMap<String, String>>;

fn table(sandbox: &Sandbox, name: &str) -> Rows {
    let path = sandbox.path().join("r/csv").join(name);
    let mut reader = csv::Reader::from_path(path).expect("a table");
    reader.deserialize().map(|row| row.expect("a row with every column")).collect()
}

fn report(sandbox: &Sandbox) -> Value {
    let text = std::fs::read_to_string(sandbox.path().join("r/report.json")).expect("a report");
    serde_json::from_str(&text).expect("a document")
}

#[track_caller]
fn number(row: &BTreeMap<String, String>, column: &str) -> u64 {
    let text = &row[column];
    text.parse().unwrap_or_else(|error| panic!("{column} is {text:?}: {error}"))
}

fn sum(rows: &Rows, column: &str) -> u64 {
    rows.iter().map(|row| number(row, column)).sum()
}

#[test]
fn the_tables_say_what_the_document_says() {
    let sandbox = Sandbox::new();
    sandbox.run(&["replay", "--cases", "5000", "--report", "r"]).expect_code(0);
    let report = report(&sandbox);
    let totals = &report["totals"];

    let run = table(&sandbox, "run.csv");
    assert_eq!(run.len(), 1);
    assert_eq!((&*run[0]["verdict"], &*run[0]["complete"]), ("agree", "true"));
    assert_eq!(number(&run[0], "cases"), totals["cases"]);
    assert_eq!(run[0]["case_set"], totals["case_set"]);
    assert_eq!(run[0]["flavour"], report["machine"]["flavour"]);

    let modes = table(&sandbox, "modes.csv");
    assert_eq!(sum(&modes, "cases"), totals["cases"]);
    assert_eq!(sum(&modes, "agreed"), totals["agreed"]);
    let of_modes = |column: &str| -> u64 {
        let modes = report["modes"].as_array().expect("modes");
        modes.iter().map(|mode| mode[column].as_u64().expect("a count")).sum()
    };
    let observed = of_modes("translations") + of_modes("faults");
    assert_eq!(sum(&table(&sandbox, "accesses.csv"), "cases"), of_modes("cases"));
    assert_eq!(sum(&table(&sandbox, "provenance.csv"), "cases"), observed);

    let outcomes = table(&sandbox, "outcomes.csv");
    let faults: Rows = outcomes.iter().filter(|row| !row["vector"].is_empty()).cloned().collect();
    assert_eq!(sum(&outcomes, "cases"), observed);
    assert_eq!(sum(&faults, "cases"), of_modes("faults"));

    let choices = table(&sandbox, "choices.csv");
    let of_choices = report["choices"].as_array().expect("choices");
    assert_eq!(choices.len(), of_choices.len());
    for (row, choice) in choices.iter().zip(of_choices) {
        assert_eq!(row["rule"], choice["rule"]);
        assert_eq!(row["member"], choice["member"]);
        assert_eq!(number(row, "count"), choice["count"]);
    }

    let rules = table(&sandbox, "rules.csv");
    let mut hit: Vec<_> = rules.iter().filter(|row| row["cases"] != "0").collect();
    hit.dedup_by_key(|row| &row["rule"]);
    assert_eq!(hit.len(), report["rules"]["hit"].as_array().expect("rules").len());
    assert!(rules.iter().all(|row| row["example"].is_empty() != row["missed_by"].is_empty()));
}

#[test]
fn a_finding_has_its_smallest_case_in_its_field() {
    let sandbox = Sandbox::new();
    let options = ["--mode", "4level", "--walker", "mutant:M13b", "--report", "r"];
    sandbox.run(&[&["replay"], &options[..]].concat()).expect_code(1);

    let findings = table(&sandbox, "findings.csv");
    let report = report(&sandbox);
    let of_report = report["findings"].as_array().expect("findings");
    assert_eq!(findings.len(), of_report.len());
    for (row, finding) in findings.iter().zip(of_report) {
        assert_eq!(row["id"], finding["id"]);
        assert_eq!(row["title"], finding["title"]);
        let case: Value = serde_json::from_str(&row["smallest_case"]).unwrap_or_default();
        assert_eq!(case, finding["smallest_case"], "{}", row["id"]);
    }
    assert_eq!((&*findings[0]["id"], &*findings[0]["of_walker"]), ("M13b", "true"));
}

/// Accesses with a reserved bit in a page table entry fault, whatever else is on their path. Those of which only an
/// ignored bit is set may go either way.
#[test]
fn the_bits_of_entries_are_counted_with_the_faults_that_go_with_them() {
    let sandbox = Sandbox::new();
    sandbox.run(&["replay", "--mode", "4level", "--report", "r"]).expect_code(0);
    let bits = table(&sandbox, "entry_bits.csv");
    let of = |entry: &str, bit: &str| {
        let mut rows = bits.iter().filter(|row| row["entry"] == entry && row["bit"] == bit);
        let row = rows.next().unwrap_or_else(|| panic!("no bit {bit} of {entry}"));
        (number(row, "cases"), number(row, "faults"))
    };

    let (not_present, faults) = of("PTE", "0");
    assert!(not_present > 0 && faults == not_present, "{faults} of {not_present}");
    let (ignored, faults) = of("PTE", "9");
    assert!(ignored > faults && faults > 0, "{faults} of {ignored}");
}

/// Each time that a run is resumed it has another stretch, and its time goes on.
#[test]
fn a_run_that_was_resumed_has_a_series_of_two_stretches() {
    require_kvm!();
    let sandbox = Sandbox::new();
    for time in ["1s", "2s"] {
        let options = ["--machine", "kvm", "--seed", "5", "--for", time, "--report", "r"];
        sandbox.run(&[&["check", "--resume"], &options[..]].concat()).expect_code(0);
    }

    let series = table(&sandbox, "series.csv");
    let stretches: Vec<_> = series.iter().map(|row| &*row["stretch"]).collect();
    assert!(stretches.is_sorted() && stretches.contains(&"1") && stretches.contains(&"2"));
    assert!(series.len() >= 4 && series.len() <= 400, "{}", series.len());

    let seconds: Vec<f64> =
        series.iter().map(|row| row["seconds"].parse().expect("seconds")).collect();
    let cases: Vec<u64> = series.iter().map(|row| number(row, "cases")).collect();
    assert!(seconds.is_sorted() && cases.is_sorted(), "{seconds:?} {cases:?}");
    let last = series.last().expect("points");
    let report = report(&sandbox);
    assert_eq!(number(last, "cases"), report["totals"]["cases"]);
    assert_eq!(number(last, "rules"), report["rules"]["hit"].as_array().map_or(0, Vec::len) as u64);

    // The first point of a stretch has none before it, and so no rate.
    let pairs = series.iter().zip(series.iter().skip(1));
    assert_eq!(series[0]["cases_per_second"], "");
    for ((row, next), pair) in pairs.zip(seconds.windows(2)) {
        if row["stretch"] != next["stretch"] {
            assert_eq!(next["cases_per_second"], "");
        } else if pair[1] > pair[0] {
            let rate: f64 = next["cases_per_second"].parse().expect("a rate");
            let expected =
                (number(next, "cases") - number(row, "cases")) as f64 / (pair[1] - pair[0]);
            assert!((rate - expected).abs() <= 0.05 + expected * 1e-9, "{rate}, {expected}");
        }
    }

    let page = std::fs::read_to_string(sandbox.path().join("r/index.html")).expect("a page");
    assert_eq!(page.matches("<figure class=\"chart\">").count(), 4);
    assert_eq!(page.matches("<desc id=").count(), 4);
    assert_eq!(page.matches("class=\"resumed\"").count(), 4);
}
