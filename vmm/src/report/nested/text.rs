//! A run of nested cases for people, in 80 columns.

use super::NestedFacts;
use crate::report::document::VerdictWord;
use crate::report::run::text::Detail;
use crate::report::style::number::{cases, counted, with_commas};
use crate::report::style::table::{line, new_table, trimmed};
use crosswalk_machine::nested::Virtualization;
use crosswalk_machine::{Capabilities, Identity};
use crosswalk_nested::known::KnownNestedFinding;
use crosswalk_nested::tally::{NestedFinding, NestedTally};

/// What is about to run.
pub fn heading(identity: &Identity, capabilities: &Capabilities, why: &str, what: &str) -> String {
    let second = match &capabilities.virtualization {
        Ok(Virtualization::Svm { nested_paging: false, .. }) => {
            "NPT, though CPUID reports none".to_owned()
        }
        Ok(Virtualization::Svm { .. }) => "NPT".to_owned(),
        Ok(Virtualization::Vmx(_)) => "EPT".to_owned(),
        Err(why) => format!("none: {why}"),
    };
    let Identity { kind, flavour, beneath, version, cpu, .. } = identity;
    let processor = version.as_ref().unwrap_or(cpu);

    let mut text = String::new();
    line(&mut text, &format!("machine   {kind} ({flavour}, beneath it {beneath}), {why}"));
    line(&mut text, &format!("          {processor}, {}", of_width(capabilities)));
    line(&mut text, &format!("second    {second}"));
    line(&mut text, &format!("cases     {what}\n"));
    text
}

fn of_width(capabilities: &Capabilities) -> String {
    format!("MAXPHYADDR {}", capabilities.profile.physical_address_bits)
}

/// The result of a run. The heading is what has not been told yet of one that is over.
pub fn summary(
    facts: &NestedFacts<'_>,
    tally: &NestedTally,
    heading: &str,
    detail: Detail,
) -> String {
    let mut text = String::new();
    if detail == Detail::Quiet {
        new_findings(&mut text, facts, tally);
        line(&mut text, &verdict(facts, tally));
        return text;
    }

    line(&mut text, &format!("{}\n", verdict(facts, tally)));
    text.push_str(heading);
    ends(&mut text, tally);
    if detail == Detail::Verbose {
        rules(&mut text, tally);
    }
    choices(&mut text, tally);
    for (why, count) in &tally.unsupported {
        line(&mut text, &format!("not run   {}: {why}", cases(*count)));
    }
    for (failure, batches) in &tally.failures {
        let count = if *batches == 1 { "one batch".into() } else { format!("{batches} batches") };
        line(
            &mut text,
            &format!(
                "again     {failure} in {count}, and in none of their cases when these ran alone"
            ),
        );
    }
    new_findings(&mut text, facts, tally);
    known_findings(&mut text, facts, tally);
    line(&mut text, &verdict(facts, tally));
    text
}

/// The result in a sentence, which is the first and the last line.
fn verdict(facts: &NestedFacts<'_>, tally: &NestedTally) -> String {
    let badge = match super::verdict(facts, tally) {
        VerdictWord::Done => "NOTHING TO DO",
        VerdictWord::NothingCompared => "NOTHING COMPARED",
        VerdictWord::Diverge => "DIVERGE",
        VerdictWord::Incomplete => "INCOMPLETE",
        _ => "AGREE",
    };
    let seconds = facts.seconds;
    let new = tally.findings.keys().filter(|signature| !signature.is_known()).count();
    format!(
        "{badge}  {} in {seconds:.1} s: {} agree, {} differ as known, {} differ in a new way ({}).",
        cases(tally.cases),
        with_commas(tally.agree),
        with_commas(tally.known),
        with_commas(tally.unknown()),
        counted(new as u64, "finding"),
    )
}

fn ends(text: &mut String, tally: &NestedTally) {
    let mut table = new_table(&["end on the machine", "cases"]);
    for (end, count) in &tally.ends {
        table.add_row([(*end).to_owned(), with_commas(*count)]);
    }
    if !tally.ends.is_empty() {
        text.push_str(&trimmed(&table));
        text.push_str("\n\n");
    }
}

fn rules(text: &mut String, tally: &NestedTally) {
    let mut table = new_table(&["rule", "cases"]);
    for (rule, count) in &tally.rules {
        table.add_row([rule.id().to_owned(), with_commas(*count)]);
    }
    text.push_str(&trimmed(&table));
    text.push_str("\n\n");
}

fn choices(text: &mut String, tally: &NestedTally) {
    if tally.choices.is_empty() {
        return;
    }
    let mut table = new_table(&["rule", "the machine's choice", "cases"]);
    for ((rule, member), count) in &tally.choices {
        table.add_row([rule.id(), member, &with_commas(*count)]);
    }
    text.push_str(&trimmed(&table));
    text.push_str("\n\n");
}

/// The findings that are new, those of most cases first.
fn new_findings(text: &mut String, facts: &NestedFacts<'_>, tally: &NestedTally) {
    let new = tally.findings.iter().filter(|(signature, _)| !signature.is_known());
    let mut new: Vec<&NestedFinding> = new.map(|(_, found)| found).collect();
    new.sort_by_key(|found| std::cmp::Reverse(found.cases));
    for found in new {
        new_finding(text, found);
    }
    if let Some((probe, None)) = super::probed(facts) {
        line(text, &format!("NEW  by a probe: {probe}\n"));
    }
}

/// The known findings, a line for each.
fn known_findings(text: &mut String, facts: &NestedFacts<'_>, tally: &NestedTally) {
    let probed = super::probed(facts).and_then(|(_, known)| known);
    if let Some(KnownNestedFinding { id, title, rule, .. }) = probed {
        line(text, &format!("known {id}  by a probe: {title} ({rule})"));
    }
    for known in facts.known.findings() {
        let of_id =
            tally.findings.iter().filter(|(signature, _)| signature.known().contains(&known.id));
        let count: u64 = of_id.map(|(_, found)| found.cases).sum();
        if count > 0 {
            let (id, title, rule) = (&known.id, &known.title, &known.rule);
            line(text, &format!("known {id}  {}: {title} ({rule})", cases(count)));
        }
    }
    if probed.is_some() || tally.known > 0 {
        text.push('\n');
    }
}

fn new_finding(text: &mut String, found: &NestedFinding) {
    let (expected, seen) = found.example.ends;
    line(text, &format!("NEW  {}: expected {expected}, seen {seen}", cases(found.cases)));
    for difference in &found.example.differences {
        line(text, &format!("     {difference}"));
    }
    if let Some((shown, runs)) = found.shows {
        line(text, &format!("     alone it shows {shown} times of {runs}"));
    }
    line(text, &format!("     {}", found.name));
    // The case is for a program: it is not broken.
    text.push_str("     ");
    text.push_str(&found.example.case.to_json());
    text.push_str("\n\n");
}
