//! The choices that machines made: a heat map of all rules by who decided, and one table for each rule, by level and
//! by how the access ended.

use super::heat::{Column, HeatRow, share_cell};
use crate::campaign::tally::Tally;
use crate::report::style::number::with_commas;
use crate::verdict::{ChoiceTaken, End};
use crosswalk_case::observation::Provenance;
use mmu_core::{AccessKind, PagingMode, Ring, Rule};
use std::collections::{BTreeMap, BTreeSet};

/// How often each member of each rule's choices was chosen, as a part of all choices under the rule that were made in
/// the same mode by the same decider.
pub(super) fn choice_rows(columns: &BTreeSet<Column>, tally: &Tally) -> Vec<HeatRow> {
    let members: BTreeSet<_> =
        tally.choices.keys().map(|choice| (choice.rule, choice.member)).collect();
    let count = |rule, (mode, who): Column, member: Option<&str>| {
        let is_counted = |choice: &ChoiceTaken| {
            (choice.rule, choice.mode, choice.provenance) == (rule, mode, who)
                && member.is_none_or(|member| choice.member == member)
        };
        let counted = tally.choices.iter().filter(|(choice, _)| is_counted(choice));
        counted.fold(0_u64, |sum, (_, count)| sum.saturating_add(*count))
    };

    let row = |(rule, member): (Rule, &'static str)| {
        let cell = |column: &Column| {
            let (part, whole) = (count(rule, *column, Some(member)), count(rule, *column, None));
            let title = format!("{} of {} choices", with_commas(part), with_commas(whole));
            share_cell(column.0, part, whole, title)
        };
        HeatRow { id: rule.id().into(), meaning: member, cells: columns.iter().map(cell).collect() }
    };
    members.into_iter().map(row).collect()
}

/// The choices under one rule.
pub(super) struct ChoiceTable {
    pub(super) rule: &'static str,
    pub(super) meaning: &'static str,
    /// The columns: levels, root first. A choice that is not about an entry has a column without a name.
    pub(super) levels: Vec<&'static str>,
    pub(super) rows: Vec<ChoiceRow>,
}

/// The circumstances of choices.
pub(super) struct ChoiceRow {
    pub(super) mode: &'static str,
    pub(super) provenance: &'static str,
    pub(super) access: String,
    pub(super) end: &'static str,
    /// For each level the members that were chosen, with their counts.
    pub(super) cells: Vec<Vec<String>>,
}

/// What distinguishes the rows of a table.
type ChoiceKey = (PagingMode, Provenance, Ring, AccessKind, End);

/// The tables of all rules that leave a choice.
pub(super) fn choice_tables(tally: &Tally) -> Vec<ChoiceTable> {
    let mut rules: Vec<Rule> = tally.choices.keys().map(|choice| choice.rule).collect();
    rules.dedup();
    rules.into_iter().map(|rule| table(rule, tally)).collect()
}

fn table(rule: Rule, tally: &Tally) -> ChoiceTable {
    let of_rule = || tally.choices.iter().filter(move |(choice, _)| choice.rule == rule);

    let depth =
        |level: &&str| ["", "PML5E", "PML4E", "PDPTE", "PDE"].iter().position(|it| it == level);
    let mut levels: Vec<&'static str> = of_rule().map(|(choice, _)| choice.level).collect();
    levels.sort_by_key(|level| depth(level).unwrap_or(usize::MAX));
    levels.dedup();

    let mut rows: BTreeMap<ChoiceKey, Vec<Vec<String>>> = BTreeMap::new();
    for (choice, count) in of_rule() {
        let ChoiceTaken { mode, provenance, ring, access, end, level, member, .. } = *choice;
        let key = (mode, provenance, ring, access, end);
        let cells = rows.entry(key).or_insert_with(|| vec![Vec::new(); levels.len()]);
        let column = levels.iter().position(|known| *known == level);
        let column = column.expect("every level is listed");
        cells[column].push(format!("{member} {}", with_commas(*count)));
    }

    let row = |((mode, who, ring, access, end), cells): (ChoiceKey, _)| ChoiceRow {
        mode: mode.name(),
        provenance: who.name(),
        access: format!("ring {} {}", ring.cpl(), access.name()),
        end: end.name(),
        cells,
    };

    ChoiceTable {
        rule: rule.id(),
        meaning: rule.meaning(),
        levels,
        rows: rows.into_iter().map(row).collect(),
    }
}
