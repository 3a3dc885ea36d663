//! The report as one page of HTML that needs nothing else: `templates/report.html` has its form, this
//! module what it shows.

mod choices;
mod walk;

use crate::campaign::Summary;
use crate::campaign::coverage::why_missed;
use crate::campaign::tally::{ModeCounts, Occurrences, Tally};
use crate::finding::Finding;
use crate::finding::known::Kind;
use crate::generate::CaseName;
use crate::report::run::text::verdict;
use crate::report::style::number::with_commas;
use crate::report::{RunFacts, name_of_end};
use askama::Template;
use choices::{ChoiceTable, choice_tables};
use crosswalk_case::observation::Provenance;
use crosswalk_machine::ModeOffer;
use mmu_core::{PagingMode, Rule};
use std::collections::BTreeSet;
use walk::{Shown, show};

#[derive(Template)]
#[template(path = "report.html")]
struct RunPage {
    title: String,
    verdict: String,
    diverges: bool,
    totals: String,
    facts: Vec<(&'static str, String)>,
    mode_counts: Vec<String>,
    modes: Vec<ModeRow>,
    findings: Vec<FindingCard>,
    rules: Vec<HeatRow>,
    end_columns: Vec<(&'static str, &'static str)>,
    ends: Vec<HeatRow>,
    choices: Vec<ChoiceTable>,
}

struct ModeRow {
    name: &'static str,
    why_not: Option<String>,
    counts: Vec<String>,
    provenance: String,
}

struct FindingCard {
    id: String,
    title: String,
    /// `unknown`, `known` or `absent`: what the filter knows.
    kind: &'static str,
    count: String,
    explained_by: Option<String>,
    mode: Option<&'static str>,
    example: Option<Shown>,
}

/// A row of a heat map.
struct HeatRow {
    id: String,
    meaning: &'static str,
    cells: Vec<HeatCell>,
}

struct HeatCell {
    mode: &'static str,
    class: String,
    text: String,
    title: String,
}

/// The page of a run.
///
/// # Panics
/// Never: the template shows nothing but text.
pub fn page(facts: &RunFacts<'_>, summary: &Summary) -> String {
    let tally = &summary.tally;
    let columns: BTreeSet<_> = tally.ends.keys().map(|(mode, who, _)| (*mode, *who)).collect();
    let page = RunPage {
        title: format!("{} {}", facts.identity.kind, facts.identity.flavour),
        verdict: verdict(facts, summary),
        diverges: summary.has_unknown_divergence(),
        totals: totals(facts, summary),
        facts: about(facts),
        mode_counts: ModeCounts::default().named().map(|(name, _)| name.replace('_', " ")).into(),
        modes: facts.modes.iter().map(|offer| mode_row(offer, tally)).collect(),
        findings: cards(&summary.findings),
        rules: Rule::ALL.iter().map(|rule| rule_row(*rule, facts, tally)).collect(),
        end_columns: columns.iter().map(|(mode, who)| (mode.name(), who.name())).collect(),
        ends: end_rows(&columns, tally),
        choices: choice_tables(tally),
    };
    page.render().expect("the template shows nothing but text")
}

fn totals(facts: &RunFacts<'_>, summary: &Summary) -> String {
    let (cases, seconds) = (summary.tally.cases(), summary.duration.as_secs_f64());
    let rate = with_commas((cases as f64 / seconds.max(1e-3)) as u64);
    let complete = if facts.complete { "" } else { " Not complete." };
    format!("{} cases in {seconds:.1} s, {rate} a second.{complete}", with_commas(cases))
}

fn about(facts: &RunFacts<'_>) -> Vec<(&'static str, String)> {
    let identity = facts.identity;
    let version = identity.version.clone().unwrap_or_default();
    let machine = format!("{} {}", identity.kind, version);
    let profile = facts.capabilities.profile;
    let features: Vec<_> = profile.features.iter_names().map(|(name, _)| name).collect();
    let bits = profile.physical_address_bits;
    vec![
        (
            "machine",
            format!(
                "{}, flavour {}, beneath it {}",
                machine.trim(),
                identity.flavour,
                identity.beneath
            ),
        ),
        ("host", format!("{}, Linux {}", identity.cpu, identity.host_kernel)),
        ("guest", format!("MAXPHYADDR {bits}, features {}", features.join(" "))),
        ("cases", super::text::describe_cases(facts.run)),
        ("walker", facts.run.walker.to_string()),
    ]
}

fn mode_row((mode, offer): &ModeOffer, tally: &Tally) -> ModeRow {
    let mut counts = tally.modes.get(mode).cloned().unwrap_or_default();
    let numbers = counts.named().map(|(_, count)| with_commas(*count)).into();
    let who = counts.provenance.iter();
    let who: Vec<_> = who.map(|(who, count)| format!("{who} {}", with_commas(*count))).collect();
    let (why_not, provenance) = (offer.clone().err(), who.join(", "));
    ModeRow { name: mode.name(), why_not, counts: numbers, provenance }
}

/// Unknown divergences first, then what was met.
fn cards(findings: &[Finding]) -> Vec<FindingCard> {
    let mut cards: Vec<_> = findings.iter().map(card).collect();
    cards.sort_by_key(|card| ["unknown", "known", "absent"].iter().position(|it| *it == card.kind));
    cards
}

fn card(finding: &Finding) -> FindingCard {
    let kind = match (finding.count, finding.kind, finding.known) {
        (0, ..) => "absent",
        (_, Kind::Divergence, false) => "unknown",
        _ => "known",
    };
    let plural = if finding.count == 1 { "" } else { "s" };
    let count = match finding.count {
        0 => "not met".to_owned(),
        count => format!("{} case{plural}", with_commas(count)),
    };
    FindingCard {
        id: finding.id.clone(),
        title: finding.title.clone(),
        kind,
        count,
        explained_by: finding.explained_by.clone(),
        mode: finding.example.as_ref().map(|example| example.case.mode().name()),
        example: finding.example.as_ref().map(show),
    }
}

fn rule_row(rule: Rule, facts: &RunFacts<'_>, tally: &Tally) -> HeatRow {
    let cell = |(mode, _): &ModeOffer| {
        if let Some(met) = tally.rules.get(&(rule, *mode)) {
            return heat_cell(*mode, met);
        }
        let missed = why_missed(rule, *mode, facts.capabilities);
        let text = match missed.who() {
            "mode" => "",
            "machine" => "n/a",
            _ => "0",
        };
        let (class, title) = (missed.who().into(), missed.why().into());
        HeatCell { mode: mode.name(), class, text: text.into(), title }
    };
    let cells = facts.modes.iter().map(cell).collect();
    HeatRow { id: rule.id().into(), meaning: rule.meaning(), cells }
}

fn end_rows(columns: &BTreeSet<(PagingMode, Provenance)>, tally: &Tally) -> Vec<HeatRow> {
    let ends: BTreeSet<_> = tally.ends.keys().map(|(.., end)| *end).collect();
    let row = |end| {
        let cell =
            |(mode, who): &(PagingMode, Provenance)| match tally.ends.get(&(*mode, *who, end)) {
                Some(met) => heat_cell(*mode, met),
                None => HeatCell {
                    mode: mode.name(),
                    class: String::new(),
                    text: String::new(),
                    title: "no case".into(),
                },
            };
        let cells = columns.iter().map(cell).collect();
        HeatRow { id: name_of_end(end), meaning: "", cells }
    };
    ends.into_iter().map(row).collect()
}

/// The more cases, the darker: a step for every factor of ten.
fn heat_cell(mode: PagingMode, met: &Occurrences) -> HeatCell {
    let Occurrences { count, example } = met;
    let example: &CaseName = example;
    let heat = (count.max(&1).ilog10() + 1).min(6);
    HeatCell {
        mode: mode.name(),
        class: format!("h{heat}"),
        text: with_commas(*count),
        title: format!("{} cases, such as {example}", with_commas(*count)),
    }
}
