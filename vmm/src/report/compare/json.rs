//! Machines beside the manuals and beside each other, as JSON.

use super::{differs_by_choice, name_of, names, shown};
use crate::conformance::machines::{Disagreement, MachineColumn, MachineTable};
use crate::conformance::{Aspect, Cell};
use crate::report::conformance::CellResult;
use crate::report::document::Document;
use crate::report::style::count::{Count, by_name};
use crosswalk_case::Case;
use crosswalk_machine::MachineLine;
use serde::Serialize;
use std::collections::BTreeMap;

/// Machines beside the manuals and beside each other: `compare` of corpora.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(in crate::report) struct CompareDocument<'r> {
    /// Number of cases that differ in more than the processor.
    cases: Count,
    /// Number of those that at least two machines ran.
    shared: Count,
    /// Number of those in which all did the same, as the manuals allow.
    unanimous: Count,
    /// The machines.
    machines: Vec<ComparedMachineJson<'r>>,
    /// In which cases machines differ from the manuals or from each other.
    disagreements: Vec<DisagreementJson<'r>>,
    /// Each rule that a case was about.
    rules: Vec<MachineRuleJson<'r>>,
}

/// A machine, and the number of its cases.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct ComparedMachineJson<'r> {
    /// Its name in this document.
    name: String,
    /// The machine, as the corpus has it.
    machine: &'r MachineLine,
    /// The number of its cases.
    cases: Count,
    /// Those in which it does what the manuals allow.
    right: Count,
    /// Those in which it shows a known finding.
    known: Count,
    /// Those in which it differs from the manuals in a way that is not known.
    unknown: Count,
    /// Those that it could not run.
    unsupported: Count,
    /// Those that it ran twice, and not alike.
    unsteady: Count,
    /// Those that another machine ran, too.
    shared: Count,
    /// Those in which it differs from most others.
    outvoted: Count,
}

/// Cases in which the same machines disagree about the same.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct DisagreementJson<'r> {
    /// The names of the machines that differ from the manuals.
    differ_from_manuals: Vec<String>,
    /// Whether these are all that ran the cases.
    everyone: bool,
    /// The names of the machines that differ from most others.
    differ_from_others: Vec<String>,
    /// Whether known findings explain it.
    known: bool,
    /// Ids of findings, rules that leave a choice, or fields.
    about: &'r [String],
    /// The number of cases.
    count: Count,
    /// The smallest of them.
    smallest_case: &'r Case,
    /// What the manuals allow in it, in words.
    expected: &'r str,
    /// What each machine did in it.
    observed: Vec<ObservedOnJson<'r>>,
}

/// What a machine did.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct ObservedOnJson<'r> {
    /// The name of the machine.
    machine: String,
    /// What it did, in words.
    observed: &'r str,
}

/// A rule, and what each machine does with it.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct MachineRuleJson<'r> {
    /// The id of the rule, or what else the cases are about.
    rule: String,
    /// What it is, in words.
    meaning: &'static str,
    /// A cell for each machine.
    cells: Vec<MachineCellJson<'r>>,
}

/// A machine and a rule.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct MachineCellJson<'r> {
    /// The name of the machine.
    machine: String,
    /// `right`, `wrong`, `cannot say`, or `not run`.
    result: &'static str,
    /// The number of cases in which it is right.
    right: Count,
    /// Those in which it is wrong.
    wrong: Count,
    /// Those that cannot say.
    cannot_say: Count,
    /// Whether all of these cases are on one side of the rule.
    one_sided: bool,
    /// The known findings that it showed, with the number of cases.
    known_findings: BTreeMap<&'r str, Count>,
    /// Whether it takes other members of the choice that the rule leaves than another machine.
    differs_by_choice: bool,
    /// The members that it takes, with the number of cases.
    members: BTreeMap<&'static str, Count>,
    /// The smallest case in which it is wrong.
    smallest_case: Option<&'r Case>,
    /// What the manuals allow in it.
    expected: Option<&'r str>,
    /// What the machine did.
    observed: Option<&'r str>,
}

impl Document for CompareDocument<'_> {
    const SCHEMA: u32 = 1;
}

/// The comparison as one document.
pub fn document(table: &MachineTable) -> impl Document {
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

    CompareDocument {
        cases: table.cases.into(),
        shared: table.shared.into(),
        unanimous: table.unanimous.into(),
        machines: machines.collect(),
        disagreements: table
            .disagreements
            .iter()
            .map(|found| disagreement_json(found, &names))
            .collect(),
        rules: rules.collect(),
    }
}

fn machine_json<'r>(machine: &'r MachineColumn, name: &str) -> ComparedMachineJson<'r> {
    ComparedMachineJson {
        name: name.to_owned(),
        machine: &machine.line,
        cases: machine.cases.into(),
        right: machine.right.into(),
        known: machine.known.into(),
        unknown: machine.unknown.into(),
        unsupported: machine.unsupported.into(),
        unsteady: machine.unsteady.into(),
        shared: machine.shared.into(),
        outvoted: machine.outvoted.into(),
    }
}

fn disagreement_json<'r>(found: &'r Disagreement, names: &[String]) -> DisagreementJson<'r> {
    let name = |machine: &usize| names.get(*machine).cloned().unwrap_or_default();
    DisagreementJson {
        differ_from_manuals: found.wrong.iter().map(name).collect(),
        everyone: found.everyone,
        differ_from_others: found.outvoted.iter().map(name).collect(),
        known: found.is_known,
        about: &found.about,
        count: found.count.into(),
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
    name: &str,
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
        machine: name.to_owned(),
        result: name_of(CellResult::of(cell)),
        right: (*right).into(),
        wrong: (*wrong).into(),
        cannot_say: (*silent).into(),
        one_sided: *one_sided,
        known_findings: ids.map(|(id, count)| (id.as_str(), (*count).into())).collect(),
        differs_by_choice: differs,
        members: by_name(members.unwrap_or_default()),
        smallest_case: mistake.map(|mistake| &mistake.case),
        expected: mistake.map(|mistake| mistake.expected.as_str()),
        observed: mistake.map(|mistake| mistake.answered.as_str()),
    }
}
