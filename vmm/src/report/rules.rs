//! The rules by id: a list, each in full, and as JSON. Their texts are those of the guide.

use super::document::Document;
use super::style::table::{line, new_table, trimmed};
use crate::walker::MUTANTS;
use crosswalk_case::Case;
use crosswalk_nested::mutants::MUTANTS as NESTED_MUTANTS;
use mmu_core::nested::AnyRule;
use serde::Serialize;
use std::fmt::Write;

/// The page of the guide, which has a section for each rule.
const PAGE: &str = include_str!("../../rules.md");

/// A rule, and where it matters.
pub struct RuleEntry<'r> {
    /// The rule.
    pub rule: AnyRule,
    /// The smallest recorded case that it decides, if one was looked for and found.
    pub case: Option<Case>,
    /// What machines are known to do otherwise.
    pub findings: Vec<&'r FindingOfRule>,
}

/// A known finding about a rule.
pub struct FindingOfRule {
    /// The flavour of the machine.
    pub flavour: &'static str,
    /// The id.
    pub id: String,
    /// What the machine does.
    pub title: String,
}

/// A rule.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct RuleJson<'r> {
    /// Its id, such as `RIGHT-1`.
    id: &'static str,
    /// What it says, in a sentence or two.
    meaning: &'static str,
    /// What else there is to say, as Markdown.
    text: &'static str,
    /// The sections of the manuals.
    manual: &'static str,
    /// The ids of mutants that make a mistake about it.
    mutants: Vec<&'static str>,
    /// What machines are known to do otherwise.
    findings: Vec<FindingName<'r>>,
    /// The smallest recorded case that it decides, or `null`: an object as in the line protocol of walkers.
    case: Option<&'r Case>,
}

/// A known finding.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct FindingName<'r> {
    /// The flavour of the machine.
    flavour: &'r str,
    /// The id of the finding.
    id: &'r str,
}

/// The section of the guide about a rule: its words, and the sections of the manuals.
fn section(rule: AnyRule) -> (&'static str, &'static str) {
    let heading = format!("\n### {}\n", rule.id());
    let after = PAGE.split_once(heading.as_str()).map_or("", |(_, after)| after);
    let end = ["\n### ", "\n## "].iter().filter_map(|next| after.find(next)).min();
    let body = end.and_then(|end| after.get(..end)).unwrap_or(after).trim();

    // The first paragraph is the meaning, the last one the manuals.
    let rest = body.split_once("\n\n").map_or("", |(_, rest)| rest);
    let (words, manual) = rest.rsplit_once("\n\n").unwrap_or(("", rest));
    (words.trim(), manual.trim_matches('*'))
}

/// The ids of the mutants that make a mistake about a rule.
fn mutants(rule: AnyRule) -> Vec<&'static str> {
    match rule {
        AnyRule::Paging(rule) => {
            let about = MUTANTS.iter().filter(|mutant| mutant.rule == Some(rule));
            about.map(|mutant| mutant.id).collect()
        }
        AnyRule::Nested(rule) => {
            let about = NESTED_MUTANTS.iter().filter(|mutant| mutant.rule == rule);
            about.map(|mutant| mutant.id).collect()
        }
    }
}

/// The rules of the manuals: `rules`.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct RulesDocument<'r> {
    /// The rules.
    rules: Vec<RuleJson<'r>>,
}

impl Document for RulesDocument<'_> {
    const SCHEMA: u32 = 1;
}

/// Rules as JSON.
pub fn document<'r>(entries: &'r [RuleEntry<'_>]) -> RulesDocument<'r> {
    RulesDocument { rules: entries.iter().map(rule_json).collect() }
}

fn rule_json<'r>(entry: &'r RuleEntry<'_>) -> RuleJson<'r> {
    let (text, manual) = section(entry.rule);
    let findings = entry.findings.iter();
    RuleJson {
        id: entry.rule.id(),
        meaning: entry.rule.meaning(),
        text,
        manual,
        mutants: mutants(entry.rule),
        findings: findings
            .map(|known| FindingName { flavour: known.flavour, id: &known.id })
            .collect(),
        case: entry.case.as_ref(),
    }
}

/// A table of rules.
pub fn text(entries: &[RuleEntry<'_>]) -> String {
    let mut table = new_table(&["rule", "meaning"]);
    for entry in entries {
        table.add_row([entry.rule.id(), entry.rule.meaning()]);
    }
    let mut text = trimmed(&table) + "\n\n";
    line(
        &mut text,
        "`crosswalk rules ID` names the manuals, the mistakes that are known, and a case.",
    );
    text
}

/// Rules in full.
pub fn descriptions(entries: &[RuleEntry<'_>]) -> String {
    let mut text = String::new();
    for entry in entries {
        describe(&mut text, entry);
    }
    text
}

fn describe(text: &mut String, entry: &RuleEntry<'_>) {
    let (words, manual) = section(entry.rule);
    line(text, &format!("{}: {}\n", entry.rule.id(), entry.rule.meaning()));
    for paragraph in words.split("\n\n").filter(|paragraph| !paragraph.is_empty()) {
        // Lists and tables keep their lines.
        if paragraph.starts_with(['-', '|']) {
            paragraph.lines().for_each(|words| line(text, words));
        } else {
            line(text, &paragraph.replace('\n', " "));
        }
        text.push('\n');
    }

    line(text, &format!("manual    {}", manual.replace('\n', " ")));
    let mutants = mutants(entry.rule);
    if !mutants.is_empty() {
        let known = mutants.join(", ");
        let option = if matches!(entry.rule, AnyRule::Nested(_)) { " --nested" } else { "" };
        line(text, &format!("mutants   {known}; `crosswalk mutants{option}` says what they do"));
    }
    for FindingOfRule { flavour, id, title } in &entry.findings {
        line(text, &format!("finding   {id} of {flavour}: {title}"));
    }
    match &entry.case {
        Some(case) => {
            line(text, "example   the smallest recorded case that it decides:");
            // One line, however long: people copy it into a shell.
            let _ = writeln!(text, "  crosswalk explain '{case}'");
        }
        None => line(text, "example   no recorded case shows it"),
    }
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use mmu_core::Rule;
    use mmu_core::nested::NestedRule;

    #[test]
    fn the_guide_has_a_manual_for_every_rule() {
        let paging = Rule::ALL.iter().copied().map(AnyRule::Paging);
        for rule in paging.chain(NestedRule::ALL.iter().copied().map(AnyRule::Nested)) {
            let (words, manual) = section(rule);
            assert!(
                manual.contains("SDM")
                    || manual.contains("APM")
                    || manual.contains('"')
                    || manual.contains("manual"),
                "{rule}: {manual}"
            );
            assert!(!words.contains("###") && !manual.contains("###"), "{rule}: {words}");
        }
    }

    #[test]
    fn a_section_has_its_words_and_its_manuals() {
        // As the guide's page has them.
        assert_eq!(
            section(Rule::Mode3.into()),
            ("PAE paging and long mode ignore it.", "SDM \"Paging-Mode Modifiers\"")
        );
        assert_eq!(section(Rule::Mode4.into()), ("", "SDM \"32-Bit Paging\""));
    }
}
