//! A run as other programs want it: CI systems, code scanners, pull requests.
//!
//! `results` is what all of them show: a result for each mode, each finding that was met, each mistake of a
//! walker, and for what is missing.

pub mod github;
pub mod junit;
pub mod markdown;
pub mod sarif;

use super::conclusion::{Conclusion, missing};
use crate::campaign::Summary;
use crate::campaign::journal::CaseSource;
use crate::finding::Finding;
use crate::finding::known::Kind;
use crate::report::conformance::score::mistakes;
use crate::report::document::Ending;
use crate::report::style::number::{cases, with_commas};
use crate::report::{RunFacts, shell_word};
use mmu_core::Rule;

/// One thing that a run shows.
pub(super) struct RunResult {
    /// How grave it is.
    pub(super) grade: Grade,
    /// A short name, the same in every run: `4level`, `K3`.
    pub(super) id: String,
    /// What it is, in one line.
    pub(super) title: String,
    /// The rule that it is about, if one is known.
    pub(super) rule: Option<Rule>,
    /// Number of cases.
    pub(super) cases: u64,
    /// More lines, without a terminal's controls.
    pub(super) details: Vec<String>,
    /// The smallest case as JSON, if there is one.
    pub(super) case: Option<String>,
    /// A command for a shell that shows it.
    pub(super) command: Option<String>,
}

/// How grave a result is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Grade {
    /// It is as it should be.
    Passed,
    /// It is known, and forgiven.
    Known,
    /// It was not asked for, and not run.
    Skipped,
    /// It was asked for, and not run.
    Missing,
    /// It is wrong.
    Failed,
}

/// What a run shows that ends like this.
pub(super) fn results(facts: &RunFacts<'_>, summary: &Summary, ending: Ending) -> Vec<RunResult> {
    let mut results = modes(facts, summary);
    let met = summary.findings.iter().filter(|finding| finding.count > 0);
    results.extend(met.map(|finding| of_finding(facts, finding)));
    if let Some(score) = facts.candidate {
        let failures = score.failures.iter();
        let failures = failures.map(|(what, mistakes)| (format!("no answer: {what}"), mistakes));
        results.extend(failures.chain(mistakes(score)).map(|(what, mistakes)| RunResult {
            grade: Grade::Failed,
            id: facts.run.walker.to_string(),
            title: what,
            rule: None,
            cases: mistakes.count,
            details: vec![
                format!("expected {}", mistakes.expected),
                format!("answered {}", mistakes.answered),
            ],
            case: Some(mistakes.case.to_string()),
            command: Some(explain(&mistakes.case.to_string(), "")),
        }));
    }

    if let Some(missing) = missing(facts, summary) {
        results.push(RunResult {
            grade: Grade::Missing,
            id: "complete".into(),
            title: missing,
            ..RunResult::passed("")
        });
    }
    if Conclusion::of(facts, summary) == Conclusion::NothingCompared {
        results.push(RunResult {
            grade: Grade::Failed,
            id: "compared".into(),
            title: "nothing was compared".into(),
            ..RunResult::passed("")
        });
    }

    // What a user allows to be missing is no error.
    let is_allowed = ending == Ending::ALLOWED_INCOMPLETE;
    for result in results.iter_mut().filter(|result| result.grade == Grade::Missing) {
        result.grade = if is_allowed { Grade::Skipped } else { Grade::Missing };
    }
    results
}

impl RunResult {
    fn passed(id: &str) -> Self {
        Self {
            grade: Grade::Passed,
            id: id.into(),
            title: String::new(),
            rule: None,
            cases: 0,
            details: Vec::new(),
            case: None,
            command: None,
        }
    }

    /// The number of cases, the title and the rule in one line.
    pub(super) fn headline(&self) -> String {
        let rule = self.rule.map_or_else(String::new, |rule| format!(" ({rule})"));
        match self.cases {
            0 => format!("{}{rule}", self.title),
            count => format!("{}{rule}: {}", self.title, cases(count)),
        }
    }
}

/// A result for each mode that was run, or was not.
fn modes(facts: &RunFacts<'_>, summary: &Summary) -> Vec<RunResult> {
    let of_mode = |(mode, offer): &(mmu_core::PagingMode, Result<(), String>)| {
        let counts = summary.tally.modes.get(mode).cloned().unwrap_or_default();
        let [agreed, diverged] = [counts.agreed, counts.diverged].map(with_commas);
        let words = format!("{agreed} agree, {diverged} differ");
        let (grade, title) = match offer {
            Ok(()) if counts.cases == 0 => (Grade::Skipped, "no case of it was tried".into()),
            Ok(()) => (Grade::Passed, words),
            Err(why) => (Grade::Skipped, format!("not run: {why}")),
        };
        RunResult { grade, title, cases: counts.cases, ..RunResult::passed(mode.name()) }
    };
    facts.modes.iter().map(of_mode).collect()
}

/// A finding that was met.
fn of_finding(facts: &RunFacts<'_>, finding: &Finding) -> RunResult {
    let is_fault = matches!(finding.kind, Kind::Divergence | Kind::Unsupported) && !finding.known;
    let is_about_mutant = facts.candidate.is_none() && !facts.run.walker.is_reference();
    let is_refused = facts.run.generator == CaseSource::Given && finding.kind == Kind::Unsupported;
    let grade = match () {
        () if is_fault && is_refused => Grade::Missing,
        // In a mutant's run the machine's own faults are named, and no more.
        () if is_fault && (finding.catches_walker || !is_about_mutant) => Grade::Failed,
        () => Grade::Known,
    };
    let walker = if finding.catches_walker {
        format!(" --walker {}", shell_word(facts.run.walker.to_string()))
    } else {
        String::new()
    };
    let example = finding.example.as_ref();
    let mut details = Vec::new();
    if let Some(example) = example {
        details.push(format!("expected {}", example.expected));
        details.push(format!("observed {}", example.observed));
        details.extend(example.differences.iter().map(ToString::to_string));
    }
    if let Some(cause) = &finding.explained_by {
        details.push(format!("explained by {cause}"));
    }

    let case = example.map(|example| example.case.to_string());
    RunResult {
        grade,
        id: finding.id.clone(),
        title: finding.title.clone(),
        rule: finding.source.as_ref().map(|source| source.rule),
        cases: finding.count,
        details,
        command: case.as_ref().map(|case| explain(case, &walker)),
        case,
    }
}

fn explain(case: &str, options: &str) -> String {
    format!("crosswalk explain{options} {}", shell_word(case))
}

/// What the run was about, in one line: `kvm pvm, AMD EPYC`.
pub(super) fn subject(facts: &RunFacts<'_>) -> String {
    let identity = facts.identity;
    let version = identity.version.as_deref().unwrap_or(&identity.cpu);
    format!("{} {}, {version}", identity.kind, identity.flavour)
}
