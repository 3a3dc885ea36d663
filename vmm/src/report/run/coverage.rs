//! Coverage for scripts: which rules decided and how accesses ended, each with its count and a case, and
//! why a rule was not met.

use crate::campaign::coverage::why_missed;
use crate::campaign::tally::Tally;
use crate::report::style::count::Count;
use crate::report::{RunFacts, name_of_end};
use mmu_core::Rule;
use serde::Serialize;

/// Coverage in a report.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(super) struct CoverageJson {
    /// Each rule that was met, by mode.
    rules: Vec<RuleCoverageJson>,
    /// Each rule that was not.
    missed: Vec<MissedJson>,
    /// Each outcome, by who decided it.
    ends: Vec<EndJson>,
}

/// A rule that was met.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct RuleCoverageJson {
    /// The id of the rule.
    rule: &'static str,
    /// The paging mode: `unpaged`, `32bit`, `pae`, `4level` or `5level`.
    mode: &'static str,
    /// The number of cases.
    count: Count,
    /// The name of a case.
    example: String,
}

/// A rule that was not met in a mode that it is about.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct MissedJson {
    /// The id of the rule.
    rule: &'static str,
    /// The paging mode: `unpaged`, `32bit`, `pae`, `4level` or `5level`.
    mode: &'static str,
    /// What stands in the way: `machine`, `campaign`, or `chance`.
    by: &'static str,
    /// The reason, in words.
    why: String,
}

/// An outcome.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct EndJson {
    /// The paging mode: `unpaged`, `32bit`, `pae`, `4level` or `5level`.
    mode: &'static str,
    /// Who decided it.
    provenance: &'static str,
    /// `completed`, or the exception with its error code.
    outcome: String,
    /// The number of cases.
    count: Count,
    /// The name of a case.
    example: String,
}

pub(super) fn json(facts: &RunFacts<'_>, tally: &Tally) -> CoverageJson {
    let rules = tally.rules.iter().map(|(rule, mode, occurrences)| RuleCoverageJson {
        rule: rule.id(),
        mode: mode.name(),
        count: occurrences.count.into(),
        example: occurrences.example.to_string(),
    });

    let ends = tally.ends.iter().map(|((mode, who, end), occurrences)| EndJson {
        mode: mode.name(),
        provenance: who.name(),
        outcome: name_of_end(*end),
        count: occurrences.count.into(),
        example: occurrences.example.to_string(),
    });

    let cells =
        Rule::ALL.iter().flat_map(|rule| facts.modes.iter().map(move |(mode, _)| (*rule, *mode)));
    let missed = cells.filter(|(rule, mode)| tally.rules.get(*rule, *mode).is_none());
    let missed = missed.filter_map(|(rule, mode)| {
        let missed = why_missed(rule, mode, facts.capabilities);
        (missed.who() != "mode").then(|| MissedJson {
            rule: rule.id(),
            mode: mode.name(),
            by: missed.who(),
            why: missed.why().to_owned(),
        })
    });

    CoverageJson { rules: rules.collect(), missed: missed.collect(), ends: ends.collect() }
}
