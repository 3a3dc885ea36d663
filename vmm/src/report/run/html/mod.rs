//! A run as one page of HTML without any other file. `templates/report.html` is its form, this module
//! its contents.

mod bits;
mod card;
mod chart;
mod choices;
mod heat;
mod walk;

use crate::campaign::Summary;
use crate::campaign::tally::{ModeCounts, Tally};
use crate::report::run::conclusion::{Conclusion, missing, sentence};
use crate::report::run::text::describe_cases;
use crate::report::style::number::{cases, with_commas};
use crate::report::style::page::rendered;
use crate::report::{RunFacts, date, shell_word};
use askama::Template;
use bits::{LevelColumn, bit_rows, level_columns};
use card::{Card, Score, cards, score_of};
use chart::{Chart, charts};
use choices::{ChoiceTable, choice_rows, choice_tables};
use crosswalk_machine::{Identity, ModeOffer};
use heat::{Column, HeatRow, end_rows, rule_rows};
use std::collections::BTreeSet;

/// Where a page comes from.
pub struct Origin {
    /// The command line, as a shell takes it.
    pub command: String,
    /// The time of the report, in seconds since 1970-01-01 in UTC.
    pub time: u64,
}

impl Origin {
    /// This program, now.
    pub fn of_this_program() -> Self {
        let arguments = std::env::args_os().skip(1).map(shell_word);
        let words: Vec<_> = ["crosswalk".into()].into_iter().chain(arguments).collect();
        Self { command: words.join(" "), time: date::now() }
    }
}

#[derive(Template)]
#[template(path = "report.html")]
struct RunPage<'r> {
    title: String,
    conclusion: Banner,
    verdict: String,
    /// What was asked for and is missing.
    missing: Option<String>,
    totals: String,
    facts: Vec<(&'static str, String)>,
    command: &'r str,
    score: Option<Score>,
    cards: Vec<Card>,
    charts: Vec<Chart>,
    mode_counts: Vec<String>,
    modes: Vec<ModeRow>,
    rules: Vec<HeatRow>,
    columns: Vec<(&'static str, &'static str)>,
    ends: Vec<HeatRow>,
    level_columns: Vec<LevelColumn>,
    bit_rows: Vec<HeatRow>,
    choice_rows: Vec<HeatRow>,
    choices: Vec<ChoiceTable>,
}

/// The result in a word, with its colour and a mark for those who do not see the colour.
struct Banner {
    word: &'static str,
    class: &'static str,
    mark: &'static str,
}

struct ModeRow {
    name: &'static str,
    why_not: Option<String>,
    counts: Vec<String>,
    provenance: String,
}

/// The page of a run.
///
/// # Panics
/// Never: the template shows only text.
pub fn page(facts: &RunFacts<'_>, summary: &Summary, origin: &Origin) -> String {
    let tally = &summary.tally;
    let columns: BTreeSet<Column> = tally.ends.keys().map(|(mode, who, _)| (*mode, *who)).collect();

    let level_columns = level_columns(tally);

    let page = RunPage {
        title: format!("{} {}", facts.identity.kind, facts.identity.flavour),
        conclusion: banner(Conclusion::of(facts, summary)),
        verdict: sentence(facts, summary),
        missing: missing(facts, summary),
        totals: totals(facts, summary),
        facts: about(facts, summary, origin),
        command: &origin.command,
        score: score_of(facts),
        cards: cards(facts, summary),
        charts: charts(summary),
        mode_counts: ModeCounts::default().named().map(|(name, _)| name.replace('_', " ")).into(),
        modes: facts.modes.iter().map(|offer| mode_row(offer, tally)).collect(),
        rules: rule_rows(facts, tally),
        columns: columns.iter().map(|(mode, who)| (mode.name(), who.name())).collect(),
        ends: end_rows(&columns, tally),
        bit_rows: bit_rows(&level_columns, facts, tally),
        level_columns,
        choice_rows: choice_rows(&columns, tally),
        choices: choice_tables(tally),
    };
    rendered(&page)
}

const fn banner(conclusion: Conclusion) -> Banner {
    let (class, mark) = match conclusion {
        Conclusion::Agree => ("good", "\u{2713}"),
        Conclusion::NothingToDo | Conclusion::Incomplete => ("warn", "\u{25b2}"),
        Conclusion::Diverge | Conclusion::NothingCompared => ("bad", "\u{2717}"),
    };
    Banner { word: conclusion.badge(), class, mark }
}

fn totals(facts: &RunFacts<'_>, summary: &Summary) -> String {
    let count = summary.tally.cases();
    let seconds = summary.duration.as_secs_f64();
    let rate = with_commas((count as f64 / seconds.max(1e-3)) as u64);
    let cpu = facts.cpu_seconds;
    format!("{} in {seconds:.1} s, {rate} a second, {cpu:.1} s of CPU time.", cases(count))
}

fn about(facts: &RunFacts<'_>, summary: &Summary, origin: &Origin) -> Vec<(&'static str, String)> {
    let Identity { kind, flavour, beneath, cpu, host_kernel, version } = facts.identity;
    let version = version.as_ref().map_or_else(String::new, |version| format!(" {version}"));

    let profile = facts.capabilities.profile;
    let bits = profile.physical_address_bits;
    let features: Vec<_> = profile.features.iter_names().map(|(name, _)| name).collect();

    let mut machine = format!("{kind}{version}, flavour {flavour}, beneath it {beneath}");
    if let Some(words) = facts.identity.unknown_flavour() {
        machine = format!("{machine}. {words}");
    }

    vec![
        ("machine", machine),
        ("host", format!("{cpu}, Linux {host_kernel}")),
        ("guest", format!("MAXPHYADDR {bits}, features {}", features.join(" "))),
        ("cases", describe_cases(facts.run)),
        ("walker", facts.run.walker.to_string()),
        ("date", dates(summary, origin)),
        ("made by", format!("crosswalk {}", env!("CARGO_PKG_VERSION"))),
    ]
}

/// When the run was started, and when the report was written.
fn dates(summary: &Summary, origin: &Origin) -> String {
    let written = date::rfc_3339(origin.time);
    let started: Vec<_> = summary.series.stretches().map(|stretch| stretch.started).collect();
    let Some(first) = started.iter().min() else { return format!("report of {written}") };

    let stretches = match started.len() {
        1 => String::new(),
        many => format!(" in {many} stretches"),
    };
    format!("started {}{stretches}, report of {written}", date::rfc_3339(*first))
}

fn mode_row((mode, offer): &ModeOffer, tally: &Tally) -> ModeRow {
    let mut counts = tally.modes.get(mode).cloned().unwrap_or_default();
    let deciders: Vec<_> = counts
        .provenance
        .iter()
        .map(|(who, count)| format!("{who} {}", with_commas(*count)))
        .collect();

    ModeRow {
        name: mode.name(),
        why_not: offer.clone().err(),
        counts: counts.named().map(|(_, count)| with_commas(*count)).into(),
        provenance: deciders.join(", "),
    }
}
