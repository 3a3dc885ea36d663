//! `crosswalk rules`: what the manuals say, by id.

use super::failure::Failure;
use super::output::finish;
use crate::corpus::read::{CorpusItem, CorpusReader};
use crate::finding::known;
use crate::report::document::VerdictWord;
use crate::report::rules::{self, FindingOfRule, RuleEntry};
use crosswalk_case::{Case, size_of_case};
use crosswalk_nested::known::{KnownNested, KnownNestedFinding};
use mmu_core::Rule;
use mmu_core::nested::{AnyRule, NestedRule};
use std::collections::BTreeMap;
use std::process::ExitCode;

#[derive(Clone, Debug, clap::Args)]
pub(super) struct RulesArguments {
    /// The ids of rules, such as RIGHT-1, each of which is described in full with an example [default: a list of all]
    #[arg(value_name = "ID", value_parser = by_id)]
    rules: Vec<AnyRule>,
    /// Print one JSON document instead of text
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &RulesArguments) -> Result<ExitCode, Failure> {
    let is_list = arguments.rules.is_empty();
    let wanted = if is_list { all_rules().collect() } else { arguments.rules.clone() };
    let needs_cases = arguments.json || !is_list;
    let mut cases = if needs_cases { smallest_cases()? } else { BTreeMap::new() };

    let findings = all_findings()?;
    let entry = |rule: &AnyRule| RuleEntry {
        rule: *rule,
        case: cases.remove(rule.id()),
        findings: findings
            .iter()
            .filter(|(id, _)| id == rule.id())
            .map(|(_, finding)| finding)
            .collect(),
    };
    let entries: Vec<_> = wanted.iter().map(entry).collect();

    Ok(finish(
        arguments.json,
        VerdictWord::Done.into(),
        || rules::document(&entries),
        || if is_list { rules::text(&entries) } else { rules::descriptions(&entries) },
    ))
}

/// Every rule, in the order of the guide.
fn all_rules() -> impl Iterator<Item = AnyRule> {
    let paging = Rule::ALL.iter().copied().map(AnyRule::Paging);
    paging.chain(NestedRule::ALL.iter().copied().map(AnyRule::Nested))
}

fn by_id(id: &str) -> Result<AnyRule, String> {
    all_rules().find(|rule| rule.id() == id).ok_or_else(|| {
        let ids: Vec<_> = all_rules().map(AnyRule::id).collect();
        format!("expected one of {}", ids.join(", "))
    })
}

/// What machines are known to do, each finding with the id of its rule. One that a machine has in one dimension and in
/// two is there once.
fn all_findings() -> Result<Vec<(String, FindingOfRule)>, Failure> {
    let mut findings = Vec::new();
    for (flavour, known) in known::all_shipped()? {
        findings.extend(known.into_iter().map(|known| {
            let rule = known.rule.id().to_owned();
            (rule, FindingOfRule { flavour, id: known.id, title: known.title })
        }));
    }

    for machine in ["tcg", "bochs", "kvm-on-tcg", "kvm-on-bochs"] {
        for known in KnownNested::of(machine).findings().iter().cloned() {
            let is_there = findings
                .iter()
                .any(|(_, finding)| finding.flavour == machine && finding.id == known.id);
            if !is_there {
                let KnownNestedFinding { id, title, rule, .. } = known;
                findings.push((rule, FindingOfRule { flavour: machine, id, title }));
            }
        }
    }
    Ok(findings)
}

/// The smallest case of the bundled corpus that each rule decides, by its id.
fn smallest_cases() -> Result<BTreeMap<String, Case>, Failure> {
    let mut smallest: BTreeMap<String, Case> = BTreeMap::new();
    for item in CorpusReader::bundled()? {
        let CorpusItem::Case(recorded) = item? else { continue };
        for id in &recorded.rules {
            let is_smaller = |known: &Case| size_of_case(&recorded.case) < size_of_case(known);
            if smallest.get(id).is_none_or(is_smaller) {
                smallest.insert(id.clone(), recorded.case.clone());
            }
        }
    }
    Ok(smallest)
}
