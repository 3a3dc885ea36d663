//! Runs of the same cases on several machines, side by side.

use super::json::{RunDocument, run_document};
use crate::campaign::Summary;
use crate::finding::Finding;
use crate::report::RunFacts;
use crate::report::document::Document;
use crate::report::style::count::Count;
use crate::report::style::letters;
use crate::report::style::number::with_commas;
use crate::report::style::table::{line, new_table, trimmed};
use comfy_table::CellAlignment;
use serde::Serialize;
use std::fmt::Write;

/// A run on one of several machines.
pub struct ComparedRun<'r> {
    /// The machine, as the user named it.
    pub name: &'r str,
    /// What the report of the run says besides its results.
    pub facts: RunFacts<'r>,
    /// Its results.
    pub summary: &'r Summary,
}

/// The same run on several machines: `check` with several of them.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(in crate::report) struct SideBySideDocument<'r> {
    /// The report of each run.
    runs: Vec<RunDocument<'r>>,
    /// Each finding that a case showed on one of them.
    side_by_side: Vec<RowJson<'r>>,
}

impl Document for SideBySideDocument<'_> {
    const SCHEMA: u32 = 1;
}

/// A finding, and the number of cases that show it on each machine.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct RowJson<'r> {
    /// The id of the finding.
    id: &'r str,
    /// What it is, in a sentence.
    title: &'r str,
    /// The number of cases on each machine, in the order of the runs.
    counts: Vec<Count>,
}

/// The reports of all runs, and their findings side by side, as one document.
pub fn document<'r>(runs: &'r [ComparedRun<'r>]) -> impl Document {
    SideBySideDocument {
        runs: runs.iter().map(|run| run_document(&run.facts, run.summary)).collect(),
        side_by_side: rows(runs)
            .into_iter()
            .map(|(finding, counts)| RowJson {
                id: &finding.id,
                title: &finding.title,
                counts: counts.into_iter().map(Count::from).collect(),
            })
            .collect(),
    }
}

/// The findings of all runs in 80 columns: how many cases show each on which machine.
pub fn text(runs: &[ComparedRun<'_>]) -> String {
    let mut text = String::new();
    for (letter, run) in letters().zip(runs) {
        let identity = run.facts.identity;
        let version = identity.version.as_deref().unwrap_or(&identity.host_kernel);
        let cases = with_commas(run.summary.tally.cases());
        line(&mut text, &format!("{letter}  {}: {version}, {cases} cases", run.name));
    }

    let columns: Vec<_> = letters().take(runs.len()).map(String::from).collect();
    let mut header = vec!["finding"];
    header.extend(columns.iter().map(String::as_str));
    header.push("what");

    let mut table = new_table(&header);
    for column in table.column_iter_mut().skip(1).take(runs.len()) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    for (finding, counts) in rows(runs) {
        let shown = |count: u64| if count == 0 { "-".into() } else { with_commas(count) };
        let counts = counts.into_iter().map(shown);
        let mut row = vec![finding.id.clone()];
        row.extend(counts);
        row.push(finding.title.clone());
        table.add_row(row);
    }
    let _ = writeln!(text, "\n{}", trimmed(&table));
    text
}

/// Every finding that a case shows on one of the machines, with the number of cases on each.
fn rows<'r>(runs: &[ComparedRun<'r>]) -> Vec<(&'r Finding, Vec<u64>)> {
    let mut rows: Vec<(&Finding, Vec<u64>)> = Vec::new();
    for (column, run) in runs.iter().enumerate() {
        for finding in run.summary.findings.iter().filter(|finding| finding.count > 0) {
            // The ids of findings that are not known are numbers of one run.
            let known = rows.iter().position(|(other, _)| other.title == finding.title);
            let row = known.unwrap_or_else(|| {
                rows.push((finding, vec![0; runs.len()]));
                rows.len() - 1
            });
            rows[row].1[column] += finding.count;
        }
    }
    rows
}
