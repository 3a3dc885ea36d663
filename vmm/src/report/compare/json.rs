//! Machines beside the manuals and beside each other, as JSON.

use super::{differs_by_choice, name_of, names, shown};
use crate::conformance::machines::{Disagreement, MachineColumn, MachineTable};
use crate::conformance::{Aspect, Cell};
use crate::report::conformance::CellResult;
use crate::report::style::json::to_text;
use crosswalk_case::Case;
use crosswalk_machine::MachineLine;
use serde::Serialize;
use std::collections::BTreeMap;

#[derive(Serialize)]
struct CompareDocument<'r> {
    /// Number of cases that differ in more than the processor.
    cases: u64,
    /// Number of those that at least two machines ran.
    shared: u64,
    /// Number of those in which all did the same, as the manuals allow.
    unanimous: u64,
    machines: Vec<ComparedMachineJson<'r>>,
    disagreements: Vec<DisagreementJson<'r>>,
    rules: Vec<MachineRuleJson<'r>>,
}

#[derive(Serialize)]
struct ComparedMachineJson<'r> {
    name: &'r str,
    machine: &'r MachineLine,
    cases: u64,
    right: u64,
    known: u64,
    unknown: u64,
    unsupported: u64,
    unsteady: u64,
    shared: u64,
    outvoted: u64,
}

#[derive(Serialize)]
struct DisagreementJson<'r> {
    /// The names of the machines that differ from the manuals.
    differ_from_manuals: Vec<&'r str>,
    /// Whether these are all that ran the cases.
    everyone: bool,
    differ_from_others: Vec<&'r str>,
    known: bool,
    about: &'r [String],
    count: u64,
    smallest_case: &'r Case,
    expected: &'r str,
    observed: Vec<ObservedOnJson<'r>>,
}

#[derive(Serialize)]
struct ObservedOnJson<'r> {
    machine: &'r str,
    observed: &'r str,
}

#[derive(Serialize)]
struct MachineRuleJson<'r> {
    rule: String,
    meaning: &'static str,
    cells: Vec<MachineCellJson<'r>>,
}

#[derive(Serialize)]
struct MachineCellJson<'r> {
    machine: &'r str,
    /// `right`, `wrong`, `cannot say`, or `not run`.
    result: &'static str,
    right: u64,
    wrong: u64,
    cannot_say: u64,
    one_sided: bool,
    /// The known findings that it showed, with the number of cases.
    known_findings: BTreeMap<&'r str, u64>,
    /// Whether it takes other members of the choice that the rule leaves than another machine.
    differs_by_choice: bool,
    /// The members that it takes, with the number of cases.
    members: BTreeMap<&'static str, u64>,
    smallest_case: Option<&'r Case>,
    expected: Option<&'r str>,
    observed: Option<&'r str>,
}

/// The comparison as one document.
pub fn document(table: &MachineTable) -> String {
    let names = names(table);
    let machines =
        table.machines.iter().zip(&names).map(|(machine, name)| machine_json(machine, name));
    let rules = shown(table).into_iter().map(|aspect| MachineRuleJson {
        rule: aspect.to_string(),
        meaning: aspect.meaning(),
        cells: table
            .machines
            .iter()
            .zip(&names)
            .map(|(machine, name)| cell_json(table, machine, name, aspect))
            .collect(),
    });

    to_text(&CompareDocument {
        cases: table.cases,
        shared: table.shared,
        unanimous: table.unanimous,
        machines: machines.collect(),
        disagreements: table
            .disagreements
            .iter()
            .map(|found| disagreement_json(found, &names))
            .collect(),
        rules: rules.collect(),
    })
}

fn machine_json<'r>(machine: &'r MachineColumn, name: &'r str) -> ComparedMachineJson<'r> {
    ComparedMachineJson {
        name,
        machine: &machine.line,
        cases: machine.cases,
        right: machine.right,
        known: machine.known,
        unknown: machine.unknown,
        unsupported: machine.unsupported,
        unsteady: machine.unsteady,
        shared: machine.shared,
        outvoted: machine.outvoted,
    }
}

fn disagreement_json<'r>(found: &'r Disagreement, names: &'r [String]) -> DisagreementJson<'r> {
    let name = |machine: &usize| names.get(*machine).map_or("", String::as_str);
    DisagreementJson {
        differ_from_manuals: found.wrong.iter().map(name).collect(),
        everyone: found.everyone,
        differ_from_others: found.outvoted.iter().map(name).collect(),
        known: found.is_known,
        about: &found.about,
        count: found.count,
        smallest_case: &found.smallest.case,
        expected: &found.smallest.expected,
        observed: found
            .smallest
            .observed
            .iter()
            .map(|(machine, observed)| ObservedOnJson { machine: name(machine), observed })
            .collect(),
    }
}

fn cell_json<'r>(
    table: &MachineTable,
    machine: &'r MachineColumn,
    name: &'r str,
    aspect: Aspect,
) -> MachineCellJson<'r> {
    let cell = machine.marks.cells.get(&aspect);
    let none = Cell::default();
    let Cell { right, wrong, silent, one_sided, .. } = cell.unwrap_or(&none);
    let mistake = cell.and_then(|cell| cell.mistake.as_ref());
    let ids = machine.findings.get(&aspect).into_iter().flatten();
    let (members, differs) = match aspect {
        Aspect::Walk => (None, false),
        Aspect::Rule(rule) => {
            (machine.choices.get(&rule).cloned(), differs_by_choice(table, machine, rule))
        }
    };

    MachineCellJson {
        machine: name,
        result: name_of(CellResult::of(cell)),
        right: *right,
        wrong: *wrong,
        cannot_say: *silent,
        one_sided: *one_sided,
        known_findings: ids.map(|(id, count)| (id.as_str(), *count)).collect(),
        differs_by_choice: differs,
        members: members.unwrap_or_default(),
        smallest_case: mistake.map(|mistake| &mistake.case),
        expected: mistake.map(|mistake| mistake.expected.as_str()),
        observed: mistake.map(|mistake| mistake.answered.as_str()),
    }
}
