//! `crosswalk rules`: what the manuals say, by id.

use super::failure::Failure;
use super::output::finish;
use crate::corpus::read::{CorpusItem, CorpusReader};
use crate::finding::known;
use crate::report::document::VerdictWord;
use crate::report::rules::{self, RuleEntry};
use crosswalk_case::{Case, size_of_case};
use mmu_core::Rule;
use std::collections::BTreeMap;
use std::process::ExitCode;

#[derive(Clone, Debug, clap::Args)]
pub(super) struct RulesArguments {
    /// The ids of rules, such as RIGHT-1, each of which is described in full with an example [default: a list of all]
    #[arg(value_name = "ID")]
    rules: Vec<Rule>,
    /// Print one JSON document instead of text
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &RulesArguments) -> Result<ExitCode, Failure> {
    let is_list = arguments.rules.is_empty();
    let wanted = if is_list { Rule::ALL } else { arguments.rules.as_slice() };
    let needs_cases = arguments.json || !is_list;
    let mut cases = if needs_cases { smallest_cases()? } else { BTreeMap::new() };

    let all_known = known::all_shipped()?;
    let entry = |rule: &Rule| RuleEntry {
        rule: *rule,
        case: cases.remove(rule.id()),
        findings: all_known
            .iter()
            .flat_map(|(flavour, known)| known.iter().map(|known| (*flavour, known)))
            .filter(|(_, known)| known.rule == *rule)
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
