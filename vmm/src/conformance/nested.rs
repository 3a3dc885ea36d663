//! What recorded machines make of each rule of nested translation.

use crate::corpus::Source;
use crate::corpus::nested::{NestedCorpusReader, RecordedNested};
use crate::corpus::read::{CorpusError, CorpusItem};
use crosswalk_machine::Identity;
use crosswalk_nested::NestedCase;
use crosswalk_nested::known::KnownNested;
use crosswalk_nested::observation::NestedAttempt;
use crosswalk_nested::verdict::{NestedVerdict, judge_prediction};
use crosswalk_nested::walker::{REFERENCE, predict};
use mmu_core::nested::{AnyRule, NestedRule};
use std::collections::{BTreeMap, BTreeSet};

/// A machine, and what it makes of each rule.
#[derive(Clone, Debug)]
pub struct NestedColumn {
    /// Where it was recorded.
    pub source: Source,
    /// Number of cases that were compared.
    pub cases: u64,
    /// The rules that decided one of them, or that a finding is about.
    pub cells: BTreeMap<NestedRule, NestedCell>,
    known: KnownNested,
}

/// What a machine makes of a rule.
#[derive(Clone, Debug, Default)]
pub struct NestedCell {
    /// Number of cases in which it decided.
    pub tried: u64,
    /// Those in which the machine agrees with the manuals.
    pub agree: u64,
    /// Those in which it differs about this rule. In others it differs about another one.
    pub differ: u64,
    /// The known findings about the rule that they show.
    pub findings: BTreeSet<String>,
    /// Those of them that are not known.
    pub new: u64,
}

/// Reads a corpus into a column for each of its sections.
///
/// # Errors
/// When the corpus is damaged: the error names the line.
pub fn columns(
    reader: &mut NestedCorpusReader,
    known_of: impl Fn(&Identity) -> KnownNested,
    mut note: impl FnMut(),
) -> Result<Vec<NestedColumn>, CorpusError> {
    let mut columns: Vec<NestedColumn> = Vec::new();
    while let Some(item) = reader.next() {
        match item? {
            CorpusItem::Source(source) => {
                let (identity, _) = source.machine().map_err(|problem| reader.error(&problem))?;
                let known = known_of(&identity);
                columns.push(NestedColumn {
                    source: *source,
                    cases: 0,
                    cells: BTreeMap::new(),
                    known,
                });
            }
            CorpusItem::Case(recorded) => {
                if let Some(column) = columns.last_mut() {
                    column.add(&recorded);
                }
                note();
            }
        }
    }
    Ok(columns)
}

impl NestedColumn {
    fn add(&mut self, RecordedNested { case, attempt, .. }: &RecordedNested) {
        let prediction = predict(&REFERENCE, case);
        let decided = prediction.rules.iter().filter_map(|rule| match rule {
            AnyRule::Nested(rule) => Some(*rule),
            AnyRule::Paging(_) => None,
        });
        let mut rules: BTreeSet<NestedRule> = decided.collect();

        match judge_prediction(case, &prediction, attempt) {
            NestedVerdict::Unsupported(_) | NestedVerdict::Unpredicted => {}
            NestedVerdict::Agree { .. } => {
                self.cases += 1;
                for rule in rules {
                    let cell = self.cells.entry(rule).or_default();
                    cell.tried += 1;
                    cell.agree += 1;
                }
            }
            NestedVerdict::Diverge { .. } => {
                self.cases += 1;
                let findings = self.findings(case, attempt);
                rules.extend(findings.iter().filter_map(|(rule, _)| *rule));
                for rule in rules {
                    let about = findings.iter().filter(|(about, _)| *about == Some(rule));
                    let ids: Vec<&String> = about.map(|(_, id)| id).collect();
                    let is_new = findings.is_empty();

                    let cell = self.cells.entry(rule).or_default();
                    cell.tried += 1;
                    cell.differ += u64::from(is_new || !ids.is_empty());
                    cell.new += u64::from(is_new);
                    cell.findings.extend(ids.into_iter().cloned());
                }
            }
        }
    }

    /// The known findings that a case shows, each with its rule, if that is one of nested translation.
    fn findings(
        &self,
        case: &NestedCase,
        attempt: &NestedAttempt,
    ) -> Vec<(Option<NestedRule>, String)> {
        let ids = self.known.recognize(case, attempt).into_iter();
        let rule = |id: &String| self.known.finding(id)?.rule.parse().ok();
        ids.map(|id| (rule(&id), id)).collect()
    }
}
