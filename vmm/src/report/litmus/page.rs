//! Litmus tests as a page: the outcomes as bars, what is forbidden in red.

use super::text::{columns, no_forbidden_but};
use super::{ClassedOutcome, JudgedTest, LitmusRunFacts, OutcomeClass};
use crate::report::style::number::{numbered, with_commas};
use crate::report::style::page::rendered;
use askama::Template;

#[derive(Template)]
#[template(path = "litmus.html")]
struct LitmusPage {
    verdict: String,
    is_bad: bool,
    facts: Vec<(&'static str, String)>,
    tests: Vec<TestCard>,
    not_run: Vec<(String, String)>,
}

/// A test on the page.
struct TestCard {
    name: String,
    about: String,
    setting: String,
    columns: String,
    is_bad: bool,
    runs: String,
    outcomes: Vec<Bar>,
}

/// An outcome on the page.
struct Bar {
    outcome: String,
    class: &'static str,
    choices: String,
    count: String,
    /// The length in percent.
    length: f64,
    is_seen: bool,
}

/// The page.
pub fn page(judged: &[JudgedTest], facts: &LitmusRunFacts<'_>) -> String {
    let forbidden: usize = judged.iter().map(|judged| judged.forbidden().count()).sum();
    let known: usize = judged.iter().map(|judged| judged.known.len()).sum();
    let verdict = match (&facts.machine, forbidden) {
        (None, _) => "what the manuals allow; no machine has run it".into(),
        (Some(_), _) if !judged.iter().any(JudgedTest::was_run) => "nothing was run".into(),
        (Some(_), 0) if known > 0 => no_forbidden_but(known),
        (Some(_), 0) => "no forbidden outcome".into(),
        (Some(_), count) => format!("{} forbidden", numbered(count as u64, "outcome")),
    };
    let mut lines = Vec::new();
    if let Some(machine) = &facts.machine {
        let version = machine.identity.version.as_deref().unwrap_or_default();
        let name = format!("{} {} {version}", machine.identity.kind, machine.identity.flavour);
        lines.push(("machine", name.trim().to_owned()));
        lines.push(("processor", machine.identity.cpu.clone()));
        lines.push(("seed", facts.seed.to_string()));
    }

    let page = LitmusPage {
        verdict,
        is_bad: forbidden > 0,
        facts: lines,
        tests: judged.iter().filter(|judged| judged.not_run().is_none()).map(card).collect(),
        not_run: judged
            .iter()
            .filter_map(|judged| Some((judged.test.name.clone(), judged.not_run()?.to_owned())))
            .collect(),
    };
    rendered(&page)
}

fn card(judged: &JudgedTest) -> TestCard {
    let runs = judged.seen().map_or(0, |seen| seen.runs);
    let bar = |classed: &ClassedOutcome<'_>| {
        let allowed = judged.judgement.outcomes.get(classed.outcome);
        let choices = allowed.filter(|allowed| !allowed.takes_no_choice());
        let choices = choices.map(|allowed| {
            let sets = allowed.choice_names().into_iter().map(|names| names.join(" and "));
            sets.collect::<Vec<_>>().join(", or ")
        });
        Bar {
            outcome: classed.outcome.to_owned(),
            class: match classed.class {
                OutcomeClass::Forbidden => "forbidden",
                other => other.name(),
            },
            choices: choices.unwrap_or_else(|| classed.findings.join(" ")),
            count: match (judged.seen(), classed.count()) {
                (None, _) => String::new(),
                (Some(_), 0) => "never seen".into(),
                (Some(_), count) => with_commas(count),
            },
            length: 100.0 * classed.count() as f64 / runs.max(1) as f64,
            is_seen: classed.count() > 0,
        }
    };
    TestCard {
        name: judged.test.name.clone(),
        about: judged.test.about.clone(),
        setting: judged.test.setting.join("\n"),
        columns: columns(&judged.test).replace("\n  ", "\n").trim_start().into(),
        is_bad: judged.forbidden().next().is_some(),
        runs: if judged.was_run() { format!("{} runs", with_commas(runs)) } else { String::new() },
        outcomes: judged.outcomes().iter().map(bar).collect(),
    }
}
