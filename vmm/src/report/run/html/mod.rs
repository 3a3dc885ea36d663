//! A run as one page of HTML without any other file. `templates/report.html` is its form, this module
//! its contents.

mod choices;
mod walk;

use crate::campaign::Summary;
use crate::campaign::coverage::why_missed;
use crate::campaign::tally::{ModeCounts, Occurrences, Tally};
use crate::finding::Finding;
use crate::finding::known::Kind;
use crate::report::run::conclusion::Conclusion;
use crate::report::style::number::{cases, with_commas};
use crate::report::{RunFacts, name_of_end};
use askama::Template;
use choices::{ChoiceTable, choice_tables};
use crosswalk_case::observation::Provenance;
use crosswalk_machine::{Identity, ModeOffer};
use mmu_core::{PagingMode, Rule};
use std::collections::BTreeSet;
use walk::{ShownExample, show};

#[derive(Template)]
#[template(path = "report.html")]
struct RunPage {
    title: String,
    verdict: String,
    is_bad: bool,
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
    /// `unknown`, `known` or `absent`, as the page's filter has it.
    kind: &'static str,
    count: String,
    explained_by: Option<String>,
    mode: Option<&'static str>,
    example: Option<ShownExample>,
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
/// Never: the template shows only text.
pub fn page(facts: &RunFacts<'_>, summary: &Summary) -> String {
    let tally = &summary.tally;
    let conclusion = Conclusion::of(facts, summary);
    let columns: BTreeSet<_> = tally.ends.keys().map(|(mode, who, _)| (*mode, *who)).collect();

    let page = RunPage {
        title: format!("{} {}", facts.identity.kind, facts.identity.flavour),
        verdict: conclusion.line(facts, summary),
        is_bad: conclusion > Conclusion::Incomplete,
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
    page.render().expect("the template shows only text")
}

fn totals(facts: &RunFacts<'_>, summary: &Summary) -> String {
    let cases = summary.tally.cases();
    let seconds = summary.duration.as_secs_f64();
    let rate = with_commas((cases as f64 / seconds.max(1e-3)) as u64);
    let complete = if facts.complete { "" } else { " Not complete." };
    format!("{} cases in {seconds:.1} s, {rate} a second.{complete}", with_commas(cases))
}

fn about(facts: &RunFacts<'_>) -> Vec<(&'static str, String)> {
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
        ("cases", super::text::describe_cases(facts.run)),
        ("walker", facts.run.walker.to_string()),
    ]
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

/// Unknown divergences first, then the findings that were met.
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
    let count = match finding.count {
        0 => "not met".to_owned(),
        count => cases(count),
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
        if let Some(occurrences) = tally.rules.get(rule, *mode) {
            return heat_cell(*mode, occurrences);
        }

        let missed = why_missed(rule, *mode, facts.capabilities);
        let text = match missed.who() {
            "mode" => "",
            "machine" => "n/a",
            _ => "0",
        };
        HeatCell {
            mode: mode.name(),
            class: missed.who().into(),
            text: text.into(),
            title: missed.why().into(),
        }
    };

    HeatRow {
        id: rule.id().into(),
        meaning: rule.meaning(),
        cells: facts.modes.iter().map(cell).collect(),
    }
}

fn end_rows(columns: &BTreeSet<(PagingMode, Provenance)>, tally: &Tally) -> Vec<HeatRow> {
    let ends: BTreeSet<_> = tally.ends.keys().map(|(.., end)| *end).collect();
    let cell = |end, mode: PagingMode, who| match tally.ends.get(&(mode, who, end)) {
        Some(occurrences) => heat_cell(mode, occurrences),
        None => HeatCell {
            mode: mode.name(),
            class: String::new(),
            text: String::new(),
            title: "no case".into(),
        },
    };
    let row = |end| HeatRow {
        id: name_of_end(end),
        meaning: "",
        cells: columns.iter().map(|(mode, who)| cell(end, *mode, *who)).collect(),
    };

    ends.into_iter().map(row).collect()
}

/// A cell that is the darker the more cases there are: one step for every factor of ten.
fn heat_cell(mode: PagingMode, Occurrences { count, example }: &Occurrences) -> HeatCell {
    let heat = (count.max(&1).ilog10() + 1).min(6);

    HeatCell {
        mode: mode.name(),
        class: format!("h{heat}"),
        text: with_commas(*count),
        title: format!("{} cases, such as {example}", with_commas(*count)),
    }
}
