//! Some cases of a corpus: those of a mode, a rule, an outcome, a machine. The corpus is read once, line by line.

mod actions;
mod error_code;
mod outcome;

pub use actions::ActionCount;
pub use error_code::ErrorCodePattern;
pub use outcome::{OutcomePattern, outcome_name};

use super::read::{CorpusError, CorpusItem, CorpusReader};
use super::{Recorded, Source};
use crate::campaign::known::KnownSource;
use crate::finding::Findings;
use crate::verdict::{self, Verdict};
use crate::walker::WalkerSpec;
use crosswalk_case::observation::{Attempt, Provenance};
use crosswalk_machine::Identity;
use mmu_core::{PagingMode, Reference, Rule};
use std::ops::ControlFlow;
use std::sync::Arc;

/// Which cases are wanted: those that fit every list. An empty list leaves it open.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// The paging modes.
    pub modes: Vec<PagingMode>,
    /// Rules, one of which decided the case when it was recorded.
    pub rules: Vec<Rule>,
    /// How the last access ended on the machine.
    pub outcomes: Vec<OutcomePattern>,
    /// The error code of the page fault that ended it.
    pub error_code: Option<ErrorCodePattern>,
    /// Machines, by their kind or their flavour.
    pub machines: Vec<String>,
    /// Who decided.
    pub provenances: Vec<Provenance>,
    /// The number of actions before the access.
    pub actions: Option<ActionCount>,
    /// The ids of known findings, one of which the case shows.
    pub findings: Vec<String>,
    /// Whether to leave out the cases in which the machine did something that the manuals do not allow, and those that it
    /// could not run.
    pub without_findings: bool,
}

/// A machine whose cases follow.
#[derive(Clone, Debug)]
pub struct RecordedMachine {
    /// Where its cases were recorded, and how.
    pub source: Source,
    /// What it is.
    pub identity: Identity,
    /// Its section in the corpus, from 0.
    pub section: u64,
}

/// A case that fits, with what this version of the program says about it.
#[derive(Clone, Copy, Debug)]
pub struct FoundCase<'c> {
    /// The machine.
    pub machine: &'c Arc<RecordedMachine>,
    /// The case, and what the machine did.
    pub recorded: &'c Recorded,
    /// Whether the manuals allow it.
    pub verdict: &'c Verdict,
    /// The ids of the known findings that it shows. `None` if the machine differs in a way that is not known.
    pub findings: Option<&'c [&'c str]>,
}

/// Reads a corpus, and visits the cases that fit, in their order, until a visit breaks it off.
///
/// # Errors
/// When the corpus is damaged, or a visit fails.
pub fn visit_cases<E: From<CorpusError>>(
    reader: &mut CorpusReader,
    filter: &Filter,
    known: &KnownSource,
    mut visit: impl FnMut(FoundCase<'_>) -> Result<ControlFlow<()>, E>,
) -> Result<(), E> {
    let mut open: Option<(Arc<RecordedMachine>, Findings)> = None;
    let mut sections = 0_u64;

    while let Some(item) = reader.next() {
        match item? {
            CorpusItem::Source(source) => {
                let begun = begin(*source, sections, known);
                open = Some(begun.map_err(|problem| reader.error(&problem))?);
                sections = sections.saturating_add(1);
            }
            CorpusItem::Case(recorded) => {
                let Some((machine, findings)) = &open else { continue };
                if !filter.may_want(&machine.identity, &recorded) {
                    continue;
                }

                let Recorded { case, attempt, .. } = &*recorded;
                let verdict = verdict::judge(&Reference, case, attempt);
                let shown = findings.shown(case, attempt, &verdict).map(|known| {
                    known.into_iter().map(|known| known.id.as_str()).collect::<Vec<_>>()
                });
                let found = FoundCase {
                    machine,
                    recorded: &recorded,
                    verdict: &verdict,
                    findings: shown.as_deref(),
                };
                if filter.wants_findings(&found) && visit(found)?.is_break() {
                    break;
                }
            }
        }
    }
    Ok(())
}

/// The machine of a section, and what collects its findings.
fn begin(
    source: Source,
    section: u64,
    known: &KnownSource,
) -> Result<(Arc<RecordedMachine>, Findings), String> {
    let (identity, capabilities) = source.machine()?;
    let reference = WalkerSpec::Reference;
    let known = known.load(reference, &identity).map_err(|error| error.to_string())?;
    let findings = known.collector(reference, &capabilities);

    Ok((Arc::new(RecordedMachine { source, identity, section }), findings))
}

impl Filter {
    /// Whether a case fits as far as can be said without judging it.
    fn may_want(&self, machine: &Identity, recorded: &Recorded) -> bool {
        let Recorded { case, attempt, rules, .. } = recorded;
        let is_machine = |name: &String| *name == machine.kind || *name == machine.flavour;
        let has_rule = |rule: &Rule| rules.iter().any(|id| id == rule.id());
        let is_of = |provenance: &Provenance| match attempt {
            Attempt::Observed(seen) => seen.provenance == *provenance,
            Attempt::Unsupported(_) => false,
        };

        fits(&self.modes, |mode| *mode == case.mode())
            && fits(&self.machines, is_machine)
            && fits(&self.rules, has_rule)
            && fits(&self.outcomes, |outcome| outcome.fits(attempt))
            && fits(&self.provenances, is_of)
            && self.error_code.is_none_or(|pattern| pattern.fits(attempt))
            && self.actions.is_none_or(|actions| actions.fits(case.before.len()))
    }

    fn wants_findings(&self, found: &FoundCase<'_>) -> bool {
        let shows = |id: &String| found.findings.is_some_and(|ids| ids.contains(&id.as_str()));
        let agrees = matches!(found.verdict, Verdict::Agree { .. });

        fits(&self.findings, shows) && (agrees || !self.without_findings)
    }
}

/// Whether one of a list fits, or the list is empty.
fn fits<T>(list: &[T], is_one: impl Fn(&T) -> bool) -> bool {
    list.is_empty() || list.iter().any(is_one)
}
