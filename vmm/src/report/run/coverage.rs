//! Coverage for scripts: which rules decided and how accesses ended, each with its count and a case, and
//! why a rule was not met.

use crate::campaign::coverage::why_missed;
use crate::campaign::tally::Tally;
use crate::report::{RunFacts, name_of_end};
use mmu_core::Rule;
use serde::Serialize;

/// Coverage in a report.
#[derive(Serialize)]
pub(super) struct CoverageJson {
    rules: Vec<RuleCoverageJson>,
    missed: Vec<MissedJson>,
    ends: Vec<EndJson>,
}

#[derive(Serialize)]
struct RuleCoverageJson {
    rule: &'static str,
    mode: &'static str,
    count: u64,
    example: String,
}

/// A rule that was not met in a mode that it is about.
#[derive(Serialize)]
struct MissedJson {
    rule: &'static str,
    mode: &'static str,
    /// What stands in the way: `machine`, `campaign`, or `chance`.
    by: &'static str,
    why: String,
}

#[derive(Serialize)]
struct EndJson {
    mode: &'static str,
    provenance: &'static str,
    outcome: String,
    count: u64,
    example: String,
}

pub(super) fn json(facts: &RunFacts<'_>, tally: &Tally) -> CoverageJson {
    let rules = tally.rules.iter().map(|(rule, mode, occurrences)| RuleCoverageJson {
        rule: rule.id(),
        mode: mode.name(),
        count: occurrences.count,
        example: occurrences.example.to_string(),
    });

    let ends = tally.ends.iter().map(|((mode, who, end), occurrences)| EndJson {
        mode: mode.name(),
        provenance: who.name(),
        outcome: name_of_end(*end),
        count: occurrences.count,
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
