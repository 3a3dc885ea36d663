//! The findings of a run: a table, and an example of each that is not forgiven.

use super::Detail;
use crate::campaign::Summary;
use crate::campaign::known::KnownSource;
use crate::finding::Finding;
use crate::finding::known::Kind;
use crate::report::RunFacts;
use crate::report::findings::command;
use crate::report::style::number::{cases, with_commas};
use crate::report::style::table::{is_wide, line, new_table, trimmed};
use comfy_table::Table;
use crosswalk_explain::words::action_in_words;
use std::fmt::Write;

/// The findings of a run.
pub(super) fn describe(text: &mut String, facts: &RunFacts<'_>, summary: &Summary, detail: Detail) {
    let is_shown = |finding: &&Finding| match detail {
        Detail::Quiet => is_unknown(finding),
        Detail::Normal => finding.count > 0,
        Detail::Verbose => true,
    };
    let shown: Vec<_> = summary.findings.iter().filter(is_shown).collect();

    match (shown.as_slice(), detail) {
        ([], Detail::Quiet) => {}
        ([], _) => line(text, "No findings."),
        (shown, _) => {
            let _ = writeln!(text, "{}", trimmed(&table_of(shown)));
        }
    }
    if detail == Detail::Normal {
        describe_not_met(text, &facts.run.known, summary);
    }
    if detail > Detail::Quiet || !shown.is_empty() {
        text.push('\n');
    }
    if let (true, Some(words)) = (summary.has_unknown_finding(), facts.identity.unknown_flavour()) {
        line(text, &format!("{words}\n"));
    }

    for finding in &summary.findings {
        // In a mutant's run the machine's own faults are listed, without an example.
        let has_example =
            finding.catches_walker || facts.run.walker.is_reference() || facts.candidate.is_some();
        if is_unknown(finding) && has_example {
            describe_example(text, facts, finding);
        }
    }
}

/// Whether it is about the machine or the walker, is not forgiven, and was met.
fn is_unknown(finding: &Finding) -> bool {
    matches!(finding.kind, Kind::Divergence | Kind::Unsupported)
        && !finding.known
        && finding.count > 0
}

/// A row for each finding. A wide terminal has room for the manual.
fn table_of(findings: &[&Finding]) -> Table {
    let mut header = vec!["finding", "kind", "rule", "cases", "what"];
    if is_wide() {
        header.extend(["manual", "since"]);
    }

    let mut table = new_table(&header);
    for finding in findings {
        let source = finding.source.as_ref();
        let count = if finding.count == 0 { "not met".into() } else { with_commas(finding.count) };
        let mut row = vec![
            finding.id.clone(),
            kind(finding).into(),
            source.map_or("", |source| source.rule.id()).into(),
            count,
            finding.title.clone(),
        ];
        if is_wide() {
            let words = source.map(|source| [source.manual.clone(), source.since.clone()]);
            row.extend(words.unwrap_or_default());
        }
        table.add_row(row);
    }
    table
}

/// What a finding is, in a word; in capitals if it is not forgiven.
const fn kind(finding: &Finding) -> &'static str {
    match (finding.kind, finding.known) {
        (Kind::Divergence, true) => "known",
        // It is not forgiven, and nothing shows it either.
        (Kind::Divergence, false) if finding.count == 0 => "-",
        (Kind::Divergence, false) => "DIVERGES",
        (Kind::Choice, _) => "choice",
        (Kind::Unsupported, true) => "unsupported",
        (Kind::Unsupported, false) => "NOT RUN",
        (Kind::Probe, _) => "probe",
        (Kind::Fatal, _) => "fatal",
    }
}

/// The known findings that no case showed, in one line.
fn describe_not_met(text: &mut String, known: &KnownSource, summary: &Summary) {
    let not_met = summary.findings.iter().filter(|finding| finding.count == 0);
    let ids: Vec<_> = not_met.map(|finding| finding.id.as_str()).collect();
    if !ids.is_empty() {
        let ids = ids.join(", ");
        let command = command(known);
        line(text, &format!("known, but not met: {ids}; `{command} ID` describes one"));
    }
}

fn describe_example(text: &mut String, facts: &RunFacts<'_>, finding: &Finding) {
    let Some(example) = &finding.example else { return };

    let why = finding.explained_by.as_ref();
    let why = why.map_or_else(String::new, |walker| format!(", explained by {walker}"));
    let bits = match example.case.unusual_bits() {
        0 => "no unusual bit".to_owned(),
        1 => "one unusual bit".to_owned(),
        many => format!("{many} unusual bits"),
    };
    let count = cases(finding.count);
    line(text, &format!("{}: {count}{why}; the smallest has {bits}", finding.id));
    if let Some(shown) = example.shown {
        line(text, &format!("{}: this case shows it {shown} times", finding.id));
    }
    if let Some(place) = example.place() {
        let action = example.case.script().nth(example.at);
        let words =
            action.map_or(place.clone(), |action| format!("{place}: {}", action_in_words(&action)));
        line(text, &format!("{}: it differs at {words}", finding.id));
    }
    line(text, &format!("{}: expected {}", finding.id, example.expected));
    line(text, &format!("{}: observed {}", finding.id, example.observed));
    for difference in &example.differences {
        line(text, &format!("  {difference}"));
    }

    let walker = if finding.catches_walker {
        format!(" --walker {}", facts.run.walker)
    } else {
        String::new()
    };
    // One line, however long: people copy it into a shell.
    let _ = writeln!(text, "  crosswalk explain{walker} '{}'\n", example.case);
}
