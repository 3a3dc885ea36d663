//! What recorded machines make of each rule of nested translation, for people and for scripts.

use crate::conformance::nested::{NestedCell, NestedColumn};
use crate::report::document::Document;
use crate::report::style::count::Count;
use crate::report::style::letters;
use crate::report::style::number::with_commas;
use crate::report::style::table::{line, new_table, trimmed};
use crosswalk_machine::MachineLine;
use mmu_core::nested::NestedRule;
use serde::Serialize;

/// What recorded machines make of each rule of nested translation: `conformance --nested`.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(in crate::report) struct NestedConformanceDocument<'r> {
    /// The corpus.
    corpus: &'r str,
    /// The machines that were recorded in it.
    machines: Vec<RecordedMachineJson<'r>>,
    /// Each rule.
    rules: Vec<NestedRuleJson<'r>>,
}

impl Document for NestedConformanceDocument<'_> {
    const SCHEMA: u32 = 1;
}

/// A machine that was recorded.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct RecordedMachineJson<'r> {
    /// The machine, as the corpus has it.
    machine: &'r MachineLine,
    /// The number of cases that were compared.
    cases: Count,
}

/// A rule, and what each machine makes of it.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct NestedRuleJson<'r> {
    /// Its id.
    rule: &'static str,
    /// What it says.
    meaning: &'static str,
    /// What each machine makes of it, in their order.
    cells: Vec<NestedCellJson<'r>>,
}

/// What a machine makes of a rule.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct NestedCellJson<'r> {
    /// The number of cases in which the rule decided.
    tried: Count,
    /// Those in which the machine agrees with the manuals.
    agree: Count,
    /// Those in which it differs about this rule; in the others it differs about another one.
    differ: Count,
    /// The known findings about the rule that they show.
    findings: Vec<&'r str>,
    /// Those of them that are not known.
    new: Count,
}

/// The document of `conformance --nested --json`.
pub fn conformance_document<'r>(
    corpus: &'r str,
    columns: &'r [NestedColumn],
) -> impl Document + 'r {
    let machines = columns.iter().map(|column| RecordedMachineJson {
        machine: &column.source.machine,
        cases: column.cases.into(),
    });
    let cell = |rule: NestedRule, column: &'r NestedColumn| {
        let cell = column.cells.get(&rule);
        let count = |count: fn(&NestedCell) -> u64| cell.map_or(0, count).into();
        let findings = cell.into_iter().flat_map(|cell| &cell.findings);
        NestedCellJson {
            tried: count(|cell| cell.tried),
            agree: count(|cell| cell.agree),
            differ: count(|cell| cell.differ),
            findings: findings.map(String::as_str).collect(),
            new: count(|cell| cell.new),
        }
    };
    let rules = NestedRule::ALL.iter().map(|rule| NestedRuleJson {
        rule: rule.id(),
        meaning: rule.meaning(),
        cells: columns.iter().map(|column| cell(*rule, column)).collect(),
    });
    NestedConformanceDocument { corpus, machines: machines.collect(), rules: rules.collect() }
}

/// The table in 80 columns: a row for each rule, a column for each machine.
pub fn conformance_text(corpus: &str, columns: &[NestedColumn]) -> String {
    let mut text = String::new();
    line(&mut text, &format!("{corpus}: what recorded machines make of nested translation\n"));
    for (letter, column) in letters().zip(columns) {
        let cases = with_commas(column.cases);
        line(&mut text, &format!("{letter}  {}: {cases} cases", column.source.machine.describe()));
    }
    text.push('\n');

    let names: Vec<String> = letters().take(columns.len()).map(String::from).collect();
    let mut header = vec!["rule"];
    header.extend(names.iter().map(String::as_str));
    let mut table = new_table(&header);
    for rule in NestedRule::ALL {
        let cells = columns.iter().map(|column| in_words(column.cells.get(rule)));
        table.add_row([vec![rule.id().to_owned()], cells.collect()].concat());
    }
    text.push_str(&trimmed(&table));
    text.push_str("\n\n");
    line(
        &mut text,
        "ok N of M: right in N of the M cases in which the rule decides; x N: wrong about it in N cases, by which \
         findings; in the others the machine is wrong about another rule; -: it decides no case",
    );
    text
}

fn in_words(cell: Option<&NestedCell>) -> String {
    let Some(cell) = cell else { return "-".to_owned() };
    let right = format!("ok {} of {}", with_commas(cell.agree), with_commas(cell.tried));
    if cell.differ == 0 {
        return right;
    }
    let mut names: Vec<&str> = cell.findings.iter().map(String::as_str).collect();
    if cell.new > 0 {
        names.push("new");
    }
    format!("{right}; x {} {}", with_commas(cell.differ), names.join(" "))
}
