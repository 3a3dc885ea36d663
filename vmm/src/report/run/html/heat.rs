//! Tables whose cells are the darker the more cases there are. Each cell says its number, too.

use crate::campaign::coverage::why_missed;
use crate::campaign::tally::{Occurrences, Tally};
use crate::report::style::number::with_commas;
use crate::report::{RunFacts, name_of_end};
use crosswalk_case::observation::Provenance;
use crosswalk_machine::ModeOffer;
use mmu_core::{PagingMode, Rule};
use std::collections::BTreeSet;

/// A row of a heat map.
pub(super) struct HeatRow {
    pub(super) id: String,
    pub(super) meaning: &'static str,
    pub(super) cells: Vec<HeatCell>,
}

pub(super) struct HeatCell {
    pub(super) mode: &'static str,
    pub(super) class: String,
    pub(super) text: String,
    pub(super) title: String,
}

impl HeatCell {
    /// A cell without a case.
    pub(super) fn empty(mode: PagingMode) -> Self {
        Self {
            mode: mode.name(),
            class: String::new(),
            text: String::new(),
            title: "no case".into(),
        }
    }
}

/// A column: a mode, and who decided.
pub(super) type Column = (PagingMode, Provenance);

/// How often each rule decided in each mode, or why it did not.
pub(super) fn rule_rows(facts: &RunFacts<'_>, tally: &Tally) -> Vec<HeatRow> {
    Rule::ALL.iter().map(|rule| rule_row(*rule, facts, tally)).collect()
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

/// How accesses ended, for each mode and who decided.
pub(super) fn end_rows(columns: &BTreeSet<Column>, tally: &Tally) -> Vec<HeatRow> {
    let ends: BTreeSet<_> = tally.ends.keys().map(|(.., end)| *end).collect();
    let cell = |end, mode: PagingMode, who| match tally.ends.get(&(mode, who, end)) {
        Some(occurrences) => heat_cell(mode, occurrences),
        None => HeatCell::empty(mode),
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

/// A cell for a part of a whole: the darker the greater the part.
pub(super) fn share_cell(mode: PagingMode, part: u64, whole: u64, title: String) -> HeatCell {
    if whole == 0 {
        return HeatCell::empty(mode);
    }

    let share = part as f64 / whole as f64;
    let percent = share * 100.0;
    let text = match percent {
        _ if part == 0 => "0".into(),
        _ if part == whole => "100 %".into(),
        0.0..1.0 => "< 1 %".into(),
        99.0..=100.0 => "> 99 %".into(),
        _ => format!("{percent:.0} %"),
    };
    let heat = if part == 0 { 0 } else { ((share * 6.0).ceil() as u8).clamp(1, 6) };
    HeatCell { mode: mode.name(), class: format!("h{heat}"), text, title }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_never_rounded_to_all_or_nothing() {
        let text = |part, whole| share_cell(PagingMode::Pae, part, whole, String::new()).text;
        assert_eq!([text(0, 7), text(1, 1000), text(1, 2)], ["0", "< 1 %", "50 %"]);
        assert_eq!([text(999, 1000), text(7, 7), text(0, 0)], ["> 99 %", "100 %", ""]);
    }
}
