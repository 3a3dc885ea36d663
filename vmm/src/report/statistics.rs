//! What a corpus consists of, for people and for scripts.

use super::document::Document;
use super::style::count::Count;
use super::style::number::with_commas;
use super::style::table::{line, new_table, trimmed};
use crate::corpus::statistics::{CaseCounts, CorpusStatistics};
use comfy_table::Table;
use serde::Serialize;
use std::fmt::Write;
use std::iter;

/// What a corpus consists of: `corpus stats`.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct StatisticsDocument<'r> {
    /// The corpus, by its name.
    corpus: &'r str,
    /// All its cases.
    totals: CountsJson,
    /// Its paging modes.
    modes: Vec<CountedJson>,
    /// The machines that were recorded.
    machines: Vec<CountedJson>,
    /// The rules that decide, by their ids; a case counts for each.
    rules: Vec<CountedJson>,
    /// How the last access ended.
    outcomes: Vec<CountedJson>,
    /// Who decided.
    provenances: Vec<CountedJson>,
    /// The number of actions before the access.
    actions: Vec<CountedJson>,
    /// The known findings that cases show, by their ids.
    findings: Vec<CountedJson>,
}

/// The cases that have something in common.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct CountedJson {
    /// What they have in common.
    name: String,
    #[serde(flatten)]
    counts: CountsJson,
}

impl CountedJson {
    fn of((name, counts): &(String, CaseCounts)) -> Self {
        Self { name: name.clone(), counts: (*counts).into() }
    }
}

/// Numbers of cases.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct CountsJson {
    /// The number of cases.
    cases: Count,
    /// Those whose last access completed.
    completed: Count,
    /// Those whose last access faulted.
    faulted: Count,
    /// Those that the machine could not run.
    unsupported: Count,
    /// Those in which the machine did something that the manuals do not allow.
    diverged: Count,
}

impl From<CaseCounts> for CountsJson {
    fn from(counts: CaseCounts) -> Self {
        let CaseCounts { cases, completed, faulted, unsupported, diverged } = counts;
        let [cases, completed, faulted, unsupported, diverged] =
            [cases, completed, faulted, unsupported, diverged].map(Count::from);
        Self { cases, completed, faulted, unsupported, diverged }
    }
}

/// A table: what its rows are, and the counts of each.
type Counted = (&'static str, Vec<(String, CaseCounts)>);

/// The document of `corpus stats --json`.
pub fn document<'r>(name: &'r str, counts: &CorpusStatistics) -> StatisticsDocument<'r> {
    let tables = tables(counts);
    let [modes, machines, rules, outcomes, provenances, actions, findings] =
        tables.each_ref().map(|(_, rows)| rows.iter().map(CountedJson::of).collect());

    StatisticsDocument {
        corpus: name,
        totals: counts.total.into(),
        modes,
        machines,
        rules,
        outcomes,
        provenances,
        actions,
        findings,
    }
}

impl Document for StatisticsDocument<'_> {
    const SCHEMA: u32 = 1;
}

/// The tables in 80 columns.
pub fn text(name: &str, counts: &CorpusStatistics) -> String {
    let mut text = String::new();
    let CaseCounts { cases, unsupported, diverged, .. } = counts.total;
    let [cases, unsupported, diverged] = [cases, unsupported, diverged].map(with_commas);
    line(
        &mut text,
        &format!(
            "{name}: {cases} cases; in {diverged} the machine differs from the manuals, {unsupported} \
             it could not run.\n"
        ),
    );

    for (header, rows) in tables(counts).iter().filter(|(_, rows)| !rows.is_empty()) {
        let _ = writeln!(text, "{}\n", trimmed(&table(header, rows)));
    }
    text
}

fn table(header: &str, rows: &[(String, CaseCounts)]) -> Table {
    // An outcome says by itself whether it is a fault, and a finding is a difference, or nothing ran.
    if ["outcome", "finding"].contains(&header) {
        let mut table = new_table(&[header, "cases", "differ"]);
        for (name, CaseCounts { cases, diverged, .. }) in rows {
            table.add_row([name.clone(), with_commas(*cases), with_commas(*diverged)]);
        }
        return table;
    }

    let mut table = new_table(&[header, "cases", "passed", "faulted", "unsupported", "differ"]);
    for (name, counts) in rows {
        let CaseCounts { cases, completed, faulted, unsupported, diverged } = *counts;
        let numbers = [cases, completed, faulted, unsupported, diverged].map(with_commas);
        table.add_row(iter::once(name.clone()).chain(numbers));
    }
    table
}

/// All tables, in the order of the fields of the document.
fn tables(counts: &CorpusStatistics) -> [Counted; 7] {
    fn rows<K: ToString>(
        counts: impl IntoIterator<Item = (K, CaseCounts)>,
    ) -> Vec<(String, CaseCounts)> {
        counts.into_iter().map(|(key, counts)| (key.to_string(), counts)).collect()
    }
    let CorpusStatistics {
        modes, machines, rules, outcomes, provenances, actions, findings, ..
    } = counts.clone();

    [
        ("mode", rows(modes)),
        ("machine", rows(machines)),
        ("rule", rows(rules)),
        ("outcome", rows(outcomes)),
        ("who decided", rows(provenances)),
        ("actions before", rows(actions)),
        ("finding", rows(findings.into_iter().map(|(id, counts)| (id.shown(), counts)))),
    ]
}
